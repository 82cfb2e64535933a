"""Which shoal this is: the version, and the commit of the checkout that runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from shoal import __version__


def described(checkout: Path) -> str:
    """`0.1.0 (commit 1a2b3c4)`, with `, changed` where files differ from it; the bare version where git does not know.

    Only a repository whose top is `checkout` counts: a copy inside of somebody else's repository has no commit.
    """
    top = _git(checkout, "rev-parse", "--show-toplevel")
    commit = _git(checkout, "rev-parse", "--short=12", "HEAD")
    if not commit or not top or Path(top).resolve() != checkout.resolve():
        return __version__
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return f"{__version__} (commit {commit}{', changed' if changed else ''})"


def _git(checkout: Path, *words: str) -> str:
    """What git prints, or nothing where there is no git, no repository or no answer in time."""
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), "--no-optional-locks", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
