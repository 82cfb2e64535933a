"""What the engine calls nodes: no id begins another one, and each is a name again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster import engine_id

NAMES = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,56}[a-z0-9])?\Z")


@given(NAMES, st.text("abc019-", max_size=3))
def test_no_id_begins_another_one(name: str, more: str) -> None:
    longer = f"{name}{more}9"[:58]
    if longer != name:
        assert not engine_id.engine_id(longer).startswith(engine_id.engine_id(name))
        assert not engine_id.engine_id(name).startswith(engine_id.engine_id(longer))


@given(NAMES)
def test_an_id_is_a_name_again_and_fits_a_constraint(name: str) -> None:
    assert engine_id.name_of(engine_id.engine_id(name)) == name
    assert engine_id.name_of(name) == name  # a node that was deployed before
    assert len(engine_id.engine_id(name)) <= engine_id.LONGEST
    both = engine_id.either([name])
    assert both == engine_id.either(both) == [name, f"{name}_node"]


def test_a_name_that_leaves_no_room_is_its_own_id() -> None:
    name = "a" * 59
    assert engine_id.engine_id(name) == name
    assert engine_id.either([name]) == [name]
