"""The page: self-contained, well formed, safe with hostile names, readable in both schemes."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import av
import pytest

from shoal.errors import ShoalError
from shoal.report import page_path, read_run, write_page
from shoal.report.html import TEMPLATES, choose_images, render
from shoal.results import record as runs
from shoal.results.record import NodeRecord, Outcome
from tests.shoal.report import report_example as example

VOID = {"meta", "link", "img", "br"}
HOSTILE = [
    "<script>alert(1)</script>.mp4",
    '"><img src=x onerror=alert(1)>.mp4',
    "line\nbreak 'single' & \"double\".mp4",
    "{{ 7 * 7 }}{% raw %}.mp4",
    "Überwachung Straße 東京 🎥.mp4",
    "evil\u202egpj.mp4",
    "</title></style><!--.mp4",
    "]]>&lt;b&gt;.mp4",
]


class Page(HTMLParser):
    """Collects what a test asks about and refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.headings: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def every(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def flat(self) -> str:
        return " ".join(self.text.split())


def page_of(run: str) -> Page:
    return Page(write_page(read_run(run)).read_text(encoding="utf-8"))


@pytest.fixture(params=[example.whole_run, example.partly_failed_run, example.empty_run])
def any_page(request: pytest.FixtureRequest) -> Page:
    return page_of(request.param())


def test_asks_nothing_of_anybody(any_page: Page) -> None:
    for tag, attributes in any_page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "form", "base", "video", "source"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "style"  # the policy forbids it, so it would be lost
            if name in {"src", "href", "srcset", "poster", "data", "action"}:
                assert value is not None
                assert value.startswith(("#", "data:")), (tag, value[:80])
    assert "url(" not in (TEMPLATES / "report.css").read_text()
    assert "@import" not in (TEMPLATES / "report.css").read_text()


def test_policy_allows_this_style_and_data_pictures_only() -> None:
    text = write_page(read_run(example.empty_run())).read_text(encoding="utf-8")

    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(meta["content"] for meta in Page(text).every("meta") if "http-equiv" in meta)
    assert policy == (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_headings_are_in_order_and_ids_unique(any_page: Page) -> None:
    levels = [int(heading[1]) for heading in any_page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in any_page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for a in any_page.every("a")}
    assert targets <= {f"#{name}" for name in ids}
    labels = {a["aria-labelledby"] for _, a in any_page.tags if "aria-labelledby" in a}
    assert labels <= set(ids)


def test_pictures_and_drawings_have_words_and_decode() -> None:
    page = page_of(example.whole_run())

    images = page.every("img")
    assert len(images) == 36
    for image in images:
        assert image["alt"]
        data = base64.b64decode((image["src"] or "").removeprefix("data:image/jpeg;base64,"), validate=True)
        with av.open(io.BytesIO(data)) as container:
            frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (int(image["width"] or 0), int(image["height"] or 0))
    drawings = page.every("svg")
    assert all(svg.get("aria-hidden") == "true" or svg.get("aria-label") for svg in drawings)
    assert sum("Detections per 1 s over" in (svg.get("aria-label") or "") for svg in drawings) == 12


def test_whole_page_says_what_was_found() -> None:
    run = read_run(example.whole_run())
    flat = page_of(run.run).flat

    for words in (
        "Complete: 2 of 2 nodes finished, results verified.",
        run.headline,
        "1,320 frames",
        "2 min 12 s",
        "17.8 frames/s",
        "moving crop of a still photo",
        "Video, stayed on the nodes",
        "7.4 MB",
        "$0.0675/h",
        "no Bacalhau artefact can be had here",
        example.DIGEST,
        example.WEIGHTS.sha256,
        "yolov5s, licence AGPL-3.0",
        "shoal-detect 0.1.0; onnxruntime 1.32.0",
        "2026-11-25 09:30:12 UTC",
        "lab (substrate lab)",
        "SourcePath: /videos",
        "conf 0.35; iou 0.45; classes person, car",
    ):
        assert words in flat


def test_incomplete_run_says_so_before_anything_else() -> None:
    flat = page_of(example.partly_failed_run()).flat

    assert flat.startswith("Incomplete: 1,837 detections in 9 videos")  # the title
    state = flat.index("Incomplete: 1 of 3 nodes finished with verified results.")
    assert state < flat.index("compute-2: out of memory, exit code 137") < flat.rindex("1,837 detections in 9 videos")
    assert "Zero videos: nothing of this node is at home (unreachable)." in flat
    assert "faulty: truncated" in flat
    assert "manifest.json is missing" in flat


def test_empty_run_is_visible() -> None:
    flat = page_of(example.empty_run()).flat

    assert "No video was processed" in flat
    assert "Zero videos" in flat
    assert "Unknown: no price per hour is recorded for compute-1." in flat


def test_cut_picture_is_not_shown() -> None:
    page = page_of(example.partly_failed_run())

    assert len(page.every("img")) == 4 * 3 + 1 + 8
    assert "1 key frame missing here or not whole." in page.flat


def test_hostile_names_stay_text() -> None:
    run, label = "hostile", "<b onclick=x>\"class'</b>\n&"
    node = runs.run_dir(run) / "compute-1"
    videos = [
        example.add_video(
            node,
            name,
            classes=(label, "person"),
            key_frames=1,
            fault={"kind": "truncated", "message": "<u>message</u>\r\nsecond"} if index == 0 else None,
        )
        for index, name in enumerate(HOSTILE)
    ]
    fetched = example.finish(node, run, videos)
    outcome = Outcome.FAULTY_VIDEOS
    example.record(
        run,
        {
            "compute-1": NodeRecord(
                outcome=outcome,
                attempts=[example.attempt(1, outcome, 3, message="</td><script>x</script>")],
                fetched=fetched,
            )
        },
        engine_reason="<script>reason</script>",
        job={"Name": "</pre><script>job</script>", "Key\n": ["\x1b[31m"]},
        options={"classes": ["<s>", label]},
        template="<img src=y>",
    )

    text = write_page(read_run(run)).read_text(encoding="utf-8")
    page = Page(text)

    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "div", "header", "main", "section", "nav"),
        *("footer", "article", "figure", "figcaption", "details", "summary", "h1", "h2", "h3", "h4", "p", "ul", "li"),
        *("dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "a", "img", "svg", "path", "rect"),
        *("span", "strong", "code", "pre", "time"),
    }
    assert len(page.every("img")) == len(HOSTILE)
    for name in HOSTILE:
        shown = name.replace("\n", "\\n").replace("\u202e", "\\u202e")
        assert shown in page.text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "<b onclick=x>\"class'</b>\\n&" in page.text
    assert "7 * 7" in page.text
    assert "</pre><script>job</script>" in page.text


def test_budget_is_shared_between_videos_and_what_is_left_out_is_said() -> None:
    run = read_run(example.whole_run())
    folder = runs.run_dir(run.run)
    whole = choose_images(run, folder, 10**9)
    assert not whole.left_out

    images = choose_images(run, folder, whole.size_bytes // 2)

    assert images.size_bytes <= whole.size_bytes // 2
    assert len(images.embedded) + len(images.left_out) == 36
    for node in run.nodes:
        for video in node.videos:
            assert any(frame.path in images.embedded for frame in video.key_frames), video.video
    flat = Page(render(run, folder, images_max_bytes=whole.size_bytes // 2)).flat
    assert f"{len(images.left_out)} key frames left out to keep the pictures in this page under" in flat


def test_no_pictures_at_all_by_budget() -> None:
    run = read_run(example.whole_run())

    page = Page(render(run, runs.run_dir(run.run), images_max_bytes=0))

    assert page.every("img") == []
    assert "36 key frames left out" in page.flat


def test_page_is_written_whole_and_the_same_twice(tmp_path: Path) -> None:
    run = read_run(example.whole_run())

    first = write_page(run).read_bytes()
    second = write_page(run, tmp_path / "deep" / "other.html").read_bytes()

    assert first == second
    assert page_path(run.run).parent == runs.run_dir(run.run)
    assert not list(runs.run_dir(run.run).glob(".report*"))


def test_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ShoalError, match="the report cannot be written"):
        write_page(read_run(example.empty_run()), tmp_path / "file" / "report.html")


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_aa(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "report.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme]))

    for text in ("text", "muted", "accent"):
        for back in ("page", "card", "well"):
            assert _contrast(colours[text], colours[back]) >= 4.5, (text, back)
    for word in ("good", "warn", "bad"):
        assert _contrast(colours[word], colours[f"{word}-back"]) >= 4.5
        for text in ("text", "accent"):
            assert _contrast(colours[text], colours[f"{word}-back"]) >= 4.5
    for number in range(1, 9):
        assert _contrast(colours[f"c{number}"], colours["well"]) >= 3, number
        assert _contrast(colours[f"c{number}"], colours["card"]) >= 3, number
