"""Exceptions to a proxy by Go's own rules; the table is that of golang.org/x/net/http/httpproxy's tests."""

from __future__ import annotations

import pytest

from shoal.check.no_proxy import excepted

NO_PROXY = "foobar.com, .barbaz.net, *.quux.dev, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, 2002:db8:a::45/64"  # noqa: E501


@pytest.mark.parametrize(
    ("host", "port", "direct"),
    [
        ("127.0.0.1", 80, True),
        ("::1", 80, True),
        ("localhost", 80, True),
        ("192.168.1.1", 80, True),
        ("192.168.1.2", 80, False),
        ("192.168.1.2", 81, True),
        ("192.168.1.3", 80, True),
        ("192.168.1.4", 80, False),
        ("10.0.0.2", 5000, True),
        ("10.0.0.4", 5000, False),
        ("2001:db8::52:0:1", 80, True),
        ("2001:db8::52:0:2", 443, True),
        ("2001:db8::52:0:2", 80, False),
        ("2002:db8:a::123", 80, True),
        ("foobar.com", 80, True),
        ("www.foobar.com", 80, True),
        ("FooBar.com", 80, True),
        ("foofoobar.com", 80, False),
        ("baz.com", 80, False),
        ("x.barbaz.net", 80, True),
        ("barbaz.net", 80, False),
        ("x.quux.dev", 80, True),
        ("quux.dev", 80, False),
    ],
)
def test_gos_table(host: str, port: int, direct: bool) -> None:
    assert excepted(host, port, NO_PROXY) is direct


def test_all_and_none() -> None:
    assert excepted("10.0.0.2", 5000, "*")
    assert not excepted("10.0.0.2", 5000, "")
    assert not excepted("10.0.0.2", 5000, " , ,/,:,[")
