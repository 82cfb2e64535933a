"""What keeps a machine's clock: what is there serves, else the knob's choice is installed."""

from __future__ import annotations

from dataclasses import dataclass

from roles.common.facts import NodeFact

UNITS = {"timesyncd": "systemd-timesyncd.service", "chrony": "chrony.service"}
PACKAGES = {"timesyncd": "systemd-timesyncd", "chrony": "chrony"}
BRINGS = {
    "timesyncd": ("user systemd-timesync", "group systemd-timesync"),
    "chrony": ("user _chrony", "group _chrony"),
}
"""Accounts that the packages make and leave behind."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The packages on a machine that keep a clock."""

    there: tuple[str, ...] = ()
    """Installed ones: chrony, ntpsec, openntpd, systemd-timesyncd and whatever else provides `time-daemon`."""
    ours: tuple[str, ...] = ()
    """Packages that role `base` installed, of any kind."""


class ClockState(NodeFact[Clock]):
    """Which time daemons are installed. Debian's virtual package `time-daemon` names them all; only one can be."""

    def command(self, record: str) -> str:
        """One look at the packages, one at our record."""
        return (
            "dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\\n' 2>/dev/null | "
            'awk \'$1 == "installed" && / time-daemon/ { print "daemon", $2 }\'; '
            f"[ ! -f {record} ] || sed 's/^/ours /' {record}"
        )

    @staticmethod
    def default() -> Clock:
        """None."""
        return Clock()

    def read(self, output: list[str]) -> Clock:
        """Lines `daemon NAME` and `ours NAME`."""
        words = [line.split() for line in output if line.count(" ") == 1]
        return Clock(
            there=tuple(word[1] for word in words if word[0] == "daemon"),
            ours=tuple(word[1] for word in words if word[0] == "ours"),
        )


def brought(choice: str, clock: Clock) -> bool:
    """Whether the knob's choice is installed and looked after by us: there is no other, and it is not its owner's.

    >>> brought("timesyncd", Clock(there=("chrony",)))
    False
    >>> brought("timesyncd", Clock(there=("systemd-timesyncd",), ours=("systemd-timesyncd",)))
    True
    """
    return choice in PACKAGES and (not clock.there or PACKAGES[choice] in {*clock.there} & {*clock.ours})
