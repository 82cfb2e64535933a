"""The real Pulumi engine for tests: CLI and Python language host, built from the Go module proxy once and cached."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.own_folders import downloads

HERE = Path(__file__).parent
CLI = HERE / "pulumi-cli"
LANGUAGE_HOST = HERE / "language-host"
CLI_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
HOST_PACKAGE = "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
VERSION_FLAG = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
BUILD_TIMEOUT_S = 1800
"""Three to seven minutes on two cores; more on a busy machine."""


class NoEngineError(Exception):
    """There is neither Go nor a Pulumi on PATH; the text says what to do."""


def pulumi_root() -> Path:
    """Folder with `bin/pulumi` and, beside it, the Python language host; built at first use (minutes)."""
    go = shutil.which("go")
    if go is None:
        if found := shutil.which("pulumi"):
            return Path(found).resolve().parent.parent
        raise NoEngineError("neither Go (https://go.dev/dl/) nor pulumi (https://www.pulumi.com/docs/install/) is here")
    root = downloads() / "pulumi-cli" / _key(go)
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "bin" / "pulumi").exists():
            _build(go, root)
    return root


def _key(go: str) -> str:
    digest = hashlib.sha256()
    for module in (CLI, LANGUAGE_HOST):
        digest.update((module / "go.mod").read_bytes() + (module / "go.sum").read_bytes())
    digest.update(_output([go, "env", "GOVERSION", "GOOS", "GOARCH"], CLI).encode())
    return digest.hexdigest()[:16]


def _build(go: str, root: Path) -> None:
    part = root.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "bin").mkdir(parents=True)
    version = _output([go, "list", "-m", "-f", "{{.Version}}", "github.com/pulumi/pulumi/pkg/v3"], CLI)
    sys.stderr.write(f"building Pulumi {version} from the Go module proxy, once; this takes minutes\n")
    flags = f"-s -w -X {VERSION_FLAG}={version}"
    _go_build(go, CLI, CLI_PACKAGE, part / "bin" / "pulumi", flags)
    _go_build(go, LANGUAGE_HOST, HOST_PACKAGE, part / "bin" / "pulumi-language-python", "-s -w")
    sources = Path(_output([go, "list", "-m", "-f", "{{.Dir}}", "github.com/pulumi/pulumi/sdk/v3"], LANGUAGE_HOST))
    launcher = part / "bin" / "pulumi-language-python-exec"
    launcher.write_bytes((sources / "python" / "cmd" / "pulumi-language-python-exec").read_bytes())
    launcher.chmod(0o755)
    part.rename(root)


def _go_build(go: str, module: Path, package: str, output: Path, ldflags: str) -> None:
    command = ["nice", "-n", "19", "env", "CGO_ENABLED=0", go, "build", "-trimpath", "-buildvcs=false"]
    command += ["-ldflags", ldflags, "-o", str(output), package]
    done = subprocess.run(command, cwd=module, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    if done.returncode:
        raise NoEngineError(f"Pulumi could not be built with Go: {done.stderr.strip()[-600:]}")


def _output(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    if done.returncode:
        raise NoEngineError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-600:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.stdout.write(f"{pulumi_root() / 'bin' / 'pulumi'}\n")
