"""Role `bacalhau`: fresh, converged, changed, in mid-run; its settings read back; and no token where it can be seen."""

from __future__ import annotations

import hashlib
import json
import runpy
import socket
import stat
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from role_harness import CLUSTER, changed, run, run_on_all, unit_answer

from roles import bacalhau
from roles.bacalhau.config import (
    ADMISSION,
    AUTHORITY,
    CERTIFICATE,
    CONFIG_DIR,
    GUARD,
    GUARD_UNIT_PATH,
    KEY,
    POLICY,
    PROGRAM,
    certificates,
    compute,
    config,
    duration,
    guard_unit_text,
    orchestrator,
    orchestrator_addresses,
    policy,
    rendered,
    unit_text,
)
from roles.bacalhau.defaults import Bacalhau
from roles.bacalhau.facts import FILES
from roles.common.knobs import RefusedError
from shoal.cluster import document as clusters
from shoal.engines.bacalhau import secrets

ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\x00\x3e\x00" + b"engine"
GATE = CLUSTER.node("gate-1")
OFFICE = CLUSTER.node("office")
BUSY = "docker ps --filter label=bacalhau-executor=bacalhau-gate-1_node"


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path):
    program = tmp_path / "bacalhau"
    program.write_bytes(ELF)
    sha256 = hashlib.sha256(ELF).hexdigest()
    return {"bacalhau_programs": {"amd64": {"path": str(program), "sha256": sha256, "version": "1.9.3"}}}


def service_of(node):
    return orchestrator(node) if node.has_role("requester") else compute(node)


def unit_of(service):
    return unit_text(service, (FILES / f"{service.part}.service").read_text(), mesh=False)


def answer(content, mode, owner):
    return [f"{mode} {owner} {owner}", f"{hashlib.sha256(content).hexdigest()}  -"]


def converged(node, data, **more):
    service = service_of(node)
    knobs = Bacalhau()
    tokens, tls = secrets.ensure_tls(CLUSTER.name, orchestrator_addresses(knobs, OFFICE))
    settings = rendered(config(service, knobs, node, CLUSTER, tokens))
    guard_unit = guard_unit_text((FILES / "docker-guard.service").read_text())
    return {
        **{
            f"[ ! -f {path} ]": answer(content, mode, owner)
            for path, (content, mode, owner) in certificates(service, tls).items()
        },
        f"[ ! -f {POLICY} ]": answer(policy(knobs).encode(), "644", "root"),
        f"[ ! -f {ADMISSION} ]": answer((FILES / "admission.py").read_bytes(), "644", "root"),
        f"[ ! -f {GUARD} ]": answer((FILES / "docker_guard.py").read_bytes(), "644", "root"),
        f"[ ! -f {GUARD_UNIT_PATH} ]": answer(guard_unit.encode(), "644", "root"),
        "UNIT=shoal-docker-guard": unit_answer(),
        f"[ ! -f {PROGRAM} ]": answer(ELF, "755", "root"),
        f"[ ! -f {service.config_path} ]": answer(settings, "600", service.owner),
        f"[ ! -f {service.unit_path} ]": answer(unit_of(service).encode(), "644", "root"),
        "stat -c '%F|": [
            f"directory|755 root root|{CONFIG_DIR}", "directory|755 root root|/var/lib/bacalhau",
            f"directory|700 {service.owner} {service.owner}|{service.data_path}",
        ],
        "getent passwd": ["bacalhau:x:999:999::/var/lib/bacalhau:/usr/sbin/nologin"],
        f"UNIT={service.unit}": unit_answer(),
        "grep -hs '^RepoVersion:'": ["RepoVersion: 5"],
        "2>/dev/null || true": ["ready"],
        **more,
    }  # fmt: skip


