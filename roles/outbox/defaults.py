"""Every knob of role `outbox`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shoal.errors import Fault


@dataclass(frozen=True)
class Outbox:
    """Set by the inventory from what `shoal outbox set` wrote; as host or group data under the same names otherwise."""

    outbox_to: str | None = None
    """The store for people, as `s3:bucket/prefix`. None: nothing is shipped, and nothing is installed."""
    outbox_remote: str | None = None
    """The store for rclone, as `store:bucket/prefix`."""
    outbox_config: str = ""
    """The node's rclone.conf; it holds no secret. Empty: the credential's file is one."""
    outbox_two_steps: bool = False
    """Whether objects are written under another name and renamed: stores that are file systems."""
    outbox_folder: str | None = None
    """Where the store is a folder of the machine: the one folder besides its own that the shipper may write to."""
    outbox_credential_file: Path | None = None
    """On the control machine, mode 0600; becomes /etc/shoal/outbox/credential, which the shipper's user alone reads."""
    outbox_known_hosts_file: Path | None = None
    """Host keys of an SFTP store, on the control machine."""
    outbox_rclone_file: Path | None = None
    """A program to use instead of the distribution's package."""
    outbox_budget_bytes_per_day: int | None = None
    """Payload per UTC day, retries included. None: no limit."""
    outbox_timetable: str = ""
    """`08:00,512k 18:00,off`, local time of the node; `pause` begins nothing."""
    outbox_keep_records_days: int = 30
    """How long a record may wait."""
    outbox_keep_alerts_days: int = 90
    """How long an alert may wait."""
    outbox_keep_runs_days: int | None = None
    """How long folders of runs stay of which everything was shipped. None: until the disk is at its floor."""
    outbox_disk_floor_bytes: int = 2_000_000_000
    """Free space on the disk of /var/lib/shoal below which shipped runs, then records, then alerts are dropped."""
    outbox_apt_timeout_s: int = 600
    """How long installing may take before the deploy gives up."""

    def faults(self) -> list[Fault]:
        """What no single field shows."""
        found = []
        if (self.outbox_to is None) != (self.outbox_remote is None):
            found.append(Fault("outbox_to", "and outbox_remote go together (`shoal outbox set` writes both)"))
        if self.outbox_to and not self.outbox_config and self.outbox_credential_file is None:
            found.append(Fault("outbox_config", "is missing, and there is no credential's file that could be one"))
        for name in ("outbox_credential_file", "outbox_known_hosts_file", "outbox_rclone_file"):
            path: Path | None = getattr(self, name)
            if path is not None and not path.expanduser().is_file():
                found.append(Fault(name, f"there is no file {path}"))
        credential = self.outbox_credential_file
        if (
            credential is not None
            and credential.expanduser().is_file()
            and credential.expanduser().stat().st_mode & 0o77
        ):
            found.append(Fault("outbox_credential_file", f"{credential} may be read by others: chmod 600 it"))
        return found
