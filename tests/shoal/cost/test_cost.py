from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cost import prices as cost
from shoal.errors import UsageError

PRICES = cost.load_prices()
NODE = cost.Machines("compute", 2, "e2-standard-8", spot=True, works=True)


def test_the_walk_throughs_machine_costs_what_the_walk_through_says() -> None:
    spot, _ = cost.machine_usd_per_hour(NODE, PRICES, spot=True)
    on_demand, _ = cost.machine_usd_per_hour(NODE, PRICES, spot=False)
    assert spot == pytest.approx(0.1072, abs=5e-5)
    assert on_demand == pytest.approx(0.268, abs=5e-4)


def test_an_hour_of_the_walk_throughs_video_takes_three_hours_and_two_thirds_of_a_dollar() -> None:
    found = cost.estimate([NODE], PRICES)
    assert found.hours_per_video_hour == pytest.approx(3.0)
    assert found.usd_per_video_hour == pytest.approx(0.66, abs=0.03)
    at_its_price = cost.estimate([cost.Machines("compute", 2, usd_per_hour=0.11, works=True)], PRICES)
    assert at_its_price.usd_per_video_hour == pytest.approx(0.66)


def test_the_line_carries_spot_and_on_demand_per_hour_day_and_video_hour_with_date_and_region() -> None:
    line = cost.estimate([NODE], PRICES).line()
    assert line == (
        "cost: 0.21 USD per hour, 5.14 per day (on demand 0.54 per hour, 12.87 per day); "
        "0.64 USD per processed hour of video, in 3.0 h; "
        f"list prices of us-central1, {PRICES.written_on}, without traffic; some prices unconfirmed (e2 on demand)"
    )


def test_prices_of_another_region_are_said_to_differ() -> None:
    assert "prices of europe-west4 differ" in cost.estimate([NODE], PRICES, region="europe-west4").line()


def test_disks_gpus_and_nat_count() -> None:
    machine = cost.Machines(
        "compute", 1, "n1-standard-8", disks=(("pd-balanced", 73), ("pd-ssd", 73)), gpu=("nvidia-tesla-t4", 2), nat=True
    )
    usd, unknown = cost.machine_usd_per_hour(machine, PRICES, spot=False)
    assert unknown == ()
    assert usd == pytest.approx(8 * 0.031611 + 30 * 0.004237 + 0.01 + 0.017 + 0.70 + 0.0014)


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        (cost.Machines("x", 1, "t2a-standard-4", spot=True), ("t2a-standard-4 (spot)",)),
        (cost.Machines("x", 1, "e2-custom-8-16384"), ("e2-custom-8-16384 (on demand)",)),
        (cost.Machines("x", 1, "e2-standard-8", disks=(("pd-odd", 1),)), ("disk pd-odd",)),
        (cost.Machines("x", 1, "e2-standard-8", gpu=("nvidia-l4", 1)), ("nvidia-l4 (on demand)",)),
        (cost.Machines("box", 1), ("box",)),
    ],
)
def test_an_unknown_price_is_named_and_never_counted_as_nothing(machine: cost.Machines, names: tuple[str, ...]) -> None:
    found = cost.estimate([NODE, machine], PRICES)
    assert found.unknown == names
    assert found.usd_per_hour is found.usd_per_day is found.usd_per_video_hour is None
    assert found.line().startswith(f"cost: unknown, since no price is known for {names[0]}")
    (fault,) = cost.ceiling_faults(found, 1000.0, where="costCeilingUsdPerDay")
    assert names[0] in fault.what


@given(st.integers(1, 200), st.floats(0.01, 1e4))
def test_the_ceiling_holds_exactly(count: int, ceiling: float) -> None:
    found = cost.estimate([cost.Machines("compute", count, "e2-standard-8", spot=True)], PRICES)
    assert found.usd_per_day is not None
    assert bool(cost.ceiling_faults(found, ceiling, where="c")) == (found.usd_per_day > ceiling)
    assert cost.ceiling_faults(found, None, where="c") == []


@pytest.mark.parametrize(
    ("machine_type", "expected"),
    [
        ("e2-standard-8", (8, 32.0, "amd64")),
        ("e2-highcpu-16", (16, 16.0, "amd64")),
        ("n1-standard-4", (4, 15.0, "amd64")),
        ("t2a-standard-4", (4, 16.0, "arm64")),
        ("e2-custom-8-16384", (8, 16.0, "amd64")),
    ],
)
def test_shapes(machine_type: str, expected: tuple[int, float, str]) -> None:
    found = cost.shape(machine_type, PRICES)
    assert found is not None
    assert (found.vcpus, found.memory_gib, found.arch) == expected


@pytest.mark.parametrize("machine_type", ["", "e2", "e2-micro", "zz-standard-8", "e2-megamem-8", "e2-standard-8 "])
def test_what_is_no_known_type_has_no_shape(machine_type: str) -> None:
    assert cost.shape(machine_type, PRICES) is None


def test_every_price_has_a_source_and_only_the_vendors_own_words_confirm() -> None:
    raw = tomllib.loads(cost.TABLE.read_text())

    def priced(entry: Any) -> Iterator[dict[str, Any]]:
        if isinstance(entry, dict):
            if any(key.endswith(("_per_hour", "_per_month", "usd_per_vm_hour")) for key in entry):
                yield entry
            for inner in entry.values():
                yield from priced(inner)

    found = list(priced(raw))
    assert len(found) == 10
    for entry in found:
        assert entry["source"] in PRICES.sources
        assert entry["as_of"]
        vendors = PRICES.sources[entry["source"]].startswith("https://cloud.google.com/")
        assert entry["confirmed"] == vendors, entry
    assert PRICES.unsourced() == []
    assert PRICES.written_on.year >= 2026


def test_the_line_names_each_price_that_is_not_confirmed_and_no_other() -> None:
    machine = cost.Machines(
        "compute", 3, "n1-standard-8", disks=(("pd-balanced", 50), ("pd-ssd", 10)), gpu=("nvidia-tesla-t4", 1), nat=True
    )
    assert cost.estimate([machine, machine], PRICES).unconfirmed == (
        "n1 on demand",
        "disk pd-balanced",
        "nvidia-tesla-t4 on demand",
    )
    assert "some prices unconfirmed (n1 on demand, disk pd-balanced" in cost.estimate([machine], PRICES).line()
    own = cost.estimate([cost.Machines("box", 1, usd_per_hour=0.1)], PRICES)
    assert own.unconfirmed == ()
    assert "unconfirmed" not in own.line()


def test_a_faulty_table_is_refused_with_its_faults(tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    table.write_text(
        cost.TABLE.read_text().replace("_month = 0.10", "_month = -1").replace('arch = "arm64"', 'arch = "vax"', 1)
    )
    with pytest.raises(UsageError) as refused:
        cost.load_prices(table)
    assert {fault.where for fault in refused.value.faults} == {
        "families.t2a.arch",
        "disks.pd-balanced.gib_usd_per_month",
    }
    table.write_text(cost.TABLE.read_text().replace('source = "vendor-nat"', 'source = "hearsay"'))
    with pytest.raises(UsageError) as refused:
        cost.load_prices(table)
    assert [str(fault) for fault in refused.value.faults] == ["nat.source: 'hearsay' is not among [sources]"]
    with pytest.raises(UsageError, match="no price table"):
        cost.load_prices(tmp_path / "none.toml")
