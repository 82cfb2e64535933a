"""Results of a run brought home after it, of every node that is done."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from dataclasses import dataclass, field
from functools import partial

from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError, UsageError
from shoal.interrupts import ReportedInterrupt
from shoal.results import fetch as results
from shoal.results import record as runs
from shoal.results.damaged import DamagedResultsError
from shoal.results.record import Fetched, Outcome, RunRecord
from shoal.run.background import in_background
from shoal.run.outcomes import of_manifest
from shoal.ssh.failures import brief
from shoal.telling import Say

FETCHES_AT_ONCE = 4


def fetch_home(record: RunRecord, cluster: Cluster, say: Say) -> list[Fault]:
    """Bring home the results of every expected node that is done; the caller holds the run's lock.

    Each node is named, and the record saved with the outcome in its manifest, as soon as its results are home.
    Returns why the others' are not. Ctrl-C ends it at once: what came whole is kept.
    """
    faults: dict[str, Fault] = {}
    wanted = []
    for name, entry in record.nodes.items():
        found = next((node for node in cluster.nodes if node.name == name), None)
        if found:
            wanted.append(found)
        elif not entry.fetched:
            faults[name] = Fault(name, "is not in the cluster document any more")
    home = _Home(record, cluster, say, faults)
    fetches = [in_background(partial(home.bring, node)) for node in wanted]
    try:
        wait(fetches)
    except KeyboardInterrupt:
        home.leave()
        say(f"interrupted; what came whole is kept, `shoal results fetch {record.run}` brings the rest")
        raise ReportedInterrupt from None
    for fetch in fetches:
        fetch.result()  # a fault of this program's own
    return [faults[name] for name in record.nodes if name in faults]


@dataclass(slots=True)
class _Home:
    """Fetches at work; what they find is recorded and reported by one at a time."""

    record: RunRecord
    cluster: Cluster
    say: Say
    faults: dict[str, Fault]
    lock: threading.Lock = field(default_factory=threading.Lock)
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(FETCHES_AT_ONCE))
    left: bool = False

    def bring(self, node: Node) -> None:
        """One node's results, in a thread of their own."""
        place = runs.run_dir(self.record.run) / node.name
        with self.turns:
            if self.left:
                return
            try:
                fetched = results.fetch_node(
                    self.cluster,
                    node,
                    self.record.run,
                    place,
                    bring=self.record.bring,
                    tell=lambda text: self._say(f"{node.name}: {text}"),
                )
            except UsageError:
                raise  # of this machine's own documents: the same for every node
            except (ShoalError, OSError) as error:
                self._note_fault(node.name, error)  # this node's files are not home; the others' may come
            else:
                self._note(node.name, fetched)

    def leave(self) -> None:
        """From here on nothing is recorded or reported: fetches may be left behind in mid-work."""
        with self.lock:
            self.left = True

    def _say(self, text: str) -> None:
        with self.lock:
            if not self.left:
                self.say(text)

    def _note(self, name: str, fetched: Fetched) -> None:
        manifest = results.read_manifest(runs.run_dir(self.record.run) / name)
        with self.lock:
            if self.left:
                return
            self.record.nodes[name].outcome = of_manifest(manifest)[0]
            self.record.nodes[name].fetched = fetched
            runs.save(self.record)
            self.say(f"{name}: {fetched.files} files, {fetched.size_bytes / 1e6:.1f} MB, checked")

    def _note_fault(self, name: str, error: ShoalError | OSError) -> None:
        at_home = (runs.run_dir(self.record.run) / name / results.MANIFEST).is_file()
        with self.lock:
            if self.left:
                return
            self.faults[name] = Fault(name, _why_not_home(error))
            if isinstance(error, DamagedResultsError) and not at_home:
                self.record.nodes[name].outcome, self.record.nodes[name].fetched = Outcome.DAMAGED_RESULTS, None
                runs.save(self.record)


def _why_not_home(error: ShoalError | OSError) -> str:
    return error.in_one_line if isinstance(error, DamagedResultsError) else brief(error)
