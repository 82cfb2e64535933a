"""Role `outbox`: fresh and converged, the secret in no command, the program one file that runs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from role_harness import changed, file_answer, run, unit_answer

from outbox.settings import parsed
from roles import outbox
from roles.common.knobs import RefusedError
from roles.common.programs import archive
from roles.outbox import (
    CONFIG,
    CREDENTIAL,
    FILES,
    PROGRAM,
    SETTINGS,
    STARTERS,
    SYSTEMD,
    UNITS,
    settings_text,
    unit_text,
)
from roles.outbox.defaults import Outbox
from shoal.site.outbox import SiteOutbox, deploy_data

SECRET = "c4nary-s3cret-of-the-store"


@pytest.fixture
def data(tmp_path: Path) -> dict:
    credential = tmp_path / "store.key"
    credential.write_text(f"[default]\naws_access_key_id = AKID\naws_secret_access_key = {SECRET}\n")
    credential.chmod(0o600)
    wanted = SiteOutbox(to="s3:events/depot", endpoint="http://192.0.2.10:9000", credential_file=credential)
    return deploy_data(wanted)


def knobs(data: dict) -> Outbox:
    path = data["outbox_credential_file"]
    return Outbox(**{**data, "outbox_credential_file": Path(path) if path else None})


def converged(data: dict) -> dict:
    settings = knobs(data)
    units = {
        f"[ ! -f {SYSTEMD}/{unit}.{kind} ]": file_answer(unit_text(f"{unit}.{kind}", settings))
        for unit in UNITS
        for kind in ("service", "timer", "path")
    }
    return {
        **units,
        **{f"UNIT={starter}": unit_answer() for starter in STARTERS},
        f"[ ! -f {PROGRAM} ]": ["644 root root", f"{hashlib.sha256(archive('outbox')).hexdigest()}  -"],
        f"[ ! -f {SETTINGS} ]": file_answer(settings_text(settings, "gate-1")),
        f"[ ! -f {CONFIG} ]": file_answer(data["outbox_config"]),
        f"[ ! -f {CREDENTIAL} ]": [
            "600 shoal-outbox shoal-outbox",
            f"{hashlib.sha256(Path(data['outbox_credential_file']).read_bytes()).hexdigest()}  -",
        ],
        "dpkg-query": ["python3 installed", "rclone installed"],
        "stat -c '%F|": [
            "directory|750 shoal-outbox shoal-outbox|/var/lib/shoal/outbox",
            "directory|755 root root|/etc/shoal/outbox",
        ],
        "getent passwd shoal-outbox": ["shoal-outbox:x:990:990::/nonexistent:/usr/sbin/nologin"],
    }


def test_a_fresh_machine_gets_all_of_it_and_no_command_shows_the_secret(data: dict) -> None:
    outcome = run(outbox.install, {}, data=data)
    assert not outcome.failed
    assert SECRET not in outcome.text()
    assert "useradd --system" in outcome.text()
    placing = next(command for command in outcome.commands if f"FINAL={CREDENTIAL}\n" in command)
    assert "OWNER=shoal-outbox:shoal-outbox\nMODE=600\n" in placing
    assert len(changed(outcome)) == len(outcome.operations) - 2  # nothing from before, and read with the first unit


def test_a_machine_that_is_as_wanted_is_left_alone(data: dict) -> None:
    outcome = run(outbox.install, converged(data), data=data)
    assert changed(outcome) == []


def test_a_changed_service_is_read_anew(data: dict) -> None:
    outcome = run(
        outbox.install, {**converged(data), "for u in shoal-outbox-collect.service": ["no", "yes"]}, data=data
    )
    assert changed(outcome) == ["outbox | Have systemd read its services"]
    assert "systemctl daemon-reload" in outcome.text()


def test_a_credential_that_others_may_read_is_refused(data: dict) -> None:
    Path(data["outbox_credential_file"]).chmod(0o640)
    with pytest.raises(RefusedError, match="chmod 600"):
        run(outbox.install, {}, data=data)


def test_the_settings_are_ones_that_the_program_takes(data: dict) -> None:
    text = settings_text(knobs(data), "gate-1")
    assert parsed(json.loads(text), "x").remote == "store:events/depot"
    assert SECRET not in text


def test_the_shipper_has_a_network_and_no_footage_and_the_collector_the_other_way_round() -> None:
    ship = (FILES / "shoal-outbox.service").read_text(encoding="utf-8")
    collect = (FILES / "shoal-outbox-collect.service").read_text(encoding="utf-8")
    assert "User=shoal-outbox" in ship
    assert "InaccessiblePaths=-/videos -/var/lib/shoal/runs" in ship
    assert "CapabilityBoundingSet=\n" in ship
    assert "PrivateNetwork=yes" in collect
    assert "InaccessiblePaths=-/etc/shoal/outbox/credential -/videos" in collect
    folder = unit_text("shoal-outbox.service", Outbox(outbox_folder="/mnt/usb"))
    assert "ReadWritePaths=/mnt/usb\n" in folder
    assert "@MORE@" not in unit_text("shoal-outbox.service", Outbox())


def test_the_program_is_one_file_that_runs_with_python_alone() -> None:
    archive.cache_clear()
    first = archive("outbox")
    archive.cache_clear()
    assert archive("outbox") == first
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.pyz"
        path.write_bytes(first)
        root = Path(folder) / "outbox"
        root.mkdir()
        settings = Path(folder) / "settings.json"
        document = {
            **{"version": 1, "node": "a", "remote": "store:b", "to": "s3:b", "rclone": "r", "rclone_config": "c"},
            **{"root": str(root), "sources": [], "disk_floor_bytes": 0},
        }
        settings.write_text(json.dumps(document))
        for verb in ("collect", "status"):
            done = subprocess.run(
                [sys.executable, "-I", "-S", str(path), "--settings", str(settings), verb],
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["waiting"]["oldest_at"] is None
