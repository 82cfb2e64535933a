"""The container engine that is there: whether it can be used, what it is used for, and what a new one would meet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shoal import untrusted
from shoal.check.answer import line
from shoal.check.facts import Facts
from shoal.check.finding import Finding, consent, note, refusal, warning
from shoal.check.no_proxy import excepted
from shoal.check.plan import NodePlan
from shoal.check.rules.system import names

OLDEST = (20, 10)
"""Debian 11's and 12's engine; older ones were not tried."""
ORCHESTRATORS = {
    "kubelet": "Kubernetes",
    "k3s": "k3s",
    "k3s-server": "k3s",
    "k3s-agent": "k3s",
    "k0s": "k0s",
    "microk8s": "MicroK8s",
    "rke2": "RKE2",
    "nomad": "Nomad",
}
OUR_LABEL = "shoal"


def engine(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """An engine that cannot be used as it is."""
    docker, name = facts.docker, plan.node.name
    target = docker.client
    if "/snap/" in target:
        yield refusal(
            name,
            "docker",
            "its Docker is snap's, whose containers see neither /videos nor /var/lib/shoal",
            "move what runs in it to docker.io or docker-ce, then: snap remove docker",
        )
    elif "podman-docker" in facts.packages or "podman" in docker.version_words.lower():
        yield refusal(
            name,
            "docker",
            "its `docker` is podman's (package podman-docker)",
            "apt-get remove podman-docker there; podman itself may stay",
        )
    elif docker.users_engines or (docker.rootless and not docker.answers):
        who = names(docker.users_engines) or "a user"
        if docker.answers:
            yield note(
                name, "docker", f"beside the system's engine there is a rootless one of {who}; it stays as it is"
            )
        else:
            yield refusal(
                name,
                "docker",
                f"its Docker runs without root, for {who}, which is not supported",
                "install the system's engine beside it (apt-get install docker.io), or stop the rootless one",
            )
    elif docker.answers and (number := _version(docker.info)) and number < OLDEST:
        yield refusal(
            name,
            "docker",
            f"its engine is {_text(docker.info, 'ServerVersion')}, at least {'.'.join(map(str, OLDEST))} is needed",
            "upgrade it",
        )
    elif docker.client and not docker.answers and "docker" not in facts.our_packages:
        said = docker.words or "it said nothing"
        state = docker.units.get("docker.service", {}).get("UnitFileState", "")
        yield refusal(
            name,
            "docker",
            f"Docker is installed ({docker.package or docker.client}) and its engine does not answer"
            f"{f' (its unit is {state})' if state in {'masked', 'disabled'} else ''}: {said}",
            "start it (systemctl enable --now docker) or see `journalctl -u docker`; if it is not wanted, purge it",
        )
    if docker.daemon_json and _json(docker.daemon_json) is None:
        yield refusal(name, "docker", "/etc/docker/daemon.json is not a JSON object", "mend or remove it")


def use(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """What the engine that is there does for its owner."""
    docker, name = facts.docker, plan.node.name
    others = [ORCHESTRATORS[word] for word in docker.engines if word in ORCHESTRATORS]
    if docker.answers and _swarm(docker.info) not in {"", "inactive"}:
        others.append("a Docker swarm")
    if others:
        yield note(name, "docker", f"the machine is part of {names(list(dict.fromkeys(others)))}; it is not touched")
    if not docker.answers or _ours(facts):
        return
    version, root = _text(docker.info, "ServerVersion"), _text(docker.info, "DockerRootDir")
    what = f"{docker.package or docker.client or 'its engine'} {version} is used as it is (data in {root})"
    yield note(name, "docker", what)
    theirs = [it for it in docker.containers if OUR_LABEL not in " ".join(it.labels)]
    running = [it.name for it in theirs if it.running]
    if running or docker.volumes:
        kept = f"{len(running)} containers run ({names(running)})" if running else "no container runs"
        yield note(name, "docker", f"of the owner's {kept}, {len(docker.volumes)} volumes are kept; none is touched")
    lost = [it.name for it in theirs if it.running and not it.comes_back]
    if lost and docker.info is not None and not docker.info.get("LiveRestoreEnabled"):
        yield warning(
            name,
            "docker",
            f"a restart of the engine would end {names(lost)} for good (no restart policy, no live-restore)",
            f"docker update --restart unless-stopped {' '.join(lost[:6])}",
        )


def newcomer(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """What a new engine would do to a machine that has none now."""
    docker, name = facts.docker, plan.node.name
    if docker.answers or docker.client or not plan.owned:
        return
    left = [folder for folder, count in docker.old_data.items() if count]
    if left and "docker" not in facts.our_packages:
        volumes = f", {docker.old_volumes} volumes among it" if docker.old_volumes else ""
        yield consent(
            name,
            "docker",
            f"a former engine left data in {' and '.join(left)}{volumes}; a new engine takes it over, and starts "
            "containers of it that have a restart policy",
            "former-docker",
            "move the folder away first to begin without it",
        )
    bridges = [f"{bridge} ({', '.join(ports)})" for bridge, ports in facts.bridges.items() if ports]
    if bridges:
        yield consent(
            name,
            "docker",
            f"the machine bridges {names(bridges)}; a new engine filters forwarded traffic (FORWARD policy DROP, "
            "br_netfilter), and what is bridged may stop",
            "bridge-traffic",
            'put {"iptables": false} into /etc/docker/daemon.json, or an accepting rule into chain DOCKER-USER',
        )


def proxy(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """An engine behind a proxy asks it for the site's registry too, unless that is excepted."""
    name = plan.node.name
    if not plan.requester:
        return
    found, exceptions, where = _engine_proxy(facts)
    host, port = plan.requester, int(plan.knob("registry_port", 5000))
    if not found or excepted(host, port, exceptions):
        return
    yield refusal(
        name,
        "proxy",
        f"its engine goes through the proxy {line(found)}, and {host} is not among the exceptions "
        f"({line(exceptions) or 'there are none'}): images of the site's registry would be asked of the proxy",
        f"add {host} to {where} and restart docker",
    )


