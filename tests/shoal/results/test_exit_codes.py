"""The detector's exit codes: its own list, the control side's, and the programs' in jobs keep to one file."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import get_args

import pytest
from shoal_detect.errors import Exit, Interrupted

from shoal.results.exit_codes import AGAIN, WITH_MANIFEST, DetectorExit, DoneCode
from shoal.results.record import Outcome
from shoal.run.outcomes import worth_another_try

ROOT = Path(__file__).parents[3]
CODES = json.loads((ROOT / "detector" / "schemas" / "exit_codes.json").read_text())["exit_codes"]


def test_the_detector_keeps_to_the_file() -> None:
    own = {one["code"]: one["name"] for one in CODES if one["code"] < 128}
    assert {code.value: code.name.lower() for code in Exit} == own
    assert {one["code"] for one in CODES if one["code"] > 128} == {Interrupted(2).exit_code, Interrupted(15).exit_code}


def test_the_control_side_keeps_to_the_file() -> None:
    assert {code.value: code.name.lower() for code in DetectorExit} == {one["code"]: one["name"] for one in CODES}
    assert {code.value for code in WITH_MANIFEST} == {one["code"] for one in CODES if one["manifest"]}
    assert set(get_args(DoneCode)) == {code.value for code in WITH_MANIFEST}
    assert {code.value for code in AGAIN} == {one["code"] for one in CODES if one["again"]}


@pytest.mark.parametrize("one", [one for one in CODES if not one["manifest"]], ids=lambda one: one["name"])
def test_what_may_fare_better_is_tried_again(one: dict[str, int | str | bool]) -> None:
    assert worth_another_try(Outcome.FAILED, int(one["code"])) is one["again"]


def test_the_program_around_the_makers_image_keeps_to_the_file() -> None:
    text = (ROOT / "shoal" / "jobs" / "programs" / "upstream.py").read_text()
    found = next(
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assign) and "REFUSED" in ast.dump(node)
    )
    assert isinstance(found.value, ast.Tuple)
    values = [ast.literal_eval(one) for one in found.value.elts]
    assert values == [DetectorExit.USAGE, DetectorExit.FAULTY_VIDEOS]


def test_the_help_page_names_them() -> None:
    from shoal_detect.cli import EPILOG

    words = EPILOG.replace(",", "").replace(";", "").split()
    assert {str(one["code"]) for one in CODES} <= set(words)
