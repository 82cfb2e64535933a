"""The cluster document: what it accepts, and that it refuses with every fault and its path at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster import document as cluster
from shoal.errors import Exit, UsageError

SCHEMA = Path(cluster.__file__).parents[1] / "schemas" / "cluster.schema.json"


def document(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "version": 1,
        "name": "site",
        "substrate": "onprem",
        "nodes": [
            {"name": "requester", "roles": ["requester"], "address": "10.0.0.2"},
            {"name": "gate-1", "roles": ["compute"], "address": "10.0.0.3", "user": "ops", "arch": "arm64"},
        ],
    }
    return raw | changes


def faults_of(raw: Any) -> dict[str, str]:
    with pytest.raises(UsageError) as caught:
        cluster.parse(raw, source="test")
    assert caught.value.exit_code is Exit.USAGE
    return {fault.where: fault.what for fault in caught.value.faults}


def test_a_valid_document_is_read_with_its_defaults() -> None:
    site = cluster.parse(document(), source="test")
    assert site.requester.name == "requester"
    assert [node.name for node in site.compute] == ["gate-1"]
    assert (site.engine, site.mesh, site.requester.port, site.requester.user) == ("auto", "none", 22, "root")


def test_no_node_has_the_name_that_the_orchestrator_has_for_the_engine() -> None:
    nodes = [
        {"name": "box", "roles": ["requester", "compute"], "address": "10.0.0.2"},
        {"name": "box-orchestrator", "roles": ["compute"], "address": "10.0.0.3"},
        {"name": "gate-orchestrator", "roles": ["compute"], "address": "10.0.0.4"},
    ]
    faults = faults_of(document(nodes=nodes))
    assert faults == {"nodes[1].name": "is the name that the orchestrator on nodes[0] has for the engine"}


def test_all_faults_are_told_at_once_with_their_paths() -> None:
    raw = document(
        substrate="moon",
        nodes=[
            {"name": "Dotted.Name", "roles": ["compute"], "address": "10.0.0.2", "port": 0},
            {"name": "b", "roles": [], "address": "-oProxyCommand=x", "colour": "red"},
            {"roles": ["compute", "compute"], "address": "10.0.0.2", "port": 0, "labels": {"A.b": "ok"}},
        ],
    )
    faults = faults_of(raw)
    assert set(faults) == {
        "substrate",
        "nodes[0].name",
        "nodes[0].port",
        "nodes[1].roles",
        "nodes[1].address",
        "nodes[1].colour",
        "nodes[2].name",
        "nodes[2].port",
        "nodes[2].labels.A.b",
        "nodes[2].address",
        "nodes[2].roles",
        "nodes",
    }
    assert faults["nodes[1].colour"] == "no such field"
    assert faults["nodes[2].name"] == "is missing"
    assert "'requester'" in faults["nodes"]


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([{"name": "r", "roles": ["requester"], "address": "h"}], "no node has the role 'compute'"),
        ([{"name": "c", "roles": ["compute"], "address": "h"}], "no node has the role 'requester'"),
        (
            [
                {"name": "r", "roles": ["requester", "compute"], "address": "h"},
                {"name": "s", "roles": ["requester"], "address": "i"},
            ],
            "more than one requester (nodes[0], nodes[1])",
        ),
    ],
)
def test_the_set_of_roles_must_make_a_cluster(nodes: list[dict[str, Any]], says: str) -> None:
    assert says in faults_of(document(nodes=nodes))["nodes"]


def test_names_and_addresses_are_unique() -> None:
    nodes = document()["nodes"]
    faults = faults_of(document(nodes=[*nodes, {**nodes[1]}]))
    assert faults == {
        "nodes[2].name": "the same node name as nodes[1]",
        "nodes[2].address": "the same address and port as nodes[1]",
    }


def test_two_nodes_behind_one_address_differ_by_port() -> None:
    nodes = document()["nodes"]
    site = cluster.parse(document(nodes=[*nodes, {**nodes[1], "name": "gate-2", "port": 2222}]), source="test")
    assert len(site.compute) == 2


def test_direct_construction_is_guarded_too() -> None:
    node = cluster.Node(name="r", roles=("requester",), address="h")
    with pytest.raises(ValueError, match="no node has the role 'compute'"):
        cluster.Cluster(name="x", substrate="lab", nodes=(node,))


@pytest.mark.parametrize("raw", [None, [], "text", 3, {}, {"nodes": None}, {"nodes": [None, 3]}])
def test_anything_else_is_refused_not_crashed_on(raw: Any) -> None:
    assert faults_of(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["nodes", "name", "roles", "address"]), inner),
    )
)
def test_no_json_document_brings_the_parser_down(raw: Any) -> None:
    with pytest.raises(UsageError):
        cluster.parse(raw, source="test")


def test_save_and_load_give_the_same_document(tmp_path: Path) -> None:
    site = cluster.parse(document(), source="test")
    cluster.save(site, tmp_path / "deep" / "site.json")
    assert cluster.load(tmp_path / "deep" / "site.json") == site


@pytest.mark.parametrize(("content", "says"), [(b"{", "not JSON: line 1"), (b"\xff", "cannot be read")])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "site.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as caught:
        cluster.load(path)
    assert str(path) in caught.value.message


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        cluster.load(tmp_path / "none.json")
    assert "shoal lab up" in str(caught.value)


def test_an_unknown_node_name_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="gate-9") as caught:
        cluster.parse(document(), source="test").node("gate-9")
    assert "requester, gate-1" in str(caught.value)


def test_the_checked_in_schema_is_the_models_and_accepts_what_the_model_accepts() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == cluster.json_schema(), "run `just schemas`"
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    site = cluster.parse(document(), source="test")
    jsonschema.validate(json.loads(site.model_dump_json(exclude_none=True)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document(nodes=[]), schema)
