"""The lab's store: a machine that speaks S3 (rclone), where the nodes' outboxes ship to; its key is the lab's own."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from pathlib import Path

from docker.models.containers import Container

from shoal.cluster.document import EventsStore
from shoal.errors import ShoalError
from shoal.files import write_atomic
from shoal.lab import node as nodes
from shoal.lab import services, state
from shoal.lab.client import plain_errors
from shoal.lab.inherit import Entry
from shoal.lab.services import FOLDER, Service
from shoal.lab.spec import STORE, node_address
from shoal.lab.state import LabFacts

PORT = 9000
BUCKET = "events"
ROOT = "/srv/store"
"""A folder for each bucket; what was shipped lies there as files."""
_KEY = f"{FOLDER}/key"


def credential_path(lab: str) -> Path:
    """The store's key on this machine, as S3's programs read it."""
    return state.folder(lab) / "store.key"


def of_cluster(facts: LabFacts) -> EventsStore:
    """The store, for the cluster document."""
    return EventsStore(
        to=f"s3:{BUCKET}/{facts.name}",
        endpoint=f"http://{node_address(facts.subnet, STORE)}:{PORT}",
        credential_file=credential_path(facts.name),
    )


def puts(container: Container) -> dict[str, int]:
    """How often each object of the bucket was put, by key, those that came first before. Raises ShoalError."""
    return Counter(put_order(container))


def put_order(container: Container) -> list[str]:
    """Keys of the bucket's objects in the order in which they were put, as often as they were.

    From the journal of the server. Raises ShoalError.
    """
    with plain_errors("reading the store's journal"):
        code, output = nodes.execute(container, ["journalctl", "--no-pager", "--output=cat", "--unit=lab-store"])
    if code != 0:
        raise ShoalError(f"the store's journal cannot be read: {output.strip()}")
    return re.findall(rf": Moved \(server-side\) to: {BUCKET}/(\S+)$", output, re.MULTILINE)


def objects(container: Container) -> list[str]:
    """Keys of the bucket's objects, sorted. Raises ShoalError."""
    with plain_errors("listing the store"):
        code, output = nodes.execute(container, ["find", f"{ROOT}/{BUCKET}", "-type", "f", "-printf", "%P\n"])
    if code != 0:
        raise ShoalError(f"the store cannot be listed: {output.strip()}")
    return sorted(key for key in output.split() if not key.startswith("."))


def start(container: Container, facts: LabFacts, tools: Path) -> bool:
    """Have the store answer; whether anything had to be changed. Raises ShoalError."""
    key, secret = credential(facts.name)
    # rclone reads a list there, comma separated, of which this is one entry.
    variables = f'RCLONE_AUTH_KEY="\\"{key},{secret}\\""\n'
    serving = Service(
        "lab-store",
        "A store that speaks S3",
        # Verbose: a line for every object that is put there, also where it was there before (`puts`).
        f"{FOLDER}/rclone --config /dev/null -v serve s3 --addr :{PORT} {ROOT}",
        environment_file=_KEY,
    )
    files = [Entry(_KEY, variables.encode(), 0o600), Entry(f"{ROOT}/{BUCKET}/.keep", b"")]
    trees = {f"{FOLDER}/rclone": tools / "bin" / "rclone"}
    return services.furnish(container, STORE, version=tools.name, trees=trees, files=files, services=[serving])


def credential(lab: str) -> tuple[str, str]:
    """The store's key and secret, made at the first call."""
    path = credential_path(lab)
    if path.exists() and (found := re.findall(r"= (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)):
        return found[0], found[1]
    key, secret = f"LAB{secrets.token_hex(8).upper()}", secrets.token_hex(20)
    text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    write_atomic(path, text, mode=0o600)
    return key, secret
