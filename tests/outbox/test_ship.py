"""Shipping to real stores through a proxy that makes faults: what is told, and that nothing is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from outbox import disk, ship
from outbox.ledger import CLIP, SHIPPED, Ledger
from outbox.store import Store
from outbox.trouble import from_output
from tests.outbox import stores
from tests.outbox.making import Bench, MemoryStore, bench, event, run_folder

CLIP_BYTES = 300_000


def clip(number: int, size_bytes: int = CLIP_BYTES) -> bytes:
    return random.Random(number).randbytes(size_bytes)


@dataclass
class Site:
    """A node's outbox, an S3 server, and the proxy between them."""

    made: Bench
    proxy: stores.Proxy
    served: Path
    store: Store

    def ship(self, *, after_s: float = 0.0) -> ship.Shipment:
        """One round, as if `after_s` later."""
        return ship.ship(
            self.made.settings, self.made.ledger, self.store, self.made.said.append, lambda: time.time() + after_s
        )

    def there(self) -> dict[str, bytes]:
        """What the bucket holds."""
        bucket = self.served / stores.BUCKET
        return {str(path.relative_to(bucket)): path.read_bytes() for path in bucket.rglob("*") if path.is_file()}

    def all_arrived(self) -> None:
        """Everything is there once, whole, and the ledger says so."""
        there = self.there()
        parts = [part for entry in self.made.ledger.closed_entries() for part in entry.parts]
        assert parts
        assert self.made.ledger.open_entries() == []
        assert all(part.state == SHIPPED for part in parts)
        assert {key: disk.content_of(data).sha256 for key, data in there.items()} == {
            part.key: part.sha256 for part in parts
        }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    served = tmp_path / "served"
    with stores.s3(served) as port, stores.proxied(port) as proxy:
        made = bench(tmp_path)
        yield Site(made, proxy, served, stores.s3_store(tmp_path, proxy.endpoint))


def test_events_and_clips_arrive_whole_and_are_sent_once(site: Site) -> None:
    run_folder(site.made.runs, "run-1", [event(1, clip=clip(1)), event(2, severity="record", clip=clip(2))])
    site.made.collect()
    done = site.ship()
    assert (done.shipped, done.found_there) == (4, 0)
    site.all_arrived()
    assert done.sent_bytes == site.proxy.body_bytes == sum(map(len, site.there().values()))
    assert site.ship().shipped == 0
    assert len(site.proxy.put) == 4


def test_a_lost_acknowledgement_costs_no_second_upload(site: Site) -> None:
    run_folder(site.made.runs, "run-1", [event(1, clip=clip(1))])
    site.made.collect()
    site.proxy.faults = [None, stores.lost_acknowledgement]
    first = site.ship()
    assert first.trouble is not None
    assert first.trouble.code == "link"
    second = site.ship(after_s=1000)
    assert second.found_there == 1
    site.all_arrived()
    assert len(site.proxy.put) == 2


FAULTS = [
    (stores.answering(500, "InternalError"), "server", "trouble of its own"),
    (stores.answering(503, "SlowDown"), "server", "trouble of its own"),
    (stores.answering(403, "AccessDenied"), "credentials", "refuses this node's credential"),
    (stores.answering(403, "RequestTimeTooSkewed"), "clock", "clock is wrong"),
    (stores.answering(412, "PreconditionFailed"), "exists", "refuses to replace"),
    (stores.answering(507, "InsufficientStorage"), "full", "is full"),
    (stores.answering(404, "NoSuchBucket"), "bucket", "no such bucket"),
    (stores.cut_off_after(100_000), "link", "not reached"),
]


@pytest.mark.parametrize(
    ("fault", "code", "words"), FAULTS, ids=[f"{code}-{n}" for n, (_, code, _) in enumerate(FAULTS)]
)
def test_a_fault_is_told_in_one_line_nothing_is_lost_and_it_goes_on(
    site: Site, fault: stores.Fault, code: str, words: str
) -> None:
    run_folder(site.made.runs, "run-1", [event(1, clip=clip(1)), event(2, clip=clip(2))])
    site.made.collect()
    site.proxy.faults = [None, None, fault]
    site.ship()
    told = [line for line in site.made.said if "is not shipped" in line]
    assert len(told) == 1
    assert words in told[0]
    assert "\n" not in told[0]
    assert stores.SECRET not in told[0]
    site.ship(after_s=1000)
    site.ship(after_s=2000)
    site.all_arrived()
    assert len(site.proxy.put) == 4


