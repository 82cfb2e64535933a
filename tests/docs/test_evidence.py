"""Every promise of the README and the docs has a test that is there, or is named as not shown."""

from __future__ import annotations

import promises
import pytest

PAGES = {page: (promises.REPOSITORY / page).read_text(encoding="utf-8") for page in promises.pages()}
TEXT = (promises.REPOSITORY / promises.EVIDENCE).read_text(encoding="utf-8")


def test_every_promise_has_its_evidence() -> None:
    assert not list(promises.faults(PAGES, TEXT)), f"see the top of {promises.EVIDENCE} for how to add a row"


def test_there_is_something_to_check() -> None:
    places = [place for page, text in PAGES.items() for place in promises.promises(page, text)]
    assert len(places) > 100
    cells = [cell for rows in promises.evidence(TEXT).values() for cell in rows.values()]
    assert sum("tests/" in cell for cell in cells) > 100


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_new_section_is_found(page: str) -> None:
    found = list(promises.faults({**PAGES, page: f"{PAGES[page]}\n## Flies to the moon\n"}, TEXT))
    assert f"{page}: 'Flies to the moon' has no evidence in docs/evidence.md" in found


@pytest.mark.parametrize(
    ("page", "more", "place"),
    [
        ("README.md", "| **Immortal** | Nothing ends it. |", "Immortal"),
        ("README.md", "6. never, on any day, loses anything;", "never, on any day, loses"),
        ("docs/architecture.md", "9. Nothing is ever lost.", "Nothing is ever lost."),
        ("docs/faults.md", "| earthquake | nothing | nothing | by itself |", "earthquake"),
    ],
)
def test_a_new_row_or_step_is_found(page: str, more: str, place: str) -> None:
    found = set(promises.faults({**PAGES, page: f"{PAGES[page]}\n{more}\n"}, TEXT))
    assert found - set(promises.faults(PAGES, TEXT)) == {f"{page}: {place!r} has no evidence in docs/evidence.md"}


def test_a_new_page_is_found() -> None:
    assert any("docs/new.md" in fault for fault in promises.faults({**PAGES, "docs/new.md": "# New\n"}, TEXT))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("tests/lab/test_demo.py::test_", "tests/lab/test_demo.py::test_no_such_"),
        ("tests/lab/test_demo.py", "tests/lab/test_dema.py"),
        ("tests/lab/test_demo.py", "tests/lab/conftest.py"),
        ("not shown: **", "not shown: **no such "),
        ("\n- **", "\n- **Another** gap that no promise names\n- **"),
    ],
)
def test_evidence_that_is_not_there_is_found(before: str, after: str) -> None:
    assert before in TEXT
    assert list(promises.faults(PAGES, TEXT.replace(before, after)))


def test_a_row_without_evidence_is_found() -> None:
    lines = [
        "| ".join([line.rsplit("| ", 1)[0], "trust us |"]) if "tests/lab/test_demo.py" in line else line
        for line in TEXT.splitlines()
    ]
    assert any("neither a test nor a gap" in fault for fault in promises.faults(PAGES, "\n".join(lines)))
