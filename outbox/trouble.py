"""What went wrong with a store, from what rclone says: one line for people, and whether it is the store's fault."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORDS_MAX = 200


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something was not shipped."""

    code: str
    """`dns`, `link`, `slow`, `credentials`, `account`, `clock`, `bucket`, `full`, `server`, `exists`, `hash`, `half`,
    `host-key`, `program`, `other`."""
    text: str
    """One line: what is wrong and what to do."""
    everything: bool = True
    """Whether it is the store's or the link's: no other object would fare better now."""


_REPLACE = "the store refuses to replace an object of that name: remove the other content there"
# The first that matches: S3's and Google's error codes, and Go's words for the system's errors.
_KINDS: tuple[tuple[str, str, str, bool], ...] = (
    (
        "clock",
        r"RequestTimeTooSkewed|RequestExpired|Request has expired|x509: certificate has expired or is not yet valid|"
        r"Token must be a short-lived token",
        "the store says this node's clock is wrong: set it (timedatectl, the base role's time daemon)",
        True,
    ),
    (
        "dns",
        r"no such host|server misbehaving|Temporary failure in name resolution|lookup .*: .*timeout",
        "the store's name is not resolved: is the endpoint right, does this node's DNS answer?",
        True,
    ),
    (
        "link",
        # Whatever the kernel says of connect(2): a route or a filter that drops gives "invalid argument" or "permission
        # denied", which are no answers of the store's.
        r"\bdial \w+ \S+: connect: |"
        r"connection refused|network is unreachable|no route to host|connection reset|broken pipe|\bEOF\b|"
        r"couldn't connect SSH: dial|use of closed network connection|no such device|proxyconnect",
        "the store is not reached: is the link up, is the endpoint right?",
        True,
    ),
    (
        "slow",
        r"i/o timeout|TLS handshake timeout|context deadline exceeded|Client\.Timeout|ended by the shipper|timed out",
        "the store does not answer in time",
        True,
    ),
    (
        "host-key",
        r"knownhosts: key|key mismatch|unknown host key|certificate signed by unknown authority|x509:",
        "the store's host key or certificate is not the expected one: somebody in between, or it was made anew",
        True,
    ),
    (
        "full",
        r"\b507\b|Insufficient Storage|no space left|QuotaExceeded|quota exceeded|disk quota|"
        r"storage is full|XMinioStorageFull",
        "the store is full: make room there; everything waits here meanwhile",
        True,
    ),
    (
        "bucket",
        r"NoSuchBucket|bucket does not exist|bucket doesn't exist|directory not found|Error 404:.*notFound",
        "there is no such bucket or folder: make it, the shipper does not",
        True,
    ),
    (
        "account",
        r"accountDisabled|UserProjectAccountProblem|AllAccessDisabled|NotSignedUp|billing account",
        "the store's account or project is closed or has no billing: whoever owns it has to open it",
        True,
    ),
    (
        "server",
        r"rateLimitExceeded|TooManyRequests",
        "the store wants to be asked less often",
        False,
    ),
    (
        # Google asks for the right to delete where an object of that name is there.
        "exists",
        r"storage\.objects\.delete|retentionPolicyNotMet|objectUnderActiveHold|ObjectLocked",
        _REPLACE,
        False,
    ),
    (
        "credentials",
        r"\b40[13]\b|AccessDenied|Forbidden|SignatureDoesNotMatch|InvalidAccessKeyId|unable to authenticate|"
        r"Unauthorized|permission denied|could not find default credentials|NoCredentialProviders|no EC2 IMDS role|"
        r"failed to refresh cached credentials|static credentials are empty|SharedCredsLoad|invalid_grant|"
        r"cannot fetch token|GCE metadata|couldn't find default",
        "the store refuses this node's credential: is it right, may it create, read and list objects there?",
        True,
    ),
    (
        "exists",
        r"\b412\b|PreconditionFailed|precondition",
        _REPLACE,
        False,
    ),
    (
        "hash",
        r"corrupted on transfer: .*hash|BadDigest|hash(es)? differ|XAmzContentSHA256Mismatch",
        "what arrived is not what was sent; it is sent again",
        False,
    ),
    (
        "half",
        r"corrupted on transfer|sizes differ|IncompleteBody|unexpected EOF",
        "half of it arrived; it is sent again",
        False,
    ),
    (
        "server",
        r"\b50\d\b|SlowDown|InternalError|ServiceUnavailable|\b429\b",
        "the store has trouble of its own",
        False,
    ),
)


def from_output(lines: Iterable[str]) -> Trouble:
    """The trouble in rclone's log lines (JSON objects or plain)."""
    said = _said(lines)
    # The store did answer: that the connection closed while its reasons were read is not the fault.
    answer = re.sub(r"failed to copy error response body.*?(?=\)|$)", "", said)
    for code, pattern, words, everything in _KINDS:
        if re.search(pattern, answer, re.IGNORECASE):
            return Trouble(code, f"{words} ({_short(said)})", everything)
    return Trouble("other", _short(said) or "rclone failed and does not say why", everything=False)


def _said(lines: Iterable[str]) -> str:
    found = []
    for line in lines:
        text = line.strip()
        if text.startswith("{"):
            try:
                document = json.loads(text)
            except ValueError:
                document = {}
            if "stats" in document:
                continue
            text = str(document.get("msg") or document.get("error") or text)
        if text:
            found.append(text)
    # The last one is the sum: rclone repeats there what ended it.
    return " ".join(found[-3:])


def _short(said: str) -> str:
    text = re.sub(r"\s+", " ", said)
    text = re.sub(r"request id: \S*|host id: \S*|RequestID: \S*|HostID: \S*|, ,", "", text)
    # An address may carry a key or a signature in its query.
    text = re.sub(r"\?[^ \"']*", "", text)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _WORDS_MAX else "..." + text[-_WORDS_MAX:]
