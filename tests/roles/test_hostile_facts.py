"""What a machine says to a role is a stranger's word: every fact reads it or fails that machine in a line, and so does
every role that takes a fact's lines apart."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.facts import FactBase
from role_harness import run

import roles
from roles import bacalhau, base, docker, firewall, outbox, recorder, registry, tailscale, videos, yolov5
from roles.bacalhau.operations import data_version_fault
from roles.common.facts import NodeFact
from roles.firewall.operations import machine_addresses, own_connection, sshd_ports
from shoal.errors import ShoalError

WORDS = st.sampled_from(
    ["", " ", "=", "Config=", "Config=1e999", "StartedUsec=x", "unit", "place a", "ours ²", "ours 9" + "9" * 5000,
     "directory|755 root root|/x", "directory", "755 root", "LISTEN 0 1 *:99999999999 *:*", " installed", "installed",
     "{", "[" * 20_000, '{"files": {"a": [1, 2]}}', "daemon ", "package", "record {", "limit-cpus 1e9", "null",
     "---prefs", "docker:x:999", "RepoVersion: x", "RepoVersion: 99999999999", "1.2.3.4 5 ::1 70000", "²", "\ud800",
     "\x1b]52;c;x\x07"]
)  # fmt: skip
LINES = st.lists(WORDS | st.text(max_size=60), min_size=1, max_size=6)
QUIETLY = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)


def facts() -> list[type[FactBase[Any]]]:
    """Every fact of every role."""
    for module in pkgutil.walk_packages(roles.__path__, "roles."):
        if ".files" not in module.name and module.name != "roles.videos.state" and not module.name.endswith(".take"):
            importlib.import_module(module.name)

    def below(kind: type[Any]) -> list[type[Any]]:
        return [each for one in kind.__subclasses__() for each in (one, *below(one))]

    return [one for one in below(FactBase) if one.__module__.startswith("roles.") and one is not NodeFact]


@pytest.mark.parametrize("fact", facts(), ids=lambda fact: fact.__name__)
def test_every_fact_reads_or_fails_its_machine_in_a_line(fact: type[FactBase[Any]]) -> None:
    assert issubclass(fact, NodeFact)

    @QUIETLY
    @given(LINES)
    @example(["Config=x"])
    @example(["place a"])
    @example(["755 root root"])
    def reads(lines: list[str]) -> None:
        try:
            fact().process(lines)
        except FactProcessError as error:
            assert len(str(error)) < 300
            assert str(error).isprintable()

    reads()


class Anything(dict[str, list[str]]):
    """The same lines to whatever is asked."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__({"": lines})


def addresses() -> None:
    machine_addresses()
    sshd_ports()
    own_connection({})


@pytest.mark.parametrize(
    "deploy",
    [base.install, base.remove, docker.install, docker.remove, registry.install, registry.remove, videos.install,
     videos.remove, bacalhau.remove, firewall.install, firewall.remove, outbox.remove, recorder.remove,
     tailscale.remove, yolov5.remove, data_version_fault, addresses],
    ids=lambda deploy: f"{deploy.__module__.rpartition('.')[2]}.{deploy.__name__}",
)  # fmt: skip
def test_a_role_ends_in_words_whatever_its_machine_says(deploy: Any) -> None:
    @settings(QUIETLY, max_examples=25)
    @given(LINES)
    @example(["docker:x:999"])
    @example(["RepoVersion: x"])
    @example(["²"])
    def ends(lines: list[str]) -> None:
        try:
            run(deploy, Anything(lines), node="gate-1")
        except ShoalError as error:
            assert error.message
        except PyinfraError as error:  # it was the only machine
            assert str(error) == "No hosts remaining!"

    ends()
