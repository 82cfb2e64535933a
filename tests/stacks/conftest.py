"""Fixtures of the stack tests.

They need a pytest process of their own: gevent, which pyinfra's CLI brings, hangs Pulumi.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.stacks.engine import Engine
from tests.stacks.pulumi_cli import NoEngineError, pulumi_root

HERE = Path(__file__).parent

# Examples differ in time on a busy machine; the whole test has its limit from pytest.
settings.register_profile("stacks", deadline=None)
settings.load_profile("stacks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    patched = sys.modules.get("gevent.monkey")
    if patched is None or not getattr(patched, "saved", None):
        return
    reason = pytest.mark.skip(reason="gevent has patched this process and would hang Pulumi: use ./just test-stacks")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(reason)


@pytest.fixture(scope="session")
def pulumi_install() -> Path:
    """Folder of the real Pulumi, built on first use; skips where that cannot be."""
    try:
        return pulumi_root()
    except NoEngineError as missing:
        pytest.skip(f"no Pulumi engine: {missing}")


@pytest.fixture
def engine(pulumi_install: Path, tmp_path: Path) -> Iterator[Engine]:
    """The real engine with a home, a file backend and a passphrase of its own."""
    yield Engine.at(tmp_path / "pulumi", pulumi_install)
