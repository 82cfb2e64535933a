"""Every knob of role `base`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from shoal.errors import Fault


@dataclass(frozen=True)
class Base:
    """Set as host or group data under the same names."""

    base_hostname: bool = True
    """Whether the machine's host name is set to the node's name. Off for on-prem machines: they have an owner."""
    base_time: Literal["timesyncd", "chrony", "none"] = "timesyncd"
    """What keeps the clock where the machine has no time daemon; one that is there serves, and is left as it is. In a
    container, where no clock can be set, it is installed and left idle."""
    base_packages: tuple[str, ...] = ("ca-certificates", "curl", "python3")
    """Debian packages that every node gets. The other roles need these three."""
    base_apt_lock_timeout_s: int = 180
    """How long apt waits for another apt, such as a fresh machine's unattended upgrade."""
    base_apt_timeout_s: int = 900
    """How long installing packages may take before the deploy gives up."""
    base_journal_max: str = "200M"
    """Upper size of the journal, on disk and in memory (systemd's notation). Empty: left as it is."""

    def faults(self) -> list[Fault]:
        """What no single field shows."""
        found = []
        if missing := {"ca-certificates", "curl", "python3"} - set(self.base_packages):
            found.append(Fault("base_packages", f"lacks {', '.join(sorted(missing))}, which other roles need"))
        if self.base_journal_max and not re.fullmatch(r"[1-9][0-9]*[KMGT]?", self.base_journal_max):
            found.append(Fault("base_journal_max", f"is not a size such as 200M (found {self.base_journal_max!r})"))
        for field in ("base_apt_lock_timeout_s", "base_apt_timeout_s"):
            if getattr(self, field) <= 0:
                found.append(Fault(field, "must be above zero"))
        return found
