"""Two nodes with two cameras each, watched, and a store: what the long trials of the cameras run on.

A spell is three minutes; `SHOAL_SPELL_S=600` makes it ten. The real engine where its program is named
(SHOAL_BACALHAU_BINARY).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster, Node
from shoal.deploys.run import run_deploy
from shoal.engines import choice as engines
from shoal.engines.bacalhau import release
from shoal.errors import ShoalError
from shoal.lab import state, store
from shoal.lab.down import down
from shoal.lab.spec import STORE, LabSpec
from shoal.lab.status import container_of
from shoal.lab.up import up
from shoal.paths import cluster_document
from shoal.site import camera_films
from shoal.site import document as site
from shoal.site.event_rules import EventRules, Rule
from shoal.site.watch import SiteWatch
from shoal.telling import to_stderr
from shoal.waiting import until
from shoal.watch import account as records
from shoal.watch.account import Account

NAME = os.environ.get("SHOAL_TEST_LAB", "watchtest")
SPELL_S = float(os.environ.get("SHOAL_SPELL_S", "180"))
WATCH = SiteWatch(img=320, stride=5, stride_most=5)
"""The stride does not give way: what is found depends on the footage alone."""
RULES = EventRules(
    quiet_s=5.0,
    longest_s=30.0,
    roll_before_s=2.0,
    roll_after_s=2.0,
    rule=(
        Rule(name="people", severity="alert", classes=("person",), cameras=("*-b",)),
        Rule(name="vehicles", severity="record", classes=("bicycle", "car", "truck", "bus")),
    ),
)
"""The films of cameras `a` are traffic and those of `b` a campus: each node has alerts and records."""


def eventually(holds: Callable[[], object], what: str, limit_s: float, every_s: float = 3.0) -> None:
    """Wait until it holds; a machine that boots and does not answer yet is waited for too. Fail with `what`."""

    def asked() -> bool | None:
        try:
            return bool(holds()) or None
        except ShoalError:
            return None

    assert until(asked, every_s=every_s, timeout_s=limit_s), f"{what}: not within {limit_s:.0f} s"


@dataclass
class Watched:
    """The lab."""

    cluster: Cluster
    engine: str

    def on(self, machine: str, script: str) -> str:
        """A root shell on a machine, through the lab's engine."""
        code, output = container_of(NAME, machine).exec_run(["sh", "-c", script])
        assert code == 0, output
        return bytes(output).decode()

    def lines(self, machine: str, files: str) -> list[dict[str, Any]]:
        """Documents of the files that match, one a line; the last one may be in the writing."""
        text = self.on(machine, f"cat {files}")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def accounts(self) -> dict[str, Account]:
        return {one.camera: one for node in self.cluster.compute for one in records.accounts(self.cluster, node)}

    def caught_up(self, limit_s: float = 600) -> dict[str, Account]:
        """The records, when all is looked at that is recorded by now."""
        films = {camera: {film.file for film in one.films} for camera, one in self.accounts().items()}

        def done() -> bool:
            return not any(films[camera] & set(one.waiting()) for camera, one in self.accounts().items())

        eventually(done, "all film is looked at", limit_s)
        return self.accounts()

    def usage(self, node: str) -> tuple[int, int]:
        """Resident kilobytes and open descriptors of a node's watch and recorders."""
        script = (
            "for p in $(pgrep -f '[s]hoal_detect|[r]ecorder.pyz'); do "
            "awk '/VmRSS/{print $2}' /proc/$p/status 2>/dev/null; ls /proc/$p/fd 2>/dev/null | wc -l; done"
        )
        numbers = [int(word) for word in self.on(node, script).split()]
        return sum(numbers[::2]), sum(numbers[1::2])

    def stored(self) -> list[str]:
        """Ids of the events with a document in the store, as often as they have one."""
        keys = store.objects(container_of(NAME, STORE))
        return [key.rpartition("/")[2].split(".")[0] for key in keys if key.endswith(".json")]

    def put_order(self) -> list[str]:
        """What was put into the store so far, by its keys in the outbox."""
        keys = store.put_order(container_of(NAME, STORE))
        assert all(key.startswith(f"{NAME}/") for key in keys)
        return [key.removeprefix(f"{NAME}/") for key in keys]

    def outbox(self, node: Node) -> list[dict[str, Any]]:
        """Every event that the node's outbox knows."""
        listed = self.on(node.name, "python3 /usr/local/lib/shoal/outbox.pyz events")
        return [json.loads(line) for line in listed.splitlines()]

    def arrived_once(self, accounts: dict[str, Account], limit_s: float = 300) -> int:
        """All events of the records are in the store, and nothing of them twice; how many there are."""
        published = [event for one in accounts.values() for event in one.published]
        assert len(published) == len(set(published))
        eventually(lambda: set(published) <= set(self.stored()), "all events arrive", limit_s)
        stored, puts = self.stored(), self.put_order()
        assert len(stored) == len(set(stored))
        assert len(puts) == len(set(puts))
        return len(published)


def brought_up(**knobs: Any) -> Iterator[Watched]:
    """The lab, deployed with these knobs of the roles, with a file of every camera that was looked at."""
    existed = state.load_facts(NAME) is not None
    if binary := os.environ.get("SHOAL_BACALHAU_BINARY"):
        release.add(Path(binary))
    cluster = up(LabSpec(name=NAME, compute=2, cameras=2), films=lambda: camera_films.films(say=to_stderr))
    # Always anew: the files that the last one names lie in its session's own cache.
    site.prepare(cluster, with_videos=False, events=RULES, say=to_stderr)
    site.set_watch(cluster.name, WATCH)
    choice = engines.choose("auto", cluster)
    reach = reaches.made(cluster_document(NAME), cluster)
    run_deploy(reach, "site", data=knobs, engine=choice, say=to_stderr, timeout_s=1800)
    made = Watched(cluster, choice.engine)
    eventually(lambda: all(one.looked for one in made.accounts().values()), "the first file of every camera", 300)
    yield made
    if not existed:
        assert down(NAME).clean
