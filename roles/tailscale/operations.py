"""Operations of role `tailscale`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import FileState, LinkTarget
from roles.common.notes import changing, will
from roles.common.operations import RECORDS, Commands, failure, recording, upload
from roles.common.script import script
from roles.tailscale.facts import FILES, MASK, Held, PackageFact, PackageState, TailscaleStatus
from roles.tailscale.secret import KeyFaultError, dressed, find, is_oauth
from roles.tailscale.status import Failure, Status, Step, Wanted, decide, explain, masked, stands, up_arguments
from shoal.files import sha256_file
from shoal.waiting import looks

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

    from roles.tailscale.defaults import Tailscale

ROLE = "tailscale"
"""Whose record our packages and files go on."""
POLL_INTERVAL_S = 0.5
PACKAGE = "tailscale"
SAID = "/run/shoal-tailscale-up.said"
"""Last words of `tailscale up`, without the key; removed once read."""
KEY_PATTERN = "/run/shoal-tailscale-key."
LOGOUT_TIMEOUT_S = 30


@operation()
def package(version: str, role: str) -> Commands:
    """The package in exactly this version, held; the role's record says whether it is ours to remove."""
    there = host.get_fact(PackageState, package=PACKAGE)
    if there == PackageFact(version, "installed", "hold"):
        host.noop(f"version {version} is installed and held")
        return
    will(
        f"{'replace' if there else 'install'} {PACKAGE} {version} and hold it"
        + (f", instead of {there.version}" if there and there.version else "")
    )
    yield script(FILES / "package.sh", PACKAGE=PACKAGE, VERSION=version, RECORD=str(RECORDS / f"{role}.packages"))


@operation()
def let_go() -> Commands:
    """The package no longer held: apt would refuse to purge it."""
    if host.get_fact(Held, package=PACKAGE):
        yield f"apt-mark unhold {PACKAGE}"


@operation()
def given_binaries(folder: Path, places: dict[str, str]) -> Commands:
    """Binaries from the control machine; `tailscale` may be missing where `tailscaled` is both in one."""
    for name, final in places.items():
        source = folder / name
        if not source.is_file():
            target = places["tailscaled"]
            if host.get_fact(LinkTarget, path=final) != target:
                yield f"{recording(ROLE)}\nrecord_link {final} {target}\nln -sfn {target} {final}"
            continue
        sha256 = sha256_file(source)
        state = host.get_fact(FileState, path=final)
        if state is None or (state.sha256, state.mode) != (sha256, "755"):
            will(f"{'write' if state is None else 'replace'} {final} ({source.stat().st_size / 1e6:.0f} MB)")
            changing(final)
            yield from upload(str(source), sha256, final, mode="755", role=ROLE)


@operation()
def member(wanted: Wanted, settings: Tailscale, node: str, *, ephemeral: bool) -> Commands:
    """The node on its tailnet. What is done follows from its state; a node that runs is never given a key."""
    status = host.get_fact(TailscaleStatus)
    decision = decide(status, wanted)
    if decision.step in {Step.JOIN, Step.START}:
        will(f"join the tailnet as {wanted.hostname}")
    elif decision.step is Step.SETTINGS:
        will(f"tailscale set {' '.join(decision.settings)}")
    limit_s = settings.tailscale_join_timeout_s
    sudo = bool(host.data.get("_sudo"))
    if decision.step is Step.WAIT:
        # Only at the second look, when the operation runs, can the daemon have come to an end of it.
        yield FunctionCommand(_settled, (), {"wanted": wanted, "limit_s": limit_s, "sudo": sudo})
    elif decision.step is Step.REFUSE:
        yield failure(f"{node} cannot be brought onto the tailnet: {decision.why}")
    elif decision.step is Step.SETTINGS:
        yield f"timeout {limit_s} tailscale set {shlex.join(decision.settings)}"
    elif decision.step is Step.NOTHING:
        host.noop(decision.why or "it is on the tailnet as wanted")
    else:
        key = None
        if decision.step is Step.JOIN:
            try:
                key = find(
                    node, file=settings.tailscale_authkey_file, command=tuple(settings.tailscale_authkey_command)
                )
            except KeyFaultError as error:
                yield failure(str(error))
                return
            if key is None:
                yield failure(_told(node, *explain(status, had_key=False)))
                return
            if is_oauth(key) and not (wanted.tags and settings.tailscale_advertise_tags):
                yield failure(
                    f"{node} cannot be brought onto the tailnet: an OAuth client secret makes keys for tags alone, and "
                    "none are asked for (tailscale_tags, tailscale_advertise_tags)"
                )
                return
            key = dressed(key, ephemeral=ephemeral, preauthorized=settings.tailscale_preauthorized)
        arguments = up_arguments(wanted, advertise_tags=settings.tailscale_advertise_tags, timeout_s=limit_s)
        yield _up(arguments, key, limit_s)
        yield FunctionCommand(_joined, (), {"wanted": wanted, "node": node, "limit_s": limit_s, "sudo": sudo})


