"""What a run cost, and the command line of `shoal cost`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoal.cli.cost import app
from shoal.cost.prices import load_prices
from shoal.cost.run import NodeTime, of_run
from shoal.report.cost import cost_lines

PRICES = load_prices()


def test_a_run_costs_machine_time_times_price() -> None:
    nodes = [NodeTime("a", 3600, 0.10), NodeTime("b", 1800, 0.20)]
    cost = of_run(nodes, footage_s=7200, frames=4000, events=5, prices=PRICES)
    assert cost.usd == pytest.approx(0.20)
    assert cost.usd_per_footage_hour == pytest.approx(0.10)
    assert cost.usd_per_thousand_frames == pytest.approx(0.05)
    assert cost.usd_per_event == pytest.approx(0.04)
    assert cost.whole
    assert cost.estimate_usd == pytest.approx(1.5 * 0.107168)


def test_a_missing_price_makes_a_lower_bound_and_names_the_way_to_give_it() -> None:
    cost = of_run(
        [NodeTime("a", 3600, 0.1), NodeTime("b", 3600, None)], footage_s=1, frames=1, events=None, prices=PRICES
    )
    assert not cost.whole
    text = "\n".join(cost_lines(cost))
    assert "at least 0.1000 USD" in text
    assert "price_usd_per_hour" in text
    assert "estimate: " in text


def test_nothing_known_is_unknown_and_not_nothing() -> None:
    cost = of_run([NodeTime("a", None, None)], footage_s=0, frames=0, events=None, prices=PRICES)
    assert (cost.usd, cost.usd_per_footage_hour, cost.estimate_usd) == (None, None, None)
    assert cost_lines(cost)[0].startswith("cost: unknown; ")


def test_a_free_node_costs_nothing_and_is_known() -> None:
    cost = of_run([NodeTime("a", 3600, 0.0)], footage_s=3600, frames=1000, events=None, prices=PRICES)
    assert (cost.usd, cost.whole) == (0.0, True)


def invoke(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.stdout


def test_the_published_tables_are_on_the_screen() -> None:
    code, text = invoke("compare", "--published")
    assert code == 0
    for figure in ("258,450.00", "68,750.00", "73.40 %", "303,248.50", "59.44 %", "221,650.00", "65.22 %", "0.66 USD"):
        assert figure in text
    assert "unconfirmed prices: aws storage" in text


def test_json_and_the_page_carry_the_same_sums(tmp_path: Path) -> None:
    page = tmp_path / "costs.html"
    code, text = invoke("compare", "--cameras", "2", "--vendor", "aws", "--json", "--html", str(page))
    assert code == 0
    one = json.loads(text)["comparisons"][0]
    html = page.read_text(encoding="utf-8")
    for column, total in one["sum_usd"].items():
        assert total == pytest.approx(sum(one["usd"][column].values()))
        assert f"{total:,.2f} USD" in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_a_resolution_that_is_none_is_refused() -> None:
    from shoal.errors import UsageError

    done = CliRunner().invoke(app, ["compare", "--resolution", "4K"])
    assert isinstance(done.exception, UsageError)
    assert "WIDTHxHEIGHT" in str(done.exception)