def test_the_orchestrators_settings():
    tokens = secrets.ensure("depot")
    settings = config(orchestrator(OFFICE), Bacalhau(), OFFICE, CLUSTER, tokens)
    assert settings["API"]["Host"] == "127.0.0.1"
    assert settings["Orchestrator"]["Host"] == "192.0.2.10"
    assert settings["Orchestrator"]["Auth"]["Token"] == tokens.node_token.get_secret_value()
    assert [user["Capabilities"][0]["Actions"] for user in settings["API"]["Auth"]["Users"]] == [
        ["read:*", "write:job", "write:node"], ["read:*", "write:job"], ["read:*"],
    ]  # fmt: skip
    assert settings["Orchestrator"]["TLS"] == {"ServerCert": CERTIFICATE, "ServerKey": KEY, "CACert": AUTHORITY}
    assert settings["WebUI"] == {"Enabled": False, "Listen": "127.0.0.1:8438"}
    assert settings["Publishers"]["Disabled"] == ["s3", "s3managed", "local"]
    assert settings["DisableAnalytics"] is True
    assert settings["UpdateConfig"]["Interval"] == "0s"


def test_a_compute_services_settings():
    node = GATE.model_copy(update={"labels": {"site": "north"}})
    settings = config(compute(node), Bacalhau(), node, CLUSTER, secrets.ensure("depot"))
    assert settings["Compute"]["Orchestrators"] == ["nats://192.0.2.10:4222"]
    assert settings["Compute"]["AllowListedLocalPaths"] == [
        "/videos:ro", "/videos/**:ro", "/var/lib/shoal/weights:ro", "/var/lib/shoal/runs/*:rw",
    ]  # fmt: skip
    assert settings["Compute"]["AllocatedCapacity"]["CPU"] == "80%"
    assert settings["Labels"] == {"site": "north"}
    assert settings["JobAdmissionControl"] == {
        "Locality": "anywhere", "RejectNetworkedJobs": True,
        "ProbeExec": "/usr/bin/python3 -E -s -B /usr/local/lib/shoal/admission.py /etc/bacalhau/admission.json",
    }  # fmt: skip
    assert settings["Compute"]["TLS"] == {"CACert": "/etc/bacalhau/authority.pem"}
    # Inputs that the service itself would fetch or write, before any container is asked for.
    assert {"urlDownload", "inline", "ipfs", "s3", "s3PreSigned", "s3managed"} <= set(
        settings["InputSources"]["Disabled"]
    )
    assert "Orchestrator" not in settings
    published = config(compute(node), Bacalhau(bacalhau_local_publisher=True), node, CLUSTER, secrets.ensure("depot"))
    assert published["Publishers"]["Disabled"] == ["s3", "s3managed"]
    assert published["Publishers"]["Types"]["Local"]["Address"] == "192.0.2.21"


def test_the_keys_of_the_orchestrators_api_are_on_the_requester_alone():
    tokens = secrets.ensure("depot")
    other = GATE.model_copy(update={"name": "gate-9"})
    own = []
    for node in (GATE, other, GATE):
        text = rendered(config(compute(node), Bacalhau(), node, CLUSTER, tokens)).decode()
        assert tokens.node_token.get_secret_value() in text
        for key in (tokens.control_key, tokens.reader_key):
            assert key.get_secret_value() not in text
        (user,) = config(compute(node), Bacalhau(), node, CLUSTER, tokens)["API"]["Auth"]["Users"]
        assert 20 <= len(user["APIKey"]) <= 255  # what the engine takes
        assert user["Capabilities"] == [{"Actions": ["read:*"]}]
        own.append(user["APIKey"])
    assert own[0] == own[2] != own[1]


@pytest.mark.parametrize(("seconds", "text"), [(15, "15s"), (60, "1m0s"), (90, "1m30s"), (3600, "1h0m0s")])
def test_durations_as_the_engine_writes_them(seconds, text):
    assert duration(seconds) == text


def test_the_units():
    assert "User=bacalhau" in unit_of(orchestrator(OFFICE))
    text = unit_of(compute(GATE))
    assert "User=" not in text
    assert "docker.service" in text
    assert "--name gate-1_node\n" in text
    assert "@" not in text
    mesh = unit_text(compute(GATE), (FILES / "compute.service").read_text(), mesh=True)
    assert "tailscaled.service" in mesh


def test_paths_that_jobs_may_write_to_are_writable_to_the_service():
    template = (FILES / "compute.service").read_text()
    allowed = ("/data:ro", "/scratch:rw", "/mnt/a b/**:rw", "/mnt/out/run-*/x:rw", "/plain")
    text = unit_text(compute(GATE), template, mesh=False, allowed_paths=allowed)
    (line,) = [line for line in text.splitlines() if line.startswith("ReadWritePaths=")]
    ours = "ReadWritePaths=/var/lib/bacalhau/compute /var/lib/shoal/runs"
    assert line == f'{ours} "-/mnt/a b" "-/mnt/out" "-/scratch"'
    assert unit_text(compute(GATE), template, mesh=False).count(ours + "\n") == 1


