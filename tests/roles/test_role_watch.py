"""Role `watch`: a unit that needs nothing but the machine, with a container that may do nothing but look."""

from __future__ import annotations

import json
import subprocess

from role_harness import changed, file_answer, run, unit_answer

from roles import watch
from roles.watch import FILES, program_text, settings_text
from roles.watch.defaults import Watch, WatchedCamera

SHA256 = "5" * 64
CAMERA = {"name": "north", "folder": "cameras/north"}
DATA = {"watch_cameras": [CAMERA], "watch_weights_sha256": SHA256}
KNOBS = Watch(watch_cameras=(WatchedCamera(**CAMERA),), watch_weights_sha256=SHA256)


def converged(**more):
    return {
        "stat -c '%F|": [
            "directory|755 root root|/var/lib/shoal/watch",
            "directory|755 root root|/etc/shoal/watch",
        ],
        "[ ! -f /etc/shoal/watch/settings.json ]": file_answer(settings_text(KNOBS)),
        "[ ! -f /usr/local/lib/shoal/watch.sh ]": file_answer(program_text(KNOBS)),
        "[ ! -f /etc/systemd/system/shoal-watch.service ]": file_answer((FILES / "shoal-watch.service").read_text()),
        "systemctl show": unit_answer(),
        **more,
    }


def test_without_cameras_nothing_is_done():
    assert changed(run(watch.install, {})) == []


def test_a_fresh_machine_is_watched():
    answers = {"systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled")}
    done = run(watch.install, answers, data=DATA)
    assert changed(done) == [
        "watch | Make the watch's folders",
        "watch | Write the watch's settings",
        "watch | Place the watch's starter",
        "watch | Describe the watch to systemd",
        "watch | Watch the cameras",
    ]


def test_a_second_deploy_changes_nothing():
    assert changed(run(watch.install, converged(), data=DATA)) == []


def test_taken_away_the_watchs_events_stay_unless_results_go_too():
    answers = {"find /var/lib/shoal/watch/events": ["/var/lib/shoal/watch", "/var/lib/shoal/watch/events/watch-1"]}
    kept = run(watch.remove, {"systemctl show": unit_answer(), **answers})
    assert "systemctl disable --quiet --now shoal-watch.service" in kept.text()
    assert "rm -rf -- /var/lib/shoal/watch" not in kept.text()
    forced = run(lambda: watch.remove(force=True), {"systemctl show": unit_answer(), **answers})
    assert "rm -rf -- /var/lib/shoal/watch" in forced.text()


def test_other_settings_are_faults_before_anything_is_changed():
    wrong = Watch(watch_cameras=KNOBS.watch_cameras, watch_stride=9, watch_stride_most=3, watch_img=300)
    assert {fault.where for fault in wrong.faults()} == {"watch_weights_sha256", "watch_stride", "watch_img"}


def test_the_container_has_no_network_and_reads_only():
    text = program_text(KNOBS)
    for words in ("--network none", "--read-only", "--cap-drop ALL", "no-new-privileges", "target=/videos,readonly"):
        assert words in text
    assert "@" not in text
    assert f"/var/lib/shoal/weights/{SHA256}.onnx" in text
    assert json.loads(settings_text(KNOBS))["cameras"] == [{**CAMERA, "keep_days": 0}]
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
