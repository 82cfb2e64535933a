"""A machine's answer is a stranger's word: what is sent, what comes back, and what a machine with bad manners sends."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.check import answer, facts, program
from shoal.check.answer import Answer, Part, UnreadableError
from shoal.check.facts import Facts, Videos
from shoal.check.plan import plans
from shoal.cluster.document import Cluster, Node
from shoal.site.document import SiteDocument

MARK = "shoal-look-0123"
HERE = Node(
    name="here", roles=("requester", "compute"), address="127.0.0.1", camera_folders=("/usr", "/nonexistent/cam")
)
ALONE = Cluster(name="alone", substrate="onprem", nodes=(HERE,))
NAMES = ('it\'s "a" clip.mp4', "ä b.mp4", "-n", "a\\b.mp4")


def run_here(folder: Path, part: str, *, path: str = "/usr/bin:/bin:/usr/sbin:/sbin") -> Part:
    """The real program on this machine, as a shell that is given it by standard input runs it."""
    clip = {"path": "/x/a.mp4", "sha256": "a" * 64, "size_bytes": 1000}
    site = SiteDocument.model_validate({"cluster": "alone", "videos": {"here": [{**clip, "name": it} for it in NAMES]}})
    knobs = {"all": {"videos_folder": str(folder)}}
    text = program.text(plans(ALONE, ["here"], site, bacalhau=True, knobs=knobs)["here"], MARK, part)  # type: ignore[arg-type]
    done = subprocess.run(
        program.COMMAND,
        input=text.encode(),
        capture_output=True,
        check=True,
        env={"PATH": path, "HOME": "/"},
        timeout=90,
    )
    return answer.read(b"Welcome to gate-1\n" + done.stdout, MARK)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """This machine, looked at by the real program."""
    folder = tmp_path_factory.mktemp("videos")
    for name in NAMES[:3]:
        (folder / name).write_bytes(b"x" * 7)
    login, root = run_here(folder, "login"), run_here(folder, "root")
    return facts.read(Answer(login, root), asked_at_s=0, answered_at_s=0)


def test_the_program_reads_what_is_there(here: Facts) -> None:
    assert here.login.noise == "Welcome to gate-1"
    assert here.login.user
    assert here.login.is_root
    assert here.clock_offset_s
    assert here.release["ID"]
    assert here.machine
    assert {place.folder for place in here.places} >= {"/usr", "/etc", "/var/lib/docker", "/var/lib/shoal"}
    assert all(place.free_bytes for place in here.places)
    assert here.videos.kind == "folder"
    assert (here.videos.files, here.videos.size_bytes) == (3, 21)
    assert here.videos.mount
    assert here.videos.clips == dict.fromkeys(NAMES[:3], 7), "names that a shell would read are names"
    assert here.videos.cameras == {"/usr": "there", "/nonexistent/cam": "missing"}


def videos_of(folder: Path, tools: Path, **stand_ins: str) -> Videos:
    """What is seen of a videos folder; what else the look asks for has no answer, and takes no time."""
    others = ("apt-get", "apt-mark", "dpkg", "dpkg-query", "docker", "journalctl", "systemctl", "nft", "iptables", "ss")
    for name, text in {**dict.fromkeys(others, "exit 0"), **stand_ins}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    root = run_here(folder, "root", path=f"{tools}:/usr/bin:/bin:/usr/sbin:/sbin")
    return facts.read(Answer(Part({}, ""), root)).videos


@pytest.mark.parametrize(
    ("words", "kind", "camera"),
    [
        ("Transport endpoint is not connected", "broken", "silent"),
        ("Stale file handle", "broken", "silent"),
        ("Permission denied", "broken", "silent"),
        ("No such file or directory", "none", "missing"),
    ],
)
def test_a_folder_on_a_file_system_that_is_gone_is_there_and_cannot_be_read(
    tmp_path: Path, words: str, kind: str, camera: str
) -> None:
    """As a sshfs whose program ended, a disk that was pulled out, or a user's own mount answers (stand-in: stat)."""
    stat = (
        'for last; do :; done; [ -e "$last" ] && exec /usr/bin/stat "$@"; '
        f"echo \"stat: cannot statx '$last': {words}\" >&2; exit 1"
    )
    there = videos_of(tmp_path / "gone", tmp_path, stat=stat)
    assert there.kind == kind
    assert there.words == (words if kind == "broken" else "")
    assert there.cameras["/nonexistent/cam"] == camera


