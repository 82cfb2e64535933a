"""What a compute node lets the engine run: the probe's word on a job, and the guard's on the container itself."""

from __future__ import annotations

import io
import itertools
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import TypeAdapter

from roles.bacalhau.config import policy
from roles.bacalhau.defaults import AllowedJob, Bacalhau
from roles.bacalhau.facts import FILES
from shoal.engines.container import docker_run
from shoal.jobs import Values, render
from shoal.site.allowed import kind_of_job

IMAGE = "192.0.2.10:5000/shoal/detector@sha256:" + "d" * 64
OTHER = "192.0.2.10:5000/shoal/detector@sha256:" + "e" * 64
MAKERS = "docker.io/ultralytics/yolov5@sha256:" + "f" * 64


@pytest.fixture(scope="module")
def admission() -> ModuleType:
    return imported("admission")


@pytest.fixture(scope="module")
def guard(admission: ModuleType) -> ModuleType:
    return imported("docker_guard")


def imported(name: str) -> ModuleType:
    """A program of the role as it is on a node: in one folder with the others."""
    sys.path.insert(0, str(FILES))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(FILES))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The policy of a deploy, and the record of the image that it pinned."""
    return written(tmp_path, Bacalhau())


def written(folder: Path, knobs: Bacalhau, image: str | None = IMAGE) -> Path:
    record = folder / "image.json"
    record.unlink(missing_ok=True)
    if image:
        record.write_text(json.dumps({"reference": image}))
    path = folder / "admission.json"
    path.write_text(
        json.dumps({**json.loads(policy(knobs)), "image_record": str(record), "image_needs": str(folder / "needs")})
    )
    return path


def job(template: str = "yolov5", image: str = IMAGE, **more: Any) -> dict[str, Any]:
    """A job as `shoal run` makes it."""
    values = {"run": "r1", "attempt": 1, "weights_name": "w", "weights_sha256": "a" * 64, "cpu": "1", "memory": "1GB",
              "timeout_s": 60, **more}  # fmt: skip
    return render(template, Values(image=image, **values)).to_document()


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`document` with the value at a dotted path."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *folders, last = path.split(".")
    place: Any = copy
    for name in folders:
        place = place[int(name)] if name.isdigit() else place[name]
    place[int(last) if last.isdigit() else last] = value
    return copy


def refusals(admission: ModuleType, rules: Path, document: Any) -> list[str]:
    found: list[str] = admission.refusals(document, admission.load(str(rules)))
    return found


def test_the_sites_own_job_is_taken(admission, rules):
    assert refusals(admission, rules, job()) == []
    assert refusals(admission, rules, job(knobs={"conf": 0.5, "classes": "person"})) == []


TASK = "Tasks.0."
PARAMS = TASK + "Engine.Params."


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        (PARAMS + "Image", OTHER, "its image is"),
        (PARAMS + "Image", "192.0.2.10:5000/shoal/detector:0123456789abcdef", "its image is"),
        (PARAMS + "Image", "busybox", "its image is"),
        (PARAMS + "Entrypoint", ["sh", "-c"], "entry point"),
        (PARAMS + "Parameters", ["x"] * 300, "too many"),
        (PARAMS + "Parameters", ["--img", 7], "too many or too long"),
        (TASK + "Network.Type", "Full", "network"),
        (TASK + "Network", None, "network"),
        (TASK + "Publisher", {"Type": "local"}, "published"),
        (TASK + "ResultPaths", [{"Name": "o", "Path": "/o"}], "published"),
        (TASK + "Env", {"A": "env:PATH"}, "environment"),
        (TASK + "Resources", None, "no limit"),
        (TASK + "Resources.Memory", "", "no limit"),
        (TASK + "Resources.GPU", "1", "no devices"),
        (TASK + "Resources.GPU", 1, "no devices"),
        (PARAMS + "Image", IMAGE.replace("@", ":0123456789abcdef@"), "its image is"),
        (TASK + "Network", {"Type": "HTTP", "Domains": ["a.example"]}, "network"),
        (TASK + "Network", {"Type": ["None"]}, "network"),
        (TASK + "InputSources.0.Source.Type", "s3", "only paths of this node"),
        (TASK + "InputSources.0.Source.Type", "ipfs", "only paths of this node"),
        (TASK + "InputSources.0.Source.Type", "Local\u212a", "only paths of this node"),
        (TASK + "Engine.Type", "wasm", "only docker"),
        (TASK + "InputSources.0.Source.Type", "urlDownload", "only paths of this node"),
        (TASK + "InputSources.0.Source.Type", "inline", "only paths of this node"),
        (TASK + "InputSources.0.Source.Params.SourcePath", "/etc", "no job to mount /etc"),
        (TASK + "InputSources.0.Source.Params.SourcePath", "/", "no job to mount /"),
        (TASK + "InputSources.0.Source.Params.SourcePath", "/videos/../etc", "plain absolute path"),
        (TASK + "InputSources.0.Source.Params.SourcePath", "videos", "plain absolute path"),
        (TASK + "InputSources.0.Source.Params.ReadWrite", True, "read-only"),
        (TASK + "InputSources.1.Source.Params.ReadWrite", True, "read-only"),
        (TASK + "InputSources.2.Source.Params.SourcePath", "/var/lib/shoal/runs", "no job to mount"),
        (TASK + "InputSources.2.Source.Params.SourcePath", "/var/lib/shoal/runs/r1/videos", "no job to mount"),
        (TASK + "InputSources.2.Source.Params.SourcePath", "/var/lib/shoal/runs/of-somebody-else", "another run"),
        (TASK + "InputSources.2.Target", "/", "seen by a job at /state"),
        # Over the policy that says what may leave, over the program itself, over what the program is given.
        (TASK + "InputSources.2.Target", "/videos/.shoal", "seen by a job at /state"),
        (TASK + "InputSources.2.Target", "/opt/shoal/app", "seen by a job at /state"),
        (TASK + "InputSources.2.Target", "/state/../opt/shoal/app", "seen by a job at /state"),
        (TASK + "InputSources.1.Target", "/models", "seen by a job at /weights"),
        (TASK + "InputSources.0.Target", "/mnt", "seen by a job at /videos"),
        (TASK + "InputSources.0.Target", None, "seen by a job at /videos"),
        # Python runs what these name, whatever its entry point.
        (PARAMS + "EnvironmentVariables", ["PYTHONWARNINGS=all:0:antigravity.x:0:0"], "no variable"),
        (PARAMS + "EnvironmentVariables", ["LD_PRELOAD=/videos/x.mp4"], "no variable"),
        (PARAMS + "EnvironmentVariables", ["PYTHONPATH"], "no variable"),
        (PARAMS + "EnvironmentVariables", [7], "no variable"),
        (PARAMS + "WorkingDirectory", "/state", "no working directory"),
        (PARAMS + "WorkingDirectory", ["/"], "no working directory"),
        # The engine's reader of JSON takes no notice of capitals, and the last one counts.
        (PARAMS + "image", "busybox", "not known here"),
        (PARAMS + "entrypoint", ["sh"], "not known here"),
        (TASK + "InputSources.0.Source.Params.sourcepath", "/etc", "not known here"),
        ("Tasks", [{}, {}], "not a job"),
        ("Type", "daemon", "only ops"),
        ("Type", "service", "only ops"),
        ("Tasks", [], "not a job"),
        ("Tasks", None, "not a job"),
        (TASK + "Engine", None, "not a job"),
    ],
)
def test_everything_else_is_refused_with_a_reason(admission, rules, path, value, word):
    (said,) = refusals(admission, rules, changed(job(), path, value))
    assert word in said


def test_folders_of_two_runs_are_refused(admission, rules):
    document = job()
    more = json.loads(json.dumps(document["Tasks"][0]["InputSources"][2]))
    more["Source"]["Params"]["SourcePath"] = "/var/lib/shoal/runs/r2"
    document["Tasks"][0]["InputSources"].append(more)
    assert [said.partition(":")[0] for said in refusals(admission, rules, document)] == [
        "two of its mounts are at /state", "it writes to the folders of several runs",
    ]  # fmt: skip


def test_nothing_is_mounted_over_another_mount(admission, rules):
    """The last one is what the container sees."""
    document = job()
    document["Tasks"][0]["InputSources"].append(document["Tasks"][0]["InputSources"][0])
    assert refusals(admission, rules, document) == ["two of its mounts are at /videos"]


@pytest.mark.parametrize(
    ("target", "taken"),
    [
        ("/data/a", True), ("/mnt/a", True), ("/model", True), ("/outputs/x", True), ("/mnt", True),
        ("/usr/lib", False), ("/mnt/./x", False),
        ("/videos/.shoal", False), ("/mnt/../opt/shoal/app", False), ("/mnt/", False), ("/opt/shoal/app", False),
        ("/state", False), ("", False), (3, False),
    ],
)  # fmt: skip
def test_more_paths_of_a_site_are_mounted_where_no_image_has_its_programs(admission, tmp_path, target, taken):
    rules = written(tmp_path, Bacalhau(bacalhau_allowed_paths=("/data/**:rw",)))
    document = job()
    more = {"Source": {"Type": "local", "Params": {"SourcePath": "/data/a", "ReadWrite": True}}, "Target": target}
    document["Tasks"][0]["InputSources"].append(more)
    assert (refusals(admission, rules, document) == []) is taken


def test_other_kinds_of_jobs_run_where_the_site_allows_them(admission, tmp_path):
    makers = job("yolov5-upstream", MAKERS)
    assert refusals(admission, written(tmp_path, Bacalhau()), makers)
    kind = kind_of_job("yolov5-upstream", MAKERS).model_dump(mode="json")
    entrypoint = tuple(kind["entrypoint"])
    allowed = written(tmp_path, Bacalhau(bacalhau_jobs=(TypeAdapter(AllowedJob).validate_python(kind),)))
    assert refusals(admission, allowed, makers) == []
    # With the variables that its template sets, and no others.
    assert refusals(admission, allowed, job("yolov5-upstream", MAKERS, knobs={"key-frames": 0})) == []
    assert refusals(admission, allowed, changed(makers, PARAMS + "EnvironmentVariables", ["PYTHONSTARTUP=/videos/x"]))
    assert refusals(admission, allowed, job()) == []
    # With that image and no other, word for word.
    assert refusals(admission, allowed, changed(makers, PARAMS + "Image", IMAGE))
    assert refusals(admission, allowed, changed(makers, PARAMS + "Entrypoint", [*entrypoint[:-1], "import os"]))


def test_paths_are_matched_as_the_engine_does(admission, tmp_path):
    rules = written(tmp_path, Bacalhau(bacalhau_allowed_paths=("/data/**:ro", "/out/*:rw", "/plain")))
    place = TASK + "InputSources.0.Source.Params.SourcePath"
    for path, fits in {
        "/data": True, "/data/a/b": True, "/database": False, "/out/a": True, "/out/a/b": False, "/plain": True,
        "/plain/x": False, "/videos/cameras/1": True, "/videos2": False,
    }.items():  # fmt: skip
        document = changed(changed(job(), place, path), TASK + "InputSources.0.Target", path)
        assert (refusals(admission, rules, document) == []) is fits, path


def test_earlier_images_of_the_site_run_while_a_run_needs_them(admission, rules):
    earlier = job(image=OTHER)
    assert refusals(admission, rules, earlier)
    needs = rules.parent / "needs"
    needs.mkdir()
    (needs / "r1").write_text(OTHER + "\n")
    (needs / "r2").write_text(MAKERS + "\n")  # not of the site's own repository: `shoal site allow` is for that
    assert refusals(admission, rules, earlier) == []
    assert refusals(admission, rules, changed(earlier, PARAMS + "Entrypoint", ["sh", "-c"]))
    assert refusals(admission, rules, job(image=MAKERS))


def test_without_an_image_on_record_nothing_runs(admission, tmp_path):
    rules = written(tmp_path, Bacalhau(), image=None)
    assert "deploy the site" in refusals(admission, rules, job())[0]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (json.dumps({"Job": job()}), 0),
        (json.dumps({"Job": changed(job(), PARAMS + "Image", OTHER)}), 1),
        ("{", 1), ("[]", 1), ("", 1), (json.dumps({"Job": None}), 1), ("[" * 100_000, 1),
    ],
)  # fmt: skip
def test_the_probe_as_the_engine_calls_it(rules, given, code):
    done = subprocess.run(
        [sys.executable, "-E", "-s", "-B", str(FILES / "admission.py"), str(rules)],
        input=given, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == code
    assert bool(done.stderr.strip()) is bool(code)
    assert "Traceback" not in done.stderr


def test_a_policy_that_cannot_be_read_lets_nothing_run(tmp_path):
    for content in (None, "{", "[]", '{"jobs": 3}'):
        path = tmp_path / "policy.json"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        done = subprocess.run(
            [sys.executable, str(FILES / "admission.py"), str(path)],
            input=json.dumps({"Job": job()}), capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert (done.returncode, "cannot be decided" in done.stderr) == (1, True)


def body(**more: Any) -> dict[str, Any]:
    """What the engine asks Docker for (seen from 1.9.3)."""
    params = job()["Tasks"][0]["Engine"]["Params"]
    return {
        "Image": IMAGE, "Cmd": params["Parameters"], "Env": ["BACALHAU_JOB_ID=j"], "Entrypoint": None,
        "Labels": {"bacalhau-executor": "bacalhau-gate-1"}, "WorkingDir": "", "NetworkDisabled": True, "Tty": False,
        "HostConfig": {
            "NetworkMode": "none", "Memory": 10**9, "NanoCpus": 10**9,
            "Mounts": [
                {"Type": "bind", "Source": "/videos", "Target": "/videos", "ReadOnly": True},
                {"Type": "bind", "Source": "/var/lib/shoal/runs/r1", "Target": "/state"},
            ],
        },
        "NetworkingConfig": None, **more,
    }  # fmt: skip


def made(admission: ModuleType, rules: Path, asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = admission.container(asked, admission.load(str(rules)))
    return found


def test_the_container_is_confined_as_the_ssh_engines_is(admission, rules):
    """One table in docs/security.md for both engines."""
    host = made(admission, rules, body())["HostConfig"]
    argv = docker_run(render("yolov5", Values("r1", 1, IMAGE, "w", "a" * 64, "1", "1GB", 60)), run="r1", attempt=1)
    words = dict(itertools.pairwise(argv))
    assert host["ReadonlyRootfs"] is ("--read-only" in argv)
    assert host["NetworkMode"] == words["--network"]
    assert host["CapDrop"] == [words["--cap-drop"]]
    assert host["CapAdd"] == [words["--cap-add"]]
    assert host["SecurityOpt"] == [words["--security-opt"]]
    assert str(host["PidsLimit"]) == words["--pids-limit"]
    assert list(host["Tmpfs"]) == [words["--tmpfs"]]
    assert str(host["Memory"]) == words["--memory"] == words["--memory-swap"] == str(host["MemorySwap"])


def test_what_is_not_known_does_not_pass(admission, rules):
    """The request is made anew: what a later engine, or a forger, adds to it is not in it."""
    asked = changed(body(), "HostConfig.PidMode", "host")
    asked["HostConfig"]["Sysctls"], asked["User"], asked["OnBuild"] = {"a": "b"}, "0", ["x"]
    passed = made(admission, rules, asked)
    assert set(passed) == {"Image", "Cmd", "Env", "Labels", "WorkingDir", "NetworkDisabled", "HostConfig"}
    assert not {"PidMode", "Sysctls"} & set(passed["HostConfig"])


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("Image", OTHER, "its image is"),
        ("Entrypoint", ["sh", "-c"], "entry point"),
        ("Env", ["BACALHAU_JOB_ID=j", "PYTHONWARNINGS=all:0:antigravity.x:0:0", "BROWSER=sh -c id"], "no variable"),
        ("Env", ["PYTHONPATH"], "no variable"),
        ("WorkingDir", "/state", "no working directory"),
        ("HostConfig.Mounts.1.Target", "/videos/.shoal", "seen by a job at /state"),
        ("HostConfig.Mounts.1.Target", "/opt/shoal/app", "seen by a job at /state"),
        ("HostConfig.NetworkMode", "host", "network"),
        ("HostConfig.NetworkMode", "", "network"),
        ("HostConfig.NetworkMode", "container:x", "network"),
        ("HostConfig.Privileged", True, "Privileged"),
        ("HostConfig.CapAdd", ["SYS_ADMIN"], "CapAdd"),
        ("HostConfig.Devices", [{"PathOnHost": "/dev/sda"}], "Devices"),
        ("HostConfig.Binds", ["/:/host"], "volume"),
        ("HostConfig.VolumesFrom", ["x"], "VolumesFrom"),
        ("HostConfig.Mounts.0.Type", "volume", "volume"),
        ("HostConfig.Mounts.0.Source", "/etc", "no job to mount"),
        ("HostConfig.Mounts.0.ReadOnly", False, "read-only"),
        ("HostConfig.Mounts.1.Source", "/var/lib/shoal/runs/r2", "another run"),
        ("HostConfig.Memory", 0, "memory limit"),
        ("HostConfig.Memory", -1, "memory limit"),
        ("HostConfig.NanoCpus", 0, "processor limit"),
        ("HostConfig.NanoCpus", 10**15, "processor limit"),
        ("HostConfig", None, "not a container"),
        ("HostConfig.Mounts", [None], "not a container"),
    ],
)
def test_a_container_of_another_kind_is_refused(admission, rules, path, value, word):
    with pytest.raises(admission.RefusedError) as caught:
        made(admission, rules, changed(body(), path, value))
    assert word in str(caught.value)


def test_a_run_folder_that_is_a_link_is_refused(admission, tmp_path):
    """What a container left in place of its folder must not lead the next one elsewhere."""
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "r1").symlink_to("/etc")
    path = written(tmp_path, Bacalhau(bacalhau_allowed_paths=(f"{runs}/*:rw",)))
    with pytest.raises(admission.RefusedError, match="is a link"):
        made(admission, path, changed(body(), "HostConfig.Mounts.1.Source", str(runs / "r1")))


class Docker(threading.Thread):
    """A Docker that notes what it is asked and answers with `answer`."""

    def __init__(self, place: Path, answer: bytes) -> None:
        super().__init__(daemon=True)
        self.answer, self.heard = answer, b""
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(place))
        self.listening.listen()

    def run(self) -> None:
        way, _ = self.listening.accept()
        with way:
            while not self.heard.endswith((b"\r\n\r\n", b"}")):
                heard = way.recv(65536)
                if not heard:
                    return  # nobody asked anything, and the test is over
                self.heard += heard
            way.sendall(self.answer)


@pytest.fixture
def docker(tmp_path: Path):
    thread = Docker(tmp_path / "docker.sock", b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
    thread.start()
    yield thread
    with socket.socket(socket.AF_UNIX) as way:
        way.connect(str(tmp_path / "docker.sock"))  # it waits for somebody
    thread.join(10)
    thread.listening.close()


@pytest.fixture
def socket_of_guard(tmp_path: Path, guard: ModuleType, rules: Path, docker: Docker):
    place = tmp_path / "guard.sock"
    server = guard.Guard(str(rules), str(place), str(tmp_path / "docker.sock"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield place
    server.shutdown()
    server.server_close()


def asked(place: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as way:
        way.settimeout(10)
        way.connect(str(place))
        way.sendall(request)
        answer = b""
        while chunk := way.recv(65536):
            answer += chunk
        return answer


def posted(document: Any, path: str = "/v1.41/containers/create?name=x") -> bytes:
    content = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def test_a_container_passes_the_guard_confined(socket_of_guard, docker):
    assert socket_of_guard.stat().st_mode & 0o777 == 0o600
    assert asked(socket_of_guard, posted(body())).startswith(b"HTTP/1.1 201")
    head, _, content = docker.heard.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /v1.41/containers/create?name=x HTTP/1.1"
    assert json.loads(content)["HostConfig"]["CapDrop"] == ["ALL"]


def test_a_container_that_is_refused_never_reaches_docker(socket_of_guard, docker):
    answer = asked(socket_of_guard, posted({**body(), "Image": OTHER}))
    assert answer.startswith(b"HTTP/1.1 409")
    assert "this node does not run it: its image is" in json.loads(answer.partition(b"\r\n\r\n")[2])["message"]
    assert docker.heard == b""


@pytest.mark.parametrize(
    "request_line",
    [
        "POST /v1.41/containers/x/exec", "POST /v1.41/exec/x/start", "POST /v1.41/images/create?fromImage=x",
        "POST /v1.41/build", "POST /v1.41/containers/x/update", "PUT /v1.41/containers/x/archive?path=/",
        "POST /v1.41/commit", "POST /v1.41/plugins/pull", "POST /v1.41/volumes/create", "DELETE /v1.41/images/x",
        "GET /v1.41/containers/../images/json", "GET /v1.41/containers/%2e%2e/x", "POST /v1.41/swarm/init",
        "GET /v1.41/distribution/elsewhere.example/x/json", "POST //containers/create", "POST /containers/create/",
        "POST /v1.41/networks/create", "post /containers/create", "GET /containers/x/attach/ws",
    ],
)  # fmt: skip
def test_other_calls_are_refused(socket_of_guard, docker, request_line):
    answer = asked(socket_of_guard, f"{request_line} HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    assert answer.startswith(b"HTTP/1.1 40")
    assert docker.heard == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /_ping HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc",
        b"GET /_ping HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET /_ping\r\n\r\n", b"\r\n", b"GET /_ping HTTP/1.1\nHost: x\n\n", b"x" * 65536,
        b"POST /containers/create HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nContent-Length: 1\r\n\r\n{",
        b"GET /_ping HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd",
    ],
)  # fmt: skip
def test_requests_that_can_be_read_in_two_ways_are_refused(socket_of_guard, docker, raw):
    assert asked(socket_of_guard, raw).startswith(b"HTTP/1.1 40")
    assert docker.heard == b""


@pytest.mark.parametrize(
    "call",
    [
        "HEAD /_ping", "GET /v1.41/info", "GET /v1.41/containers/json?filters=%7B%22label%22%3A%5B%22a%22%5D%7D",
        f"GET /v1.41/images/{IMAGE}/json", "POST /v1.41/containers/abc/start", "DELETE /v1.41/containers/abc?force=1",
        "GET /v1.41/containers/abc/logs?follow=1", "POST /v1.41/containers/abc/wait?condition=not-running",
        f"GET /v1.41/distribution/{IMAGE}/json",
    ],
)  # fmt: skip
def test_what_the_engine_needs_passes(socket_of_guard, docker, call):
    assert asked(socket_of_guard, f"{call} HTTP/1.1\r\nHost: d\r\n\r\n".encode()).startswith(b"HTTP/1.1 201")
    assert docker.heard.splitlines()[0] == f"{call} HTTP/1.1".encode()
    assert b"Connection: close" in docker.heard


def test_systemd_is_told_when_requests_are_taken(tmp_path, guard, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        guard.tell_systemd()
        assert line.recv(100) == b"READY=1"


def test_the_probes_stream_is_read_once(admission, rules, capsys):
    assert admission.main([str(rules)], io.StringIO(json.dumps({"Job": job()}))) == 0
    assert capsys.readouterr().err == ""