@operation()
def logged_out(*, keep_unknown: bool) -> Commands:
    """The node off its tailnet: it logs out on the control server, which forgets an ephemeral one at once."""
    status = host.get_fact(TailscaleStatus)
    if status is None or (status.state == "NeedsLogin" and not status.addresses):
        host.noop("it is on no tailnet")
        return
    will("leave the tailnet")
    message = (
        "this machine could not log out on the control server; make it reachable, or remove the device "
        "there and go on with --data tailscale_keep_unknown=true"
    )
    end = ":" if keep_unknown else f"{{ echo {shlex.quote(message)} >&2; exit 1; }}"
    yield f"timeout {LOGOUT_TIMEOUT_S} tailscale logout || {end}"


def _up(arguments: list[str], key: str | None, limit_s: int) -> StringCommand:
    """One command that always ends well: what came of it is asked of the daemon, for the exit code proves nothing.

    The key comes over the connection's standard input, lies in a file of mode 0600 in memory for as long as
    `tailscale up` takes, and is taken out of whatever that says.
    """
    program = script(
        FILES / "up.sh",
        ARGUMENTS=shlex.join(arguments),
        # The daemon's own limit, and one around it for a daemon that hangs.
        LIMIT_S=str(limit_s + 10),
        KEYS=KEY_PATTERN,
        GIVEN="no" if key is None else "yes",
        MASK=MASK,
        SAID=SAID,
    )
    return StringCommand(program) if key is None else StringCommand(program, _stdin=key)


def _joined(state: State, host: Host, *, wanted: Wanted, node: str, limit_s: int, sudo: bool) -> bool:
    """Poll until the node is up; raise with the reason where it does not come up."""
    del state
    _, output = host.run_shell_command(f"cat {SAID} 2>/dev/null; rm -f {SAID}", _sudo=sudo)
    said = output.stdout
    for look in looks(POLL_INTERVAL_S, timeout_s=limit_s):
        status: Status | None = host.get_fact(TailscaleStatus, _sudo=sudo)
        if stands(status, wanted):
            return True
        why, words = explain(status, said)
        definite = "exit code" in said and why not in (Failure.OTHER, Failure.UNREACHABLE)
        if definite or look.last:
            if status is not None and status.state == "Running" and not wanted.tags <= status.tags:
                why, words = (
                    Failure.TAG_DENIED,
                    f"it runs without the tags {', '.join(sorted(wanted.tags - status.tags))}",
                )
            host.log_styled(_told(node, why, words), fg="red", log_func=logger.error)
            break
    return False


def _settled(state: State, host: Host, *, wanted: Wanted, limit_s: int, sudo: bool) -> bool:
    """Wait until a starting daemon runs."""
    del state
    for look in looks(POLL_INTERVAL_S, timeout_s=limit_s):
        status: Status | None = host.get_fact(TailscaleStatus, _sudo=sudo)
        if status is not None and decide(status, wanted).step is Step.NOTHING:
            return True
        if (status is not None and status.state not in ("NoState", "Starting")) or look.last:
            found = f"its daemon is in state {status.state}" if status else "its daemon does not answer"
            host.log_styled(
                f"{found} after {limit_s} s at most of waiting; deploy again, or see `tailscale status` on it"
                + (f": {masked(' '.join(status.health))}" if status and status.health else ""),
                fg="red",
                log_func=logger.error,
            )
            break
    return False


def _told(node: str, why: Failure, words: str) -> str:
    return f"{node} did not join the tailnet ({why.name.lower().replace('_', ' ')}): {words}. What to do: {why.value}"
