"""The lab's own firewall rule, and what a first start of the engine changes in the host's network."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from shoal.lab.names import firewall_comment
from shoal.telling import Say

METADATA_RANGE = "169.254.0.0/16"
"""Link-local: clouds answer there with the credentials of the machine the lab runs on."""
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
ENGINE_CHAINS = ("DOCKER", "DOCKER-USER", "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2")


def able() -> bool:
    """Whether firewall rules can be read and set here."""
    return os.geteuid() == 0 and shutil.which("iptables") is not None


def block_metadata(lab: str, bridge: str, uplink: str | None) -> bool:
    """Keep the lab's nodes from the metadata service of the machine they run on. False where it cannot be done."""
    if uplink is None or not able() or _iptables("-S", "DOCKER-USER") is None:
        return False
    rule = _metadata_rule(lab, bridge, uplink)
    if _iptables("-C", "DOCKER-USER", *rule) is not None:
        return True
    return _iptables("-I", "DOCKER-USER", *rule) is not None


def lab_rules(lab: str) -> list[list[str]]:
    """The lab's own rules, as arguments after the command letter."""
    if not able():
        return []
    comment = firewall_comment(lab)
    rules = [shlex.split(line) for line in (_iptables("-S") or "").splitlines()]
    return [rule[1:] for rule in rules if rule[:1] == ["-A"] and comment in rule]


def remove_rules(lab: str) -> None:
    """Take the lab's own rules away."""
    for rule in lab_rules(lab):
        _iptables("-D", *rule)


def snapshot() -> dict[str, str]:
    """Settings that a first start of the engine changes: forwarding, the FORWARD policy, its chains."""
    before = {"ip_forward": IP_FORWARD.read_text(encoding="ascii").strip() if IP_FORWARD.exists() else "0"}
    if not able():
        # No iptables yet: the kernel's own defaults, and none of the engine's chains.
        return {**before, "forward_policy": "ACCEPT", "chains": ""}
    rules = (_iptables("-S") or "").splitlines()
    policy = next((line.split()[2] for line in rules if line.startswith("-P FORWARD ")), "ACCEPT")
    chains = [name for name in ENGINE_CHAINS if f"-N {name}" in rules]
    return {**before, "forward_policy": policy, "chains": " ".join(chains)}


def restore(before: dict[str, str], say: Say) -> None:
    """Undo what the engine changed and leaves behind, unless its chains were there before or another engine runs."""
    if before.get("chains") or another_engine_runs():
        say("lab: the engine's firewall chains stay: another engine uses them")
        return
    if IP_FORWARD.exists() and before.get("ip_forward") == "0":
        IP_FORWARD.write_text("0", encoding="ascii")
    if not able():
        return
    for table in ("filter", "nat"):
        _remove_engine_chains(table)
    _iptables("-P", "FORWARD", before.get("forward_policy", "ACCEPT"))


def another_engine_runs() -> bool:
    """Whether any dockerd runs on this machine (ours has been stopped when this is asked)."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text(encoding="utf-8").strip() == "dockerd":
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


def _remove_engine_chains(table: str) -> None:
    rules = [shlex.split(line) for line in (_iptables("-t", table, "-S") or "").splitlines()]
    for rule in rules:
        if rule[0] == "-A" and "-j" in rule and rule[rule.index("-j") + 1] in ENGINE_CHAINS:
            _iptables("-t", table, "-D", *rule[1:])
    there = [rule[1] for rule in rules if rule[0] == "-N" and rule[1] in ENGINE_CHAINS]
    for letter in ("-F", "-X"):
        for chain in there:
            _iptables("-t", table, letter, chain)


def _metadata_rule(lab: str, bridge: str, uplink: str) -> list[str]:
    match = ["-d", METADATA_RANGE, "-i", bridge, "-o", uplink]
    return [*match, "-m", "comment", "--comment", firewall_comment(lab), "-j", "DROP"]


def _iptables(*arguments: str) -> str | None:
    """The output of iptables, or None where it refused."""
    # -w: another program may hold the table lock for a moment.
    done = subprocess.run(["iptables", "-w", "10", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
