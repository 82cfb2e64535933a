"""The deploy lock on the machines themselves: two people on two control machines never deploy to one machine at once.

A lease: its holder shows a sign of life on every machine each `BEAT_S` seconds. A lock is given back on every way out.
One whose holder was killed stays, is reported with its holder and age, and is taken only where a person says so.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import FrameType

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshError, one_line
from shoal.telling import Say, quiet

PLACE = PurePosixPath("/run/shoal-deploy.lock")
"""In /run: a machine that was started anew is under no deploy."""
BEAT_S = 10.0
LEASE_S = 30.0
"""Without a sign of life for so long, the holder counts as killed. k0sctl's lock has three beats as well."""
UPTIME_STEP_S = 2.0
"""Whole seconds are counted on the machines; both ends of a span may be off by one."""
CALL_TIMEOUT_S = 60.0
_SCRIPT = Path(__file__).with_name("lock.sh")


class Holder(BaseModel):
    """Who holds a lock, as they wrote it down."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    user: str = Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")
    machine: str = Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")
    pid: int
    command: str = Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    since: AwareDatetime

    def __str__(self) -> str:
        return f"{self.user}@{self.machine} (process {self.pid}: {self.command})"


_AGE = re.compile(r"-?[0-9]{1,12}")
"""In seconds."""


@dataclass(frozen=True, slots=True)
class Held:
    """Another's lock on one machine."""

    token: str
    silent_s: float
    """How long ago its holder showed a sign of life."""
    holder: Holder | None
    """None where what is written there is of no known form."""

    @property
    def alive(self) -> bool:
        """Whether its holder is at work."""
        return self.silent_s < LEASE_S

    def __str__(self) -> str:
        who = str(self.holder) if self.holder else "somebody unknown"
        since = f" since {self.holder.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if self.holder else ""
        return f"{who} holds its deploy lock{since}; the last sign of life was {self.silent_s:.0f} s ago"


@dataclass(slots=True)
class Lock:
    """The locks that this process holds on the machines of one deploy."""

    unreached: Mapping[str, str]
    """By machine: why it has no lock. It is not to be deployed to."""
    lost: dict[str, str] = field(default_factory=dict)
    """By machine: who broke our lock there. The deploy has to end."""


@contextmanager
def held(
    cluster: Cluster,
    names: Sequence[str],
    command: str,
    *,
    break_lock: bool = False,
    say: Say = quiet,
    on_loss: Callable[[Lock], None] | None = None,
) -> Iterator[Lock]:
    """Hold the deploy locks of the machines `names` for the block, or of none of them.

    The first by name is taken before the others: of two deploys of the same machines that begin at once, one goes on.
    A machine that does not answer has none, and is in `unreached`. `break_lock` takes over a lock whose holder has
    shown no sign of life for `LEASE_S`; one that is alive is never taken. Raises ShoalError where another holds one.
    """
    nodes = [cluster.node(name) for name in sorted(names)]
    token = secrets.token_hex(16)
    text = _description(command).model_dump_json()
    asked: list[Node] = []
    unreached: dict[str, str] = {}

    def take(node: Node) -> None:
        # Noted before: where this process is ended meanwhile, the lock may have been taken all the same.
        asked.append(node)
        _take(cluster, node, token, text, break_lock=break_lock, say=say)

    with _ended_in_order():
        try:
            for some in (nodes[:1], nodes[1:]):
                answers = ssh.on_each(some, take)
                refused = {name: answer for name, answer in answers.items() if isinstance(answer, HeldError)}
                if refused:
                    raise refusal(refused)
                for name, answer in answers.items():
                    if isinstance(answer, ShoalError):
                        unreached[name] = one_line(answer)
            asked = [node for node in asked if node.name not in unreached]
            lock = Lock(unreached)
            with _beating(cluster, asked, token, text, lock=lock, on_loss=on_loss):
                yield lock
        finally:
            _give_back(cluster, asked, token, say)


def call(cluster: Cluster, node: Node, act: str, token: str, text: str = "") -> list[str]:
    """Run the lock's script on a machine: the lines that it prints. Raises SshError, RemoteError."""
    script = _SCRIPT.read_text(encoding="utf-8")
    words = ("sh", "-c", script, "lock", act, str(PLACE), token, text)
    return ssh.run(cluster, node, *words, root=True, timeout_s=CALL_TIMEOUT_S).text.splitlines()


