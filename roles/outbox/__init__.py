"""Role `outbox`: events and verified clips from the node's run folders into a store.

Two units. The collector is root and has no network: it reads run folders and copies what may leave. The shipper has a
network, a credential and a user of its own, and sees nothing of the machine's footage or runs but those copies.
"""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.context import host

from roles.common import knobs
from roles.common.accounts import system_user, system_user_absent
from roles.common.facts import Existing
from roles.common.operations import (
    absent,
    empty_folders_absent,
    folders,
    packages,
    packages_refused,
    recorded_files_absent,
    recorded_packages_absent,
    service,
    service_absent,
    text_file,
)
from roles.common.programs import archive, file_of
from roles.outbox.defaults import Outbox
from roles.outbox.operations import (
    USER,
    given_program,
    outbox_absent,
    outbox_owned,
    units_read,
)
from shoal.errors import Fault
from shoal.paths import NODE_OUTBOX, NODE_PROGRAMS, NODE_RUNS, NODE_WATCH

FILES = Path(__file__).parent / "files"
FOLDER = str(NODE_OUTBOX)
CONFIG_FOLDER = "/etc/shoal/outbox"
SETTINGS = f"{CONFIG_FOLDER}/settings.json"
CONFIG = f"{CONFIG_FOLDER}/rclone.conf"
CREDENTIAL = f"{CONFIG_FOLDER}/credential"
KNOWN_HOSTS = f"{CONFIG_FOLDER}/known_hosts"
PROGRAM = str(NODE_PROGRAMS / "outbox.pyz")
GIVEN_RCLONE = str(NODE_PROGRAMS / "rclone")
RCLONE = "/usr/bin/rclone"
UNITS = ("shoal-outbox-collect", "shoal-outbox")
STARTERS = tuple(f"{unit}.{kind}" for unit in UNITS for kind in ("timer", "path"))
SYSTEMD = "/etc/systemd/system"


def unit_text(name: str, settings: Outbox) -> str:
    """The text of one of the units."""
    more = f"ReadWritePaths={settings.outbox_folder}\n" if settings.outbox_folder else ""
    return (FILES / name).read_text(encoding="utf-8").replace("@MORE@\n", more)


def settings_text(settings: Outbox, node: str) -> str:
    """The program's settings, without a secret."""
    document = {
        "version": 1,
        "node": node,
        "to": settings.outbox_to,
        "remote": settings.outbox_remote,
        "rclone": GIVEN_RCLONE if settings.outbox_rclone_file else RCLONE,
        "rclone_config": CONFIG if settings.outbox_config else CREDENTIAL,
        "two_steps": settings.outbox_two_steps,
        "root": FOLDER,
        "sources": [str(NODE_RUNS), str(NODE_WATCH / "events")],
        "budget_bytes_per_day": settings.outbox_budget_bytes_per_day,
        "timetable": settings.outbox_timetable,
        "keep_records_days": settings.outbox_keep_records_days,
        "keep_alerts_days": settings.outbox_keep_alerts_days,
        "keep_runs_days": settings.outbox_keep_runs_days,
        "disk_floor_bytes": settings.outbox_disk_floor_bytes,
    }
    return json.dumps(document, indent=2) + "\n"


def wanted_packages(settings: Outbox) -> list[str]:
    """What the role installs."""
    return ["python3"] if settings.outbox_rclone_file else ["python3", "rclone"]


def machine_faults(target: Host) -> list[Fault]:
    """Why the packages cannot be installed on this machine; looked for before the first change."""
    settings = knobs.read(Outbox, target)
    if settings.outbox_to is None:
        return []
    refused = packages_refused(target, wanted_packages(settings))
    return [Fault(f"{target.name}: outbox", text) for text in refused]


def is_there() -> bool:
    """Whether the role was installed on this machine."""
    return bool(host.get_fact(Existing, paths=(PROGRAM,)))


@deploy("outbox")
def install() -> None:
    """The program, its settings and credential, then the timers and path units that start it."""
    settings = knobs.read(Outbox, host)
    packages(
        name="Install rclone and Python",
        names=wanted_packages(settings),
        role="outbox",
        _timeout=settings.outbox_apt_timeout_s,
    )
    system_user(name="Make the shipper's user", user=USER, role="outbox")
    folders(
        name="Make its folders",
        paths={FOLDER: ("750", f"{USER}:{USER}"), CONFIG_FOLDER: ("755", "root:root")},
    )
    outbox_owned(name="Give the shipper what waits from before", folder=FOLDER)
    file_of(name="Place the program", path=PROGRAM, content=archive("outbox"), role="outbox")
    if settings.outbox_rclone_file:
        given_program(name="Place rclone", source=settings.outbox_rclone_file.expanduser(), path=GIVEN_RCLONE)
    text_file(
        name="Write its settings",
        path=SETTINGS,
        content=settings_text(settings, knobs.node_of(host).name),
        role="outbox",
    )
    if settings.outbox_config:
        text_file(name="Describe the store", path=CONFIG, content=settings.outbox_config, role="outbox")
    if settings.outbox_credential_file:
        file_of(
            name="Place the credential",
            path=CREDENTIAL,
            content=settings.outbox_credential_file.expanduser().read_bytes(),
            role="outbox",
            owner=USER,
            mode="600",
        )
    else:
        absent(name="Remove a credential that is no longer used", paths=[CREDENTIAL])
    if settings.outbox_known_hosts_file:
        text_file(
            name="Place the store's host keys",
            path=KNOWN_HOSTS,
            content=settings.outbox_known_hosts_file.expanduser().read_text(encoding="utf-8"),
            role="outbox",
        )
    for unit in UNITS:
        for kind in ("service", "timer", "path"):
            text_file(
                name=f"Describe {unit}.{kind} to systemd",
                path=f"{SYSTEMD}/{unit}.{kind}",
                content=unit_text(f"{unit}.{kind}", settings),
                role="outbox",
            )
    for starter in STARTERS:
        # What they read is their unit alone, and systemd says itself when that has changed.
        service(name=f"Run {starter}", unit=starter, _timeout=60)
    # What they start is read anew by that, or here.
    units_read(name="Have systemd read its services", units=[f"{unit}.service" for unit in UNITS])


@deploy("outbox")
def remove(force: bool = False) -> None:
    """Take away what `install` put. What waits to be shipped stays, unless `force` is set."""
    settings = knobs.read(Outbox, host)
    for starter in STARTERS:
        service_absent(name=f"Stop {starter}", unit=starter)
    for unit in UNITS:
        service_absent(name=f"Stop {unit}", unit=f"{unit}.service")
    recorded_files_absent(name="Remove its settings", role="outbox")
    absent(name="Remove the credential and the program", paths=[CREDENTIAL, PROGRAM, GIVEN_RCLONE])
    outbox_absent(name="Remove the outbox", folder=FOLDER, force=force)
    recorded_packages_absent(
        name="Remove rclone", role="outbox", keep_needed=True, _timeout=settings.outbox_apt_timeout_s
    )
    system_user_absent(name="Remove the shipper's user", user=USER, role="outbox")
    empty_folders_absent(name="Remove empty folders", paths=[CONFIG_FOLDER, "/etc/shoal", str(NODE_PROGRAMS)])
