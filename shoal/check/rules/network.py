"""Ports that are taken, addresses that mean something else on another machine, firewalls, the way between."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from shoal.check.facts import Facts, Listener
from shoal.check.finding import Finding, note, refusal, warning
from shoal.check.plan import NodePlan
from shoal.check.rules.system import names

OUR_UNITS = ("bacalhau-orchestrator.service", "bacalhau-compute.service")
ANY = "*"


class Reach(StrEnum):
    """What became of a connection from a machine to a port of the requester."""

    OPEN = "open"
    REFUSED = "is refused"
    SILENT = "gets no answer"
    UNROUTED = "has no way there"
    NAMELESS = "does not know the name"
    UNKNOWN = "could not be tried"


def ports(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """Somebody else listens where something of ours is to."""
    for port in plan.ports:
        for there in facts.listeners:
            if (
                there.port == port.port
                and _same_place(there.address, port.address)
                and not _ours(there, facts, port.what)
            ):
                who = there.process or "something"
                unit = f", {there.unit}" if there.unit and there.unit != "-" else ""
                at = "every address" if there.address == ANY else there.address
                ways = "stop it" if there.unit else "see whose it is (ss -ltnp)"
                if port.knob:
                    ways = f"give ours another port ({port.knob} in inventories/group_data), or {ways}"
                yield refusal(
                    plan.node.name,
                    "ports",
                    f"port {port.port}, which {port.what} takes, is {who}'s on {at}{unit}",
                    ways,
                )
                break


def closed_by_us(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """The owner's services that the site's packet filter keeps everybody from."""
    if not plan.firewall:
        return
    ours = {port.port for port in plan.ports}
    ssh = plan.node.port or 22
    closed = sorted(
        {
            (there.port, there.process or "?")
            for there in facts.listeners
            if there.port not in {*ours, ssh, 22} and (there.address == ANY or not _is_loopback(there.address))
        }
    )
    if closed:
        what = ", ".join(f"{port} ({process})" for port, process in closed)
        yield warning(
            plan.node.name,
            "firewall",
            f"the site's packet filter closes ports that are open there now: {what}",
            'leave `firewall = "on"` out of the cluster document where others have to reach them',
        )


def peer_address(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """The requester listens on its address as the others know it: it has to have that, and not as a loopback."""
    if not plan.node.has_role("requester") or not plan.others:
        return
    name, address = plan.node.name, plan.requester
    if plan.knob("registry_bind", None):
        return
    means = _meaning(address, facts)
    if not means:
        yield refusal(
            name,
            "address",
            f"the name {address}, by which the other machines are to reach it, means nothing there",
            "write its address as cluster_address in the cluster document",
        )
    elif all(ipaddress.ip_address(it).is_loopback for it in means):
        yield refusal(
            name,
            "address",
            f"{address} means {names(list(means))} there (see its /etc/hosts), where no other machine reaches it",
            "write its address in the site's network as cluster_address in the cluster document",
        )
    elif facts.addresses and not any(it in facts.addresses for it in means):
        here = sorted(it for it in facts.addresses if not ipaddress.ip_address(it).is_loopback)
        yield refusal(
            name,
            "address",
            f"it has no address {address}, on which the registry is to listen; it has {names(here)}",
            "write the one that the other machines reach as cluster_address in the cluster document (behind a router "
            "that forwards ports, set registry_bind too)",
        )


def names_of_requester(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """What the requester's name means on another machine."""
    if plan.node.has_role("requester") or not plan.requester or _literal(plan.requester):
        return
    name, means = plan.node.name, _meaning(plan.requester, facts)
    hint = "write its address as the requester's cluster_address in the cluster document"
    if not means:
        yield refusal(name, "address", f"the requester's name {plan.requester} means nothing there", hint)
    elif all(ipaddress.ip_address(it).is_loopback for it in means):
        yield refusal(name, "address", f"the requester's name {plan.requester} means itself there", hint)


def reachable(
    facts: Mapping[str, Facts], plans: Mapping[str, NodePlan], found: Mapping[tuple[str, int], Reach], requester: str
) -> Iterator[Finding]:
    """Whether each machine gets through to the requester's ports; `found` by machine and port."""
    wanted = {port.port: port for plan in plans.values() for port in plan.requester_ports if port.for_nodes}
    theirs = facts.get(requester)
    firewalls = active_firewalls(theirs) if theirs else []
    for number in sorted({number for _, number in found}):
        open_for = [node for (node, other), how in found.items() if other == number and how is Reach.OPEN]
        for (node, other), how in found.items():
            if other != number or how is Reach.OPEN:
                continue
            what = wanted[number].what if number in wanted else "a service of the site"
            to = f"port {number} on {requester} ({plans[node].requester}), for {what}"
            if how is Reach.UNKNOWN:
                yield warning(node, "reachability", f"whether it reaches {to}, could not be tried")
                continue
            if how is Reach.REFUSED and theirs is None:
                # It was not looked at, so that nothing was made to listen there.
                yield warning(node, "reachability", f"{to}: nothing listens there", f"deploy {requester} first")
                continue
            if firewalls:
                source = _source(facts.get(node))
                why = f"; {names(firewalls)} is active on {requester}"
                todo = _opening(firewalls[0], source, number, requester)
            elif (mine := active_firewalls(facts[node])) and node in facts:
                why, todo = f"; {names(mine)} is active on {node}", f"let it out to port {number} there"
            else:
                why, todo = "", "see the network between the two, and the address that the cluster document gives"
            yield refusal(node, "reachability", f"{to}: a connection {how.value}{why}", todo)
        if firewalls and open_for and requester in facts:
            yield note(
                requester, "firewall", f"{names(firewalls)} is active, and lets {names(open_for)} in at {number}"
            )


