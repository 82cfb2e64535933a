"""What central processing costs against the edge: the published tables to the cent, and one's own figures."""

from __future__ import annotations

import pytest

from shoal.cost import published
from shoal.cost.compare import Comparison, Figures, compare, figures
from shoal.cost.prices import Tiers, load_prices
from shoal.errors import UsageError

PRICES = load_prices()
CENTRAL, EDGE, OWN = "central", "edge, vendor's AI", "edge, own nodes"

PUBLISHED = {
    "aws": ((210_500.00, 750.00, 47_200.00), (21_050.00, 500.00, 47_200.00), 258_450.00, 68_750.00, 73.40),
    "google": ((200_000.00, 750.00, 102_498.50), (20_000.00, 500.00, 102_498.50), 303_248.50, 122_998.50, 59.44),
    "azure": ((160_500.00, 300.00, 60_850.00), (16_050.00, 200.00, 60_850.00), 221_650.00, 77_100.00, 65.22),
}


@pytest.mark.parametrize("vendor", PUBLISHED)
def test_the_published_comparison_to_the_cent(vendor: str) -> None:
    before, edge, sum_before, sum_edge, saving = PUBLISHED[vendor]
    table = published.comparison(vendor, PRICES)
    for column, expected in ((CENTRAL, before), (EDGE, edge)):
        rows = table.usd[column]
        assert tuple(round(rows[row], 2) for row in ("storage", "access", "AI service")) == expected
    assert round(table.total(CENTRAL), 2) == sum_before
    assert round(table.total(EDGE), 2) == sum_edge
    share = table.saving(EDGE)
    assert share is not None
    assert round(100 * share, 2) == saving
    # The honest column: 100 million images at 10 frames/s are 2,778 hours of a machine at 0.11 USD.
    assert table.usd[OWN]["AI service"] == 0
    assert table.usd[OWN]["own nodes"] == pytest.approx(305.56, abs=0.005)


def test_the_walk_throughs_run_takes_three_hours_and_costs_66_cents() -> None:
    run = published.run_cost()
    assert run.hours == pytest.approx(3.0)
    assert run.usd == pytest.approx(0.66)


def test_a_tier_costs_what_its_step_says() -> None:
    tiers = Tiers.model_validate(
        {"tiers": [{"up_to": 10, "usd": 2}, {"usd": 1}], "source": "s", "as_of": "now", "confirmed": True}
    )
    assert [tiers.usd(units) for units in (0, 4, 10, 11)] == [0, 8, 20, 21]


@pytest.mark.parametrize("ends", [[10, 5, None], [10, None, None], [10, 20], [5, 5, None]])
def test_tiers_that_do_not_rise_are_refused(ends: list[float | None]) -> None:
    steps = [{"usd": 1} if end is None else {"up_to": end, "usd": 1} for end in ends]
    with pytest.raises(ValueError, match="must rise"):
        Tiers.model_validate({"tiers": steps, "source": "s", "as_of": "now", "confirmed": True})


def one(**given: object) -> Comparison:
    return compare(figures(given), ["google"], PRICES)[0]


def test_ten_4k_cameras_make_the_walk_throughs_footage() -> None:
    given = Figures()
    assert given.footage_gb == pytest.approx(110 * 730)
    assert given.images == pytest.approx(10 * 60 * 3600 * 730)
    assert given.nodes == 60


def test_each_row_is_what_its_formula_says() -> None:
    table = one(
        cameras=2, frames_per_s=10, gb_per_hour=1, looked_at=0.5, matters=0.1, viewed=0.5, uplink_usd_per_gb=0.01,
        node_usd_per_hour=0.2, node_frames_per_s=4, node_watts=50, usd_per_kwh=0.3,
    )  # fmt: skip
    hours, images = 730, 2 * 10 * 3600 * 730 * 0.5
    assert table.nodes == 3  # 10 frames a second to look at, 4 a node
    central, own = table.usd[CENTRAL], table.usd[OWN]
    assert central["storage"] == pytest.approx(2 * hours * 0.020)
    assert central["access"] == pytest.approx((2 * hours * 60 + images) / 1000 * 0.005)
    assert central["AI service"] == pytest.approx((5e6 - 1000) * 0.0015 + (images - 5e6) * 0.001)
    assert central["network out"] == pytest.approx(2 * hours * 0.5 * 0.12 + 2 * hours * 0.01)
    assert own["storage"] == pytest.approx(central["storage"] * 0.1)
    assert own["access"] == pytest.approx(2 * hours * 60 * 0.1 / 1000 * 0.005)
    assert own["AI service"] == 0
    assert own["own nodes"] == pytest.approx(3 * hours * 0.2)
    assert own["electricity"] == pytest.approx(3 * hours * 0.05 * 0.3)
    assert table.usd[EDGE]["AI service"] == central["AI service"]
    assert table.usd[EDGE]["own nodes"] == 0


def test_months_multiply_and_do_not_reach_a_cheaper_tier() -> None:
    assert one(months=12).total(CENTRAL) == pytest.approx(12 * one().total(CENTRAL))


def test_an_edge_that_costs_more_says_so() -> None:
    saving = one(node_usd_per_hour=1000).saving(OWN)
    assert saving is not None
    assert saving < 0


def test_own_nodes_by_machine_type_cost_what_the_table_says() -> None:
    assert one(machine_type="e2-standard-8").usd[OWN]["own nodes"] == pytest.approx(60 * 730 * 0.107168)


def test_unconfirmed_prices_are_named() -> None:
    assert any("google storage" in doubt for doubt in one().unconfirmed)
    assert any("e2-standard-8" in doubt for doubt in one(machine_type="e2-standard-8", spot=False).unconfirmed)


def test_all_faults_are_in_one_list() -> None:
    with pytest.raises(UsageError) as caught:
        figures({"cameras": 10**9, "hours_per_day": 25, "matters": -0.1, "frames_per_s": 0, "currency": "EUR"})
    text = str(caught.value)
    for name in ("cameras", "hours_per_day", "matters", "frames_per_s", "currency"):
        assert f"- {name}: " in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("field", ["gb_per_hour", "node_usd_per_hour", "usd_per_kwh", "node_frames_per_s", "viewed"])
def test_no_figure_is_absurd(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=field):
        figures({field: value})


def test_two_ways_to_give_one_figure_are_refused() -> None:
    with pytest.raises(UsageError, match="leave one out"):
        figures({"gb_per_hour": 1, "mbit_per_s": 1})
    with pytest.raises(UsageError, match="leave one out"):
        figures({"node_usd_per_hour": 1, "machine_type": "e2-standard-8"})


def test_an_unknown_vendor_and_an_unknown_machine_are_named_together() -> None:
    with pytest.raises(UsageError) as caught:
        compare(figures({"machine_type": "z9-huge-1"}), ["oracle"], PRICES)
    assert "'oracle' is not known" in str(caught.value)
    assert "--node-usd-per-hour" in str(caught.value)