def test_a_fresh_requester(data):
    answers = {"systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled", NeedDaemonReload="yes")}
    outcome = run(bacalhau.install, answers, node="office", data=data)
    assert not outcome.failed
    text = outcome.text()
    assert text.index("useradd --system") < text.index(PROGRAM)
    assert text.index("systemctl daemon-reload") < text.index("systemctl start bacalhau-orchestrator.service")
    assert text.index("systemctl start") < text.index("base64 -d | python3 -")


def test_no_token_is_in_any_command(data):
    for node in ("office", "gate-1"):
        outcome = run(bacalhau.install, {}, node=node, data=data)
        tokens = secrets.load("depot")
        assert tokens is not None
        assert tokens.tls is not None
        for token in (
            tokens.node_token, tokens.control_key, tokens.reader_key, tokens.tls.key, tokens.tls.authority_key
        ):  # fmt: skip
            assert token.get_secret_value() not in outcome.text()
            assert not any(token.get_secret_value() in name for name in outcome.operations)
    assert secrets.path("depot").stat().st_mode & 0o777 == stat.S_IRUSR | stat.S_IWUSR


@pytest.mark.parametrize("name", ["office", "gate-1"])
def test_a_converged_machine_is_left_alone(data, name):
    node = CLUSTER.node(name)
    outcome = run(bacalhau.install, converged(node, data), node=name, data=data)
    assert not outcome.failed
    assert changed(outcome) == []


def test_a_changed_setting_restarts_that_service(data):
    late = unit_answer(started_s=5.0, configured_s=6.0)
    answers = converged(GATE, data, **{"UNIT=bacalhau-compute.service": late})
    outcome = run(bacalhau.install, answers, node="gate-1", data=data)
    assert changed(outcome) == ["bacalhau | Run the compute"]
    assert "systemctl restart bacalhau-compute.service" in outcome.text()


def test_a_changed_setting_in_mid_run_touches_nothing(data):
    answers = converged(GATE, data, **{BUSY: ["a-container"]})
    outcome = run(bacalhau.install, answers, node="gate-1", data={**data, "bacalhau_heartbeat_s": 10})
    assert outcome.failed
    assert changed(outcome) == ["bacalhau | See that the compute can be changed now"]
    forced = run(
        bacalhau.install, answers, node="gate-1", data={**data, "bacalhau_heartbeat_s": 10, "bacalhau_force": True}
    )
    assert not forced.failed
    assert "bacalhau | Configure the compute" in changed(forced)


ASKED = {
    "bacalhau | See that the orchestrator can be changed now",
    "bacalhau | See that the compute can be changed now",
}
STOPPED = "bacalhau | Wait until every machine can be changed"


def site(data, **more):
    """Answers of the requester and both compute nodes, all as they should be but for `more`, by name."""
    return {name: converged(CLUSTER.node(name), data, **more.get(name, {})) for name in ("office", "gate-1", "gate-2")}


def test_one_machine_in_mid_run_leaves_all_as_they_are(data):
    busy = {BUSY: ["a-container"]}
    outcomes = run_on_all(bacalhau.install, site(data, **{"gate-1": busy}), data={**data, "bacalhau_heartbeat_s": 10})
    assert all(outcome.failed for outcome in outcomes.values())
    assert changed(outcomes["gate-1"]) == ["bacalhau | See that the compute can be changed now"]
    # Nothing but the word that they are not touched: no program, no settings, no restart, the orchestrator's included.
    for name in ("office", "gate-2"):
        assert changed(outcomes[name]) == [STOPPED]
    forced = {**data, "bacalhau_heartbeat_s": 10, "bacalhau_force": True}
    outcomes = run_on_all(bacalhau.install, site(data, **{"gate-1": busy}), data=forced)
    assert not any(outcome.failed for outcome in outcomes.values())
    assert all("bacalhau | Configure the compute" in changed(outcomes[name]) for name in ("gate-1", "gate-2"))


