"""Role `docker` on the machines."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.live


def test_engine_runs_and_starts_at_boot(machine):
    service = machine.service("docker.service")
    assert service.is_running
    assert service.is_enabled


def test_engine_has_the_settings_of_its_file(machine):
    config = json.loads(machine.file("/etc/docker/daemon.json").content_string)
    assert config["log-opts"] == {"max-file": "3", "max-size": "10m"}
    info = json.loads(machine.check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"] is True
    assert info["LoggingDriver"] == "json-file"
    # Not only written, but in force: the engine was started after it was written.
    assert set(config["insecure-registries"]) <= set(info["RegistryConfig"]["IndexConfigs"])


def test_data_lies_on_a_real_file_system(machine):
    assert machine.check_output("docker info --format '{{.Driver}}'") != "vfs"
