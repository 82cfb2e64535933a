"""pyinfra's log lines read: which operation runs, what it did on which host, and the last words of what failed."""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from shoal.telling import Say

_STARTING = re.compile(r"^--> Starting (?:[a-z, ]+ )?operation: (?P<name>.*?) *(?:\(.*\))?$")
_HOST = re.compile(r"^ *\[(?P<host>[^\]]+)\] *(?:nested +)?(?P<text>.*)$")
_FATAL = re.compile(r"^--> (?P<what>pyinfra error|An exception occurred|An internal exception)(?P<text>.*)$")
# pyinfra's own words; a command's output may begin with "Error" as well.
_ERROR = re.compile(r"^Error: (executed \d+ commands|could not (load|process) fact)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOTE = re.compile(r"^(?P<kind>will|left): (?P<text>.*)$")
"""What a role says of the machine beside its operations; see roles/common/notes.py."""
_NEWLINE = re.compile(r"\\[\\n]")
"""A note's line ends, and the backslashes that are none; see roles/common/notes.py."""
_DONE = ("Success", "No changes", "Skipped", "Connected", "Ready:")
PROGRESS = "progress: "
"""Begins a line in which a role's long script says what it is at."""
KEPT_LINES = 12
"""So many last lines of a failed command are shown."""


@dataclass
class Log:
    """State of one pyinfra run, fed line by line."""

    say: Say
    operation: str = ""
    """The one that runs now."""
    started_s: float = field(default_factory=time.monotonic)
    durations_s: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """By host: the operation that failed and its last lines."""
    refusal: str = ""
    """Why pyinfra itself or a deploy's own checks refused to begin or to go on."""
    will: list[tuple[str, str]] = field(default_factory=list)
    """Host and what the deploy is going to do to it, found while it is prepared."""
    left: list[tuple[str, str]] = field(default_factory=list)
    """Host and what a teardown left there, with the reason."""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _words: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=KEPT_LINES)))
    _in_refusal: bool = False

    def feed(self, raw: str) -> None:
        """Take in one line of standard error."""
        line = _COLOUR.sub("", raw).rstrip()
        if line.strip():
            self.tail.append(line.strip())
        if match := _STARTING.match(line):
            self._close()
            self.operation, self.started_s = match["name"], time.monotonic()
            self._words.clear()
        elif match := _FATAL.match(line):
            self._close()
            self._in_refusal = True
            # The place in our own code is of no use to a reader; what follows it is.
            self.refusal = re.sub(r"^ in .+? line \d+: |^: ", "", match["text"])
        elif line.startswith("-->"):
            self._close()
            self.operation, self._in_refusal = "", False
        elif self._in_refusal:
            self.refusal += f"\n{line}" if line.strip() else ""
        elif match := _HOST.match(line):
            self._host(match["host"], match["text"].strip())

    def _host(self, host: str, text: str) -> None:
        if match := _NOTE.match(text):
            notes = self.will if match["kind"] == "will" else self.left
            note = _NEWLINE.sub(lambda found: "\n" if found[0] == "\\n" else "\\", match["text"])
            if (host, note) not in notes:
                notes.append((host, note))
                # Of several lines, such as a diff, the first says what it is about.
                self.say(f"  {host}: {match['kind']}: {note.partition(chr(10))[0]}")
        elif text == "Success" or text.startswith("Success on retry"):
            self.say(f"  {host}: {self.operation}: changed ({time.monotonic() - self.started_s:.1f} s)")
        elif _ERROR.match(text):
            words = "\n      ".join(self._words[host])
            self.errors[host] = f"{self.operation or 'connecting'}\n      {words}" if words else self.operation or text
            self.say(f"  {host}: {self.operation}: FAILED")
        elif not self.operation and text not in _DONE and not text.startswith(_DONE):
            # Before the first operation a host's only other words are about why it cannot be reached.
            self.errors[host] = text
            self.say(f"  {host}: {text}")
        elif text.startswith(PROGRESS):
            self.say(f"  {host}: {text.removeprefix(PROGRESS)} ({time.monotonic() - self.started_s:.0f} s)")
        elif text and not text.startswith(_DONE):
            self._words[host].append(text)

    def _close(self) -> None:
        if self.operation:
            self.durations_s[self.operation] = time.monotonic() - self.started_s