def test_a_folder_that_hangs_is_asked_once_and_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process may be one that no signal ends: nothing waits for it, and nothing else touches that folder."""
    monkeypatch.setattr(program, "STEP_LIMIT_S", 1)
    asked = tmp_path / "asked"
    folder = tmp_path / "gone"
    stat = (
        f'for last; do :; done; case $last in {folder}|*/cam) echo x >>{asked}; trap "" TERM; exec sleep 45 ;; esac; '
        'exec /usr/bin/stat "$@"'
    )
    begun = time.monotonic()
    there = videos_of(folder, tmp_path, stat=stat)
    assert time.monotonic() - begun < 40, "it would be over with the hanging one's end"
    assert (there.kind, there.cameras["/nonexistent/cam"]) == ("silent", "silent")
    assert len(asked.read_text().split()) == 2


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "videos").symlink_to(tmp_path / "disk")
    there = videos_of(tmp_path / "videos", tmp_path)
    assert (there.kind, there.link) == ("broken", str(tmp_path / "disk"))


def test_a_machine_with_next_to_nothing_still_answers(tmp_path: Path) -> None:
    """No systemctl, docker, dpkg, ip, ss, sudo: what is missing is missing from the facts, and nothing else."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in (
        "sh",
        "head",
        "tr",
        "sed",
        "awk",
        "grep",
        "cat",
        "stat",
        "id",
        "date",
        "env",
        "timeout",
        "test",
        "uname",
    ):
        (tools / name).symlink_to(next(p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists()))
    login, root = run_here(tmp_path, "login", path=str(tools)), run_here(tmp_path, "root", path=str(tools))
    bare = facts.read(Answer(login, root))
    assert bare.machine
    assert bare.docker.client == ""
    assert bare.packages == {}
    assert bare.places


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "did not run the look"),
        (b"This account is currently not available.\n", "This account is currently not available."),
        (f"{MARK}{{".encode(), "did not run the look"),
        (f'{MARK}{{"a":}}{MARK}'.encode(), "cannot be read"),
        (f"{MARK}{{{'[' * 100_000}}}{MARK}".encode(), "cannot be read"),
        (f'{MARK}{{"a":1}}{MARK}'.encode(), "not a valid look"),
        (f'{MARK}{{"a":{{"b":"c"}}}}{MARK}'.encode(), "not a valid look"),
        (f'{MARK}{{"../x":"c"}}{MARK}'.encode(), "not a valid look"),
        (f'{MARK}{{"a":"{"x" * 300_001}"}}{MARK}'.encode(), "more than 300000"),
        (
            f"{MARK}{{{','.join(f'{chr(97 + n // 26)}{chr(97 + n % 26)}:1' for n in range(99))}}}{MARK}".encode(),
            "cannot",
        ),
    ],
)
def test_answers_that_are_none(raw: bytes, words: str) -> None:
    with pytest.raises(UnreadableError, match=words) as caught:
        answer.read(raw, MARK)
    assert len(str(caught.value)) < 400


def test_what_could_write_on_a_terminal_is_gone() -> None:
    text = "a\x1b]0;owned\x07b\u202ec\x9bd\r\n"
    raw = f"\x1b[2Jmotd\u202e{MARK}{json.dumps({'hostname': text})}{MARK}".encode()
    part = answer.read(raw, MARK)
    assert part.texts == {"hostname": "a]0;ownedbcd\n"}
    assert part.noise == "[2Jmotd"


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), st.text(max_size=400), max_size=30))
def test_no_text_breaks_the_reading_of_facts(texts: dict[str, str]) -> None:
    facts.read(Answer(Part(texts), Part(texts)))


