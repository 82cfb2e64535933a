"""The order of operations is the one that pyinfra reckons by itself."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

import pyinfra
import pytest
from pyinfra.api.state import State
from pyinfra.api.util import get_operation_order_from_stack

from shoal.deploys import operation_order


def both(state: State) -> tuple[list[int], list[int]]:
    orders = [order(state) for order in (get_operation_order_from_stack, operation_order.from_frames)]
    return orders[0], orders[1]


def state(deploy: str | None) -> State:
    return cast(State, SimpleNamespace(current_deploy_filename=deploy, current_op_file_number=7))


def in_a_deploy(name: str, given: State) -> tuple[list[int], list[int]]:
    """As pyinfra runs a deploy file: compiled under its own name, a role of it calling deeper."""
    text = "\n\ndef role():\n    return both(state)\n\n\nfound = role()\n"
    names: dict[str, Any] = {"both": both, "state": given}
    exec(compile(text, name, "exec"), names)
    return cast(tuple[list[int], list[int]], names["found"])


@pytest.mark.parametrize("cli", [True, False])
@pytest.mark.parametrize("deploy", ["deploy/site.py", None])
def test_the_same_numbers_as_pyinfras(deploy: str | None, cli: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyinfra, "is_cli", cli)
    theirs, ours = in_a_deploy("deploy/site.py", state(deploy))
    assert ours == theirs
    if deploy == "deploy/site.py":
        assert ours[int(cli) :][:2] == [7, 4], "the deploy file's call, and the role's"


def test_pyinfra_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = import_module("pyinfra.api.operation")
    monkeypatch.setattr(operation, "get_operation_order_from_stack", get_operation_order_from_stack)
    operation_order.use()
    assert operation.get_operation_order_from_stack is operation_order.from_frames
