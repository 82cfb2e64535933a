"""Role `recorder`: a unit for every camera, passwords that show nowhere, film that stays."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile

import pytest
from role_harness import CLUSTER, changed, file_answer, run, unit_answer

from roles import recorder
from roles.common.programs import archive
from roles.recorder import secret, settings_text, unit_text
from roles.recorder.defaults import Recorder
from shoal.cluster.document import Camera, Cluster
from shoal.paths import repository

NORTH = {"name": "north", "source": "rtsp://10.0.0.9/north", "secret": "north", "keep_days": 3}
GATE = {"name": "gate", "source": "/dev/video0"}
DATA = {"recorder_cameras": [NORTH, GATE]}
SECRET = "viewer:p@ss word"


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    monkeypatch.setenv("SHOAL_CAMERA_NORTH", SECRET)


def converged(**more):
    knobs = Recorder(recorder_cameras=(Camera(**NORTH),))
    signed = file_answer(SECRET + "\n", mode="600", owner="shoal-recorder shoal-recorder")
    program = ["644 root root", f"{__import__('hashlib').sha256(archive('recorder')).hexdigest()}  -"]
    return {
        "dpkg-query": ["ffmpeg installed", "python3 installed"],
        "getent passwd": ["shoal-recorder:x:999:999::/nonexistent:/usr/sbin/nologin"],
        "stat -c '%F|": [
            "directory|750 shoal-recorder shoal-recorder|/var/lib/shoal/recorder",
            "directory|755 root root|/etc/shoal/recorder",
        ],
        "stat -c '%U %a %n'": ["shoal-recorder 750 /videos/cameras/north"],
        "[ ! -f /usr/local/lib/shoal/recorder.pyz ]": program,
        "[ ! -f /etc/systemd/system/shoal-recorder@.service ]": file_answer(unit_text(knobs)),
        "[ ! -f /etc/shoal/recorder/north.json ]": file_answer(settings_text(knobs, Camera(**NORTH))),
        "[ ! -f /etc/shoal/recorder/north.secret ]": signed,
        "ls /etc/shoal/recorder": ["north.json", "north.secret"],
        "systemctl show": unit_answer(),
        **more,
    }


def test_without_cameras_nothing_is_done():
    assert changed(run(recorder.install, {})) == []


def test_a_fresh_machine_records_each_camera():
    answers = {
        "systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled", NeedDaemonReload="yes"),
        "stat -c '%U %a %n'": [],
    }
    outcome = run(recorder.install, answers, data=DATA)
    assert not outcome.failed
    text = outcome.text()
    assert text.index("useradd") < text.index("mkdir -p /videos/cameras/north")
    for camera in ("north", "gate"):
        assert f"systemctl enable --quiet shoal-recorder@{camera}.service" in text
        assert f"systemctl start shoal-recorder@{camera}.service" in text
    assert "p@ss" not in text


def test_twice_changes_nothing():
    outcome = run(recorder.install, converged(), data={"recorder_cameras": [NORTH]})
    assert not outcome.failed
    assert changed(outcome) == []


def test_a_camera_that_is_no_longer_listed_is_stopped_and_its_film_stays():
    there = ["north.json", "north.secret", "south.json", "south.secret"]
    outcome = run(recorder.install, converged(**{"ls /etc/shoal/recorder": there}), data={"recorder_cameras": [NORTH]})
    assert changed(outcome) == ["recorder | Stop recorders of cameras that are no longer listed"]
    assert "disable --quiet --now shoal-recorder@south.service" in outcome.text()
    assert "/videos" not in outcome.text()


def test_remove_leaves_the_film():
    answers = converged(**{"find /videos/cameras": ["north"], "for p in /var/lib/shoal/roles/recorder.user": ["ours"]})
    outcome = run(recorder.remove, answers)
    assert not outcome.failed
    text = outcome.text()
    assert "chown -R root:root /videos/cameras/north" in text
    assert "userdel shoal-recorder" in text
    assert not any("rm -rf" in line and "/videos" in line for line in text.splitlines())


def test_a_folder_of_somebody_elses_is_refused_and_a_recorders_own_is_not(tmp_path):
    from roles.recorder.facts import Foreign

    for name, inside in (("theirs", "film.mp4"), ("ours", ".recording/x"), ("empty", "")):
        (tmp_path / name).mkdir()
        if inside:
            (tmp_path / name / inside).parent.mkdir(exist_ok=True)
            (tmp_path / name / inside).touch()
    fact = Foreign()
    command = fact.command(str(tmp_path), ("theirs", "ours", "empty", "missing"))
    output = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert fact.process(output.splitlines()) == [f"{tmp_path}/theirs"]


def test_a_secret_that_is_not_kept_is_named_before_the_first_change(monkeypatch, tmp_path):
    monkeypatch.delenv("SHOAL_CAMERA_NORTH")
    with pytest.raises(secret.SecretFaultError, match="is not kept here"):
        secret.find("depot", "north")
    path = secret.path_of("depot", "north")
    path.parent.mkdir(parents=True)
    path.write_text(SECRET + "\n")
    path.chmod(0o644)
    with pytest.raises(secret.SecretFaultError, match="may be read by others"):
        secret.find("depot", "north")
    path.chmod(0o600)
    assert secret.find("depot", "north") == SECRET
    path.write_text("no colon\n")
    with pytest.raises(secret.SecretFaultError, match="not one line") as caught:
        secret.find("depot", "north")
    assert "no colon" not in str(caught.value)


def test_settings_hold_no_secret_and_are_what_the_program_takes(tmp_path):
    text = settings_text(Recorder(), Camera(**NORTH))
    assert "p@ss" not in text
    (tmp_path / "recorder.pyz").write_bytes(archive("recorder"))
    (tmp_path / "north.json").write_text(text)
    probe = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'recorder.pyz')!r})\n"
        "from pathlib import Path; from recorder.settings import load\n"
        f"print(load(Path({str(tmp_path / 'north.json')!r})).keep_days)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_the_program_is_the_same_bytes_always():
    archive.cache_clear()
    first = archive("recorder")
    archive.cache_clear()
    assert archive("recorder") == first
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    assert "__main__.py" in names
    assert {f"recorder/{path.name}" for path in (repository() / "recorder").glob("*.py")} <= set(names)


def test_the_unit_sees_its_own_camera_and_nothing_else():
    text = unit_text(Recorder())
    assert "BindPaths=/videos/cameras/%i:/run/shoal-footage/%i" in text
    assert "InaccessiblePaths=/videos" in text
    assert "@" not in text.replace("shoal-recorder@", "").replace("@system-service", "")


@pytest.mark.parametrize(
    ("cameras", "told"),
    [
        ([NORTH, {**GATE, "name": "north"}], "nodes[1].cameras[1].name: the same camera name as nodes[1].cameras[0]"),
        ([{**NORTH, "source": "rtsp://viewer:word@10.0.0.9/"}], "without credentials"),
        ([{**NORTH, "source": "/srv/film"}], "must be an rtsp, rtsps, http or https address"),
        ([{**NORTH, "keep_days": 0}], "nodes[1].cameras[0].keep_days"),
        ([{**NORTH, "colour": 1}], "nodes[1].cameras[0].colour: no such field"),
    ],
)
def test_faults_of_cameras_are_told_with_their_place(cameras, told):
    from shoal.cluster.document import parse
    from shoal.errors import UsageError

    raw = json.loads(CLUSTER.model_dump_json())
    raw["nodes"][1]["cameras"] = cameras
    with pytest.raises(UsageError) as caught:
        parse(raw, source="x")
    assert told in "\n".join(map(str, caught.value.faults))


def test_a_requester_alone_records_nothing():
    raw = json.loads(CLUSTER.model_dump_json())
    raw["nodes"][0]["cameras"] = [GATE]
    from shoal.cluster.document import parse
    from shoal.errors import UsageError

    with pytest.raises(UsageError) as caught:
        parse(raw, source="x")
    assert "only a compute node records cameras" in str(caught.value.faults)


def test_cameras_come_from_onprem_toml(tmp_path):
    from shoal.cluster import onprem

    text = onprem.render(CLUSTER)
    path = tmp_path / "onprem.toml"
    path.write_text(text + 'cameras = [{ name = "north", source = "rtsp://10.0.0.9/north", keep_days = 3 }]\n')
    cluster: Cluster = onprem.load(path)
    assert [camera.name for camera in cluster.nodes[-1].cameras] == ["north"]
    path.write_text(onprem.render(cluster))
    assert onprem.load(path) == cluster
