"""Operations of role `registry`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import systemd

from roles.common.notes import left, will
from roles.common.operations import RECORDS, Commands
from roles.common.script import script
from roles.registry.facts import FILES, Answers, DistributionsService, Repositories, UnitsWithoutFile, Unused

PACKAGES = str(RECORDS / "registry.packages")


@operation()
def distributions_service_free(drop_in: str) -> Commands:
    """The distribution's own service of the registry without anything of ours: an owner's as he has it, one that came
    with our package at rest."""
    if host.get_fact(DistributionsService, drop_in=drop_in, packages=PACKAGES):
        yield script(FILES / "distribution.sh", DROP_IN=drop_in, PACKAGES=PACKAGES, ACT="yes")


@operation()
def storage_absent(folder: str) -> Commands:
    """The images of the site; where others have come to keep theirs in it, all of it stays."""
    repositories = host.get_fact(Repositories, folder=folder)
    if others := [name for name in repositories or () if name != "shoal"]:
        left(f"{folder}: the registry holds images that are not the site's: {', '.join(others)}")
    elif repositories is not None:
        will(f"remove {folder}, the registry's images")
        yield f"rm -rf -- {shlex.quote(folder)}"


@operation()
def units_forgotten(units: Sequence[str]) -> Commands:
    """systemd without units whose files are gone."""
    if host.get_fact(UnitsWithoutFile, units=tuple(units)):
        yield from systemd.daemon_reload._inner()


@operation()
def garbage_absent(config: str, unit: str) -> Commands:
    """Give back what no image uses any more. The registry stands still meanwhile, a second or two: it must not take
    anything in that is just being counted as unused, nor remember what is gone."""
    if not host.get_fact(Unused, config=config):
        host.noop("every part belongs to an image")
        return
    yield script(FILES / "garbage.sh", UNIT=unit, CONFIG=config)


@operation()
def answers(url: str, timeout_s: int) -> Commands:
    """Wait, with a deadline, until `url` gives an answer that is a success."""
    if not host.get_fact(Answers, url=url):
        yield script(FILES / "answers.sh", URL=url, TIMEOUT_S=str(timeout_s))
