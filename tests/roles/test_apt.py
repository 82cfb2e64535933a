"""What apt says it would do, and what of that is refused; lines as Debian 12's apt prints them."""

from __future__ import annotations

import pytest

from roles.common.apt import Simulation, consequences, parsed, refusals

INSTALL = """Reading package lists...
Building dependency tree...
The following packages were automatically installed and are no longer required:
  tini
The following packages will be REMOVED:
  docker-ce containerd.io
The following NEW packages will be installed:
  containerd docker.io
The following packages will be upgraded:
  libseccomp2
Remv docker-ce [5:27.5.1-1]
Remv containerd.io [1.7.25-1]
Inst libseccomp2 [2.5.4-1] (2.5.4-1+deb12u1 Debian:12.8/stable [amd64])
Inst containerd (1.6.20~ds1-1+b1 Debian:12.8/stable [amd64])
Inst docker.io (20.10.24+dfsg1-1+b3 Debian:12.8/stable [amd64])
Conf containerd (1.6.20~ds1-1+b1 Debian:12.8/stable [amd64])
Conf docker.io (20.10.24+dfsg1-1+b3 Debian:12.8/stable [amd64])
""".splitlines()


def test_all_that_would_go_is_named():
    simulation = parsed(INSTALL)
    assert simulation.removed == ("docker-ce", "containerd.io")
    assert simulation.new == (("containerd", "1.6.20~ds1-1+b1"), ("docker.io", "20.10.24+dfsg1-1+b3"))
    found = refusals(simulation, may_upgrade=True)
    assert len(found) == 1
    assert "docker-ce, containerd.io" in found[0]


def test_an_owners_packages_are_upgraded_with_consent_only():
    simulation = parsed([line for line in INSTALL if not line.startswith("Remv")])
    assert refusals(simulation, may_upgrade=True) == []
    (found,) = refusals(simulation, may_upgrade=False)
    assert "libseccomp2 (2.5.4-1 to 2.5.4-1+deb12u1)" in found
    assert "--yes-to apt-upgrade" in found


@pytest.mark.parametrize(
    ("heading", "word"),
    [
        ("The following packages will be DOWNGRADED:", "older versions of curl, libcurl4"),
        ("The following held packages will be changed:", "curl, libcurl4, which is on hold"),
    ],
)
def test_lists_under_their_headings(heading, word):
    lines = ["Reading package lists...", heading, "  curl", "  libcurl4", "0 upgraded, 0 newly installed", "  not this"]
    (found,) = refusals(parsed(lines), may_upgrade=True)
    assert word in found


def test_consequences():
    assert consequences(parsed(INSTALL)) == [
        "install containerd 1.6.20~ds1-1+b1, docker.io 20.10.24+dfsg1-1+b3",
        "upgrade libseccomp2 from 2.5.4-1 to 2.5.4-1+deb12u1",
    ]
    assert parsed([]) == Simulation()
    assert parsed(["E: Unable to locate package docker.io"]).fault == "Unable to locate package docker.io"
