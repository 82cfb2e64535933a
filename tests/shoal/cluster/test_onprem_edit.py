"""A machine more or less in onprem.toml: only its own lines change; what would say anything else is not written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shoal.check import examine
from shoal.cli.nodes import app
from shoal.cluster import onprem, onprem_edit
from shoal.deploys import run as deploys
from shoal.errors import UsageError
from shoal.paths import repository
from shoal.ssh import client as ssh

EXAMPLE = (repository() / "inventories" / "onprem.example.toml").read_text(encoding="utf-8")
NEW = {"roles": ["compute"], "arch": "arm64", "labels": {"site": "north"}, "address": "192.0.2.23", "name": "gate-3",
       "user": "ops"}  # fmt: skip
NEW_TEXT = """
[[node]]
name = "gate-3"
roles = ["compute"]
address = "192.0.2.23"
user = "ops"
arch = "arm64"
labels = { site = "north" }
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    where = tmp_path / "onprem.toml"
    where.write_text(EXAMPLE, encoding="utf-8")
    return where


def test_a_machine_more(path: Path) -> None:
    text, cluster = onprem_edit.with_machine(path, NEW)
    assert text == EXAMPLE + NEW_TEXT
    assert cluster.node("gate-3").labels == {"site": "north"}
    assert path.read_text(encoding="utf-8") == EXAMPLE  # nothing is written yet


def test_a_machine_more_and_gone_again_leaves_the_file_as_it_was(path: Path) -> None:
    path.chmod(0o600)
    onprem_edit.write(path, onprem_edit.with_machine(path, NEW)[0])
    text, cluster = onprem_edit.without_machines(path, ["gate-3"])
    onprem_edit.write(path, text)
    assert path.read_text(encoding="utf-8") == EXAMPLE
    assert path.stat().st_mode & 0o777 == 0o600
    assert [node.name for node in cluster.nodes] == ["office", "gate-1", "gate-2"]


def test_comments_stay_when_a_machine_goes(path: Path) -> None:
    text, cluster = onprem_edit.without_machines(path, ["gate-1"])
    assert [node.name for node in cluster.nodes] == ["office", "gate-2"]
    before, gone, after = (f"[[node]]\n{block}" for block in EXAMPLE.split("[[node]]\n")[1:])
    assert 'name = "gate-1"' in gone
    assert text == EXAMPLE.partition("[[node]]\n")[0] + before + "\n" + after
    assert "# Any number of machines have videos and run inference.\n" in text


@pytest.mark.parametrize(
    ("before", "names", "left"),
    [
        # No line end at the end, and comments between machines.
        ('[[node]]\nname="b"\n#own\nroles=["compute"]\naddress="b"\n\n# of c\n[[node]] # c\nname="c"\nroles=["compute"]'
         '\naddress="c"', ["b"], '# of c\n[[node]] # c\nname="c"\nroles=["compute"]\naddress="c"'),
        # A table of its own for labels, and values over several lines.
        ('[[ node ]]\nname="b"\nroles=[\n  "compute",\n]\naddress="b"\n[node.labels]\nsite="x"\n[[node]]\nname="c"\n'
         'roles=["compute"]\naddress="c"\n', ["b"], '[[node]]\nname="c"\nroles=["compute"]\naddress="c"\n'),
        # Two at once.
        ('[[node]]\nname="b"\nroles=["compute"]\naddress="b"\n\n[[node]]\nname="c"\nroles=["compute"]\naddress="c"\n\n'
         '[[node]]\nname="d"\nroles=["compute"]\naddress="d"\n# end\n', ["b", "d"],
         '[[node]]\nname="c"\nroles=["compute"]\naddress="c"\n\n# end\n'),
    ],
)  # fmt: skip
def test_forms_that_people_write(path: Path, before: str, names: list[str], left: str) -> None:
    head = '[cluster]\nname="d"\n\n[[node]]\nname="office"\nroles=["requester"]\naddress="a"\n\n'
    path.write_text(head + before, encoding="utf-8")
    text, _ = onprem_edit.without_machines(path, names)
    assert text == head + left
    again = onprem_edit.with_machine(path, NEW)[0]
    assert again.startswith(head + before)
    assert tomllib.loads(again)["node"][-1]["name"] == "gate-3"