def _engine_proxy(facts: Facts) -> tuple[str, str, str]:
    """The proxy for plain HTTP, its exceptions, and where they are set. The site's registry speaks plain HTTP."""
    docker = facts.docker
    if docker.info is not None:
        found, exceptions = _text(docker.info, "HTTPProxy"), _text(docker.info, "NoProxy")
        settings = (_json(docker.daemon_json) or {}).get("proxies")
        where = (
            'no-proxy in "proxies" of /etc/docker/daemon.json'
            if isinstance(settings, dict)
            else "NO_PROXY of docker.service (systemctl edit docker)"
        )
        return found, exceptions, where
    # What is to be installed takes its environment from systemd's own.
    environment = facts.manager_proxy
    where = "NO_PROXY in DefaultEnvironment= of /etc/systemd/system.conf (then systemctl daemon-reexec)"
    settings = (_json(docker.daemon_json) or {}).get("proxies")
    if isinstance(settings, dict):
        return str(settings.get("http-proxy", "")), str(settings.get("no-proxy", "")), (
            'no-proxy in "proxies" of /etc/docker/daemon.json'
        )  # fmt: skip
    return environment.get("http_proxy", ""), environment.get("no_proxy", ""), where


def _ours(facts: Facts) -> bool:
    """Whether the engine came with an earlier deploy of ours."""
    packages = facts.our_packages.get("docker", frozenset())
    return bool(packages & {"docker.io", "docker-ce", "moby-engine"})


def _version(info: Mapping[str, Any] | None) -> tuple[int, ...]:
    match = re.match(r"(\d{1,4})\.(\d{1,4})", _text(info, "ServerVersion"))
    return tuple(map(int, match.groups())) if match else ()


def _text(info: Mapping[str, Any] | None, key: str) -> str:
    value = (info or {}).get(key)
    return line(value, 500) if isinstance(value, str) else ""


def _swarm(info: Mapping[str, Any] | None) -> str:
    swarm = (info or {}).get("Swarm")
    state = swarm.get("LocalNodeState") if isinstance(swarm, dict) else ""
    return state if isinstance(state, str) else ""


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = untrusted.json_value(text, source="")
    except untrusted.DamagedDocumentError:
        return None
    return value if isinstance(value, dict) else None
