"""The limit of a run's folder on a compute node: a small service that ends the containers of runs that are over it."""

from __future__ import annotations

from pathlib import Path

from roles.common.operations import recorded_files_absent, service, service_absent, text_file
from shoal.paths import NODE_PROGRAMS, NODE_RUNS

FILES = Path(__file__).parent / "files"
ROLE = "yolov5"
UNIT = "shoal-state-quota.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
PROGRAM = str(NODE_PROGRAMS / "state_quota.py")


def contents(limit_bytes: int) -> dict[str, str]:
    """The service's files by path."""
    unit = (FILES / "state-quota.service").read_text(encoding="utf-8")
    for name, value in {"PROGRAM": PROGRAM, "RUNS": str(NODE_RUNS), "LIMIT": str(limit_bytes)}.items():
        unit = unit.replace(f"@{name}@", value)
    return {PROGRAM: (FILES / "state_quota.py").read_text(encoding="utf-8"), UNIT_PATH: unit}


def quota(limit_bytes: int) -> None:
    """Have it watched."""
    files = contents(limit_bytes)
    text_file(name="Place the watch over runs' folders", path=PROGRAM, content=files[PROGRAM], role=ROLE)
    text_file(name="Describe the watch to systemd", path=UNIT_PATH, content=files[UNIT_PATH], role=ROLE)
    service(name="Watch over runs' folders", unit=UNIT, config_files=list(files), _timeout=60)


def quota_absent() -> None:
    """Have it watched no more."""
    service_absent(name="End the watch over runs' folders", unit=UNIT)
    recorded_files_absent(name="Remove the watch over runs' folders", role=ROLE, legacy=[PROGRAM, UNIT_PATH])
