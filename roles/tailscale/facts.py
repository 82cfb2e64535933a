"""Facts of role `tailscale`."""

from __future__ import annotations

from typing import Any

from roles.common.facts import NodeFact
from roles.tailscale.status import Status
from roles.tailscale.status import read as status_of
from shoal import untrusted
from shoal.untrusted import DamagedDocumentError

LOOK_TIMEOUT_S = 10
# Some control servers repeat a bad key in their answer, and verbose output shows what a fact reads.
MASK = "sed -E 's/(tskey|hskey)-[^\" ]+/(key)/g'"
# Of the daemon's settings only those that the role knows leave the machine.
_PREFS = (
    "import json,sys; p=json.load(sys.stdin); "
    "print(json.dumps({k: p.get(k) for k in ('ControlURL','Hostname','CorpDNS','RunSSH','NetfilterMode')}))"
)


class TailscaleStatus(NodeFact[Status | None]):
    """The node as its own daemon sees it; None where there is none, or it does not answer."""

    def command(self) -> str:
        """Two questions to the daemon; the answers are parted by a line."""
        limit = f"timeout {LOOK_TIMEOUT_S}"
        return (
            "if command -v tailscale >/dev/null && [ -S /run/tailscale/tailscaled.sock ]; then "
            f"{{ {limit} tailscale status --json --peers=false 2>/dev/null || true; }} | {MASK}; echo; echo ---prefs; "
            f"{limit} tailscale debug prefs 2>/dev/null | python3 -c {_quoted(_PREFS)} 2>/dev/null || true; fi"
        )

    @staticmethod
    def default() -> None:
        """There is no daemon."""
        return

    def read(self, output: list[str]) -> Status | None:
        """Two JSON documents."""
        text = "\n".join(output)
        status, _, prefs = text.partition("---prefs")
        return status_of(_document(status), _document(prefs))


def _document(text: str) -> dict[str, Any] | None:
    try:
        document = untrusted.json_value(text, source="tailscale status")
    except DamagedDocumentError:
        return None
    return document if isinstance(document, dict) else None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