@pytest.mark.parametrize("what", ["half", "hash"])
def test_a_store_that_says_yes_and_keeps_something_else_is_found_out(site: Site, what: str) -> None:
    run_folder(site.made.runs, "run-1", [event(1, clip=clip(1))])
    site.made.collect()
    change = (lambda data: data[: len(data) // 2]) if what == "half" else (lambda data: bytes(len(data)))
    site.proxy.faults = [None, stores.storing(site.served, change)]
    first = site.ship()
    assert first.shipped == 1
    told = [line for line in site.made.said if "is not shipped" in line]
    assert len(told) == 1
    site.ship(after_s=1000)
    site.all_arrived()


def test_an_unreachable_store_is_not_taken_for_an_empty_one(site: Site) -> None:
    run_folder(site.made.runs, "run-1", [event(1, clip=clip(1))])
    site.made.collect()
    site.proxy.faults = [stores.lost_acknowledgement]
    site.ship()
    site.proxy.head_faults = [stores.answering(500, "InternalError")] * 8
    site.ship(after_s=1000)
    site.ship(after_s=3000)
    site.proxy.head_faults = []
    site.ship(after_s=5000)
    site.all_arrived()
    assert len(site.proxy.put) == 2


def test_one_object_that_the_store_never_takes_holds_nothing_else_up(site: Site) -> None:
    run_folder(site.made.runs, "run-1", [event(n, clip=clip(n, 1000)) for n in range(1, 4)])
    site.made.collect()

    def poisoned(handler: stores.Handler) -> bool:
        return (
            f"{3:032x}" in handler.path
            and handler.path.partition("?")[0].endswith("mp4")
            and (stores.answering(500, "InternalError")(handler))
        )

    site.proxy.faults = [poisoned] * 50
    for later_s in (0, 1000, 2000):
        site.ship(after_s=later_s)
    assert len(site.there()) == 5
    site.proxy.faults = []
    site.ship(after_s=4000)
    site.all_arrived()


def test_the_budget_holds_to_the_byte_on_the_link_with_retries(site: Site) -> None:
    site.made.settings = replace(site.made.settings, budget_bytes_per_day=1_000_000)
    run_folder(site.made.runs, "run-1", [event(n, clip=clip(n, 100_000)) for n in range(1, 13)])
    site.made.collect()
    site.proxy.faults = [None] * 12 + [stores.answering(500, "InternalError"), None, stores.cut_off_after(50_000)] * 2
    sent = 0
    for later_s in range(0, 12 * 1000, 1000):
        if time.gmtime(time.time() + later_s).tm_mday != time.gmtime().tm_mday:
            break
        sent += site.ship(after_s=later_s).sent_bytes
    assert site.proxy.body_bytes <= sent <= 1_000_000
    assert sent > 900_000
    assert site.made.ledger.open_entries()
    site.ship(after_s=86_400)
    site.all_arrived()


def test_a_killed_upload_counts_as_spent(site: Site) -> None:
    site.made.settings = replace(site.made.settings, budget_bytes_per_day=400_000)
    run_folder(site.made.runs, "run-1", [event(1, clip=clip(1))])
    site.made.collect()

    class Killed(BaseException):
        """Stands for SIGKILL: nothing of the shipper's runs after it but what is on the disk."""

    budget_file = site.made.ledger.root / "budget.json"
    frozen = {}

    class Dying(Store):
        def put(self, source: Path, key: str, size_bytes: int, rate: str = "") -> int:
            if key.endswith("mp4"):
                frozen["budget"] = budget_file.read_bytes()
                raise Killed
            return super().put(source, key, size_bytes, rate)

    dying = Dying(site.store.rclone, site.store.config, site.store.remote)
    with pytest.raises(Killed):
        ship.ship(site.made.settings, site.made.ledger, dying, site.made.said.append)
    budget_file.write_bytes(frozen["budget"])
    done = site.ship()
    assert done.why_ended == "the day's budget is spent"
    site.ship(after_s=86_400)
    site.all_arrived()


def test_after_an_outage_it_catches_up_the_newest_alerts_first(site: Site) -> None:
    refused = stores.s3_store(site.served.parent, f"http://127.0.0.1:{stores.free_port()}")
    for number in range(1, 5):
        kind = "alert" if number % 2 else "record"
        run_folder(site.made.runs, f"run-{number}", [event(number, severity=kind, clip=clip(number, 5000))])
        site.made.collect()
        done = ship.ship(
            site.made.settings,
            site.made.ledger,
            refused,
            site.made.said.append,
            lambda n=number: time.time() + n * 1000,
        )
        assert done.trouble is not None
        assert done.trouble.code == "link"
    kept = ship.backoff_of(site.made.ledger.root)
    assert kept.failures == 4
    early = site.ship(after_s=4 * 1000 + 1)
    assert early.shipped == 0
    assert "asked again in" in early.why_ended
    stores.s3_config(site.served.parent, site.proxy.endpoint)
    done = site.ship(after_s=6000)
    order = [(key.split("/")[0], int(key.split("/")[-1][:32], 16), key.rpartition(".")[2]) for key in done.order]
    assert order[:4] == [("alerts", 3, "json"), ("alerts", 1, "json"), ("records", 4, "json"), ("records", 2, "json")]
    assert order[4:] == [("alerts", 3, "mp4"), ("alerts", 1, "mp4"), ("records", 4, "mp4"), ("records", 2, "mp4")]
    site.all_arrived()
    assert ship.backoff_of(site.made.ledger.root).failures == 0


def test_a_name_that_is_not_resolved_is_told(site: Site) -> None:
    run_folder(site.made.runs, "run-1", [event(1)])
    site.made.collect()
    site.store = stores.s3_store(site.served.parent, "http://store.invalid")
    assert (site.ship().trouble or pytest.fail("no trouble")).code == "dns"


def test_a_wrong_credential_is_told_and_does_not_show_the_secret(site: Site) -> None:
    run_folder(site.made.runs, "run-1", [event(1)])
    site.made.collect()
    site.store = stores.s3_store(site.served.parent, site.proxy.endpoint, secret="another-secret-word")
    done = site.ship()
    assert done.trouble is not None
    assert done.trouble.code == "credentials"
    assert all("another-secret-word" not in line for line in site.made.said)


def test_a_slow_store_is_waited_for_at_the_timetables_rate(site: Site) -> None:
    site.made.settings = replace(site.made.settings, timetable="100k")
    run_folder(site.made.runs, "run-1", [event(1, clip=clip(1, 200_000))])
    site.made.collect()
    began = time.monotonic()
    site.ship()
    assert time.monotonic() - began > 1.0
    site.all_arrived()


def test_two_shippers_do_not_run(site: Site, tmp_path: Path) -> None:
    root = site.made.ledger.root
    first_lock, second_lock = (disk.locked(root / "ship.lock", wait=False) for _ in range(2))
    with first_lock, pytest.raises(disk.HeldError), second_lock:
        pytest.fail("two hold it")
    # A killed shipper's rclone goes with it, and while it is there it holds the lock too.
    run_folder(site.made.runs, "run-1", [event(1, clip=clip(1))])
    site.made.collect()
    held, dropped = threading.Event(), threading.Event()
    site.proxy.faults = [None, lambda handler: (held.set(), dropped.wait(20), handler.drop(), True)[-1]]
    settings = write_settings(tmp_path, site)
    first = subprocess.Popen([sys.executable, "-m", "outbox", "--settings", str(settings), "ship"])
    assert held.wait(20)
    second = subprocess.run(
        [sys.executable, "-m", "outbox", "--settings", str(settings), "ship"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (second.returncode, second.stderr) == (0, "")
    first.kill()
    first.wait()
    dropped.set()
    for _ in range(100):
        try:
            with disk.locked(root / "ship.lock", wait=False):
                break
        except disk.HeldError:
            threading.Event().wait(0.05)
    else:
        pytest.fail("the killed shipper's rclone holds the lock")


def write_settings(folder: Path, site: Site) -> Path:
    import json
    from dataclasses import asdict

    path = folder / "settings.json"
    made = replace(site.made.settings, rclone=site.store.rclone, rclone_config=site.store.config)
    path.write_text(json.dumps({"version": 1, **asdict(made)}))
    return path


def test_a_file_systems_store_never_shows_half_an_object(tmp_path: Path) -> None:
    made = bench(tmp_path)
    target = tmp_path / "usb"
    target.mkdir()
    config = tmp_path / "rclone.conf"
    config.write_text("[store]\ntype = local\n")
    store = Store(stores.PROGRAM, str(config), f"store:{target}", two_steps=True)
    made.settings = replace(made.settings, two_steps=True)
    run_folder(made.runs, "run-1", [event(1, clip=clip(1))])
    made.collect()
    done = ship.ship(made.settings, made.ledger, store, made.said.append)
    assert done.shipped == 2, made.said
    there = [path for path in target.rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in there) == [".json", ".mp4"]
    assert ship.ship(made.settings, made.ledger, store, made.said.append).shipped == 0


@pytest.mark.parametrize("kind", ["sftp", "webdav"])
def test_other_kinds_of_stores(tmp_path: Path, kind: str) -> None:
    served = tmp_path / "served"
    served.mkdir()
    made = bench(tmp_path, two_steps=True)
    run_folder(made.runs, "run-1", [event(1, clip=clip(1)), event(2, clip=clip(2))])
    made.collect()
    with stores.serving(kind, served, "--user", "gate", "--pass", "word") as port:
        word = subprocess.run(
            [stores.PROGRAM, "obscure", "word"],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.environ["PATH"]},
        ).stdout.strip()
        config = tmp_path / "rclone.conf"
        where = (
            f"type = sftp\nhost = 127.0.0.1\nport = {port}\n"
            if kind == "sftp"
            else f"type = webdav\nvendor = other\nurl = http://127.0.0.1:{port}\n"
        )
        config.write_text(f"[store]\n{where}user = gate\npass = {word}\n")
        store = Store(stores.PROGRAM, str(config), "store:", two_steps=True)
        done = ship.ship(made.settings, made.ledger, store, made.said.append)
        assert done.shipped == 4, made.said
    there = {path.name: path.read_bytes() for path in served.rglob("*") if path.is_file()}
    assert len(there) == 4
    assert {clip(1), clip(2)} <= set(there.values())


def test_a_store_without_hashes_is_read_back_and_that_counts(tmp_path: Path) -> None:
    made = bench(tmp_path, two_steps=True)
    run_folder(made.runs, "run-1", [event(1, clip=b"x" * 1000)])
    made.collect()
    store = MemoryStore(hashes=False)
    ship.ship(made.settings, made.ledger, store, made.said.append)
    size_bytes = sum(map(len, store.objects.values()))
    from outbox.budget import Budget

    assert Budget(made.ledger.root / "budget.json", None).read(time.time()).spent_bytes == 2 * size_bytes


def _in_a_namespace(program: str, folder: Path) -> str:
    """What a program of these tests says in a network namespace of its own."""
    if (
        not shutil.which("ip")
        or subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs ip and the right to make a network namespace")
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, str(Path(__file__).with_name(program)), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_link_goes_down_and_comes_back(tmp_path: Path) -> None:
    """In a network namespace of its own, whose only link is taken down between two rounds."""
    said = _in_a_namespace("link_down.py", tmp_path)
    assert said.split() == ["shipped", "2", "slow", "waiting", "2", "shipped", "2"]


def test_an_hour_without_a_link_loses_nothing_and_is_caught_up_in_order(tmp_path: Path) -> None:
    """A round a minute: few of them ask the store, none costs a byte, and all arrives once when the link is back."""
    said = json.loads(_in_a_namespace("hour_down.py", tmp_path))
    # Waits of 5, 10, 20 ... 900 s, each with a share taken off, looked at once a minute.
    assert 7 <= said["tries"] <= 16
    assert said["tries"] + said["waits"] == 62
    assert len(said["alarms"]) == 1
    assert said["spent_while_down"] == 0
    order = [(key.split("/")[0], int(key.split("/")[-1][:32], 16), key.rpartition(".")[2]) for key in said["order"]]
    newest_first = [("alerts", 5), ("alerts", 3), ("alerts", 1), ("records", 6), ("records", 4), ("records", 2)]
    assert order == [(*one, kind) for kind in ("json", "mp4") for one in newest_first]
    assert (said["waiting"], said["objects"]) == (0, 12)
    assert said["spent"] == said["bytes_there"]
    assert said["caught_up_after_min"] <= 16


def test_a_drop_at_the_floor_while_it_is_under_way_ends_as_shipped(tmp_path: Path) -> None:
    made = bench(tmp_path)
    run_folder(made.runs, "run-1", [event(1, clip=b"x" * 1000)])
    made.collect()
    made.settings = replace(made.settings, disk_floor_bytes=10)

    class Crowded(MemoryStore):
        def put(self, source: Path, key: str, size_bytes: int, rate: str = "") -> int:
            sent = super().put(source, key, size_bytes, rate)
            if key.endswith("mp4"):
                made.free = 0
                made.tidy(time.time())
            return sent

    ship.ship(made.settings, made.ledger, Crowded(), made.said.append)
    (entry,) = Ledger(made.ledger.root).closed_entries()
    assert (entry.part(CLIP) or pytest.fail("no clip")).state == SHIPPED


@pytest.mark.parametrize(("status", "code"), [(403, "credentials"), (503, "server")])
def test_an_answer_whose_body_is_cut_off_is_an_answer(status: int, code: str) -> None:
    line = (
        f"operation error S3: PutObject, https response error StatusCode: {status}, deserialization failed, failed to "
        "copy error response body, read tcp 127.0.0.1:1->127.0.0.1:2: use of closed network connection"
    )
    assert from_output([line]).code == code


@pytest.mark.parametrize(
    "word", ["invalid argument", "permission denied", "network is unreachable", "operation timed out"]
)
def test_what_the_kernel_says_of_a_connection_is_no_answer_of_the_store(word: str) -> None:
    """As rclone 1.75 was seen to say it where a node's own routing drops or forbids what goes to the store."""
    line = (
        "Failed to rc: loopback: call failed: operation error S3: HeadObject, exceeded maximum number of attempts, 1, "
        "https response error StatusCode: 0, RequestID: , HostID: , request send failed, "
        f'Head "http://10.9.9.9:9000/events/x": dial tcp 10.9.9.9:9000: connect: {word}'
    )
    found = from_output([line])
    assert (found.code, found.everything) == ("link", True)


# As Google's API and its token server answer, in rclone's words.
GOOGLE = [
    ("Error 403: x@y.iam.gserviceaccount.com does not have storage.objects.create access to the Google Cloud Storage "
     "object. Permission 'storage.objects.create' denied on resource (or it may not exist)., forbidden", "credentials"),
    ("Error 403: x@y.iam.gserviceaccount.com does not have storage.objects.delete access to the Google Cloud Storage "
     "object. Permission 'storage.objects.delete' denied on resource (or it may not exist)., forbidden", "exists"),
    ("Error 403: Object 'events/a' is subject to bucket's retention policy and cannot be deleted or overwritten, "
     "retentionPolicyNotMet", "exists"),
    ("Error 403: The billing account for the owning project is disabled in state absent, accountDisabled", "account"),
    ("Error 403: Rate Limit Exceeded, rateLimitExceeded", "server"),
    ("Error 429: The object events/a exceeded the rate limit for object mutation operations, rateLimitExceeded",
     "server"),
    ("Error 412: At least one of the pre-conditions you specified did not hold., conditionNotMet", "exists"),
    ("Error 404: The specified bucket does not exist., notFound", "bucket"),
    ("Error 404: Not Found, notFound", "bucket"),
    ("Error 503: We encountered an internal error. Please try again., backendError", "server"),
    ('oauth2: cannot fetch token: 400 Bad Request Response: {"error":"invalid_grant","error_description":"Invalid JWT: '
     'Token must be a short-lived token (60 minutes) and in a reasonable timeframe."}', "clock"),
    ('oauth2: "invalid_grant" "Invalid JWT Signature."', "credentials"),
    ('Get "https://storage.googleapis.com/b": metadata: GCE metadata "instance/service-accounts/default/token" not '
     "defined", "credentials"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "code"), GOOGLE, ids=[f"{n}-{code}" for n, (_, code) in enumerate(GOOGLE)])
def test_google_s_refusals_are_read_for_what_they_are(answer: str, code: str) -> None:
    found = from_output([json.dumps({"level": "error", "msg": f"Failed to copyto: googleapi: {answer}"})])
    assert found.code == code
    # What holds for one object alone does not keep the others back.
    assert found.everything == (code not in {"exists", "server"})
