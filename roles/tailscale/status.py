"""What `tailscale status --json` says, and what is to be done about it: pure functions over recorded states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

VENDOR_SERVER = "https://controlplane.tailscale.com"
_NETFILTER = {0: "off", 1: "nodivert", 2: "on"}
_KEYS = re.compile(r"\b(?:tskey|hskey)-\S+|\bprivkey:\S+")
MASKED = "(key)"


@dataclass(frozen=True, slots=True)
class Settings:
    """The daemon's own settings, as far as this role sets them."""

    login_server: str
    hostname: str
    accept_dns: bool
    ssh: bool
    netfilter: str


@dataclass(frozen=True, slots=True)
class Status:
    """One node's view of itself."""

    state: str
    online: bool = False
    hostname: str = ""
    dns_name: str = ""
    """Its name on the tailnet, with the tailnet's domain and without a dot at the end."""
    addresses: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    expired: bool = False
    tun: bool = False
    health: tuple[str, ...] = ()
    settings: Settings | None = None

    @property
    def address(self) -> str | None:
        """The first address on the tailnet, an IPv4 one where there is one."""
        return next((each for each in self.addresses if "." in each), next(iter(self.addresses), None))


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a node is to stand on the tailnet."""

    hostname: str
    tags: frozenset[str]
    login_server: str | None = None
    accept_dns: bool = False
    ssh: bool = False
    netfilter: str = "off"


class Step(Enum):
    """What brings a node from its state to the wanted one."""

    NOTHING = auto()
    SETTINGS = auto()
    """`tailscale set`: no key, no new registration."""
    START = auto()
    """`tailscale up` without a key."""
    JOIN = auto()
    """`tailscale up` with a key."""
    WAIT = auto()
    """The daemon is between two states; look again."""
    REFUSE = auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """A step and why; `settings` are the arguments of `tailscale set`."""

    step: Step
    why: str = ""
    settings: tuple[str, ...] = ()


class Failure(Enum):
    """Why a node does not join; the value says what to do about it."""

    KEY_MISSING = "give a key: SHOAL_TAILSCALE_AUTHKEY, tailscale_authkey_file or tailscale_authkey_command"
    KEY_INVALID = "the control server does not know this key, or it was revoked: make a new one"
    KEY_EXPIRED = "the key's time is over: make a new one"
    KEY_USED = "a one-use key serves one machine once: make a new one for this machine, or a reusable one"
    TAG_DENIED = "permit these tags in the tailnet's policy (tagOwners), or put them on the key itself"
    NODE_EXPIRED = (
        "the control server keeps the old, expired entry of this machine: renew or delete it there "
        "(headscale: `headscale nodes expire -i ID --disable` or `nodes delete -i ID`), or run `tailscale logout` "
        "on the machine, then deploy again"
    )
    UNREACHABLE = "the machine cannot reach the control server: see its name, route and firewall, and the login_server"
    NEEDS_APPROVAL = "approve the machine on the control server, or use a pre-authorised key, then deploy again"
    OTHER = "see `tailscale status` on the machine"


# Loosely, for the wording differs between control servers and versions. The first that matches counts.
_WORDS: tuple[tuple[Failure, str], ...] = (
    (Failure.NODE_EXPIRED, r"nodekeyexpired|node ?key (?:has )?expired"),
    (Failure.UNREACHABLE, r"fetch control key|connection refused|no route to host|failed to resolve|no such host"),
    (Failure.TAG_DENIED, r"\btags?\b.*(?:not permitted|invalid|not allowed|denied)"),
    (Failure.KEY_USED, r"already (?:been )?used|used up|no longer valid.*one.?(?:time|use)"),
    (Failure.KEY_EXPIRED, r"\bkey\b.*\bexpired|authkey expired|expired.*\bkey\b"),
    (
        Failure.KEY_INVALID,
        r"invalid.*key|key.*(?:invalid|not found|does not exist|not valid|revoked)|unable to validate|parse auth-?key"
        r"|oauth2:.*(?:40[013]|invalid_(?:client|grant)|unauthori[sz]ed)",
    ),
    (Failure.UNREACHABLE, r"i/o timeout|network is unreachable|deadline exceeded|tls:|x509"),
)


def read(raw: Mapping[str, Any] | None, prefs: Mapping[str, Any] | None = None) -> Status | None:
    """The status in decoded JSON; None where the daemon gave none. Unknown fields are left alone, absent ones empty."""
    if not raw or "BackendState" not in raw:
        return None
    own = _table(raw.get("Self"))
    return Status(
        state=str(raw["BackendState"]),
        online=bool(own.get("Online")),
        hostname=str(own.get("HostName") or ""),
        dns_name=str(own.get("DNSName") or "").rstrip("."),
        addresses=_words(own.get("TailscaleIPs")),
        tags=frozenset(_words(own.get("Tags"))),
        expired=bool(own.get("Expired")),
        tun=bool(raw.get("TUN")),
        health=_words(raw.get("Health")),
        settings=_settings(prefs),
    )


def decide(status: Status | None, wanted: Wanted) -> Decision:
    """What to do. A node that runs is never given a key: a bad one would cut it off, a good one-use one be burnt."""
    if status is None:
        return Decision(Step.JOIN, "the daemon was not asked yet")
    simple = {
        "NeedsLogin": Decision(Step.JOIN, "its registration is over" if status.expired else "it has not joined"),
        "Starting": Decision(Step.WAIT, "its daemon is starting"),
        "NoState": Decision(Step.WAIT, "its daemon knows no state yet"),
        "NeedsMachineAuth": Decision(Step.REFUSE, f"it waits for approval ({Failure.NEEDS_APPROVAL.value})"),
    }
    if status.state in simple:
        return simple[status.state]
    if status.state == "Running":
        return _running(status, wanted)
    if status.state == "Stopped":
        why = _other_place(status, wanted)
        return Decision(Step.REFUSE, why) if why else Decision(Step.START, "it was stopped, and is still registered")
    return Decision(Step.REFUSE, f"its daemon is in state {status.state}, which this role does not handle")


def stands(status: Status | None, wanted: Wanted) -> bool:
    """Whether a node that was just brought up is where it should be; the exit code of `tailscale up` proves nothing."""
    return (
        status is not None
        and status.state == "Running"
        and status.online
        and bool(status.addresses)
        and wanted.tags <= status.tags
    )


def explain(status: Status | None, said: str = "", *, had_key: bool = True) -> tuple[Failure, str]:
    """Why a node did not join, from the words of `tailscale up` and from Health; keys in them are masked."""
    if not had_key:
        return Failure.KEY_MISSING, "it needs a key to join, and there is none"
    if status is None:
        return Failure.OTHER, "its daemon does not answer" + (f": {masked(said)}" if said else "")
    # In one line, whoever shows it: and without what the client says of a setting that is meant.
    spoken = [line.strip() for line in said.splitlines() if not line.startswith("Warning: netfilter=")]
    health = [line.strip() for line in status.health if not line.startswith("Tailscale is st")]
    words = masked(" ".join(" ".join(line.split()) for line in (*spoken, *health) if line))
    if status.state == "NeedsMachineAuth":
        return Failure.NEEDS_APPROVAL, "it waits for approval"
    for failure, pattern in _WORDS:
        if re.search(pattern, words, re.IGNORECASE):
            return failure, words
    return Failure.OTHER, f"its daemon is in state {status.state}" + (f": {words}" if words else "")


def masked(text: str) -> str:
    """`text` without anything that looks like a key."""
    return _KEYS.sub(MASKED, text)


def up_arguments(wanted: Wanted, *, advertise_tags: bool, timeout_s: int) -> list[str]:
    """All settings of `tailscale up` but the key: what is left out, it resets or asks for."""
    arguments = [
        "--reset",
        f"--timeout={timeout_s}s",
        f"--hostname={wanted.hostname}",
        f"--accept-dns={_word(wanted.accept_dns)}",
        f"--ssh={_word(wanted.ssh)}",
        f"--netfilter-mode={wanted.netfilter}",
    ]
    if wanted.login_server:
        arguments.append(f"--login-server={wanted.login_server}")
    if advertise_tags and wanted.tags:
        arguments.append(f"--advertise-tags={','.join(sorted(wanted.tags))}")
    return arguments


def _running(status: Status, wanted: Wanted) -> Decision:
    if why := _other_place(status, wanted):
        return Decision(Step.REFUSE, why)
    if not status.online and any(re.search("logged out", line, re.IGNORECASE) for line in status.health):
        failure, words = explain(status)
        if failure is not Failure.UNREACHABLE:
            return Decision(
                Step.REFUSE,
                f"it runs, and the control server has turned it away ({words}). Peers may still reach it. A restart of "
                "tailscaled shows the truth; then deploy again with a good key",
            )
    missing, surplus = wanted.tags - status.tags, status.tags - wanted.tags
    if missing or surplus:
        return Decision(
            Step.REFUSE,
            f"it runs with the tags {_listed(status.tags)}, wanted are {_listed(wanted.tags)}. Tags of a running "
            "node are changed on the control server, or by `tailscale logout` on it and a new deploy",
        )
    if changes := _changes(status, wanted):
        return Decision(Step.SETTINGS, "some settings differ", changes)
    # Offline with no complaint: the control server is away. Traffic between nodes goes on, so nothing is touched.
    return Decision(Step.NOTHING, "" if status.online else "the control server is away; traffic between nodes goes on")


def _other_place(status: Status, wanted: Wanted) -> str | None:
    there = status.settings.login_server.rstrip("/") if status.settings else ""
    here = (wanted.login_server or VENDOR_SERVER).rstrip("/")
    if there and there != here:
        return f"it belongs to the control server {there}, wanted is {here}: run `tailscale logout` on it first"
    return None


def _changes(status: Status, wanted: Wanted) -> tuple[str, ...]:
    there = status.settings
    hostname = there.hostname or status.hostname if there else status.hostname
    changes = [] if hostname == wanted.hostname else [f"--hostname={wanted.hostname}"]
    if there is not None:
        if there.accept_dns != wanted.accept_dns:
            changes.append(f"--accept-dns={_word(wanted.accept_dns)}")
        if there.ssh != wanted.ssh:
            changes.append(f"--ssh={_word(wanted.ssh)}")
        if there.netfilter != wanted.netfilter:
            changes.append(f"--netfilter-mode={wanted.netfilter}")
    return tuple(changes)


def _settings(prefs: Mapping[str, Any] | None) -> Settings | None:
    if not prefs:
        return None
    return Settings(
        login_server=str(prefs.get("ControlURL") or ""),
        hostname=str(prefs.get("Hostname") or ""),
        accept_dns=bool(prefs.get("CorpDNS")),
        ssh=bool(prefs.get("RunSSH")),
        netfilter=_NETFILTER.get(mode if isinstance(mode := prefs.get("NetfilterMode"), int) else 0, "off"),
    )


def _table(value: Any) -> Mapping[str, Any]:
    """A table of a daemon's answer; an empty one where it is something else: a machine may answer anything."""
    return value if isinstance(value, dict) else {}


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(entry) for entry in value) if isinstance(value, list) else ()


def _listed(tags: frozenset[str]) -> str:
    return ", ".join(sorted(tags)) or "(none)"


def _word(value: bool) -> str:
    return "true" if value else "false"
