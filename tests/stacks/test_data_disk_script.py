"""The script of a cloud node's data disk: a blank disk is formatted, another never; and units that wait for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stacks.gcp.data_disk import PREPARE


def run(
    tmp_path: Path, *arguments: str, blkid: int = 0, disk: bool = True, script: str = PREPARE
) -> tuple[int, list[str]]:
    """Exit code and the commands that would have changed something, on a machine made of recording commands."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir(exist_ok=True)
    log.write_text("")
    answers = {"blkid": blkid, "mkfs.ext4": 0, "systemctl": 0, "resize2fs": 0, "sleep": 0}
    for name, code in answers.items():
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{log}"\nexit {code}\n')
        (tools / name).chmod(0o755)
    text = script
    places = ("/dev/disk/by-id/google-shoal-data", "/var/lib/shoal", "/videos", "/etc/systemd/system")
    for path in (*places, "/usr/local/lib/shoal/data-disk"):
        text = text.replace(f"={path}\n", f"={tmp_path}{path}\n")
    if disk:
        place = tmp_path / "dev/disk/by-id/google-shoal-data"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    file = tmp_path / "script"
    file.write_text(text)
    done = subprocess.run(
        ["sh", str(file), *arguments],
        env={**os.environ, "PATH": f"{tools}:/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    words = [line.replace(str(tmp_path), "") for line in log.read_text().splitlines()]
    return done.returncode, [line for line in words if not line.startswith(("blkid", "resize2fs", "sleep"))]


FORMATTED = "mkfs.ext4 -q -m 0 -L shoal-data /dev/disk/by-id/google-shoal-data"
ENABLED = ["systemctl enable --quiet var-lib-shoal.mount videos.mount"]
STARTED = ["systemctl start var-lib-shoal.mount videos.mount"]


def test_a_blank_disk_is_formatted_and_one_that_holds_something_never(tmp_path: Path) -> None:
    assert run(tmp_path, "wait", blkid=2) == (0, [FORMATTED])
    assert run(tmp_path, "wait", blkid=0) == (0, [])


@pytest.mark.parametrize("code", [1, 4, 8, 127])
def test_a_disk_that_cannot_be_told_is_left_alone(tmp_path: Path, code: int) -> None:
    assert run(tmp_path, "wait", blkid=code) == (1, [])


def test_no_disk_within_the_time_is_an_error(tmp_path: Path) -> None:
    assert run(tmp_path, "wait", disk=False, script=PREPARE.replace("limit_s=300", "limit_s=2")) == (1, [])


def test_the_units_are_made_once_and_nothing_is_formatted_by_that(tmp_path: Path) -> None:
    reload = ["systemctl daemon-reload"]
    assert run(tmp_path, blkid=2) == (0, reload + ENABLED + STARTED)
    units = {path.name: path.read_text() for path in (tmp_path / "etc/systemd/system").rglob("*") if path.is_file()}
    assert run(tmp_path, blkid=2) == (0, ENABLED + STARTED)
    again = {path.name: path.read_text() for path in (tmp_path / "etc/systemd/system").rglob("*") if path.is_file()}
    assert again == units
    (tmp_path / "etc/systemd/system/videos.mount").write_text("by hand\n")
    assert run(tmp_path)[1][0] == "systemctl daemon-reload"


def test_who_waits_for_whom(tmp_path: Path) -> None:
    run(tmp_path)
    units = tmp_path / "etc/systemd/system"
    texts = {path.name: path.read_text().replace(str(tmp_path), "") for path in units.rglob("*") if path.is_file()}
    docker = (units / "docker.service.d/shoal-data-disk.conf").read_text().replace(str(tmp_path), "")
    assert "RequiresMountsFor=/var/lib/shoal /videos" in docker
    assert "Requires=shoal-data-disk.service\nAfter=shoal-data-disk.service" in texts["var-lib-shoal.mount"]
    assert "What=/dev/disk/by-id/google-shoal-data\nWhere=/var/lib/shoal" in texts["var-lib-shoal.mount"]
    assert "RequiresMountsFor=/var/lib/shoal" in texts["videos.mount"]
    assert "RequiresMountsFor=/var/lib/shoal" in texts["shoal-videos-folder.service"]
    # systemd's own check of a mount unit's name: it is the path, escaped.
    for name, where in (("var-lib-shoal.mount", "/var/lib/shoal"), ("videos.mount", "/videos")):
        assert name == where.strip("/").replace("/", "-") + ".mount"


@pytest.mark.parametrize("unit", ["compute.service", "docker-guard.service"])
def test_the_engines_services_wait_for_the_folders_of_jobs(unit: str) -> None:
    from roles.bacalhau.config import Service, guard_unit_text, unit_text
    from roles.bacalhau.facts import FILES

    template = (FILES / unit).read_text(encoding="utf-8")
    made = unit_text(Service("compute", "n", "root"), template, mesh=False) if unit == "compute.service" else None
    text = made or guard_unit_text(template)
    head = text.partition("[Service]")[0]
    assert "RequiresMountsFor=/var/lib/shoal /videos" in head
