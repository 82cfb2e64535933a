"""The machine itself: release, architecture, init, kernel, memory limits, clock, state of its packages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from shoal.check.answer import line
from shoal.check.facts import Facts
from shoal.check.finding import Finding, consent, note, refusal, warning
from shoal.check.plan import NodePlan


@dataclass(frozen=True, slots=True)
class Release:
    """A distribution's release: the end of its free security updates, and whether the roles run on it."""

    name: str
    end: date
    supported: bool = True


RELEASES = {
    ("debian", "10"): Release("Debian 10", date(2024, 6, 30), supported=False),
    ("debian", "11"): Release("Debian 11", date(2026, 8, 31)),
    ("debian", "12"): Release("Debian 12", date(2028, 6, 30)),
    ("debian", "13"): Release("Debian 13", date(2030, 6, 30)),
    ("ubuntu", "18.04"): Release("Ubuntu 18.04", date(2023, 5, 31), supported=False),
    ("ubuntu", "20.04"): Release("Ubuntu 20.04", date(2025, 5, 31), supported=False),
    ("ubuntu", "22.04"): Release("Ubuntu 22.04", date(2027, 4, 30)),
    ("ubuntu", "24.04"): Release("Ubuntu 24.04", date(2029, 5, 31)),
    ("ubuntu", "25.10"): Release("Ubuntu 25.10", date(2026, 7, 31)),
    ("ubuntu", "26.04"): Release("Ubuntu 26.04", date(2031, 5, 31)),
}
"""Ends of long-term support from wiki.debian.org/LTS, of standard support from ubuntu.com/about/release-cycle."""
WANTED = "Debian 11 or newer, or Ubuntu 22.04 or newer: older ones have no Python 3.9"
ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
SMALL_OFFSET_S = 5.0
LARGE_OFFSET_S = 60.0
"""A clock that is further off makes apt refuse fresh package lists (\"not valid yet\") and TLS young certificates."""
TIME_UNITS = {
    "systemd-timesyncd.service": "systemd-timesyncd",
    "chrony.service": "chrony",
    "chronyd.service": "chrony",
    "ntp.service": "ntp",
    "ntpd.service": "ntp",
    "ntpsec.service": "ntpsec",
    "openntpd.service": "openntpd",
}
KERNEL_NEEDS = ("overlay", "bridge", "veth")


def release(facts: Facts, plan: NodePlan, today: date) -> Iterator[Finding]:
    """Whether the roles run on the release, and whether it gets updates."""
    name = plan.node.name
    id_, version = facts.release.get("ID", ""), facts.release.get("VERSION_ID", "")
    shown = facts.release.get("PRETTY_NAME") or id_ or "an unknown system"
    family = {id_, *facts.release.get("ID_LIKE", "").split()}
    if not family & {"debian", "ubuntu"}:
        yield refusal(name, "release", f"runs {shown}", f"a machine needs {WANTED}")
        return
    known = RELEASES.get(("debian" if id_ == "raspbian" else id_, version))
    if known is None:
        yield warning(name, "release", f"runs {shown}, which shoal was not tried on", f"a machine needs {WANTED}")
    elif not known.supported:
        yield refusal(name, "release", f"runs {shown}, which is too old", f"a machine needs {WANTED}; upgrade it")
    elif today > known.end:
        what = f"runs {shown}, which gets no security updates since {known.end}; its packages may be gone from mirrors"
        yield consent(name, "release", what, "end-of-life", "upgrade it")


