"""What the verbs need and say where it is missing, and the way to a cloud machine; without an engine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from paramiko import SSHConfig

from shoal.errors import Exit, ShoalError, UsageError
from shoal.lifecycle import access, gcloud, pulumi, receipt, verbs
from stacks.gcp.node_entry import proxy_command


def test_a_missing_pulumi_or_gcloud_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ShoalError) as missing:
        pulumi.find("gcp")
    assert missing.value.exit_code is Exit.MISSING
    assert "https://www.pulumi.com/docs/install/" in str(missing.value)
    with pytest.raises(ShoalError) as missing:
        gcloud.text("config", "list")
    assert missing.value.exit_code is Exit.MISSING
    assert "https://cloud.google.com/sdk/docs/install" in str(missing.value)


def test_what_the_user_has_set_for_pulumi_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "gs://mine")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "mine")
    told = pulumi.environment()
    assert told["PULUMI_BACKEND_URL"] == "gs://mine"
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in told
    assert not (tmp_path / "pulumi-passphrase").exists()


@pytest.mark.parametrize("name", ["lab-compute-12.europe-west4-b.c.my-project-1.internal"])
def test_the_proxy_command_asks_for_the_machine_in_its_zone(tmp_path: Path, name: str) -> None:
    fake = tmp_path / "gcloud"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    expected = [
        *("compute", "start-iap-tunnel", "lab-compute-12", "22", "--listen-on-stdin"),
        *("--project=my-project-1", "--zone=europe-west4-b"),
    ]
    line = proxy_command("my-project-1")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    # As OpenSSH does it: tokens filled in, then the user's shell.
    openssh = line.replace("%h", name).replace("%p", "22")
    told = subprocess.run(
        ["/bin/sh", "-c", f"exec {openssh}"], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == expected

    # As pyinfra's paramiko does it: from an ssh_config, split into words, no shell.
    import shlex

    config = SSHConfig.from_text(f"Host *\n  ProxyCommand {line}\n").lookup(name)["proxycommand"]
    told = subprocess.run(shlex.split(config), env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == expected


def test_openssh_itself_goes_through_the_proxy_command(tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no OpenSSH client here")
    asked = tmp_path / "asked"
    fake = tmp_path / "gcloud"
    fake.write_text(f'#!/bin/sh\nprintf "%s " "$@" >{asked}\nexit 1\n')
    fake.chmod(0o755)
    subprocess.run(
        ["ssh", "-F", "none", "-o", f"ProxyCommand={proxy_command('my-project-1')}", "vm.us-central1-a.c.p.internal"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert asked.read_text().split()[:4] == ["compute", "start-iap-tunnel", "vm", "22"]


def test_searches_of_one_lab_never_find_anothers() -> None:
    found = receipt.searches("my-project-1", "a")
    assert all("--project=my-project-1" in arguments for arguments in found.values())
    assert "--filter=labels.shoal-cluster=a" in found["instance"]
    assert "--filter=name=(shoal-a shoal-a-ssh-iap shoal-a-cluster)" in found["network"]


def test_host_keys_in_serial_output_are_those_of_the_last_boot() -> None:
    def block(body: str) -> str:
        begin, end = access._SERIAL_BEGIN, access._SERIAL_END
        return f"x\n{begin}\nci-info: ssh-ed25519 {body} root@vm\necdsa-sha2-nistp256 {body}2 root@vm\n{end}\ny\n"

    assert access._serial_keys(block("old") + block("new")) == [
        ("ssh-ed25519", "new"),
        ("ecdsa-sha2-nistp256", "new2"),
    ]
    assert access._serial_keys("booting") == []
    assert access._serial_keys(f"{access._SERIAL_BEGIN}\nssh-ed25519 half") == []


def test_settings_from_the_command_line() -> None:
    assert verbs.parse_change("compute={count: 5}") == ("compute", {"count": 5})
    assert verbs.parse_change("maxRunHours=6") == ("maxRunHours", 6)
    for wrong in ("compute", "=1", "compute={count"):
        with pytest.raises(UsageError):
            verbs.parse_change(wrong)