def read(lines: Sequence[str]) -> Held | None:
    """Another's lock, from the script's lines; None where it was taken. Raises ShoalError for what is neither."""
    if list(lines) == ["taken"]:
        return None
    if len(lines) < 3 or lines[0] != "held" or not _AGE.fullmatch(lines[2]):
        raise ShoalError(f"the deploy lock's answer is not understood: {lines[:1]!r}")
    try:
        holder = Holder.model_validate(json.loads(lines[3])) if len(lines) > 3 else None
    except (ValueError, ValidationError, RecursionError):
        holder = None
    # A lock in a container whose host counts its own uptime may be older than the machine: never less than nothing.
    return Held(lines[1], max(float(lines[2]), 0.0), holder)


class HeldError(ShoalError):
    """Another holds a machine's lock."""

    def __init__(self, other: Held) -> None:
        super().__init__(str(other))
        self.other = other


def refusal(held_by_others: Mapping[str, HeldError]) -> ShoalError:
    """The error where another holds the locks of machines."""
    hint = (
        f"wait until that command has ended, then type yours again; one that was killed counts as such after "
        f"{LEASE_S:.0f} s without a sign of life, and then --break-lock takes its lock over"
        if any(error.other.alive for error in held_by_others.values())
        else "its command was probably killed. See on that machine that it has ended; then type yours again with "
        "--break-lock (for plain pyinfra: --data break_lock=true)"
    )
    return ShoalError(
        "nothing was changed: another deploy is at work",
        faults=tuple(Fault(name, error.message) for name, error in sorted(held_by_others.items())),
        hint=hint,
    )


def _take(cluster: Cluster, node: Node, token: str, text: str, *, break_lock: bool, say: Say) -> None:
    seen: tuple[Held, float] | None = None
    while True:
        other, now = read(call(cluster, node, "take", token, text)), time.monotonic()
        if other is None:
            return
        if not break_lock:
            raise HeldError(other)
        if not other.alive:
            say(f"{node.name}: {other}; it is broken, as asked")
            call(cluster, node, "break", other.token)
            continue
        if seen is None or seen[0].token != other.token:
            say(f"{node.name}: {other}; waiting whether there is another one")
            seen = other, now
        elif other.silent_s + UPTIME_STEP_S < seen[0].silent_s + now - seen[1]:
            raise HeldError(other)  # there was one: it is alive, and never broken
        # Until it has been silent for a lease, or shows that it is not.
        time.sleep(min(BEAT_S / 2, LEASE_S - other.silent_s))


def _give_back(cluster: Cluster, nodes: Sequence[Node], token: str, say: Say) -> None:
    """Release what is held; where a machine does not answer any more, its lock is left and that is said."""
    for name, answer in ssh.on_each(nodes, lambda node: call(cluster, node, "release", token)).items():
        if isinstance(answer, SshError):
            say(f"{name}: it does not answer, so its deploy lock stays; --break-lock takes it over once it is back")
        elif isinstance(answer, ShoalError):
            say(f"{name}: its deploy lock could not be given back: {answer.message}")


@contextmanager
def _beating(
    cluster: Cluster,
    nodes: Sequence[Node],
    token: str,
    text: str,
    *,
    lock: Lock,
    on_loss: Callable[[Lock], None] | None,
) -> Iterator[None]:
    """Signs of life on all machines while the block runs; `on_loss` is called once where a lock was broken."""
    over = threading.Event()

    def beat(node: Node) -> None:
        if (other := read(call(cluster, node, "take", token, text))) is not None:
            lock.lost[node.name] = str(other)

    def run() -> None:
        while not over.wait(BEAT_S):
            # One that does not answer now is asked again: the deploy itself finds out whether it is gone.
            ssh.on_each(nodes, beat)
            if lock.lost and not over.is_set():
                if on_loss:
                    on_loss(lock)
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        # A beat that comes after the release would take the lock again.
        thread.join()


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP end the block as Ctrl-C does, so that locks are given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        sys.exit(128 + number)

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _description(command: str) -> Holder:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    machine = socket.gethostname()
    return Holder(user=user, machine=machine, pid=os.getpid(), command=command[:200], since=datetime.now(UTC))