def test_compute_services_stay_behind_an_orchestrator_that_failed(data):
    wrong = {f"{PROGRAM} {orchestrator(OFFICE).config_path}": ["API.Port: the engine reads something else"]}
    outcomes = run_on_all(bacalhau.install, site(data, office=wrong), data={**data, "bacalhau_heartbeat_s": 10})
    assert all(outcome.failed for outcome in outcomes.values())
    for name in ("gate-1", "gate-2"):
        assert changed(outcomes[name]) == ["bacalhau | Wait until the orchestrator runs"]


def test_a_compute_node_that_failed_keeps_no_other_back(data):
    wrong = {f"{PROGRAM} {compute(GATE).config_path}": ["API.Port: the engine reads something else"]}
    outcomes = run_on_all(bacalhau.install, site(data, **{"gate-1": wrong}), data={**data, "bacalhau_heartbeat_s": 10})
    assert {name for name, outcome in outcomes.items() if outcome.failed} == {"gate-1"}
    assert "bacalhau | Configure the compute" in changed(outcomes["gate-2"])


def test_a_whole_site_as_it_should_be_is_left_alone(data):
    outcomes = run_on_all(bacalhau.install, site(data), data=data)
    assert [(name, outcome.failed, changed(outcome)) for name, outcome in outcomes.items()] == [
        (name, False, []) for name in ("office", "gate-1", "gate-2")
    ]


def test_jobs_that_cannot_be_asked_for_are_told_as_such(data, caplog):
    answers = converged(OFFICE, data, **{"python3 - busy": ["? the orchestrator answers 401 Unauthorized"]})
    outcome = run(bacalhau.install, answers, node="office", data={**data, "bacalhau_web_ui": True})
    assert outcome.failed
    assert changed(outcome) == ["bacalhau | See that the orchestrator can be changed now"]
    assert "it is unknown whether jobs run: the orchestrator answers 401" in caplog.text
    assert "--force" in caplog.text


def test_nothing_to_change_in_mid_run_is_no_fault(data):
    answers = converged(GATE, data, **{BUSY: ["a-container"]})
    outcome = run(bacalhau.install, answers, node="gate-1", data=data)
    assert not outcome.failed
    assert changed(outcome) == []


def test_the_authoritys_key_stays_at_home_and_the_orchestrators_goes_to_the_requester_alone(data):
    tokens, tls = secrets.ensure_tls(CLUSTER.name, orchestrator_addresses(Bacalhau(), OFFICE))
    placed = {service.part: certificates(service, tls) for service in (orchestrator(OFFICE), compute(GATE))}
    for files in placed.values():
        assert not any(tls.authority_key.get_secret_value().encode() in content for content, _, _ in files.values())
    assert placed["orchestrator"][KEY] == (tls.key.get_secret_value().encode(), "600", "bacalhau")
    assert set(placed["compute"]) == {AUTHORITY}
    assert tokens.tls == tls


def test_docker_is_reached_by_way_of_the_guard_alone(data):
    text = unit_of(compute(GATE))
    assert "Environment=DOCKER_HOST=unix:///run/shoal-guard/docker.sock" in text
    assert "InaccessiblePaths=-/run/docker.sock" in text
    outcome = run(bacalhau.install, {"systemctl show": unit_answer(ActiveState="inactive")}, node="gate-1", data=data)
    steps = outcome.text()
    assert steps.index("systemctl start shoal-docker-guard") < steps.index("systemctl start bacalhau-compute")


def test_other_rules_of_admission_restart_nothing_in_mid_run(data):
    """The guard reads the policy at each request; a new guard is another matter."""
    busy = {BUSY: ["a-container"]}
    jobs = [{"entrypoint": ["python3", "-c"], "image": None}]
    outcome = run(bacalhau.install, converged(GATE, data, **busy), node="gate-1", data={**data, "bacalhau_jobs": jobs})
    assert not outcome.failed
    assert changed(outcome) == ["bacalhau | Write down what may run here"]
    other = {**busy, f"[ ! -f {GUARD} ]": answer(b"older", "644", "root")}
    outcome = run(bacalhau.install, converged(GATE, data, **other), node="gate-1", data=data)
    assert outcome.failed
    assert changed(outcome) == ["bacalhau | See that the compute can be changed now"]


