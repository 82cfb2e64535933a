"""daemon.json: which keys are ours, and how they join those that were there. Pure functions."""

from __future__ import annotations

import json
from typing import Any

from roles.common.addresses import authority
from roles.docker.defaults import Docker
from shoal.cluster.document import Cluster

JsonObject = dict[str, Any]


def wanted_config(docker: Docker, cluster: Cluster) -> JsonObject:
    """The keys that the knobs ask for."""
    config: JsonObject = {
        "log-driver": "json-file",
        "log-opts": {"max-file": str(docker.docker_log_max_files), "max-size": docker.docker_log_max_size},
        "live-restore": docker.docker_live_restore,
    }
    insecure = list(docker.docker_insecure_registries)
    if docker.docker_site_registry_port:
        insecure.append(authority(cluster.requester.peer_address, docker.docker_site_registry_port))
    if insecure:
        config["insecure-registries"] = sorted(set(insecure))
    if docker.docker_registry_mirrors:
        config["registry-mirrors"] = list(docker.docker_registry_mirrors)
    if docker.docker_dns:
        config["dns"] = list(docker.docker_dns)
    if docker.docker_mtu is not None:
        config["mtu"] = docker.docker_mtu
    return {**config, **docker.docker_daemon_extra}


def parse(text: str, what: str) -> JsonObject:
    """A JSON object from a machine's file. Raises ValueError: a file that is not JSON is its owner's to mend."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is not JSON: line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{what} is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")  # noqa: TRY004 - the value is wrong, told as the other faults
    return value


def merged(there: JsonObject, ours_before: JsonObject, wanted: JsonObject) -> JsonObject:
    """What the file should hold: others' keys as they are, our former keys gone, our present ones in.

    Lists are ours as a whole, but for the registries, where entries of others stay.
    """
    result = without(there, ours_before)
    for key, value in wanted.items():
        if key in {"insecure-registries", "registry-mirrors"} and isinstance(result.get(key), list):
            result[key] = [*result[key], *(entry for entry in value if entry not in result[key])]
        else:
            result[key] = value
    return dict(sorted(result.items()))


def without(there: JsonObject, ours: JsonObject) -> JsonObject:
    """The file's keys less those that still have the value we gave them."""
    result = {}
    for key, value in there.items():
        if key in ours and isinstance(value, list) and isinstance(ours[key], list):
            if rest := [entry for entry in value if entry not in ours[key]]:
                result[key] = rest
        elif key not in ours or ours[key] != value:
            result[key] = value
    return result


def rendered(config: JsonObject) -> str:
    """The file's text; the same keys and values give the same bytes."""
    return json.dumps(config, indent=2, sort_keys=True) + "\n"
