"""Role `registry`: fresh and converged, bound to the requester's address, without the distribution's password."""

from __future__ import annotations

import pytest
import yaml
from role_harness import changed, file_answer, run, unit_answer

from roles import registry
from roles.common.knobs import RefusedError
from roles.registry import CONFIG, DROP_IN, FILES, READ_CONFIG, READ_UNIT_FILE, config_text, read_config_text
from roles.registry.defaults import Registry

DROP_IN_TEXT = (FILES / "shoal.conf").read_text(encoding="utf-8").replace("@CONFIG@", CONFIG)

READ_UNIT_TEXT = (FILES / "registry-read.service").read_text(encoding="utf-8").replace("@CONFIG@", READ_CONFIG)


def converged(**more):
    return {
        f"[ ! -f {CONFIG} ]": file_answer(config_text(Registry())),
        f"[ ! -f {READ_CONFIG} ]": file_answer(read_config_text(Registry(), "192.0.2.10")),
        f"[ ! -f {READ_UNIT_FILE} ]": file_answer(READ_UNIT_TEXT),
        "systemctl show shoal-registry-read": unit_answer(),
        f"[ ! -f {DROP_IN} ]": file_answer(DROP_IN_TEXT),
        "dpkg-query": ["docker-registry installed"],
        "stat -c '%F|": ["directory|750 docker-registry docker-registry|/var/lib/shoal/registry"],
        "systemctl show docker-registry": unit_answer(),
        "curl": ["yes"],
        **more,
    }


def test_images_are_taken_on_loopback_alone():
    config = yaml.safe_load(config_text(Registry(registry_bind="192.0.2.99")))
    assert config["http"]["addr"] == "127.0.0.1:5001"
    assert "auth" not in config
    assert config["storage"]["delete"]["enabled"] is True
    assert config["storage"]["filesystem"]["rootdirectory"] == "/var/lib/shoal/registry"


def test_nodes_get_a_listener_that_takes_nothing():
    config = yaml.safe_load(read_config_text(Registry(), "192.0.2.10"))
    assert config["http"]["addr"] == "192.0.2.10:5000"
    assert config["storage"]["maintenance"]["readonly"]["enabled"] is True
    assert "delete" not in config["storage"]
    # The kernel holds it too: the service may write nowhere.
    assert "ProtectSystem=strict" in READ_UNIT_TEXT
    assert "ReadWritePaths" not in READ_UNIT_TEXT
    bound = read_config_text(Registry(registry_bind="2001:db8::1"), "x")
    assert yaml.safe_load(bound)["http"]["addr"] == "[2001:db8::1]:5000"


def test_fresh_machine_starts_with_our_configuration():
    outcome = run(
        registry.install,
        {"systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled", NeedDaemonReload="yes")},
        node="office",
    )
    text = outcome.text()
    assert not outcome.failed
    assert text.index(CONFIG) < text.index("WANTED=docker-registry")
    assert text.index("systemctl daemon-reload") < text.index("systemctl start docker-registry.service")
    # The one on loopback first: an earlier version's listens on the nodes' address.
    assert text.index("systemctl start docker-registry") < text.index("systemctl start shoal-registry-read.service")
    assert text.index("systemctl start shoal-registry-read") < text.index("until curl")


def test_converged_machine_is_left_alone():
    assert changed(run(registry.install, converged(), node="office")) == []


def test_restart_after_a_change():
    late = unit_answer(started_s=5.0, configured_s=6.0)
    outcome = run(registry.install, converged(**{"systemctl show docker-registry": late}), node="office")
    assert changed(outcome) == ["registry | Run the registry"]


def test_faulty_knobs():
    with pytest.raises(RefusedError) as caught:
        run(registry.install, {}, node="office", data={"registry_port": 0, "registry_storage": "/"})
    assert len(caught.value.faults) == 2
    with pytest.raises(RefusedError):
        run(registry.install, {}, node="office", data={"registry_write_port": 5000})


def test_remove():
    answers = {
        "systemctl show": unit_answer(),
        "for p in /var/lib/shoal/roles/registry.packages": ["/var/lib/shoal/roles/registry.packages"],
        f"for p in {CONFIG}": [CONFIG, "/var/lib/shoal/registry"],
    }
    text = run(registry.remove, answers, node="office").text()
    assert text.index("systemctl disable --quiet --now") < text.index("purge")
    assert f"rm -rf -- {CONFIG} /var/lib/shoal/registry" in text


def test_remove_on_a_bare_machine_does_nothing():
    assert changed(run(registry.remove, {}, node="office")) == []


UNUSED = ["checking", "blob eligible for deletion: sha256:" + "a" * 64]


def test_what_no_image_uses_is_given_back_while_the_registry_stands_still():
    outcome = run(registry.tidy, {"garbage-collect --dry-run": UNUSED, "curl": ["yes"]}, node="office")
    assert changed(outcome) == ["registry | Give back what no image uses"]
    text = outcome.text()
    assert text.index("systemctl stop docker-registry") < text.index(f"garbage-collect {CONFIG} >")
    # Started again also where the clean-up fails.
    assert "trap 'systemctl start docker-registry.service' EXIT" in text


def test_a_registry_without_garbage_is_left_alone():
    answers = {"garbage-collect --dry-run": ["shoal/detector", "5 blobs marked, 0 blobs eligible"], "curl": ["yes"]}
    assert changed(run(registry.tidy, answers, node="office")) == []