def test_a_drained_node_is_not_started(data):
    answers = {
        "for p in /var/lib/shoal/drained": ["/var/lib/shoal/drained"],
        "systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled"),
    }
    outcome = run(bacalhau.install, answers, node="gate-1", data=data)
    assert "systemctl start bacalhau" not in outcome.text()
    assert "bacalhau | Configure the compute" in changed(outcome)


def test_settings_that_the_engine_reads_otherwise_stop_the_deploy(data):
    answers = converged(
        GATE, data, **{"bacalhau-compute.yaml": [], f"{PROGRAM} {compute(GATE).config_path}": ["X: no"]}
    )
    outcome = run(bacalhau.install, answers, node="gate-1", data=data)
    assert outcome.failed


def test_data_of_a_newer_release_are_refused_before_anything(data):
    answers = converged(GATE, data, **{"grep -hs '^RepoVersion:'": ["RepoVersion: 6"]})
    with pytest.raises(RefusedError, match="downgrade is not possible"):
        run(bacalhau.install, answers, node="gate-1", data=data)


def test_a_machine_without_a_program_is_refused(data):
    arm = clusters.parse(
        {"name": "d", "substrate": "lab", "nodes": [
            {"name": "a", "address": "192.0.2.1", "roles": ["requester", "compute"], "arch": "arm64"}]},
        source="test",
    )  # fmt: skip
    with pytest.raises(RefusedError, match="is arm64; there is one for amd64"):
        run(bacalhau.install, {}, node="a", cluster=arm, data=data)


def test_faulty_knobs(data):
    bad = {
        "bacalhau_compute_api_port": 1234, "bacalhau_web_ui_port": 4222, "bacalhau_capacity_cpu": "much",
        "bacalhau_log_level": "x", "bacalhau_allowed_paths": ["relative", "/home/ops/x"],
        "bacalhau_disconnect_timeout_s": 3,
    }  # fmt: skip
    with pytest.raises(RefusedError) as caught:
        run(bacalhau.install, {}, node="gate-1", data={**data, **bad})
    assert len(caught.value.faults) == 7
    with pytest.raises(RefusedError, match="no such setting"):
        run(bacalhau.install, {}, node="gate-1", data={**data, "bacalhau_capacity_cpus": "50%"})


def test_an_old_release_is_refused(data):
    data["bacalhau_programs"]["amd64"]["version"] = "1.8.0"
    with pytest.raises(RefusedError, match=r"works with 1\.9\.x"):
        run(bacalhau.install, {}, node="gate-1", data=data)


class Orchestrator(BaseHTTPRequestHandler):
    """Answers with `answers` by the path's last part: a status, or a document."""

    answers: ClassVar[dict[str, Any]] = {}

    def do_GET(self):
        answer = self.answers[self.path.partition("?")[0].rpartition("/")[2]]
        status = answer if isinstance(answer, int) else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({} if isinstance(answer, int) else answer).encode())

    def log_message(self, *arguments):
        pass


@contextmanager
def orchestrator_says(**answers):
    """The port of an orchestrator with these answers."""
    handler = type("Handler", (Orchestrator,), {"answers": answers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def asked(tmp_path, monkeypatch, capsys, port, *words, manual=False):
    """What ask.py prints, asked of the orchestrator at that port."""
    path = tmp_path / "orchestrator.yaml"
    settings = {
        "API": {"Port": port, "Auth": {"Users": [{"APIKey": "k"}]}},
        "Orchestrator": {"NodeManager": {"ManualApproval": manual}},
    }
    path.write_bytes(rendered(settings))
    verb, *rest = words
    monkeypatch.setattr(sys, "argv", ["ask.py", verb, str(path), *rest])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FILES / "ask.py"), run_name="__main__")
    told = capsys.readouterr()
    return ended.value.code, (told.out + told.err).strip()


def test_jobs_that_are_not_over_are_listed(tmp_path, monkeypatch, capsys):
    jobs = [{"Name": name, "State": {"StateType": state}} for name, state in (("a", "Running"), ("b", "Completed"))]
    with orchestrator_says(jobs={"Items": jobs}) as port:
        assert asked(tmp_path, monkeypatch, capsys, port, "busy") == (0, "a (running)")
    with orchestrator_says(jobs={"Items": None}) as port:
        assert asked(tmp_path, monkeypatch, capsys, port, "busy") == (0, "")


