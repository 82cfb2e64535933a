"""Every gcloud command that the product or its pages use exists in the real gcloud, with its flags; none is run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import lru_cache

import pytest

from shoal.lifecycle.receipt import searches
from shoal.paths import repository
from tests.stacks.standin.install import REPOSITORY

PAGE = (REPOSITORY / "docs" / "cloud-lab.md").read_text(encoding="utf-8")
# Flags of every command, and one that gcloud hides from its help.
EVERYWHERE = {"project", "format", "quiet", "filter", "flatten", "listen-on-stdin"}
OWN = [
    "compute os-login ssh-keys add --key-file=x --ttl=1h --project=x",
    "compute os-login ssh-keys update --key-file=x --ttl=1h --project=x",
    "compute os-login ssh-keys remove --key-file=x --project=x",
    "compute instances list --project=x --filter=labels.managed-by=shoal",
    "compute instances set-scheduling vm --max-run-duration=60s --zone=x",
    "compute instances stop vm --zone=x",
    "compute disks describe disk --zone=x",
    "compute disks list --project=x --filter=labels.managed-by=shoal",
    "compute regions describe region",
    "compute project-info describe",
    "services list --enabled",
    "projects get-iam-policy x --flatten=x",
    "projects add-iam-policy-binding x --member=x --role=x",
    "resource-manager org-policies describe x --effective",
    "storage buckets list --project=x",
    "auth application-default set-quota-project x",
    "compute os-login describe-profile",
    "compute instances get-guest-attributes vm --zone=x --query-path=hostkeys/",
    "compute instances get-serial-port-output vm --zone=x",
    "compute start-iap-tunnel vm 22 --listen-on-stdin --zone=x",
    "config get-value project",
    "config get-value account",
]
COMMANDS = sorted(
    {
        *OWN,
        *(shlex.join(arguments) for arguments in searches("p", "lab").values()),
        *(line.removeprefix("gcloud ") for line in PAGE.splitlines() if line.startswith("gcloud ")),
    }
)


@lru_cache
def help_of(words: tuple[str, ...]) -> str:
    done = subprocess.run(
        ["gcloud", *words, "--help"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout) if done.returncode == 0 else ""


@pytest.mark.stacks_engine  # a minute of asking gcloud for its help
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="no gcloud here: https://cloud.google.com/sdk/docs/install")
@pytest.mark.parametrize("command", COMMANDS)
def test_it_exists_with_its_flags(
    command: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path_factory.getbasetemp() / "gcloud"))
    words = [word for word in shlex.split(command) if not word.startswith("--")]
    # The command's own words come first; what follows are arguments.
    told = next((text for end in range(len(words), 1, -1) if (text := help_of(tuple(words[:end])))), "")
    assert f"gcloud {' '.join(words[:2])}" in told, command
    for flag in re.findall(r"--([a-z-]+)", command):
        assert flag in EVERYWHERE or f"--{flag}" in told, f"{command}: no --{flag}"


def test_the_product_calls_no_gcloud_command_that_is_not_listed_here() -> None:
    called = set()
    for path in (repository() / "shoal" / "lifecycle").glob("*.py"):
        for arguments in re.findall(r"gcloud\.(?:text|document)\(\s*((?:\"[a-z-]+\",?\s*)+)", path.read_text()):
            called.add(" ".join(re.findall(r"\"([a-z-]+)\"", arguments)))
    assert called
    for command in called | {"compute instances list"}:
        assert any(known.startswith(command) for known in COMMANDS), command