def test_line_ends_of_another_system_stay(path: Path) -> None:
    path.write_bytes(EXAMPLE.replace("\n", "\r\n").encode())
    onprem_edit.write(path, onprem_edit.without_machines(path, ["gate-1"])[0])
    assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n") > 0
    assert [node.name for node in onprem.load(path).nodes] == ["office", "gate-2"]


def test_a_list_in_one_line_is_left_alone_and_the_person_told_what_to_write(path: Path) -> None:
    machines = '{name="a",roles=["requester"],address="a"},{name="b",roles=["compute"],address="b"},'
    machines += '{name="c",roles=["compute"],address="c"}'
    whole = f'node = [{machines}]\n[cluster]\nname="d"\n'
    path.write_text(whole, encoding="utf-8")
    with pytest.raises(UsageError, match="left as it is") as refused:
        onprem_edit.with_machine(path, NEW)
    assert '    name = "gate-3"' in str(refused.value)
    with pytest.raises(UsageError, match="left as it is") as refused:
        onprem_edit.without_machines(path, ["b"])
    assert "take the machines out of it yourself: b" in str(refused.value)
    assert path.read_text(encoding="utf-8") == whole


def test_a_header_inside_a_text_is_no_header(path: Path) -> None:
    """Counted by lines there would be one machine more than there is: nothing is written."""
    node = '[[node]]\nname="{0}"\nroles=["{1}"]\naddress="{0}"\n'
    text = '[cluster]\nname="d"\n[ssh]\nproxy_command="""\n[[node]]\n"""\n'
    text += node.format("a", "requester") + node.format("b", "compute") + node.format("c", "compute")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="left as it is"):
        onprem_edit.without_machines(path, ["b"])


@pytest.mark.parametrize("names", [["office"], ["gate-1", "gate-2"]])
def test_a_rest_that_is_no_cluster_is_refused(path: Path, names: list[str]) -> None:
    with pytest.raises(UsageError, match="does not describe a cluster"):
        onprem_edit.without_machines(path, names)


def test_a_document_with_faults_is_not_touched(path: Path) -> None:
    path.write_text(EXAMPLE.replace('name = "gate-1"', 'name = "Gate 1"'), encoding="utf-8")
    with pytest.raises(UsageError, match="does not describe a cluster"):
        onprem_edit.with_machine(path, NEW)


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    onprem_edit.write(link, onprem_edit.with_machine(link, NEW)[0])
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8").endswith(NEW_TEXT)


def test_the_verbs_write_the_persons_document(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "run", lambda *_, **__: ssh.Completed(0, b"", ""))
    deployed: list[tuple[str, ...]] = []

    class Deployed:
        changed = 0

    def run_deploy(document: Path, deploy: str, *, limit: list[str], **more: Any) -> Deployed:
        deployed.append((deploy, *limit))
        return Deployed()

    monkeypatch.setattr(deploys, "run_deploy", run_deploy)
    monkeypatch.setattr(examine, "before", lambda *_, **__: None)
    monkeypatch.setenv("SHOAL_CACHE", str(path.parent / "cache"))
    path.write_text(EXAMPLE.replace('engine = "auto"', 'engine = "ssh"'), encoding="utf-8")
    words = ["add", "gate-3=ops@192.0.2.23", "--label", "site=north", "--arch", "arm64", "--cluster", str(path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert path.read_text(encoding="utf-8").endswith(NEW_TEXT)
    done = CliRunner().invoke(app, ["remove", "gate-3", "--cluster", str(path)])
    assert done.exit_code == 0, done.output
    assert path.read_text(encoding="utf-8") == EXAMPLE.replace('engine = "auto"', 'engine = "ssh"')
    assert deployed == [("site", "gate-3"), ("teardown", "gate-3")]


def test_a_wrong_machine_is_told_in_the_words_of_the_file(path: Path) -> None:
    with pytest.raises(UsageError, match="does not describe a cluster") as refused:
        onprem_edit.with_machine(path, {**NEW, "arch": "mips", "labels": {"Site": "x y"}})
    assert {fault.where for fault in refused.value.faults} == {"node[3].arch", "node[3].labels.Site"}
