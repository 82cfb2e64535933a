"""Role `videos`: the machine's privacy policy is beside the footage, as the cluster document has it."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from role_harness import changed, run

from roles import videos
from roles.common.knobs import RefusedError
from roles.videos.defaults import Videos
from shoal.cluster import onprem
from shoal.cluster.document import Cluster, Node, Privacy

POLICY = json.dumps({"version": 1, "key_frames": 0}) + "\n"
STATE = {
    "exists": True,
    "files": {},
    "folders": [],
    "inodes": True,
    "marker": None,
    "hashes": {},
    "free_bytes": 1 << 40,
}
THERE = {"stat -c '%a %U:%G'": ["755 root:root"], "python3 -c": [json.dumps(STATE)]}


def placed(text: str, mode: str = "644") -> dict[str, list[str]]:
    return {"stat -c": [f"{mode} root root", hashlib.sha256(text.encode()).hexdigest()]}


def test_a_policy_is_placed_where_the_detector_looks_for_it() -> None:
    outcome = run(videos.install, THERE, data={"videos_key_frames": 0})
    assert not outcome.failed
    assert changed(outcome) == ["videos | Place the privacy policy"]
    assert base64.b64encode(POLICY.encode()).decode() in outcome.text()
    assert "/videos/.shoal/privacy.json" in outcome.text()


def test_a_deploy_without_one_takes_it_away_and_so_does_the_removal() -> None:
    record = "RECORD=/var/lib/shoal/roles/videos.files"
    there = {record: ["version 3", "recorded", "file aa aa - /videos/.shoal/privacy.json"], **THERE}
    # Machines whose records began before this role kept one.
    before = {record: ["version 2"], **THERE, "for p in": ["/videos/.shoal"]}
    for deploy in (videos.install, videos.remove):
        outcome = run(deploy, there)
        assert "videos | Remove the privacy policy" in changed(outcome)
        assert f"{record}\n" in outcome.text()
        outcome = run(deploy, before)
        assert "videos | Remove the privacy policy" in changed(outcome)
        assert "rm -rf -- /videos/.shoal" in outcome.text()
    # A folder of this name on a machine that no deploy has been on is nobody's of ours.
    nobodys = {**THERE, "for p in": ["/videos/.shoal"]}
    assert "videos | Remove the privacy policy" not in changed(run(videos.remove, nobodys))
    assert "videos | Remove the privacy policy" not in changed(run(videos.install, THERE))


def test_less_than_no_picture_is_refused() -> None:
    assert [fault.where for fault in Videos(videos_key_frames=-1).faults()] == ["videos_key_frames"]
    with pytest.raises(RefusedError, match="videos_key_frames"):
        run(videos.install, THERE, data={"videos_key_frames": -1})


def test_it_comes_from_the_machines_entry_and_survives_the_form_that_people_write(tmp_path) -> None:
    cluster = Cluster(
        name="depot",
        substrate="onprem",
        results_keep_days=30,
        nodes=(
            Node(name="office", roles=("requester",), address="192.0.2.10"),
            Node(name="gate", roles=("compute",), address="192.0.2.11", privacy=Privacy(key_frames=0)),
        ),
    )
    (tmp_path / "onprem.toml").write_text(onprem.render(cluster))
    assert onprem.load(tmp_path / "onprem.toml") == cluster


def test_event_rules_lie_beside_the_policy_and_each_goes_alone() -> None:
    rules = '{"version": 1}\n'
    outcome = run(videos.install, THERE, data={"videos_event_rules": rules})
    assert changed(outcome) == ["videos | Place the event rules"]
    assert "/videos/.shoal/events.json" in outcome.text()
    assert base64.b64encode(rules.encode()).decode() in outcome.text()
    both = run(videos.install, THERE, data={"videos_event_rules": rules, "videos_key_frames": 0})
    assert changed(both) == ["videos | Place the privacy policy", "videos | Place the event rules"]