def architecture(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """The document's architecture against the one that packages and images have to be for."""
    name, wanted = plan.node.name, plan.node.arch
    kernel = ARCHES.get(facts.machine, facts.machine)
    there = facts.dpkg_arch or kernel
    if there not in {"amd64", "arm64"}:
        more = f" (with a {kernel} kernel)" if kernel != there else ""
        yield refusal(
            name, "architecture", f"is {there or 'of an unknown architecture'}{more}", "a machine has to be amd64 or "
            "arm64; on a Raspberry Pi install the 64-bit system"
        )  # fmt: skip
    elif there != wanted:
        yield refusal(
            name, "architecture", f"is {there}, the cluster document says {wanted}", f'write arch = "{there}" there'
        )


def init(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """The roles' services are systemd's."""
    name = plan.node.name
    if facts.systemd is None:
        what = f"is begun by {facts.init or 'something'} and not by systemd"
        yield refusal(name, "init", what, "a machine needs systemd as its init")
    elif facts.systemd in {"maintenance", "stopping", "offline", "initializing"}:
        yield refusal(
            name, "init", f"its systemd is in state {facts.systemd}", "wait until it is up, or mend it, and try again"
        )


def kernel(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """What a Docker engine needs of the kernel, where none runs yet to prove that it is there."""
    name = plan.node.name
    if facts.docker.answers:
        return
    if facts.namespaces_missing:
        yield refusal(
            name,
            "kernel",
            f"its kernel has no namespaces for {', '.join(facts.namespaces_missing)}, which Docker needs",
            "boot a kernel of the distribution",
        )
    missing = [word for word in KERNEL_NEEDS if facts.kernel.get(word) == "no"]
    if not missing:
        return
    if facts.kernel_modules:
        yield refusal(
            name,
            "kernel",
            f"its kernel has no {', '.join(missing)}, which Docker needs",
            "boot a kernel of the distribution",
        )
    elif facts.kernel_modular and not facts.container:
        yield refusal(
            name,
            "kernel",
            "the modules of the running kernel are not there (a kernel was upgraded or removed since it was booted), "
            f"and {', '.join(missing)}, which Docker needs, is not loaded",
            "reboot the machine",
        )


def memory_limit(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """Without the memory controller a job may take all memory of a machine that has other work."""
    if facts.memory_cgroup is not False or not plan.node.has_role("compute"):
        return
    file = facts.boot_file or "the kernel's command line"
    yield consent(
        plan.node.name,
        "memory limit",
        "its kernel limits no memory (cgroup memory is off), a job could take all of it",
        "no-memory-limit",
        f"add `cgroup_enable=memory cgroup_memory=1` to {file} and reboot",
    )


def clock(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """The machine's clock against this one's."""
    offset = facts.clock_offset_s
    if offset is None:
        yield warning(plan.node.name, "clock", "its clock could not be read")
        return
    off = max(abs(offset) - facts.clock_doubt_s, 0.0)
    if off > LARGE_OFFSET_S:
        yield refusal(
            plan.node.name,
            "clock",
            f"its clock is {duration(abs(offset))} {'ahead of' if offset > 0 else 'behind'} this machine's; apt would "
            "refuse package lists and TLS certificates",
            "set the clock of whichever is wrong (date -s, timedatectl set-time) and see what keeps it",
        )
    elif off > SMALL_OFFSET_S:
        what = f"its clock is {duration(abs(offset))} {'ahead of' if offset > 0 else 'behind'} this machine's"
        yield warning(plan.node.name, "clock", what, "see what keeps it")


def clocks_together(facts: dict[str, Facts], plans: dict[str, NodePlan]) -> Iterator[Finding]:
    """Where all machines are off by the same time, it is this one that is wrong."""
    offsets = [it.clock_offset_s for it in facts.values() if it.clock_offset_s is not None]
    if len(plans) < 2 or len(offsets) < len(plans) or min(map(abs, offsets)) <= LARGE_OFFSET_S:
        return
    if max(offsets) - min(offsets) < LARGE_OFFSET_S:
        yield warning(
            "", "clock", "all machines are off by the same time: the clock of this machine may be the wrong one"
        )


def time_daemon(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """What keeps the clock; a daemon of the owner's serves."""
    running = [TIME_UNITS[unit] for unit, state in facts.time_units.items() if unit in TIME_UNITS and state == "active"]
    if len(set(running)) > 1:
        yield warning(
            plan.node.name,
            "time",
            f"{' and '.join(sorted(set(running)))} keep the clock at once",
            "disable all but one",
        )
    elif running and running[0] != "systemd-timesyncd":
        yield note(plan.node.name, "time", f"{running[0]} keeps the clock, and stays")
    if running and facts.synchronised is False and not facts.container:
        yield warning(
            plan.node.name, "time", f"{running[0]} has not got the time from any server yet", "see its servers"
        )


def packages(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """A package system that is in the midst of something lets nothing be installed."""
    if facts.audit:
        yield refusal(
            plan.node.name,
            "packages",
            f"packages are not wholly installed: {facts.audit}",
            "mend it there: dpkg --configure -a, apt-get -f install",
        )


def apt(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """What apt would do to packages that are there already; by the package lists that the machine has now."""
    wanted = " ".join((*plan.packages, *(() if facts.docker.client else plan.engine_packages)))
    if facts.removals:
        yield refusal(
            plan.node.name,
            "packages",
            f"apt would remove {names(list(map(line, facts.removals)))} for what is installed",
            f"see why (apt-get -s install {wanted}); remove or keep them yourself first",
        )
    elif facts.upgrades and plan.owned:
        yield consent(
            plan.node.name,
            "packages",
            f"apt would upgrade {names(list(map(line, facts.upgrades)))} for what is installed",
            "apt-upgrade",
            "upgrade them yourself first",
        )


def journal(facts: Facts, plan: NodePlan) -> Iterator[Finding]:
    """The role `base` limits the journal; what is above the limit is deleted, and it is the owner's."""
    limit = str(plan.knob("base_journal_max", "200M"))
    ours = "base" in facts.our_packages or facts.our_files
    if not limit or facts.journal_bytes is None or ours or not plan.owned:
        return
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    number = limit.rstrip("KMGT")
    if not number.isdigit():
        return
    limit_bytes = int(number) * units.get(limit[-1], 1)
    if facts.journal_bytes > limit_bytes:
        yield consent(
            plan.node.name,
            "journal",
            f"its journal has {size(facts.journal_bytes)} and would be cut to {limit}: the oldest entries go",
            "journal",
            'set base_journal_max = "" to leave it as it is',
        )


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(size_bytes: float) -> str:
    """A size as people say it."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def names(words: Sequence[str], limit: int = 6) -> str:
    """Some names in a row, and how many more there are."""
    return ", ".join(words[:limit]) + (f" and {len(words) - limit} more" if len(words) > limit else "")
