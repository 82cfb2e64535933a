"""stacks/gcp on the real Pulumi engine against the stand-in provider: what the engine does with the stack's program.

This proves program, graph, names, types, state, idempotence and the handling of drift and failure. It does not prove
Google's validation, defaults, quotas or rules of replacement; only a run in a real project does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pulumi import automation

from shoal.cluster import document as cluster
from stacks.gcp.program import program
from tests.stacks.engine import Engine, configure, operations
from tests.stacks.standin.cloud import DISK, INSTANCE, Cloud
from tests.stacks.standin.install import install

pytestmark = pytest.mark.stacks_engine

PROJECT = "shoal-gcp"
RECORDED = Path(__file__).parent / "snapshots" / "gcp-state-1.json"
BASE: dict[str, Any] = {
    "gcp:project": "my-project-1",
    "sshUser": "ops_example_com",
    "expiresAt": "2099-01-02T03:04:05Z",
}


@pytest.fixture
def cloud(engine: Engine) -> Cloud:
    return install(engine)


def settings(count: int, **compute: Any) -> dict[str, Any]:
    return {**BASE, "compute": {"count": count, **compute}}


def up(stack: automation.Stack, **how: Any) -> dict[str, int]:
    return operations(stack.up(**how).summary.resource_changes)


def destroy(stack: automation.Stack) -> dict[str, int]:
    """As the verb does it: what is protected is released first."""
    stack.workspace.pulumi_command.run(
        ["state", "unprotect", "--all", "--yes", "--stack", stack.name],
        stack.workspace.work_dir,
        stack.workspace.env_vars,
    )
    return operations(stack.destroy().summary.resource_changes)


def names(cloud: Cloud, token: str = INSTANCE) -> list[str]:
    return sorted(properties["name"] for properties in cloud.things(token).values())


def machine(cloud: Cloud, name: str) -> dict[str, Any]:
    (found,) = [properties for properties in cloud.things(INSTANCE).values() if properties["name"] == name]
    return found


def nodes(stack: automation.Stack) -> list[str]:
    document = cluster.parse(stack.outputs()["cluster"].value, source="output")
    return [node.name for node in document.compute]


def test_up_no_change_scale_and_destroy(engine: Engine, cloud: Cloud) -> None:
    stack = engine.stack(PROJECT, program, {**settings(2), "bucket": {}, "sshMembers": ["user:ops@example.com"]})
    made = up(stack)["create"]
    assert names(cloud) == ["test-compute-1", "test-compute-2", "test-requester"]
    assert nodes(stack) == ["test-compute-1", "test-compute-2"]
    assert {it["scheduling"]["provisioningModel"] for it in cloud.things(INSTANCE).values()} == {"SPOT", "STANDARD"}

    stack.preview(expect_no_changes=True)
    assert up(stack, expect_no_changes=True) == {}

    first_disk = next(key for key in cloud.things(DISK) if key.endswith("test-compute-1-data"))
    configure(stack, PROJECT, {**settings(3), "bucket": {}, "sshMembers": ["user:ops@example.com"]})
    assert up(stack) == {"create": 4}  # machine, data disk, and the way in for one person twice
    assert nodes(stack) == ["test-compute-1", "test-compute-2", "test-compute-3"]
    assert first_disk in cloud.things(DISK)

    # Fewer machines by a plain `pulumi up`, without the verb's look at the plan: the disk is protected.
    configure(stack, PROJECT, {**settings(2), "bucket": {}, "sshMembers": ["user:ops@example.com"]})
    with pytest.raises(automation.CommandError, match="cannot be deleted"):
        up(stack)
    assert any(key.endswith("test-compute-3-data") for key in cloud.things(DISK))

    destroyed = destroy(stack)
    assert set(destroyed) == {"delete"}
    assert destroyed["delete"] > made
    assert cloud.things() == {}


@pytest.mark.parametrize("action", ["STOP", "DELETE"])
def test_a_spot_machine_taken_away_comes_back_with_its_data_disk(engine: Engine, cloud: Cloud, action: str) -> None:
    stack = engine.stack(PROJECT, program, settings(2, terminationAction=action))
    up(stack)
    (disk,) = [key for key in cloud.things(DISK) if key.endswith("test-compute-2-data")]
    with cloud.world() as world:
        world["things"][disk]["properties"]["content"] = "half a run"

    cloud.take_away("test-compute-2")
    if action == "DELETE":
        assert "test-compute-2" not in names(cloud)
        with pytest.raises(automation.CommandError, match="code: 7"):
            stack.refresh(preview_only=True, expect_no_changes=True)
    else:
        assert machine(cloud, "test-compute-2")["currentStatus"] == "TERMINATED"
    wanted = {"DELETE": {"create": 1}, "STOP": {"update": 1}}[action]
    assert operations(stack.preview(refresh=True).change_summary) == wanted

    assert up(stack, refresh=True) == wanted
    back = machine(cloud, "test-compute-2")
    assert back["currentStatus"] == "RUNNING"
    assert [attached["source"] for attached in back["attachedDisks"]] == [disk]
    assert cloud.things(DISK)[disk]["content"] == "half a run"
    destroy(stack)
    assert cloud.things() == {}


def test_a_refactored_program_replaces_nothing_of_a_recorded_state(engine: Engine, cloud: Cloud) -> None:
    """The state is an export from before components were renamed (source positions taken out); it stays as it is."""
    wanted = {**settings(2), "bucket": {}, "sshMembers": ["user:ops@example.com"]}
    stack = engine.stack(PROJECT, program, wanted)
    recorded = json.loads(RECORDED.read_text())
    types = {entry["type"] for entry in recorded["deployment"]["resources"]}
    assert "shoal:gcp:Pool" in types
    stack.import_stack(automation.Deployment(**recorded))
    # The startup script, the accounts' descriptions and the bucket's rights have changed since: nothing is replaced.
    assert "replace" not in operations(stack.preview().change_summary)


def test_drift_by_hand_is_seen_and_mended(engine: Engine, cloud: Cloud) -> None:
    stack = engine.stack(PROJECT, program, settings(1))
    up(stack)
    labels = machine(cloud, "test-compute-1")["labels"]
    cloud.edit("test-compute-1", labels={**labels, "shoal-expires": "never"})
    with pytest.raises(automation.CommandError, match="code: 7"):
        stack.refresh(preview_only=True, expect_no_changes=True)
    assert up(stack, refresh=True) == {"update": 1}
    assert machine(cloud, "test-compute-1")["labels"] == labels


def test_a_later_clock_and_another_longest_run_replace_nothing(engine: Engine, cloud: Cloud) -> None:
    """The program by itself, without the verb's look at the plan: what a plain `pulumi up` would do."""
    stack = engine.stack(PROJECT, program, {**settings(1), "bucket": {}, "expiresAt": "2027-01-02T03:04:05Z"})
    up(stack)
    before = {key: it["instanceId"] for key, it in cloud.things(INSTANCE).items()}
    limits = {key: it["scheduling"]["maxRunDuration"] for key, it in cloud.things(INSTANCE).items()}

    configure(stack, PROJECT, {**settings(1), "bucket": {}, "expiresAt": "2027-02-03T04:05:06Z", "maxRunHours": 6})
    assert up(stack, refresh=True) == {"update": 4}  # the label of two machines, a disk and the bucket
    assert {key: it["instanceId"] for key, it in cloud.things(INSTANCE).items()} == before
    assert {key: it["scheduling"]["maxRunDuration"] for key, it in cloud.things(INSTANCE).items()} == limits
    assert {it["labels"]["shoal-expires"] for it in cloud.things(INSTANCE).values()} == {"20270203-0405z"}

    configure(stack, PROJECT, {**settings(1, dataDiskGib=50), "bucket": {}, "expiresAt": "2027-02-03T04:05:06Z"})
    with pytest.raises(automation.CommandError, match="marked for protection"):
        stack.up()
    configure(stack, PROJECT, {**settings(1, spot=False), "bucket": {}, "expiresAt": "2027-02-03T04:05:06Z"})
    assert up(stack)["replace"] == 1
    assert machine(cloud, "test-compute-1")["scheduling"]["provisioningModel"] == "STANDARD"
    assert machine(cloud, "test-compute-1")["scheduling"].get("preemptionNoticeDuration") is None


def test_a_name_that_the_sdk_does_not_know_is_refused(
    engine: Engine, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in is not blind: a wrong word in a plain dict, which the SDK lets pass, ends the run."""
    from pulumi_gcp import compute

    def typo() -> None:
        compute.Disk("disk", name="disk", zone="us-central1-a", size=10)
        compute.Instance(
            "vm",
            name="vm",
            zone="us-central1-a",
            machine_type="e2-standard-4",
            boot_disk={"initialize_parms": {"image": "x"}},  # type: ignore[typeddict-unknown-key]
            network_interfaces=[],
        )

    stack = engine.stack(PROJECT, typo, BASE)
    with pytest.raises(automation.CommandError, match=r"bootDisk\.initialize_?[pP]arms"):
        stack.up()
    assert names(cloud) == []