def active_firewalls(facts: Facts) -> list[str]:
    """Names of what filters incoming connections on the machine."""
    found = []
    if re.search(r"^Status: active", facts.firewalls.get("ufw", ""), re.MULTILINE):
        found.append("ufw")
    if re.search(r"^running$", facts.firewalls.get("firewalld", ""), re.MULTILINE):
        found.append("firewalld")
    if not found:
        # First iptables: its rules are seen by nft as well, where it writes them that way, but not the other way about.
        closed = r"^(-P INPUT DROP|-A INPUT .*-j (DROP|REJECT))"
        if re.search(closed, facts.firewalls.get("iptables", ""), re.MULTILINE):
            found.append("iptables")
        elif _nft_closes(facts.firewalls.get("nft", "")):
            found.append("nftables")
    return found


def twins(facts: Mapping[str, Facts], plans: Mapping[str, NodePlan]) -> Iterator[Finding]:
    """Two entries of the document that are one machine, or machines that were copied from each other."""
    seen: dict[str, str] = {}
    hosts: dict[str, str] = {}
    for name, fact in facts.items():
        if fact.machine_id:
            if (first := seen.setdefault(fact.machine_id, name)) != name:
                yield _twin(name, first, fact, facts[first])
        elif fact.login.is_root:
            yield warning(name, "machine id", "/etc/machine-id is empty", "systemd-machine-id-setup there")
        renamed = bool(plans[name].knob("base_hostname", True)) if name in plans else False
        if fact.hostname and not renamed and (first := hosts.setdefault(fact.hostname, name)) != name:
            yield warning(
                name, "host name", f"its host name is {fact.hostname}, as {first}'s is",
                f"hostnamectl set-hostname {name} there, or base_hostname = True in inventories/group_data",
            )  # fmt: skip


def _twin(name: str, first: str, fact: Facts, other: Facts) -> Finding:
    if fact.macs and fact.macs == other.macs:
        return refusal(
            name, "machine id", f"is the same machine as {first} (machine id and network cards are the same)",
            "name each machine once in the cluster document; one machine may have both roles",
        )  # fmt: skip
    return warning(
        name, "machine id", f"has the machine id of {first}: one was copied from the other, and DHCP may give both one "
        "address", "rm /etc/machine-id; systemd-machine-id-setup; reboot, on the copy",
    )  # fmt: skip


def _same_place(there: str, wanted: str) -> bool:
    """Whether a socket on `there` keeps another from `wanted`. A name that is wanted may mean any address."""
    if ANY in {there, wanted} or there == wanted:
        return True
    return not _literal(wanted) and not ipaddress.ip_address(there).is_loopback if _literal(there) else False


def _ours(there: Listener, facts: Facts, what: str) -> bool:
    drop_in = "/etc/systemd/system/docker-registry.service.d/shoal.conf"
    registry = drop_in in facts.our_files or "docker-registry" in facts.our_packages.get("registry", ())
    if there.unit == "docker-registry.service":
        return registry
    if not there.process and there.unit in {"", "-"}:
        # A container without ptrace hides from its own root whose another user's sockets are: then it counts whether
        # an earlier deploy brought what is to take the port.
        return registry if "registry" in what else not facts.our_units.isdisjoint(OUR_UNITS)
    return there.unit in facts.our_units or there.unit in OUR_UNITS or there.unit.startswith("shoal-")


def _is_loopback(text: str) -> bool:
    return _literal(text) and ipaddress.ip_address(text).is_loopback


def _literal(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _meaning(address: str, facts: Facts) -> tuple[str, ...]:
    if _literal(address):
        return (address,)
    return tuple(it for it in facts.names.get(address, ()) if _literal(it))


def _nft_closes(text: str) -> bool:
    """Whether a chain at the input hook drops or rejects anything."""
    for chain in re.findall(r"chain [^{]+\{[^}]*hook input[^}]*\}", text):
        if re.search(r"policy drop|\b(drop|reject)\b", chain):
            return True
    return False


def _source(facts: Facts | None) -> str:
    found = sorted(
        it for it in (facts.addresses if facts else ()) if not ipaddress.ip_address(it).is_loopback and ":" not in it
    )
    return found[0] if len(found) == 1 else "ITS_ADDRESS"


def _opening(firewall: str, source: str, port: int, requester: str) -> str:
    ways = {
        "ufw": f"ufw allow proto tcp from {source} to any port {port}",
        "firewalld": "firewall-cmd --permanent --add-rich-rule='rule family=ipv4 source "
        f"address={source} port port={port} protocol=tcp accept' && firewall-cmd --reload",
        "nftables": f"let `ip saddr {source} tcp dport {port} accept` in before what drops (/etc/nftables.conf)",
        "iptables": f"iptables -I INPUT -p tcp -s {source} --dport {port} -j ACCEPT, and keep it over a boot",
    }
    return f"on {requester}: {ways[firewall]}"
