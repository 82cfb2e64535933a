"""Role `base` on the machines."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.live


def test_packages(machine):
    for name in ("ca-certificates", "curl", "python3"):
        assert machine.package(name).is_installed


def test_apt_waits_for_its_lock(machine):
    assert "DPkg::Lock::Timeout" in machine.check_output("apt-config dump DPkg::Lock")


def test_journal_has_a_limit(machine):
    assert machine.file("/etc/systemd/journald.conf.d/50-shoal.conf").contains("SystemMaxUse=200M")
    assert machine.service("systemd-journald.service").is_running


def test_state_folders(machine):
    modes = {"/var/lib/shoal": 0o755, "/var/lib/shoal/runs": 0o700, "/var/lib/shoal/weights": 0o755}
    for path, mode in modes.items():
        folder = machine.file(path)
        assert folder.is_directory
        assert (folder.user, folder.mode) == ("root", mode)


def test_host_name_resolves(machine):
    name = machine.check_output("hostname")
    assert machine.run(f"getent hosts {name}").rc == 0


def test_no_unit_has_failed(machine):
    assert machine.check_output("systemctl --failed --no-legend --plain") == ""
