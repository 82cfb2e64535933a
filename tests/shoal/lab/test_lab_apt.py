"""Reading apt's sources and settings, in both of its formats."""

from __future__ import annotations

from pathlib import Path

from shoal.lab import apt

ONE_LINE = """\
# a comment
deb http://mirror.example/debian bookworm main contrib # trailing words
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/a.gpg] https://mirror.example/debian-security bookworm-security main
deb-src http://mirror.example/debian bookworm main
  # deb http://off.example/debian bookworm main
deb https://third.example/apt bookworm stable
"""
DEB822 = """\
# leading comment

Types: deb deb-src
# where it comes from
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

types: deb
uris: https://inline.example/debian
suites: bookworm-backports
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_one_line_sources_with_options_and_comments() -> None:
    first, second, third = apt.parse_one_line(ONE_LINE)
    assert first == apt.Source(("http://mirror.example/debian",), ("bookworm",), ("main", "contrib"))
    assert second.options == {"Architectures": "amd64 arm64", "Signed-By": "/usr/share/keyrings/a.gpg"}
    assert second.keyring == Path("/usr/share/keyrings/a.gpg")
    assert third.components == ("stable",)


def test_deb822_sources_leave_out_disabled_and_source_only_ones() -> None:
    first, second = apt.parse_deb822(DEB822)
    assert first.suites == ("bookworm", "bookworm-updates")
    assert first.keyring == Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    assert second.uris == ("https://inline.example/debian",)
    assert second.keyring is None
    assert "abc" in second.options["Signed-By"]


def test_rendered_sources_read_back_the_same() -> None:
    sources = [*apt.parse_one_line(ONE_LINE), *apt.parse_deb822(DEB822)]
    again = apt.parse_deb822(apt.render(sources))
    assert [(s.uris, s.suites, s.components) for s in again] == [(s.uris, s.suites, s.components) for s in sources]
    assert [s.keyring for s in again] == [s.keyring for s in sources]
    assert "\n .\n abc\n" in apt.render(again)


def test_both_formats_are_found_where_apt_looks(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "b.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "c.list").write_text("deb http://c.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "d.list.save").write_text("deb http://d.example/debian bookworm main\n")
    hosts = [source.uris[0].split("/")[2] for source in apt.read_sources(tmp_path)]
    assert hosts == ["a.example", "mirror.example", "inline.example", "c.example"]


def test_only_the_distribution_itself_is_handed_on() -> None:
    sources = apt.parse_one_line(
        ONE_LINE
        + "deb https://deb.third.example/node_20.x nodistro main\ndeb https://x.example/apt sdk-bookworm main\n"
    )
    kept = apt.distribution_sources(sources, "bookworm")
    assert [source.suites for source in kept] == [("bookworm",), ("bookworm-security",)]


def test_bootstrap_starts_from_the_release_suite_over_a_known_protocol() -> None:
    sources = apt.parse_one_line(
        "deb http://a.example/debian-security bookworm-security main\n"
        "deb mirror+file:/etc/apt/mirrors bookworm main\n"
        "deb http://b.example/debian bookworm main\n"
    )
    found = apt.bootstrap_source(sources, "bookworm")
    assert found is not None
    assert found.uris == ("http://b.example/debian",)
    assert apt.bootstrap_source(sources[:2], "bookworm") is None


def test_only_settings_for_fetching_are_handed_on_and_never_hooks() -> None:
    dump = "\n".join(
        [
            'Acquire "";',
            'Acquire::http::Proxy "http://proxy.example:3128";',
            'Acquire::Check-Date "false";',
            'Acquire::Languages:: "none";',
            'Acquire::IndexTargets::deb::DEP-11::MetaKey "x";',
            'Acquire::cdrom::mount "/media/cdrom/";',
            'APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";',
            'DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";',
        ]
    )
    settings = apt.fetch_settings(dump)
    assert settings == {
        "Acquire::http::Proxy": "http://proxy.example:3128",
        "Acquire::Check-Date": "false",
        "Acquire::Languages::": "none",
    }
    assert apt.render_settings(settings).splitlines()[0] == 'Acquire::http::Proxy "http://proxy.example:3128";'


def test_logins_leave_the_address_and_go_into_a_netrc() -> None:
    uri, line = apt.split_credentials("https://me:s3cret@mirror.example:8443/debian")
    assert uri == "https://mirror.example:8443/debian"
    assert line == "machine mirror.example login me password s3cret"
    assert apt.split_credentials("http://mirror.example/debian") == ("http://mirror.example/debian", None)
    source = apt.Source(("https://mirror.example/debian",), ("bookworm",), ("main",))
    content = {"auth.conf.d/a": b"machine https://mirror.example/debian\n  login me\n  password s3cret # mine\n"}
    assert apt.netrc([source], content) == "machine mirror.example login me password s3cret\n"
    assert apt.netrc([source], {}) == ""
