"""`shoal site check` and what begins with it: the list as it is shown, the document for scripts, the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shoal.check import examine
from shoal.check.examine import Report
from shoal.check.finding import Finding, Level
from shoal.cli.site import app
from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster, Node
from shoal.errors import Exit, UsageError

NODES = (
    Node(name="office", roles=("requester",), address="10.0.0.2"),
    Node(name="gate-1", roles=("compute",), address="10.0.0.3"),
)
SUDO = Finding("gate-1", "sudo", Level.REFUSAL, "sudo asks ops for a password", "let it run everything")
AWAY = Finding("gate-1", "ssh", Level.REFUSAL, "no answer in time", "check that it is on", transient=True)
JOURNAL = Finding("office", "journal", Level.CONSENT, "would be cut", "set a knob", "journal")
LATE = Finding("gate-1", "clock", Level.WARNING, "[bold]30 s behind[/bold]", "see what keeps it")


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    path = tmp_path / "plant.json"
    clusters.save(Cluster(name="plant", substrate="onprem", engine="ssh", nodes=NODES), path)
    return path


def check(document: Path, monkeypatch: pytest.MonkeyPatch, *found: Finding, words: tuple[str, ...] = ()) -> Any:
    asked: list[dict[str, Any]] = []

    def stand_in(cluster: Cluster, names: set[str], site: object, **more: Any) -> Report:
        asked.append({"names": sorted(names), **more})
        return Report(cluster.name, tuple(sorted(names)), found)

    monkeypatch.setattr(examine, "examine", stand_in)
    ended = CliRunner().invoke(app, ["check", "--cluster", str(document), *words])
    return ended, asked


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([], Exit.OK),
        ([LATE], Exit.OK),
        ([AWAY], Exit.FAILED),
        ([AWAY, SUDO], Exit.USAGE),
        ([SUDO], Exit.USAGE),
        ([JOURNAL], Exit.USAGE),
    ],
)
def test_exit_codes(document: Path, monkeypatch: pytest.MonkeyPatch, found: list[Finding], code: Exit) -> None:
    assert check(document, monkeypatch, *found)[0].exit_code == code


def test_the_list_shows_all_and_reads_no_markup(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = check(document, monkeypatch, SUDO, JOURNAL, LATE)[0].output
    assert text.index("in the way") < text.index("needs an agreement") < text.index("to know")
    assert "gate-1  sudo: sudo asks ops for a password" in text
    assert "what to do: let it run everything" in text
    assert "would be cut [journal]" in text
    assert "[bold]30 s behind[/bold]" in text
    assert "a deploy would not be begun: 1 in the way, 1 to agree to" in text


def test_the_document_for_scripts(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, asked = check(document, monkeypatch, JOURNAL, words=("--json", "--limit", "office", "--yes-to", "journal"))
    read = json.loads(ended.stdout)
    assert read["may_deploy"] is False
    assert read["machines"]["office"]["answered"] is False
    assert read["findings"] == [
        {
            "machine": "office",
            "topic": "journal",
            "level": "consent",
            "what": "would be cut",
            "what_to_do": "set a knob",
            "consent": "journal",
        }
    ]
    assert asked[0]["names"] == ["office"]
    assert asked[0]["yes_to"] == ("journal",)


def test_an_agreement_that_does_not_exist(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, asked = check(document, monkeypatch, words=("--yes-to", "everything"))
    assert isinstance(ended.exception, UsageError)
    assert "no-memory-limit" in str(ended.exception)
    assert asked == []


def test_a_deploy_is_refused_with_everything_in_one_list() -> None:
    report = Report("plant", ("office", "gate-1"), (SUDO, AWAY, JOURNAL, LATE))
    with pytest.raises(UsageError) as refused:
        examine.refuse(report)
    text = str(refused.value)
    assert text.startswith("3 things are in the way; nothing was changed")
    assert "- gate-1: sudo: sudo asks ops for a password" in text
    assert "[--yes-to journal]" in text
    assert "`--limit` leaves machines out" in text
    assert "30 s behind" not in text
    examine.refuse(Report("plant", ("office",), (LATE,)))


def test_agreements_go_on_to_the_roles_only_where_some_were_given() -> None:
    assert examine.agreement(["docker-restart"]) == {"shoal_yes_to": ["docker-restart"]}
    assert examine.agreement([]) == {}, "else the group data would be overruled"
