from __future__ import annotations

import re

import pytest
from local_registries import catalogue, entry

from shoal.artifacts import load_catalogue
from shoal.artifacts.catalogue import CATALOGUE, parse
from shoal.errors import UsageError
from shoal.site.sample_clips import recipes
from shoal.site.weights import YOLOV5S_FILE

HASH = "0" * 64
GOOD = f"""
schema_version = 1
[artifact.thing]
purpose = "test"
version = "1.0"
source = {{ kind = "npm", package = "thing" }}
file = "thing.tgz"
sha256 = "{HASH}"
size_bytes = 1
licence = "MIT"
"""


def test_ours_is_valid_and_complete() -> None:
    ours = load_catalogue()
    assert set(ours.derived) == {YOLOV5S_FILE, *(recipe.name for recipe in recipes())}
    assert {recipe.source for recipe in recipes()} < set(ours.artifact)
    assert {recipe.name: recipe.source for recipe in recipes()} == {
        name: derived.made_from for name, derived in ours.derived.items() if name != YOLOV5S_FILE
    }


def test_ours_names_no_registry_host() -> None:
    assert not re.search(r"https?://", CATALOGUE.read_text())


def test_all_faults_come_at_once() -> None:
    text = GOOD.replace('"npm"', '"ftp"').replace(HASH, "abc").replace("size_bytes = 1", "size_bytes = 0\nhash = 1")
    with pytest.raises(UsageError) as caught:
        parse(text, source="x.toml")
    told = str(caught.value)
    assert "4 faults" in told
    for path in ("artifact.thing.source", "artifact.thing.sha256", "artifact.thing.size_bytes", "artifact.thing.hash"):
        assert path in told


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("schema_version = 1", "schema_version = 2"), "schema_version"),
        (('package = "thing"', 'package = "--registry=x"'), "source.npm.package"),
        (('version = "1.0"', 'version = "-1"'), "artifact.thing.version"),
        (('file = "thing.tgz"', 'file = "../thing.tgz"'), "artifact.thing.file"),
        (('file = "thing.tgz"', ""), "needs `file`"),
        (('file = "thing.tgz"', 'member = "../../etc/passwd"'), "relative path"),
        (('kind = "npm"', 'kind = "deb"'), "a deb needs `member`"),
        (('kind = "npm"', 'kind = "pypi-wheel"'), "archive_sha256"),
        (("size_bytes = 1", "size_bytes = { amd64 = 1 }"), "different architectures"),
        ((f'"{HASH}"', f'{{ sparc = "{HASH}" }}'), "artifact.thing.sha256"),
    ],
)
def test_refused(change: tuple[str, str], reason: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(UsageError, match=re.escape(reason)):
        parse(GOOD.replace(*change), source="x.toml")


def test_not_toml_names_the_line() -> None:
    with pytest.raises(UsageError, match=r"x\.toml is not TOML: .*line 1"):
        parse("= what", source="x.toml")


def test_derived_from_nothing_known() -> None:
    text = GOOD + f'[derived]\n"a.mp4" = {{ made_from = "nothing", size_bytes = 1, sha256 = "{HASH}" }}\n'
    with pytest.raises(UsageError, match=r"a\.mp4 from nothing"):
        parse(text, source="x.toml")


def test_unknown_names_and_architectures() -> None:
    url = {"kind": "url", "url": {"amd64": "https://x.example/a", "arm64": "https://x.example/b"}}
    hashes = {"amd64": HASH, "arm64": "1" * 64}
    known = catalogue(tool=entry(url, b"", file="tool", sha256=hashes, size_bytes={"amd64": 1, "arm64": 2}))
    with pytest.raises(UsageError, match="known: tool"):
        known.get("toll")
    assert known.get("tool").arch_for("arm64") == "arm64"
    with pytest.raises(UsageError, match="no file of tool for riscv64"):
        known.get("tool").arch_for("riscv64")


def test_siblings_share_one_package() -> None:
    ours = load_catalogue()
    assert ours.siblings("photo-zidane") == ["photo-bus", "photo-zidane"]
    assert ours.siblings("vtest") == ["vtest"]
