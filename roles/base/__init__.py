"""Role `base`: what every node needs before anything else can be put on it."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.base.defaults import Base
from roles.base.operations import hostname
from roles.common import knobs
from roles.common.operations import (
    INCOMING,
    RECORDS,
    absent,
    empty_folders_absent,
    folders,
    packages,
    recorded_packages_absent,
    service,
    text_file,
)
from shoal.paths import NODE_RUNS, NODE_STATE, NODE_WEIGHTS

APT_CONF = "/etc/apt/apt.conf.d/50shoal"
JOURNALD_CONF = "/etc/systemd/journald.conf.d/50-shoal.conf"
TIME_UNITS = {"timesyncd": "systemd-timesyncd.service", "chrony": "chrony.service"}
TIME_PACKAGES = {"timesyncd": "systemd-timesyncd", "chrony": "chrony"}


@deploy("base")
def install() -> None:
    """Apt settings, state folders, packages, host name, clock and journal limit."""
    base = knobs.read(Base, host)
    # First: fresh machines run unattended upgrades, and every later apt call has to wait for them.
    text_file(
        name="Let apt wait for its lock",
        path=APT_CONF,
        content=f'DPkg::Lock::Timeout "{base.base_apt_lock_timeout_s}";\n',
    )
    folders(
        name="Make the state folders",
        paths={str(path): ("755", "root:root") for path in (NODE_STATE, NODE_RUNS, NODE_WEIGHTS, RECORDS)},
    )
    wanted = [*base.base_packages, *([TIME_PACKAGES[base.base_time]] if base.base_time != "none" else [])]
    packages(name="Install the packages", names=wanted, role="base", _timeout=base.base_apt_timeout_s)
    if base.base_hostname:
        hostname(name="Set the host name", wanted=knobs.node_of(host).name)
    if base.base_time != "none":
        service(name="Keep the clock right", unit=TIME_UNITS[base.base_time], may_idle_in_container=True)
    if base.base_journal_max:
        text_file(
            name="Limit the journal",
            path=JOURNALD_CONF,
            content=f"[Journal]\nSystemMaxUse={base.base_journal_max}\nRuntimeMaxUse={base.base_journal_max}\n",
        )
        service(name="Run the journal with its limit", unit="systemd-journald.service", config_files=[JOURNALD_CONF])


@deploy("base")
def remove(remove_runs: bool = False, keep_records: bool = False) -> None:
    """Take away what `install` put. The host name stays; the results of runs too, unless `remove_runs` is set.

    With `keep_records` the roles' records stay, because one of them is still to be removed.
    """
    base = knobs.read(Base, host)
    recorded_packages_absent(name="Remove the packages", role="base", _timeout=base.base_apt_timeout_s)
    # The journal's limit is let go at the next boot; a restart for its sake is not worth the gap in the log.
    absent(name="Remove the settings", paths=[APT_CONF, JOURNALD_CONF])
    state = [INCOMING, NODE_WEIGHTS, *([] if keep_records else [RECORDS]), *([NODE_RUNS] if remove_runs else [])]
    absent(name="Remove the state", paths=[str(path) for path in state])
    empty_folders_absent(name="Remove empty folders", paths=[str(NODE_RUNS), str(NODE_STATE)])
