"""The settings of stacks/edge: what is refused, and what no settings can bring about."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster import document as cluster
from stacks.edge.config import checked
from stacks.edge.program import program
from tests.stacks.recorded import run

GATE = {"name": "gate", "address": "192.0.2.1", "roles": ["requester"]}
DOCK = {"name": "dock-1", "address": "192.0.2.2"}
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7e0vbnV7sgG0mXWzHlWcQ9Nq1vWz6mJ0w8mHq1Y0aB"


def faults(*boxes: Any, **more: Any) -> dict[str, str]:
    return {fault.where: fault.what for fault in checked({"boxes": list(boxes), **more})[2]}


def test_two_boxes_need_no_more_than_name_address_and_role() -> None:
    assert faults(GATE, DOCK) == {}


@pytest.mark.parametrize(
    ("boxes", "where"),
    [
        ([], "boxes"),
        ([GATE], "boxes"),
        ([DOCK], "boxes"),
        ([GATE, {**DOCK, "roles": ["requester", "compute"]}], "boxes"),
        ([GATE, {**DOCK, "name": "gate"}], "boxes[1].name"),
        ([GATE, {**DOCK, "address": "192.0.2.1"}], "boxes[1].address"),
        ([GATE, {**DOCK, "address": "-oProxyCommand=x"}], "boxes[1].address"),
        ([GATE, {**DOCK, "port": 70000}], "boxes[1].port"),
        ([GATE, {**DOCK, "arch": "vax"}], "boxes[1].arch"),
        ([GATE, {**DOCK, "labels": {"Hall": "north"}}], "boxes[1].labels.Hall"),
        ([GATE, {**DOCK, "cameraFolders": ["relative"]}], "boxes[1].cameraFolders[0]"),
        ([GATE, {**DOCK, "cameraFolders": ["/srv/a;rm"]}], "boxes[1].cameraFolders[0]"),
        ([GATE, {**DOCK, "hostKey": "ssh-ed25519 AAAA"}], "boxes[1].hostKey"),
        ([GATE, {**DOCK, "hostKey": HOST_KEY.replace("ssh-ed25519", "ssh-rsa")}], "boxes[1].hostKey"),
        ([GATE, {**DOCK, "formerly": ["gate"]}], "boxes[1].formerly"),
        ([GATE, {**DOCK, "priceUsdPerHour": -1}], "boxes[1].priceUsdPerHour"),
        ([GATE, {**DOCK, "cameras": []}], "boxes[1].cameras"),
        ([GATE, "dock-1"], "boxes[1]"),
    ],
)
def test_refusals(boxes: list[Any], where: str) -> None:
    assert where in faults(*boxes)


def test_the_document_says_what_the_settings_say() -> None:
    boxes = [GATE, {**DOCK, "hostKey": f"{HOST_KEY} root@dock", "port": 2222, "labels": {"hall": "north"}}]
    made = run(program, "shoal-edge", {"boxes": boxes, "name": "harbour", "engine": "ssh"})
    document = cluster.parse(made.outputs["cluster"], source="output")
    assert (document.name, document.substrate, document.engine) == ("harbour", "edge", "ssh")
    assert document.node("dock-1").labels == {"hall": "north"}
    assert made.outputs["knownHosts"] == [f"[192.0.2.2]:2222 {HOST_KEY}"]
    assert set(made.outputs) == {"cluster", "knownHosts", "secrets"}
    assert {entry.type for entry in made.made if entry.custom} == {"pulumi:index:Stash"}


names = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)


@given(st.lists(names, min_size=2, max_size=6, unique=True), st.data())
def test_a_valid_list_of_boxes_is_a_valid_document(found: list[str], data: st.DataObject) -> None:
    boxes = [
        {
            "name": name,
            "address": f"{name}.example",
            "roles": ["requester"] if index == 0 else ["compute"],
            "port": data.draw(st.integers(1, 65535)),
            "arch": data.draw(st.sampled_from(["amd64", "arm64"])),
        }
        for index, name in enumerate(found)
    ]
    assert faults(*boxes) == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
box_keys = st.sampled_from(["name", "address", "roles", "labels", "cameraFolders", "hostKey", "formerly", "port"])


@settings(max_examples=200)
@given(st.lists(st.dictionaries(box_keys | st.text(max_size=5), json_values, max_size=5) | json_values, max_size=4))
def test_no_boxes_whatever_end_in_anything_but_faults(boxes: list[Any]) -> None:
    typed, _, found = checked({"boxes": boxes})
    assert found or typed is not None
