"""An apt repository like the vendor's, signed by a key of the tests: the package has the vendor's own unit and scripts.

What is in it is built from the vendor's sources (tailnet.binaries); only the signature is not the vendor's.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from email.utils import formatdate
from pathlib import Path

import pytest
from tailnet import SOURCE, VERSION, binaries

CONTROL = f"""Package: tailscale
Version: {VERSION}
Architecture: {{arch}}
Maintainer: nobody <nobody@mesh.test>
Depends: iptables
Description: a package like the vendor's
"""


def build(folder: Path, *, arch: str, suite: str) -> bytes:
    """The repository's folders as a tar archive; skips where this machine has no gpg or dpkg-deb."""
    for program in ("gpg", "dpkg-deb", "go"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here, which the package is made with")
    root = folder / "repository"
    pool = root / "pool"
    pool.mkdir(parents=True)
    _package(folder / "package", pool / f"tailscale_{VERSION}_{arch}.deb", arch)
    listed = root / "dists" / suite / "main" / f"binary-{arch}"
    listed.mkdir(parents=True)
    text = "".join(_entry(deb, root, arch) for deb in sorted(pool.glob("*.deb")))
    (listed / "Packages").write_text(text)
    (listed / "Packages.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    release = root / "dists" / suite / "Release"
    lines = []
    for file in sorted(listed.iterdir()):
        content = file.read_bytes()
        lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {file.relative_to(release.parent)}")
    release.write_text(
        f"Origin: mesh.test\nSuite: {suite}\nCodename: {suite}\nArchitectures: {arch}\nComponents: main\n"
        f"Date: {formatdate(usegmt=True)}\nSHA256:\n" + "\n".join(lines) + "\n"
    )
    packed = io.BytesIO()
    _gpg(folder, "--clearsign", "--output", str(release.with_name("InRelease")), str(release))
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(root, arcname="debian")
    return packed.getvalue()


def public_key(folder: Path, name: str = "signer") -> bytes:
    """The armoured key of `name`, made at first use."""
    home = _home(folder)
    address = f"{name}@mesh.test"
    known = subprocess.run(["gpg", "--homedir", str(home), "--list-keys", address], capture_output=True, check=False)
    if known.returncode != 0:
        _gpg(folder, "--passphrase", "", "--quick-generate-key", address, "rsa3072", "sign", "1d", user=None)
    return subprocess.run(
        ["gpg", "--homedir", str(home), "--armor", "--export", address], capture_output=True, check=True
    ).stdout


def _home(folder: Path) -> Path:
    home = folder / "gpg"
    home.mkdir(mode=0o700, exist_ok=True)
    return home


def _gpg(folder: Path, *arguments: str, user: str | None = "signer@mesh.test") -> None:
    command = ["gpg", "--homedir", str(_home(folder)), "--batch", "--pinentry-mode", "loopback"]
    command += ["--local-user", user] if user else []
    subprocess.run([*command, *arguments], check=True, capture_output=True)


def _package(root: Path, target: Path, arch: str) -> None:
    """The vendor's files in the vendor's places."""
    asked = ["go", "list", "-m", "-f", "{{.Dir}}", "tailscale.com"]
    sources = Path(subprocess.run(asked, cwd=SOURCE, capture_output=True, text=True, check=True).stdout.strip())
    for program, place in (("tailscaled", "usr/sbin"), ("tailscale", "usr/bin")):
        (root / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(binaries() / program, root / place / program)
    daemon = sources / "cmd" / "tailscaled"
    for name, place in (("tailscaled.service", "lib/systemd/system"), ("tailscaled.defaults", "etc/default")):
        (root / place).mkdir(parents=True)
        shutil.copy(daemon / name, root / place / name.replace(".defaults", ""))
    about = root / "DEBIAN"
    about.mkdir()
    (about / "control").write_text(CONTROL.format(arch=arch))
    (about / "conffiles").write_text("/etc/default/tailscaled\n")
    for script in ("postinst", "prerm", "postrm"):
        shutil.copy(sources / "release" / "deb" / f"debian.{script}.sh", about / script)
    for path, _, names in os.walk(root):
        for name in names:
            file = Path(path, name)
            file.chmod(0o755 if file.parent.name in ("sbin", "bin") or file.name.startswith("p") else 0o644)
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(root), str(target)]
    subprocess.run(command, check=True, capture_output=True)


def _entry(deb: Path, root: Path, arch: str) -> str:
    content = deb.read_bytes()
    return CONTROL.format(arch=arch) + (
        f"Filename: {deb.relative_to(root)}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"
    )
