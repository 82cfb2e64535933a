"""Results of a run brought home after it, of every node that is done."""

from __future__ import annotations

from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError, of_this_machine
from shoal.results import fetch as results
from shoal.results import record as runs
from shoal.results.damaged import DamagedResultsError
from shoal.results.record import Fetched, Outcome, RunRecord
from shoal.run.outcomes import of_manifest
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.telling import Say

FETCHES_AT_ONCE = 4


def fetch_home(record: RunRecord, cluster: Cluster, say: Say) -> list[Fault]:
    """Bring home the results of every expected node that is done; the caller holds the run's lock.

    Saves the record after each node, with the outcome that its manifest tells. Returns why the others are not home.
    """
    faults = []
    wanted = []
    for name, entry in record.nodes.items():
        found = next((node for node in cluster.nodes if node.name == name), None)
        if found:
            wanted.append(found)
        elif not entry.fetched:
            faults.append(Fault(name, "is not in the cluster document any more"))

    def bring(node: Node) -> Fetched:
        place = runs.run_dir(record.run) / node.name
        try:
            return results.fetch_node(cluster, node, record.run, place, tell=lambda text: say(f"{node.name}: {text}"))
        except OSError as error:
            raise of_this_machine(error) from error  # this node's files are not home; the others' may come

    for name, answer in ssh.on_each(wanted, bring, at_once=FETCHES_AT_ONCE).items():
        if isinstance(answer, ShoalError):
            faults.append(Fault(name, _why_not_home(answer)))
            at_home = (runs.run_dir(record.run) / name / results.MANIFEST).is_file()
            if isinstance(answer, DamagedResultsError) and not at_home:
                record.nodes[name].outcome, record.nodes[name].fetched = Outcome.DAMAGED_RESULTS, None
                runs.save(record)
            continue
        manifest = results.read_manifest(runs.run_dir(record.run) / name)
        record.nodes[name].outcome = of_manifest(manifest)[0]
        record.nodes[name].fetched = answer
        runs.save(record)
        say(f"{name}: {answer.files} files, {answer.size_bytes / 1e6:.1f} MB, checked")
    return faults


def _why_not_home(error: ShoalError) -> str:
    return error.in_one_line if isinstance(error, DamagedResultsError) else brief(error)
