"""The report in a real browser: fits a phone, asks nothing of the network, shows every picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.report import read_run, write_page
from shoal.results import record as runs
from shoal.results.record import NodeRecord, Outcome
from tests.lab.browser import Browser, browser, chromium
from tests.shoal.report import report_example as example

pytestmark = pytest.mark.lab
DARK = {"name": "prefers-color-scheme", "value": "dark"}
LONG = "a-name-without-any-place-to-break-it-" * 5 + ".mp4"


def long_names_run(run: str = "20261125-130000-dddd") -> str:
    """Names far wider than a phone, many classes, an hour of footage."""
    node = "compute-with-a-name-as-long-as-names-of-nodes-are-allowed-to-be"
    folder = runs.run_dir(run) / node
    labels = tuple(f"class-number-{n}-{'x' * 40}" for n in range(12))
    videos = [
        example.add_video(folder, LONG, classes=labels),
        example.add_video(
            folder, "<script>document.title='owned'</script>.mp4", seconds=3600, classes=("person", "car")
        ),
        example.add_video(
            folder, "東京" * 40 + ".mp4", key_frames=1, fault={"kind": "truncated", "message": "m" * 400}
        ),
    ]
    fetched = example.finish(folder, run, videos)
    attempts = [example.attempt(n, Outcome.FAULTY_VIDEOS, 3, message="e" * 300) for n in (1, 2)]
    nodes = {
        node: NodeRecord(outcome=Outcome.FAULTY_VIDEOS, attempts=attempts, fetched=fetched, price_usd_per_hour=1.0)
    }
    example.record(run, nodes, job={"Name": "j" * 300}, engine_reason="r" * 200)
    return run


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind of run."""
    makers = {
        "whole": example.whole_run,
        "partly failed": example.partly_failed_run,
        "empty": example.empty_run,
        "long names": long_names_run,
        "events": example.events_run,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOAL_RUNS", str(tmp_path_factory.mktemp("runs")))
        return {name: write_page(read_run(make())) for name, make in makers.items()}


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("chromium missing: the report was not looked at in a browser (Debian package: chromium)")
    with browser(program) as page:
        yield page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
@pytest.mark.parametrize("name", ["whole", "partly failed", "empty", "long names"])
def test_page_in_a_browser(chrome: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    chrome.show(pages[name], width=width, dark=dark)
    chrome.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    # A phone widens its viewport for what sticks out, so that both figures grow: they are held against the screen.
    assert chrome.evaluate("document.scrollingElement.scrollWidth") == width
    assert chrome.evaluate("innerWidth") == width
    pictures = json.loads(
        chrome.evaluate("JSON.stringify([...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth]))")
    )
    assert len(pictures) == {"whole": 36, "partly failed": 21, "empty": 0, "long names": 7}[name]
    assert all(complete and natural > 0 and shown > 0 for complete, natural, shown in pictures)
    asked = [e["params"]["request"]["url"] for e in chrome.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    complaints = [e["params"] for e in chrome.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    assert complaints == []
    assert "owned" not in chrome.evaluate("document.title")
    assert chrome.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(15, 20, 26)" if dark else "rgb(244, 246, 248)"
    )


@pytest.mark.parametrize("name", ["whole", "partly failed", "long names"])
def test_page_fits_paper_and_is_printed_light(chrome: Browser, pages: dict[str, Path], name: str) -> None:
    chrome.show(pages[name], width=794, dark=True)  # A4 at 96 dots per inch
    chrome.call("Emulation.setEmulatedMedia", media="print", features=[DARK])
    try:
        chrome.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert chrome.evaluate("document.scrollingElement.scrollWidth") == 794
        assert chrome.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    finally:
        chrome.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("width", [320, 1280])
def test_clips_of_events_are_played_in_the_page(chrome: Browser, pages: dict[str, Path], width: int) -> None:
    chrome.show(pages["events"], width=width)
    assert chrome.evaluate("document.scrollingElement.scrollWidth") == width
    played = json.loads(
        chrome.evaluate(
            "Promise.all([...document.querySelectorAll('video')].map(async v => {"
            "  await v.play(); await new Promise(done => v.onended = done);"
            "  return [v.videoWidth, v.duration, v.currentTime, v.error && v.error.message];"
            "})).then(all => JSON.stringify(all))"
        )
    )
    assert played == [[160, 2, 2, None]] * 3
    asked = [e["params"]["request"]["url"] for e in chrome.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [pages["events"].as_uri()]
    assert [e["params"] for e in chrome.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")] == []


def test_key_frame_is_enlarged_and_made_small_again(chrome: Browser, pages: dict[str, Path]) -> None:
    chrome.show(pages["whole"], width=1280)
    width = "document.querySelector('figure img').clientWidth"
    small = chrome.evaluate(width)

    chrome.evaluate("document.querySelector('figure .larger').click()")
    large = chrome.evaluate(width)
    chrome.evaluate("document.querySelector('figure .smaller').click()")

    assert large > 2 * small
    assert chrome.evaluate(width) == small


def test_policy_stops_what_is_slipped_in(chrome: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "changed.html"
    slipped = "<script>document.title = 'owned'</script><img src='http://127.0.0.1:9/x.png'></body>"
    page.write_text(pages["whole"].read_text(encoding="utf-8").replace("</body>", slipped), encoding="utf-8")

    chrome.show(page, width=1280)

    assert chrome.evaluate("document.title") != "owned"
    complaints = [e["params"]["entry"]["text"] for e in chrome.events if e["method"] == "Log.entryAdded"]
    assert any("script" in text for text in complaints)
    assert any("127.0.0.1" in text for text in complaints)
