"""Operations of role `firewall`."""

from __future__ import annotations

import base64
import hashlib
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.knobs import cluster_of, node_of
from roles.common.listen import Listeners
from roles.common.notes import will
from roles.common.operations import Commands, failure, write_text
from roles.firewall.facts import Addresses, OurTable, SshConnection, SshdPorts, TableFact, TableState
from roles.firewall.rules import TABLE, Connection, Openings, connection, refusal, stamp, text
from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.ssh import client as ssh

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

RULES = "/etc/shoal/firewall.nft"
UNIT = "shoal-firewall.service"
ROLLBACK_TIMER = "shoal-firewall-rollback.timer"
FILES = Path(__file__).parent / "files"
LOGIN_TIMEOUT_S = 12


def on_node(script: str, *arguments: str) -> str:
    """The shell line that runs one of the role's scripts, which stay on the control machine."""
    encoded = base64.b64encode((FILES / script).read_bytes()).decode()
    return f"printf %s {encoded} | base64 -d | sh -s -- {shlex.join(arguments)}"


def machine_addresses() -> dict[str, str]:
    """The machine's addresses, and the interface of each."""
    return host.get_fact(Addresses)


def sshd_ports() -> tuple[int, ...]:
    """The ports sshd is set to; 22 where it does not say."""
    return host.get_fact(SshdPorts) or (22,)


def own_connection(interfaces: dict[str, str]) -> Connection | None:
    """The connection this deploy comes by; sudo would hide it."""
    return connection(host.get_fact(SshConnection, _sudo=False), interfaces)


@operation()
def in_force(openings: Openings, own: Connection | None, rollback_s: int) -> Commands:
    """The rule set in the kernel and for every boot. A new one has to let a new login in, or it goes again."""
    wanted = text(openings)
    state = host.get_fact(TableState, chain=stamp(openings), rules=RULES, unit=UNIT, timer=ROLLBACK_TIMER)
    if state == TableFact(hashlib.sha256(wanted.encode()).hexdigest(), in_kernel=True, at_boot=True, on_trial=False):
        host.noop("the rules are in force")
        return
    if why := refusal(openings, own):
        yield failure(f"the firewall was not touched: it would cut this very connection; {why}")
        return
    will(_closing(openings))
    node, cluster = node_of(host), cluster_of(host)
    ways = [each for each in _ways(node) if _login(cluster, each, "true") is None] if _executes() else []
    yield write_text(f"{RULES}.new", wanted, "600")
    yield on_node("apply.sh", str(rollback_s))
    yield FunctionCommand(_confirm, (), {"ways": ways or [node], "sudo": bool(host.data.get("_sudo"))})


@operation()
def table_absent() -> Commands:
    """Our table out of the kernel, our unit out of the boot."""
    if host.get_fact(OurTable, rules=RULES, unit_file=f"/etc/systemd/system/{UNIT}"):
        will("take the packet filter of the site out; others' rules stay")
        yield (
            f"systemctl stop {ROLLBACK_TIMER} 2>/dev/null; systemctl disable --quiet --now {UNIT} 2>/dev/null; "
            f"nft delete table {TABLE} 2>/dev/null; ! nft list table {TABLE} >/dev/null 2>&1"
        )


def _closing(openings: Openings) -> str:
    """What the rules mean for the machine: who listens there now and is not let in to from outside any more."""
    closed = {
        (one.port, one.process or "?")
        for one in host.get_fact(Listeners)
        if one.port not in openings.ssh_ports and not one.address.startswith("127.") and one.address != "::1"
    }
    names = ", ".join(f"{port} ({name})" for port, name in sorted(closed))
    return "let nothing in from outside but SSH, the mesh and the site's own machines" + (
        f"; what listens there now and is closed to all others: {names}" if names else ""
    )


def _executes() -> bool:
    """Whether this is the run itself and not its planning, which must not log in anywhere."""
    from pyinfra.api.state import StateStage  # noqa: PLC0415 - only here
    from pyinfra.context import state  # noqa: PLC0415 - only here

    return bool(state.current_stage == StateStage.Execute)


def _ways(node: Node) -> list[Node]:
    """The node by each address it is known by."""
    first = [node.model_copy(update={"address": node.first_address})] if node.first_address else []
    return [node, *first]


def _login(cluster: Cluster, node: Node, *command: str) -> str | None:
    """Run a command over a new connection; return why that failed, or None. A shared one would prove nothing."""
    try:
        limit_s = max(LOGIN_TIMEOUT_S, ssh.connect_timeout_s(cluster.ssh, node))
        argv = ssh.ssh_command(cluster, node, *command, root=True)
        argv[1:1] = ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", f"ConnectTimeout={limit_s}"]
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s * 2,
            check=False,
            start_new_session=True,
        )
    except ShoalError as error:
        return str(error)
    except subprocess.TimeoutExpired:
        return "no answer"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed"])[-1]


def _confirm(state: State, host: Host, *, ways: list[Node], sudo: bool) -> bool:
    """A new login by every way that worked before; else the old rules come back at once."""
    cluster = cluster_of(host)
    for way in ways:
        if why := _login(cluster, way, "true"):
            break
    else:
        why = _login(cluster, ways[0], "sh", "-c", (FILES / "confirm.sh").read_text(encoding="utf-8"))
    if why is None:
        return True
    back = "/run/shoal-firewall/rollback"
    host.run_shell_command(f"[ ! -x {back} ] || {{ systemctl stop {ROLLBACK_TIMER}; {back}; }}", _sudo=sudo)
    host.log_styled(
        f"the new rules would have locked us out ({way.address}: {why}); the old ones are back in force",
        fg="red",
        log_func=logger.error,
    )
    del state
    return False
