"""Where a site's nodes ship events and masked clips to, and within which bounds: a part of the site document."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shoal.cluster.document import Cluster
from shoal.errors import Fault, UsageError
from shoal.files import PRIVATE_FILE

NODE_FOLDER = "/etc/shoal/outbox"
NODE_CREDENTIAL = f"{NODE_FOLDER}/credential"
NODE_KNOWN_HOSTS = f"{NODE_FOLDER}/known_hosts"
NODE_CONFIG = f"{NODE_FOLDER}/rclone.conf"
KINDS = ("s3", "gs", "sftp", "folder", "rclone")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,221}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")
_SFTP = re.compile(
    r"(?P<user>[A-Za-z_][A-Za-z0-9._-]*)@(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:(?P<port>\d{1,5}))?(?P<path>/.*)"
)
_REMOTE = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*):(?P<path>[A-Za-z0-9._/-]*)")
_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?(/[A-Za-z0-9._/-]*)?")
_RATE = re.compile(
    r"((mon|tue|wed|thu|fri|sat|sun)[a-z]*-)?([01]\d|2[0-3]):[0-5]\d,(off|pause|[1-9]\d{0,8}(\.\d{1,3})?[kmg]?)", re.I
)
_ONE_RATE = re.compile(r"off|[1-9]\d{0,8}(\.\d{1,3})?[kmg]?", re.I)

Days = Annotated[int, Field(ge=1, le=36_500)]


class SiteOutbox(BaseModel):
    """What `shoal outbox set` wrote."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Annotated[str, StringConstraints(min_length=3, max_length=1024)]
    """`s3:BUCKET/PREFIX`, `gs:BUCKET/PREFIX`, `sftp:USER@HOST:PORT/PATH`, `folder:/PATH` or `rclone:REMOTE:PATH`."""
    endpoint: str | None = None
    """Of an S3 store that is not Amazon's."""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    credential_file: Path | None = None
    """On the control machine, mode 0600. None: the machine's own identity (`gs`), or none needed (`folder`)."""
    known_hosts_file: Path | None = None
    """Host keys of an SFTP store."""
    rclone_file: Path | None = None
    """A program to use instead of Debian's package."""
    budget_bytes_per_day: Annotated[int, Field(ge=1)] | None = None
    timetable: str = ""
    keep_records_days: Days = 30
    keep_alerts_days: Days = 90
    keep_runs_days: Days | None = None
    disk_floor_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if found := faults(self):
            raise ValueError("; ".join(map(str, found)))
        return self


@dataclass(frozen=True, slots=True)
class Target:
    """A store, taken apart."""

    kind: str
    path: str
    """Bucket and prefix, or the path."""
    user: str = ""
    host: str = ""
    port: int = 22
    remote: str = "store"

    @property
    def is_file_system(self) -> bool:
        """Whether a reader could see half an object there."""
        return self.kind in {"sftp", "folder", "rclone"}


def target(to: str) -> Target:
    """The store that `to` names. Raises ValueError that says what is wanted."""
    kind, _, rest = to.partition(":")
    if kind in {"s3", "gs"}:
        bucket, _, prefix = rest.partition("/")
        if _BUCKET.fullmatch(bucket) and (bucket == rest or _PREFIX.fullmatch(prefix)) and ".." not in rest:
            return Target(kind, rest)
        raise ValueError(f"{to!r}: {kind}:BUCKET or {kind}:BUCKET/PREFIX is wanted")
    if kind == "folder":
        if _PATH.fullmatch(rest) and ".." not in rest.split("/"):
            return Target(kind, rest)
        raise ValueError(f"{to!r}: folder:/ABSOLUTE/PATH is wanted")
    if kind == "sftp":
        match = _SFTP.fullmatch(rest)
        if match and _PATH.fullmatch(match["path"]) and ".." not in rest and 0 < int(match["port"] or 22) <= 65535:
            return Target(kind, match["path"], match["user"], _host(match["host"]), int(match["port"] or 22))
        raise ValueError(f"{to!r}: sftp:USER@HOST:PORT/ABSOLUTE/PATH is wanted")
    if kind == "rclone":
        match = _REMOTE.fullmatch(rest)
        if match and ".." not in rest:
            return Target(kind, match["path"], remote=match["name"])
        raise ValueError(f"{to!r}: rclone:REMOTE:PATH is wanted, with the remote's section in the credential's file")
    raise ValueError(f"{to!r} names no store: begin with one of {', '.join(f'{kind}:' for kind in KINDS)}")


def faults(outbox: SiteOutbox) -> list[Fault]:
    """What is wrong with the settings, all of it; files are not looked at."""
    found = []
    kind = outbox.to.partition(":")[0]
    try:
        target(outbox.to)
    except ValueError as error:
        found.append(Fault("to", str(error)))
    if outbox.endpoint and not _ENDPOINT.fullmatch(outbox.endpoint):
        found.append(Fault("endpoint", f"{outbox.endpoint!r}: http://HOST:PORT or https://HOST:PORT is wanted"))
    if outbox.endpoint and kind != "s3":
        found.append(Fault("endpoint", "is of S3 stores alone"))
    if outbox.credential_file is None and kind in {"s3", "sftp", "rclone"}:
        found.append(Fault("credential_file", f"is missing: {_WANTED[kind]}"))
    if kind == "sftp" and outbox.known_hosts_file is None:
        found.append(Fault("known_hosts_file", "is missing: the store's host key is checked, and never learnt"))
    words = outbox.timetable.split()
    if not (len(words) == 1 and _ONE_RATE.fullmatch(words[0])):
        found += [
            Fault("timetable", f"{word!r}: HH:MM,RATE or DAY-HH:MM,RATE is wanted, RATE as 512k, 2M, off or pause")
            for word in words
            if not _RATE.fullmatch(word)
        ]
    return found


