"""daemon.json: which keys are ours, how they join those that were there, and how they leave again. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from roles.common.addresses import authority
from roles.docker.defaults import Docker
from shoal.cluster.document import Cluster

JsonObject = dict[str, Any]
LISTS = frozenset({"insecure-registries", "registry-mirrors"})
"""Settings of which the entries of others stay beside ours; any other setting is one value."""
LOGGING = frozenset({"log-driver", "log-opts"})
"""One choice in two settings: options of one driver keep an engine with another from starting."""
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Ours:
    """The record on the machine: which settings are ours, and what was there before our first change."""

    keys: JsonObject = field(default_factory=dict)
    """Our settings; of lists only the entries that we added."""
    before: JsonObject = field(default_factory=dict)
    """The owner's values of settings that we have replaced."""
    text: str | None = None
    """daemon.json as it was, None where there was none or an earlier version kept no copy."""
    written: str = ""
    """SHA-256 of daemon.json as we wrote it last."""
    unit_state: str = ""
    """systemd's word for docker.service before us: enabled, disabled; empty where there was none."""
    unit_active: bool = False
    socket_active: bool = False
    entries: tuple[str, ...] = ()
    """Names in the engine's data folder."""
    volumes: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    """What lay in the data folder before: volumes by name, the others by id."""
    data: tuple[str, ...] = ()
    """Data folders that held something before."""
    sysctl: dict[str, str] = field(default_factory=dict)
    """Kernel settings that an engine changes at its start, as they were."""
    forward: str = ""
    """Policy of the FORWARD chain, as it was."""

    def taken_back(self, there: Mapping[str, Any]) -> JsonObject:
        """The file without what is ours in it, and with the owner's former values. What he has changed since stays."""
        result = without(there, self.keys)
        for key, value in self.before.items():
            if key not in result and key in there:
                result[key] = value
        return result

    def with_settings(self, there: Mapping[str, Any], wanted: JsonObject, text: str) -> Ours:
        """The record for a file that is to hold `wanted` beside the owner's."""
        owners = self.taken_back(there)
        keys, before = {}, {}
        for key, value in wanted.items():
            if key in LISTS and isinstance(owners.get(key), list):
                if added := [entry for entry in value if entry not in owners[key]]:
                    keys[key] = added
            elif key not in owners or owners[key] != value:
                keys[key] = value
                if key in owners:
                    before[key] = owners[key]
        return Ours(**{**_fields(self), "keys": keys, "before": before, "written": text})

    def rendered(self) -> str:
        """The record's text."""
        return json.dumps({"shoal_record": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def read_record(text: str | None) -> Ours:
    """The record. Earlier versions wrote nothing but our settings. Raises ValueError where it is damaged."""
    value = parse(text or "", "the record /var/lib/shoal/roles/docker.json")
    if "shoal_record" not in value:
        return Ours(keys=value)
    known = {item.name for item in fields(Ours)}
    read = {key: entry for key, entry in value.items() if key in known}
    for name in ("volumes", "containers", "images", "data", "entries"):
        read[name] = tuple(read.get(name, ()))
    return Ours(**read)


def wanted_config(
    docker: Docker, cluster: Cluster, *, there: Mapping[str, Any] | None = None, owners: bool = False
) -> JsonObject:
    """The settings that the knobs ask for, beside those that the machine's owner made (`there`).

    How logs are kept and whether containers outlive a restart is the owner's choice where he made one, and in an
    engine of his (`owners`) in any case.
    """
    there = there or {}
    config: JsonObject = {}
    if not owners and not LOGGING & set(there):
        config["log-driver"] = "json-file"
        config["log-opts"] = {"max-file": str(docker.docker_log_max_files), "max-size": docker.docker_log_max_size}
    if not owners and "live-restore" not in there:
        config["live-restore"] = docker.docker_live_restore
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
        raise ValueError(f"{what} is not a JSON object")  # noqa: TRY004 - the value is wrong, reported as the other faults
    return value


def merged(there: Mapping[str, Any], ours: Ours, wanted: Mapping[str, Any]) -> JsonObject:
    """What the file should hold: others' settings as they are, our former ones gone, our present ones in."""
    result = ours.taken_back(there)
    for key, value in wanted.items():
        if key in LISTS and isinstance(result.get(key), list):
            result[key] = [*result[key], *(entry for entry in value if entry not in result[key])]
        else:
            result[key] = value
    return result


def without(there: Mapping[str, Any], ours: Mapping[str, Any]) -> JsonObject:
    """The file's keys less those that still have the value we gave them."""
    result = {}
    for key, value in there.items():
        if key in ours and isinstance(value, list) and isinstance(ours[key], list):
            if rest := [entry for entry in value if entry not in ours[key]]:
                result[key] = rest
        elif key not in ours or ours[key] != value:
            result[key] = value
    return result


def rendered(config: Mapping[str, Any]) -> str:
    """The file's text; the same keys and values give the same bytes."""
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def _fields(ours: Ours) -> JsonObject:
    return {item.name: getattr(ours, item.name) for item in fields(ours)}