def test_an_orchestrator_with_other_keys_is_told_as_such(tmp_path, monkeypatch, capsys):
    """As after a deploy that was cut off between its settings and its restart: no traceback, and no false all-clear."""
    with orchestrator_says(jobs=401) as port:
        code, told = asked(tmp_path, monkeypatch, capsys, port, "busy")
    assert (code, told) == (
        0,
        "? the orchestrator answers 401 Unauthorized; it runs with other keys than its settings have",
    )
    with orchestrator_says(jobs=500) as port:
        assert asked(tmp_path, monkeypatch, capsys, port, "busy")[1].startswith("? the orchestrator answers 500")


def test_where_no_orchestrator_listens_no_job_can_be_lost(tmp_path, monkeypatch, capsys):
    """As with one that cannot start, which the deploy is there to mend."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert asked(tmp_path, monkeypatch, capsys, port, "busy") == (0, "")


def engine_node(**changes):
    info = {"NodeID": "gate-1_node", "ComputeNodeInfo": {"ExecutionEngines": ["docker"], "StorageSources": ["local"]}}
    node = {"Info": info, "ConnectionState": {"Status": "CONNECTED"}, "Membership": "APPROVED", **changes}
    return {"Nodes": [node]}


def test_a_node_is_ready_once_it_is_approved(tmp_path, monkeypatch, capsys):
    look = ("look", "gate-1")
    with orchestrator_says(nodes=engine_node()) as port:
        assert asked(tmp_path, monkeypatch, capsys, port, *look) == (0, "ready")
    with orchestrator_says(nodes=engine_node(Membership="PENDING")) as port:
        assert asked(tmp_path, monkeypatch, capsys, port, *look) == (0, "")
        code, told = asked(tmp_path, monkeypatch, capsys, port, "ready", "0", "gate-1")
        assert code == 1
        assert "gate-1: is not approved (pending): `shoal nodes approve gate-1`" in told
        # A person's to give: all that a deploy can bring about is there.
        assert asked(tmp_path, monkeypatch, capsys, port, *look, manual=True) == (0, "ready")
    with orchestrator_says(nodes=engine_node(Membership="REJECTED")) as port:
        assert asked(tmp_path, monkeypatch, capsys, port, *look, manual=True) == (0, "")


def test_of_two_entries_of_one_name_the_one_that_is_heard_counts(tmp_path, monkeypatch, capsys):
    old = engine_node(ConnectionState={"Status": "DISCONNECTED"})["Nodes"][0]
    old["Info"] = {**old["Info"], "NodeID": "gate-1"}
    there = {"Nodes": [*engine_node()["Nodes"], old]}
    with orchestrator_says(nodes=there) as port:
        assert asked(tmp_path, monkeypatch, capsys, port, "look", "gate-1") == (0, "ready")


def test_a_node_that_has_its_name_as_its_id_keeps_it(data):
    """The engine keeps the id in its data, whatever it is started with; another one would be another node to it."""
    by_name = {"sed -n 's/^NodeName: *//p' /var/lib/bacalhau/compute/system_metadata.yaml": ["gate-1"]}
    service = compute(GATE, by_name=True)
    kept = {f"[ ! -f {service.unit_path} ]": answer(unit_of(service).encode(), "644", "root")}
    assert changed(run(bacalhau.install, by_name | converged(GATE, data, **kept), node="gate-1", data=data)) == []
    stranger = {"sed -n 's/^NodeName: *//p'": ["x; rm -rf /"]}
    assert changed(run(bacalhau.install, stranger | converged(GATE, data), node="gate-1", data=data)) == []


def test_remove():
    answers = {
        "systemctl show": unit_answer(),
        "RECORD=/var/lib/shoal/roles/bacalhau.files": ["version 3", "recorded", f"file aa aa - {PROGRAM}"],
        "docker ps --all --quiet --filter label=bacalhau-executor=bacalhau-gate-1_node": ["0123"],
    }
    text = run(bacalhau.remove, answers, node="gate-1").text()
    assert text.index("systemctl disable --quiet --now bacalhau-compute.service") < text.index("docker rm --force")
    assert text.index("docker rm --force") < text.index("RECORD=/var/lib/shoal/roles/bacalhau.files")
    assert "/var/lib/shoal/runs" not in text
    # By a version that kept no record of these files.
    former = {
        **answers,
        "RECORD=/var/lib/shoal/roles/bacalhau.files": ["version 2"],
        "for p in /etc/systemd/system/bacalhau-compute.service": ["/etc/bacalhau", "/var/lib/bacalhau", PROGRAM],
    }
    assert "rm -rf -- /etc/bacalhau /var/lib/bacalhau" in run(bacalhau.remove, former, node="gate-1").text()


def test_remove_on_a_bare_machine_does_nothing():
    for node in ("office", "gate-1"):
        assert changed(run(bacalhau.remove, {}, node=node)) == []


def read_back(tmp_path, monkeypatch, capsys, wanted, listed):
    """check_config.py on a file, with a program that lists what it is told to."""
    program = tmp_path / "engine"
    entries = json.dumps([{"Key": key, "Value": value} for key, value in listed.items()])
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{entries}\nEND\n")
    program.chmod(0o755)
    path = tmp_path / "config.yaml"
    path.write_bytes(rendered(wanted))
    monkeypatch.setattr(sys, "argv", ["check_config.py", str(program), str(path)])
    runpy.run_path(str(FILES / "check_config.py"), run_name="__main__")
    return capsys.readouterr().out.splitlines()


LISTED = {
    "API.Port": 1234, "Labels": {"site": "north"}, "Compute.Auth.Token": "t",
    "API.Auth.Users": [{"alias": "shoal", "apikey": "k"}],
}  # fmt: skip
WANTED = {
    "API": {"Port": 1234, "Auth": {"Users": [{"Alias": "shoal", "APIKey": "k"}]}},
    "Labels": {"site": "north"}, "Compute": {"Auth": {"Token": "t"}},
}  # fmt: skip


def test_settings_read_back_as_meant(tmp_path, monkeypatch, capsys):
    assert read_back(tmp_path, monkeypatch, capsys, WANTED, LISTED) == []


def test_a_mistyped_key_is_found_when_read_back(tmp_path, monkeypatch, capsys):
    wanted = {**WANTED, "API": {"Prot": 1234}}
    assert read_back(tmp_path, monkeypatch, capsys, wanted, LISTED) == ["API.Prot: the engine knows no such key"]


def test_a_secret_that_differs_is_not_shown(tmp_path, monkeypatch, capsys):
    wanted = {**WANTED, "Compute": {"Auth": {"Token": "very-secret"}}}
    (line,) = read_back(tmp_path, monkeypatch, capsys, wanted, LISTED)
    assert line == "Compute.Auth.Token: the engine reads something else"


def test_a_limited_machine_gives_out_what_its_control_groups_give(data):
    """Groups that give one processor and 600 MiB, whatever the machine has; else the settings as they were."""
    limited = {"cpu.cfs_quota_us": ["limit-cpus 1.000", "limit-memory 629145600"]}
    knobs = Bacalhau(bacalhau_capacity_cpu="0.80", bacalhau_capacity_memory="503MB")
    service = service_of(GATE)
    settings = rendered(config(service, knobs, GATE, CLUSTER, secrets.ensure(CLUSTER.name)))
    as_limited = {f"[ ! -f {service.config_path} ]": answer(settings, "600", service.owner)}
    assert changed(run(bacalhau.install, converged(GATE, data) | as_limited | limited, data=data)) == []
    assert "Configure the compute" in " ".join(
        changed(run(bacalhau.install, converged(GATE, data) | limited, data=data))
    )


def test_a_service_that_waits_to_ask_for_its_orchestrator_is_started_again(data):
    """As after a lost requester: active, converged, and without a connection to the engine's port."""
    waiting = {"dport = :4222": ["waits"]}
    outcome = run(bacalhau.install, converged(GATE, data) | waiting, data=data)
    assert changed(outcome) == ["bacalhau | See that the compute has its orchestrator"]
    assert "UNIT=bacalhau-compute.service" in outcome.text()
    assert 'systemctl restart "$UNIT"' in outcome.text()
    assert "left alone: a job runs" in outcome.text()
    assert changed(run(bacalhau.install, converged(GATE, data), data=data)) == []
