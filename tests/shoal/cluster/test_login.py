"""The user that ssh's own configuration names for a machine; asked of the real `ssh`."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cluster import load, login
from shoal.cluster.document import SshAccess
from shoal.errors import UsageError

DOCUMENT = """
[cluster]
name = "depot"
[ssh]
config_file = "ssh config"
[[node]]
name = "office"
roles = ["requester"]
address = "office"
[[node]]
name = "gate-1"
roles = ["compute"]
address = "gate-1"
user = "maint"
[[node]]
name = "gate-2"
roles = ["compute"]
address = "10.0.0.3"
"""
CONFIG = """
Host office
  HostName 10.0.0.1
  Port 2222
  User ops
Host gate-1
  User ops
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "onprem.toml"
    path.write_text(DOCUMENT)
    (tmp_path / "ssh config").write_text(CONFIG)
    return path


def test_a_user_that_is_left_out_is_the_ssh_configurations(document: Path) -> None:
    cluster = load.load_path(document)
    assert [node.user for node in cluster.nodes] == ["ops", "maint", "root"]
    # What is still nobody's choice stays so: a port that is left out is ssh's own matter.
    assert "port" not in cluster.node("office").model_fields_set
    assert "user" not in cluster.node("gate-2").model_fields_set


def test_a_machine_that_comes_in_has_it_too(document: Path) -> None:
    access = SshAccess(config_file=document.parent / "ssh config")
    assert login.filled_entry(access, {"address": "office"}) == {"address": "office", "user": "ops"}
    assert login.filled_entry(access, {"address": "office", "user": "root"})["user"] == "root"
    assert login.filled_entry(access, {"address": "10.9.9.9"}) == {"address": "10.9.9.9"}


def test_a_name_that_the_document_cannot_have_is_refused(document: Path) -> None:
    (document.parent / "ssh config").write_text("Host *\n  User Jane.Doe\n")
    with pytest.raises(UsageError, match=r"names user 'Jane\.Doe' for office") as caught:
        load.load_path(document)
    assert "write `user`" in str(caught.value)


def test_without_a_configuration_the_default_holds(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (document.parent / "ssh config").unlink()
    assert load.load_path(document).requester.user == "root"
    monkeypatch.setenv("PATH", "/nonexistent")
    assert load.load_path(document).requester.user == "root"