_WANTED = {
    "s3": "a file with aws_access_key_id and aws_secret_access_key under [default]",
    "sftp": "a private key without a passphrase",
    "rclone": "an rclone.conf with the remote's section",
}


def file_faults(outbox: SiteOutbox) -> list[Fault]:
    """What is wrong with the named files on this machine."""
    found = []
    for name in ("credential_file", "known_hosts_file", "rclone_file"):
        path: Path | None = getattr(outbox, name)
        if path is not None and not path.is_file():
            found.append(Fault(name, f"there is no file {path}"))
    if outbox.credential_file and outbox.credential_file.is_file():
        mode = outbox.credential_file.stat().st_mode & 0o777
        if mode & ~PRIVATE_FILE:
            found.append(Fault("credential_file", f"{outbox.credential_file} may be read by others: chmod 600 it"))
    return found


def checked(outbox: SiteOutbox) -> SiteOutbox:
    """The settings. Raises UsageError with everything that is wrong with their files."""
    if found := file_faults(outbox):
        raise UsageError("the outbox cannot be set so", faults=tuple(found), hint="mend what is named")
    return outbox


def rclone_config(outbox: SiteOutbox) -> str:
    """The node's rclone.conf, which holds no secret: it names the credential's file."""
    where = target(outbox.to)
    lines = {
        "s3": [
            "type = s3",
            f"provider = {'Other' if outbox.endpoint else 'AWS'}",
            "env_auth = true",
            f"shared_credentials_file = {NODE_CREDENTIAL}",
            f"region = {outbox.region or 'us-east-1'}",
            *([f"endpoint = {outbox.endpoint}", "force_path_style = true"] if outbox.endpoint else []),
            # The bucket is there; a least right does not reach to asking for it.
            "no_check_bucket = true",
            # In one piece: the store's ETag is then the MD5 of what it got.
            "upload_cutoff = 4G",
        ],
        "gs": [
            "type = google cloud storage",
            "bucket_policy_only = true",
            "no_check_bucket = true",
            # 1.60 (Debian 12) goes to the metadata server where nothing is given, later ones want to be asked to.
            f"service_account_file = {NODE_CREDENTIAL}" if outbox.credential_file else "env_auth = true",
        ],
        "sftp": [
            "type = sftp",
            f"host = {where.host}",
            f"port = {where.port}",
            f"user = {where.user}",
            f"key_file = {NODE_CREDENTIAL}",
            f"known_hosts_file = {NODE_KNOWN_HOSTS}",
        ],
        "folder": ["type = local"],
        "rclone": [],
    }[where.kind]
    return "\n".join(["# Written by shoal's role `outbox`; changes are overwritten.", "[store]", *lines]) + "\n"


def of_cluster(outbox: SiteOutbox | None, cluster: Cluster) -> SiteOutbox | None:
    """What holds: the settings that were made, else the cluster's own store (a bucket: with the machines' identity)."""
    if outbox is not None:
        return outbox
    if (store := cluster.events_store) is not None:
        return SiteOutbox(to=store.to, endpoint=store.endpoint, credential_file=store.credential_file)
    return SiteOutbox(to=f"gs:{cluster.events_bucket}") if cluster.events_bucket else None


def deploy_data(outbox: SiteOutbox | None) -> dict[str, Any]:
    """The settings as the role's knobs."""
    if outbox is None:
        return {}
    where = target(outbox.to)
    return {
        "outbox_to": outbox.to,
        "outbox_remote": f"{where.remote}:{where.path}",
        "outbox_config": "" if where.kind == "rclone" else rclone_config(outbox),
        "outbox_two_steps": where.is_file_system,
        "outbox_folder": where.path if where.kind == "folder" else None,
        "outbox_credential_file": str(outbox.credential_file) if outbox.credential_file else None,
        "outbox_known_hosts_file": str(outbox.known_hosts_file) if outbox.known_hosts_file else None,
        "outbox_rclone_file": str(outbox.rclone_file) if outbox.rclone_file else None,
        "outbox_budget_bytes_per_day": outbox.budget_bytes_per_day,
        "outbox_timetable": outbox.timetable,
        "outbox_keep_records_days": outbox.keep_records_days,
        "outbox_keep_alerts_days": outbox.keep_alerts_days,
        "outbox_keep_runs_days": outbox.keep_runs_days,
        "outbox_disk_floor_bytes": outbox.disk_floor_bytes,
    }


def _host(text: str) -> str:
    bare = text.strip("[]")
    if text.startswith("["):
        ipaddress.ip_address(bare)
    return bare
