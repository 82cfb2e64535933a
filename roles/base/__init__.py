"""Role `base`: what every node needs before anything else can be put on it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.base import clock
from roles.base.defaults import Base
from roles.base.operations import hostname, hostname_back, records_absent, shared_folders_open, state_absent
from roles.common import knobs
from roles.common.operations import (
    HOLD,
    INCOMING,
    RECORDS,
    empty_folders_absent,
    folders,
    packages,
    packages_refused,
    recorded_files_absent,
    recorded_packages_absent,
    service,
    text_file,
)
from shoal.errors import Fault
from shoal.paths import NODE_OUTBOX, NODE_PROGRAMS, NODE_RUNS, NODE_STATE, NODE_WATCH, NODE_WEIGHTS

if TYPE_CHECKING:
    from pyinfra.api.host import Host

APT_CONF = "/etc/apt/apt.conf.d/50shoal"
JOURNALD_CONF = "/etc/systemd/journald.conf.d/50-shoal.conf"
HOSTNAME_RECORD = str(RECORDS / "base.hostname")
SHARED = (str(NODE_PROGRAMS), "/etc/shoal")
"""Several roles put files into them."""


def wanted_packages(base: Base, target: Host) -> list[str]:
    """The packages a machine gets; a time daemon only where none is there."""
    state = target.get_fact(clock.ClockState, record=str(RECORDS / "base.packages"))
    time = [clock.PACKAGES[base.base_time]] if clock.brought(base.base_time, state) else []
    return [*base.base_packages, *time]


def machine_faults(target: Host) -> list[Fault]:
    """Why the packages cannot be installed on this machine; looked for before the first change."""
    base = knobs.read(Base, target)
    return [Fault(f"{target.name}: base", text) for text in packages_refused(target, wanted_packages(base, target))]


@deploy("base")
def install() -> None:
    """Apt settings, state folders, packages, host name, clock and journal limit."""
    base = knobs.read(Base, host)
    # First: fresh machines run unattended upgrades, and every later apt call has to wait for them.
    text_file(
        name="Let apt wait for its lock",
        path=APT_CONF,
        content=f'DPkg::Lock::Timeout "{base.base_apt_lock_timeout_s}";\n',
        role="base",
    )
    folders(
        name="Make the state folders",
        # Results are for root: containers write them as root, and they are fetched as root.
        paths={
            str(path): ("700" if path == NODE_RUNS else "755", "root:root")
            for path in (NODE_STATE, NODE_RUNS, NODE_WEIGHTS, RECORDS)
        },
    )
    shared_folders_open(name="Open the folders that services read", known=SHARED, records=str(RECORDS))
    wanted = wanted_packages(base, host)
    keeps_time = clock.PACKAGES.get(base.base_time) in wanted
    packages(
        name="Install the packages",
        names=wanted,
        role="base",
        brings=clock.BRINGS[base.base_time] if keeps_time else (),
        _timeout=base.base_apt_timeout_s,
    )
    if base.base_hostname:
        hostname(name="Set the host name", wanted=knobs.node_of(host).name, record=HOSTNAME_RECORD)
    if keeps_time:
        service(name="Keep the clock right", unit=clock.UNITS[base.base_time], may_idle_in_container=True)
    if base.base_journal_max:
        text_file(
            name="Limit the journal",
            path=JOURNALD_CONF,
            content=f"[Journal]\nSystemMaxUse={base.base_journal_max}\nRuntimeMaxUse={base.base_journal_max}\n",
            role="base",
        )
        service(name="Run the journal with its limit", unit="systemd-journald.service", config_files=[JOURNALD_CONF])


@deploy("base")
def remove(remove_runs: bool = False) -> None:
    """Take away what `install` put. The results of runs stay, unless `remove_runs` is set.

    Records of roles of which something had to stay, stay too: the next teardown reads them.
    """
    base = knobs.read(Base, host)
    recorded_packages_absent(name="Remove the packages", role="base", _timeout=base.base_apt_timeout_s)
    hostname_back(name="Give the host name back", record=HOSTNAME_RECORD)
    # The journal's limit is let go at the next boot; a restart for its sake is not worth the gap in the log.
    recorded_files_absent(name="Remove the settings", role="base", legacy=(APT_CONF, JOURNALD_CONF))
    # Which role was the last to go depends on what was deployed when.
    empty_folders_absent(name="Remove empty folders of ours", paths=list(SHARED))
    records_absent(name="Remove the records", folder=str(RECORDS))
    own = [INCOMING, PurePosixPath(HOLD).parent, *([NODE_RUNS] if remove_runs else [])]
    state_absent(
        name="Remove the state",
        folders=[str(path) for path in (NODE_WEIGHTS, NODE_RUNS, NODE_STATE)],
        leftovers=[str(path) for path in own],
        kept=[str(RECORDS), *([] if remove_runs else [str(NODE_RUNS), str(NODE_OUTBOX), str(NODE_WATCH)])],
    )
