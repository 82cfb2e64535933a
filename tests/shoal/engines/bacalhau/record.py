"""Record what a real engine answers, for the stand-in that replays it (see standin.py): one file a scenario.

    python tests/shoal/engines/bacalhau/record.py --binary PATH --image REFERENCE@DIGEST [--only NAME ...]

Starts an orchestrator and three compute services on loopback in a temporary folder, against the Docker engine that
DOCKER_HOST names. The image needs /bin/busybox and has to be on that engine already, pulled by digest. Needs root
(the engine makes run folders) and takes about six minutes. Addresses, keys and paths are replaced before anything is
written.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

HERE = Path(__file__).resolve().parent / "recordings"
API_PORT, NATS_PORT = 31234, 34222
KEY = "recorded-key-0123456789abcdef"
TOKEN = "recorded-token-0123456789abcdef"
TERMINAL = {"Completed", "Failed", "Stopped"}


class Site:
    """The services, each a process of its own."""

    def __init__(self, binary: Path, root: Path) -> None:
        self.binary, self.root = binary, root
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (root / "videos").mkdir()
        (root / "runs").mkdir()

    def config(self, name: str, **changes: Any) -> dict[str, Any]:
        common = {
            "DisableAnalytics": True,
            "UpdateConfig": {"Interval": "0s"},
            "InputSources": {"Disabled": ["s3"]},
            "Publishers": {"Disabled": ["s3", "s3managed", "local"]},
        }
        if name == "requester":
            user = {
                "Alias": "shoal",
                "APIKey": KEY,
                "Capabilities": [{"Actions": ["read:*", "write:job", "write:node"]}],
            }
            return {
                **common,
                "API": {"Host": "127.0.0.1", "Port": API_PORT, "Auth": {"Users": [user]}},
                "Orchestrator": {
                    "Enabled": True, "Host": "127.0.0.1", "Port": NATS_PORT, "Auth": {"Token": TOKEN},
                    "NodeManager": {"ManualApproval": changes.get("manual", False)},
                },
            }  # fmt: skip
        number = int(name[-1])
        config = {
            **common,
            "API": {"Host": "127.0.0.1", "Port": API_PORT + number},
            "Compute": {
                "Enabled": True,
                "Orchestrators": [f"nats://127.0.0.1:{NATS_PORT}"],
                "Auth": {"Token": changes.get("token", TOKEN)},
                "AllowListedLocalPaths": [f"{self.root}/videos", f"{self.root}/runs/*:rw"],
            },
            "Labels": {"site": "north" if number == 1 else "south"},
        }
        if changes.get("local"):
            config["JobAdmissionControl"] = {"Locality": "local"}
        return config

    def start(self, name: str, **changes: Any) -> None:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config(name, **changes)))
        log = (folder / "log").open("ab")
        self.processes[name] = subprocess.Popen(
            [str(self.binary), "serve", "-c", str(folder / "config.yaml"), "--name", name],
            cwd=folder, stdout=log, stderr=log, env={**os.environ, "BACALHAU_DIR": str(folder / "data")},
        )  # fmt: skip

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(20)

    def end_all(self) -> None:
        for name in list(self.processes):
            self.processes[name].send_signal(signal.SIGCONT)
            self.end(name)


class Recorder:
    """An HTTP and websocket client that notes every distinct answer."""

    def __init__(self, site: Site, image: str) -> None:
        self.site, self.image = site, image
        self.exchanges: list[dict[str, Any]] = []
        self.logs: dict[str, dict[str, Any]] = {}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{API_PORT}/api/v1", trust_env=False, timeout=40,
            headers={"Authorization": f"Bearer {KEY}"},
        )  # fmt: skip

    def call(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: Any = None, **more: Any
    ) -> Any:
        answer = self.client.request(method, path, params=query, json=body, **more)
        decoded = answer.json() if answer.content.strip() else None
        exchange = {"method": method, "path": path, "query": query or {}, "status": answer.status_code, "body": decoded}
        earlier = [e for e in self.exchanges if all(e[k] == exchange[k] for k in ("method", "path", "query"))]
        if not earlier or earlier[-1] != exchange:
            self.exchanges.append(exchange)
        return decoded

    def wait_for(self, what: str, holds: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise SystemExit(f"record: {what} did not come about within {timeout_s:.0f} s")
            time.sleep(0.2)  # the pause between two looks, which the deadline ends

    def connected(self, *names: str) -> None:
        def hold() -> bool:
            try:
                answer = self.client.get("/orchestrator/nodes").json()
            except httpx.HTTPError:
                return False
            states = {n["Info"]["NodeID"]: n["ConnectionState"]["Status"] for n in answer["Nodes"]}
            return all(states.get(name) == "CONNECTED" for name in names)

        self.wait_for(f"connection of {', '.join(names)}", hold, 90)

    def job(self, run: str, script: str, **changes: Any) -> dict[str, Any]:
        inputs = [_input(f"{self.site.root}/videos", "/videos", False)]
        inputs.append(_input(changes.get("state") or f"{self.site.root}/runs/{run}", "/state", True))
        nodes = changes.get("nodes", ("compute-1", "compute-2"))
        timeout_s = changes.get("timeout_s", 60)
        return {
            "Name": f"shoal-{run}-a1",
            "Namespace": "default",
            "Type": "ops",
            "Labels": {"shoal-run": run, "shoal-attempt": "1"},
            "Constraints": [{"Key": "name", "Operator": "in", "Values": list(nodes)}],
            "Tasks": [
                {
                    "Name": "detect",
                    "Engine": {
                        "Type": "docker",
                        "Params": {
                            "Image": changes.get("image", self.image),
                            "Entrypoint": ["/bin/busybox", "sh", "-c"],
                            "Parameters": [script],
                        },
                    },
                    "InputSources": inputs,
                    "Resources": {"CPU": changes.get("cpu", "0.2"), "Memory": "64MB"},
                    "Network": {"Type": "None"},
                    "Timeouts": {"TotalTimeout": timeout_s, "ExecutionTimeout": timeout_s},
                }
            ],
        }

    def submit(self, run: str, script: str, **changes: Any) -> str:
        answer = self.call("PUT", "/orchestrator/jobs", body={"Job": self.job(run, script, **changes)})
        return str(answer["JobID"])

    def look(self, job: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.call("GET", f"/orchestrator/jobs/{job}", query={"include": "executions"})
        return answer

    def until_over(self, job: str, timeout_s: float = 60) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def over() -> bool:
            seen.update(self.look(job))
            return seen["Job"]["State"]["StateType"] in TERMINAL

        self.wait_for(f"the end of {job}", over, timeout_s)
        return seen

    def read_logs(self, job: str, execution: str) -> None:
        address = f"ws://127.0.0.1:{API_PORT}/api/v1/orchestrator/jobs/{job}/logs?execution_id={execution}&follow=true"
        frames, code = [], None
        with connect(address, additional_headers={"Authorization": f"Bearer {KEY}"}, proxy=None) as socket:
            frames = [str(frame) for frame in socket]
            code = socket.close_code
        self.logs[execution] = {"frames": frames, "close_code": code}

    def read_all_logs(self, job: str) -> None:
        for execution in self.look(job)["Executions"]["Items"]:
            self.read_logs(job, execution["ID"])

    def by_label(self, run: str) -> None:
        self.call("GET", "/orchestrator/jobs", query={"labels": f"shoal-run={run}", "limit": "1000"})

    def nodes(self) -> None:
        self.call("GET", "/orchestrator/nodes")


def _input(path: str, target: str, writable: bool) -> dict[str, Any]:
    params = {"SourcePath": path, "ReadWrite": writable, "CreateAs": "dir" if writable else "noCreate"}
    return {"Source": {"Type": "local", "Params": params}, "Alias": target[1:], "Target": target}


COUNT = "i=1; while [ $i -le {n} ]; do echo line $i; /bin/busybox sleep 1; i=$((i+1)); done"


def finished(r: Recorder) -> None:
    """Two nodes run to a good end; logs are read while they run."""
    r.by_label("finished")
    job = r.submit("finished", COUNT.format(n=3) + "; echo to stderr >&2")
    r.wait_for("executions", lambda: len(r.look(job)["Executions"]["Items"]) == 2)
    r.read_all_logs(job)
    r.until_over(job)
    r.by_label("finished")


def non_zero(r: Recorder) -> None:
    """The container ends with 3: the engine calls that completed."""
    job = r.submit("non-zero", "echo a fault; exit 3")
    r.until_over(job)
    r.read_all_logs(job)


def memory_failed(r: Recorder) -> None:
    """Out of memory as the engine tells it."""
    r.until_over(r.submit("memory-failed", "exec /bin/busybox dd if=/dev/zero of=/dev/null bs=200M count=1"))


def memory_137(r: Recorder) -> None:
    """Out of memory that the engine overlooks: completed, exit code 137 (here said by the container itself)."""
    r.until_over(r.submit("memory-137", "exit 137"))


def timed_out(r: Recorder) -> None:
    """The time limit."""
    r.until_over(r.submit("timed-out", "/bin/busybox sleep 30", timeout_s=2))


def no_image(r: Recorder) -> None:
    """An image that is on no node, in a registry that does not answer."""
    r.until_over(r.submit("no-image", "true", image="127.0.0.1:31999/none/image:1"))


def not_allowed(r: Recorder) -> None:
    """A path that the nodes do not allow."""
    r.until_over(r.submit("not-allowed", "true", state="/etc/elsewhere"))


def bid_rejected(r: Recorder) -> None:
    """Locality `local`: the node declines, and the job is completed without it."""
    job = r.submit("bid-rejected", "true", state="/etc/elsewhere", nodes=("compute-3",))
    r.until_over(job)


def too_much(r: Recorder) -> None:
    """More CPU than any node has."""
    r.until_over(r.submit("too-much", "true", cpu="500"))


def one_missing(r: Recorder) -> None:
    """One of the expected nodes is not there: completed without a word about it."""
    r.until_over(r.submit("one-missing", "true", nodes=("compute-1", "compute-9")))


def name_taken(r: Recorder) -> None:
    """The same job twice: the engine takes the second for an update, and says nothing changed."""
    job = r.submit("name-taken", "true")
    r.until_over(job)
    r.call("PUT", "/orchestrator/jobs", body={"Job": r.job("name-taken", "true")})
    r.by_label("name-taken")


def stopped(r: Recorder) -> None:
    """Stopped on request, and asked again."""
    job = r.submit("stopped", "/bin/busybox sleep 60")
    r.wait_for("executions", lambda: len(r.look(job)["Executions"]["Items"]) == 2)
    r.call("DELETE", f"/orchestrator/jobs/{job}", query={"reason": "asked"})
    r.until_over(job)
    r.wait_for("the executions' end", lambda: all(_cancelled(one) for one in r.look(job)["Executions"]["Items"]))
    r.call("DELETE", f"/orchestrator/jobs/{job}", query={"reason": "asked"})


def service_killed(r: Recorder) -> None:
    """One compute service killed in mid-job and started again; its container runs on."""
    job = r.submit("service-killed", COUNT.format(n=8))
    r.wait_for("executions", lambda: len(r.look(job)["Executions"]["Items"]) == 2)
    time.sleep(2)  # the containers are to be well under way
    r.site.end("compute-1", signal.SIGKILL)
    r.site.start("compute-1")
    r.until_over(job, 120)
    r.connected("compute-1")


def node_cut(r: Recorder) -> None:
    """One compute service silent for longer than the orchestrator waits, then back."""
    job = r.submit("node-cut", COUNT.format(n=12), timeout_s=300)
    r.wait_for("executions", lambda: len(r.look(job)["Executions"]["Items"]) == 2)
    r.site.processes["compute-1"].send_signal(signal.SIGSTOP)
    r.until_over(job, 200)
    r.nodes()
    r.site.processes["compute-1"].send_signal(signal.SIGCONT)
    r.connected("compute-1")
    r.nodes()


def orchestrator_restarted(r: Recorder) -> None:
    """The orchestrator restarted in mid-job."""
    job = r.submit("orchestrator-restarted", COUNT.format(n=20), timeout_s=300)
    r.wait_for("executions", lambda: len(r.look(job)["Executions"]["Items"]) == 2)
    time.sleep(2)  # the containers are to be well under way
    r.site.end("requester", signal.SIGKILL)
    r.site.start("requester")
    r.wait_for("the orchestrator", lambda: _answers(r))
    r.nodes()
    r.until_over(job, 200)
    r.connected("compute-1", "compute-2", "compute-3")


def orchestrator_wiped(r: Recorder) -> None:
    """The orchestrator killed and its disk lost in mid-job: it knows nothing of the job any more."""
    job = r.submit("orchestrator-wiped", COUNT.format(n=5))
    r.wait_for("executions", lambda: len(r.look(job)["Executions"]["Items"]) == 2)
    r.site.end("requester", signal.SIGKILL)
    shutil.rmtree(r.site.root / "requester" / "data")
    r.site.start("requester")
    r.wait_for("the orchestrator", lambda: _answers(r))
    r.look(job)
    r.by_label("orchestrator-wiped")
    r.connected("compute-1", "compute-2", "compute-3")


def waiting(r: Recorder) -> None:
    """A node that is busy with another run: the second waits for its turn, and its logs with it."""
    first = r.submit("waiting-first", COUNT.format(n=6), cpu="1.2", nodes=("compute-1",))
    r.wait_for("executions", lambda: len(r.look(first)["Executions"]["Items"]) == 1)
    second = r.submit("waiting-second", COUNT.format(n=2), cpu="1.2", nodes=("compute-1",))
    r.wait_for("executions", lambda: len(r.look(second)["Executions"]["Items"]) == 1)
    r.read_all_logs(second)
    r.until_over(second)
    r.look(first)


def unauthorised(r: Recorder) -> None:
    """A wrong key."""
    wrong = {"Authorization": "Bearer wrong-key"}
    r.call("GET", "/orchestrator/nodes", headers=wrong)
    r.call("GET", "/agent/alive", headers=wrong)
    address = f"ws://127.0.0.1:{API_PORT}/api/v1/orchestrator/jobs/j-0/logs?execution_id=e-0&follow=true"
    try:
        connect(address, additional_headers=wrong, proxy=None).close()
    except InvalidStatus as error:
        r.logs["e-0"] = {"rejected": error.response.status_code}


def membership(r: Recorder) -> None:
    """Nodes that wait for approval, are approved, gone and taken out of the list."""
    for name in ("compute-1", "compute-2", "compute-3", "requester"):
        r.site.end(name)
    shutil.rmtree(r.site.root / "requester" / "data")
    r.site.start("requester", manual=True)
    r.site.start("compute-1")
    r.connected("compute-1")
    r.nodes()
    r.call(
        "PUT", "/orchestrator/nodes/compute-1", body={"Action": "approve", "Message": "asked", "NodeID": "compute-1"}
    )
    r.nodes()
    r.call(
        "PUT", "/orchestrator/nodes/compute-1", body={"Action": "approve", "Message": "asked", "NodeID": "compute-1"}
    )
    r.site.end("compute-1")
    r.wait_for("the silence to be seen", lambda: _status(r, "compute-1") == "DISCONNECTED", 120)
    r.nodes()
    r.call("PUT", "/orchestrator/nodes/compute-1", body={"Action": "delete", "Message": "asked", "NodeID": "compute-1"})
    r.call("PUT", "/orchestrator/nodes/compute-1", body={"Action": "delete", "Message": "asked", "NodeID": "compute-1"})
    r.nodes()


def _cancelled(execution: dict[str, Any]) -> bool:
    return bool(execution["ComputeState"]["StateType"] == 11)


def _answers(r: Recorder) -> bool:
    try:
        return r.client.get("/agent/alive").status_code == 200
    except httpx.HTTPError:
        return False


def _status(r: Recorder, name: str) -> str:
    answer = r.client.get("/orchestrator/nodes").json()
    return next((str(n["ConnectionState"]["Status"]) for n in answer["Nodes"] if n["Info"]["NodeID"] == name), "")


SCENARIOS: tuple[Callable[[Recorder], None], ...] = (
    finished, non_zero, memory_failed, memory_137, timed_out, no_image, not_allowed, bid_rejected, too_much,
    one_missing, name_taken, stopped, waiting, unauthorised, service_killed, node_cut, orchestrator_restarted,
    orchestrator_wiped, membership,
)  # fmt: skip


def rendered(document: dict[str, Any]) -> str:
    """JSON with an answer a line: readable enough, and a tenth of the lines."""
    head = "".join(f"{json.dumps(key)}: {json.dumps(document[key])},\n" for key in ("engine", "what"))
    answers = ",\n".join(json.dumps(exchange) for exchange in document["exchanges"])
    return f'{{\n{head}"exchanges": [\n{answers}\n],\n"logs": {json.dumps(document["logs"])}\n}}\n'


def redact(text: str, root: Path, image: str) -> str:
    """Nothing of the machine that recorded is left in `text`."""
    text = text.replace(str(root), "/srv").replace(KEY, "KEY").replace(TOKEN, "TOKEN")
    text = text.replace(image.partition("/")[0] + "/", "registry.example:5000/")
    text = re.sub(r'("bacalhau\.org/server\.instance\.id": )"[0-9a-f]+"', r'\1"0"', text)
    return re.sub(r'"(GitCommit|BuildDate)": "[^"]*"', r'"\1": ""', text)


@contextmanager
def _site(binary: Path) -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="shoal-record-"))
    site = Site(binary, root)
    try:
        yield site
    finally:
        site.end_all()
        shutil.rmtree(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--image", required=True, help="with /bin/busybox, by digest, on the engine already")
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    with _site(options.binary.resolve()) as site:
        site.start("requester")
        first = Recorder(site, options.image)
        first.wait_for("the orchestrator", lambda: _answers(first))
        for number in (1, 2, 3):
            site.start(f"compute-{number}", local=number == 3)
        first.connected("compute-1", "compute-2", "compute-3")
        version = first.client.get("/agent/version").json()["GitVersion"]
        for scenario in SCENARIOS:
            name = scenario.__name__
            if options.only and name not in options.only:
                continue
            recorder = Recorder(site, options.image)
            recorder.nodes()  # what a runner asks first
            scenario(recorder)
            document = {
                "engine": version, "what": (scenario.__doc__ or "").strip(),
                "exchanges": recorder.exchanges, "logs": recorder.logs,
            }  # fmt: skip
            (HERE / f"{name}.json").write_text(redact(rendered(document), site.root, options.image))
            sys.stderr.write(f"{name}: {len(recorder.exchanges)} answers\n")


if __name__ == "__main__":
    main()
