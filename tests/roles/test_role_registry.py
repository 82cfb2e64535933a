"""Role `registry`: fresh and converged, bound to the requester's address, without the distribution's password."""

from __future__ import annotations

import pytest
import yaml
from role_harness import changed, file_answer, run, unit_answer

from roles import registry
from roles.common.knobs import RefusedError
from roles.registry import (
    CONFIG,
    FILES,
    READ_CONFIG,
    READ_UNIT_FILE,
    UNIT_FILE,
    config_text,
    read_config_text,
)
from roles.registry.defaults import Registry
from roles.registry.plan import look_of, port_faults

UNIT_TEXT = (FILES / "registry.service").read_text(encoding="utf-8").replace("@CONFIG@", CONFIG)

READ_UNIT_TEXT = (FILES / "registry-read.service").read_text(encoding="utf-8").replace("@CONFIG@", READ_CONFIG)


def converged(**more):
    return {
        f"[ ! -f {CONFIG} ]": file_answer(config_text(Registry())),
        f"[ ! -f {READ_CONFIG} ]": file_answer(read_config_text(Registry(), "192.0.2.10")),
        f"[ ! -f {READ_UNIT_FILE} ]": file_answer(READ_UNIT_TEXT),
        "UNIT=shoal-registry-read": unit_answer(),
        f"[ ! -f {UNIT_FILE} ]": file_answer(UNIT_TEXT),
        "dpkg-query": ["docker-registry installed"],
        "stat -c '%F|": ["directory|750 docker-registry docker-registry|/var/lib/shoal/registry"],
        "UNIT=shoal-registry.service": unit_answer(),
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
    # The package's own service is not for us: it is not started, not even for a moment.
    assert "START_SERVICES=no" in text
    assert text.index("systemctl daemon-reload") < text.index("systemctl start shoal-registry.service")
    assert "docker-registry.service" not in text
    assert text.index("systemctl start shoal-registry.service") < text.index(
        "systemctl start shoal-registry-read.service"
    )
    assert text.index("systemctl start shoal-registry-read") < text.index("until probe")


def test_converged_machine_is_left_alone():
    assert changed(run(registry.install, converged(), node="office")) == []


def test_restart_after_a_change():
    late = unit_answer(started_s=5.0, configured_s=6.0)
    outcome = run(registry.install, converged(**{"UNIT=shoal-registry.service": late}), node="office")
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
        # By a version that kept no records of files.
        "RECORD=/var/lib/shoal/roles/registry.files": ["version 0"],
        f"for p in {CONFIG}": [CONFIG],
        "repositories": ["there", "shoal"],
    }
    text = run(registry.remove, answers, node="office").text()
    assert text.index("systemctl disable --quiet --now shoal-registry.service") < text.index("purge")
    assert f"rm -rf -- {CONFIG}" in text
    assert "rm -rf -- /var/lib/shoal/registry" in text


def test_images_that_others_put_into_the_registry_stay():
    text = run(registry.remove, {"repositories": ["there", "plant", "shoal"]}, node="office").text()
    assert "rm -rf -- /var/lib/shoal/registry" not in text


def test_what_an_earlier_version_gave_the_distributions_service_is_taken_back():
    outcome = run(registry.install, converged(**{"ACT=no": ["drop-in"]}), node="office")
    assert changed(outcome) == ["registry | Leave the distribution's service as its owner has it"]


LISTENING = """LISTEN 0      4096         127.0.0.1:5555        0.0.0.0:*    users:(("docker-registry",pid=800,fd=3))
LISTEN 0      4096                 *:5000              *:*    users:(("docker-registry",pid=792,fd=3))
LISTEN 0      4096     192.0.2.10%eth0:5001        0.0.0.0:*
LISTEN 0      128               [::]:22             [::]:*    users:(("sshd",pid=1,fd=4))
ours 0
ours
""".splitlines()


@pytest.mark.parametrize(
    ("more", "wanted", "words"),
    [
        ([], ("192.0.2.10", 5000), "docker-registry (process 792)"),
        ([], ("192.0.2.10", 5001), "another program"),
        ([], ("127.0.0.1", 5001), ""),
        ([], ("192.0.2.10", 5555), ""),
        ([], ("0.0.0.0", 5555), "process 800"),
        (["ours 792"], ("192.0.2.10", 5000), ""),
        (["ours 900"], ("192.0.2.10", 5000), "docker-registry (process 792)"),
        (["ours 900"], ("192.0.2.10", 5001), ""),
        ([], ("192.0.2.10", 22), "sshd"),
    ],
)
def test_a_port_that_is_somebody_elses_is_refused(more, wanted, words):
    found = port_faults(look_of([*LISTENING, *more]), [wanted])
    assert bool(found) is bool(words)
    assert all(words in text for text in found)


def test_remove_on_a_bare_machine_does_nothing():
    assert changed(run(registry.remove, {}, node="office")) == []


UNUSED = ["checking", "blob eligible for deletion: sha256:" + "a" * 64]


def test_what_no_image_uses_is_given_back_while_the_registry_stands_still():
    outcome = run(registry.tidy, {"garbage-collect --dry-run": UNUSED, "curl": ["yes"]}, node="office")
    assert changed(outcome) == ["registry | Give back what no image uses"]
    text = outcome.text()
    assert text.index('systemctl stop "$UNIT"') < text.index('garbage-collect "$CONFIG" >')
    assert (f"CONFIG={CONFIG}" in text, f"UNIT={registry.UNIT}" in text) == (True, True)
    # Started again also where the clean-up fails.
    assert "trap 'systemctl start \"$UNIT\"' EXIT" in text


def test_a_registry_without_garbage_is_left_alone():
    answers = {"garbage-collect --dry-run": ["shoal/detector", "5 blobs marked, 0 blobs eligible"], "curl": ["yes"]}
    assert changed(run(registry.tidy, answers, node="office")) == []