@given(
    st.sampled_from(
        [
            "space", "kernel", "cgroups", "listeners", "addresses", "bridges", "packages", "docker", "docker_info",
            "containers", "engines", "docker_units", "videos", "ours", "init", "journal", "names", "started",
            "os_release",
        ]
    ),
    st.lists(st.text(alphabet="abcLISTEN0123456789 :./-|{}[]\"'\\,=\n\t", max_size=80), max_size=8).map("\n".join),
)  # fmt: skip
def test_no_line_breaks_the_reading_of_one_fact(key: str, text: str) -> None:
    facts.read(Answer(Part({key: text}), Part({key: text})))


def read(**texts: str) -> Facts:
    return facts.read(Answer(Part({}), Part(texts)))


def test_listeners_with_and_without_ss() -> None:
    text = (
        'LISTEN 0 4096 0.0.0.0:5000 0.0.0.0:* users:(("docker-registry",pid=7,fd=3))\n'
        "LISTEN 0 128 [::1]:631 [::]:*\n"
        'LISTEN 0 128 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=9,fd=1))\n'
        "unit 7 docker-registry.service\n"
    )
    found = read(listeners=text).listeners
    assert [(it.address, it.port, it.process, it.unit) for it in found] == [
        ("*", 5000, "docker-registry", "docker-registry.service"),
        ("::1", 631, "", ""),
        ("127.0.0.53", 53, "systemd-resolve", ""),
    ]
    raw = (
        "proc4   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n"
        "proc4   1: 0100007F:1389 00000000:0000 01 00000000:00000000 00:00000000 00000000 0 0 1\n"
        "proc6   0: 00000000000000000000000000000000:1388 00000000000000000000000000000000:0000 0A 0\n"
    )
    assert [(it.address, it.port) for it in read(listeners=raw).listeners] == [("127.0.0.1", 5000), ("*", 5000)]


def test_memory_control_of_both_kinds_of_cgroups() -> None:
    assert read(cgroups="v2 cpuset cpu io memory pids").memory_cgroup is True
    assert (
        read(
            cgroups="v1 #subsys_name hierarchy num_cgroups enabled\nv1 memory 0 55 0\nv2 cpuset cpu io pids"
        ).memory_cgroup
        is False
    )
    assert read(cgroups="v1 cpu 3 1 1\nv1 memory 4 9 1").memory_cgroup is True
    assert read(cgroups="v1 cpu 3 1 1\nv1 memory 4 9 0\ncmdline cgroup_disable=memory").memory_cgroup is False
    assert read(cgroups="").memory_cgroup is None


def test_what_apt_would_do() -> None:
    text = "Inst curl (7.88 Debian:12 [amd64])\nInst libc6 [2.36-1] (2.36-2 Debian:12 [amd64])\nRemv chrony [4.3]\n"
    found = read(simulation=text)
    assert (found.upgrades, found.removals) == (("libc6",), ("chrony",))


def test_the_innermost_mount_counts() -> None:
    text = "kind folder\nmount / rw ext4 /dev/sda1 rw\nmount /videos ro,nosuid exfat /dev/sdb1 rw\nfiles 2 9\n"
    found = read(videos=text).videos
    assert (found.mount, found.file_system, found.files) == ("/videos", "exfat", 2)
    assert "ro" in found.options


def test_an_engine_that_does_not_answer_says_why() -> None:
    said = 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n{"ServerErrors":["Cannot connect"]}\n'
    found = read(docker="client /usr/bin/docker\n", docker_info=said).docker
    assert not found.answers
    assert "Cannot connect" in found.words
    assert read(docker="client /usr/bin/docker\n", docker_info='{"ServerVersion":"27.1"}\n').docker.answers
