"""Role `videos`: what is placed, replaced, removed and left alone, with names that hold anything."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sys

import pytest
from role_harness import changed, run

from roles import videos
from roles.common.knobs import RefusedError
from roles.videos import cameras
from roles.videos.cameras import Camera
from roles.videos.defaults import VideoFile
from roles.videos.facts import SCRIPT, CameraMounts, FolderFact, PlaceFact, VideosState
from roles.videos.operations import TAKE
from roles.videos.plan import Known, Marker, doubtful, plan, read_marker, render_marker

NAME = 'it\'s "gate" ä.mp4'
INODE = 5


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x" * 100)
    return VideoFile(NAME, path, hashlib.sha256(b"x" * 100).hexdigest(), 100)


def data(*clips: VideoFile):
    return {
        "videos_files": [
            {"name": clip.name, "path": str(clip.path), "sha256": clip.sha256, "size_bytes": clip.size_bytes}
            for clip in clips
        ]
    }


def answer(files, marker=None, hashes=None, exists=True, free_bytes=1 << 40):
    files = {name: [*values, INODE][:3] for name, values in files.items()}
    state = {
        "exists": exists, "files": files, "folders": [], "inodes": True, "marker": marker, "hashes": hashes or {},
        "free_bytes": free_bytes,
    }  # fmt: skip
    return {"stat -c '%a %U:%G'": ["755 root:root"] if exists else [], "python3 -c": [json.dumps(state)]}


def marker(clip, mtime_ns=7, inode=INODE, **more):
    return render_marker(Marker({clip.name: Known(clip.sha256, clip.size_bytes, mtime_ns, inode)}, **more))


def test_fresh_machine(clip):
    outcome = run(videos.install, answer({}, exists=False), data=data(clip))
    text = outcome.text()
    assert not outcome.failed
    assert "mkdir -p /videos && chown root:root /videos" in text
    assert f"FileUploadCommand({clip.path}" in text
    # Checked on the node before it gets its name, which is quoted.
    assert f"FINAL={shlex.quote(f'/videos/{NAME}')}\nSHA256={clip.sha256}\n" in text
    assert text.index('[ "$found" != "$SHA256" ]') < text.index('mv -n "$PART" "$FINAL"')


def test_footage_and_its_names_are_not_for_every_local_user(clip):
    text = run(videos.install, answer({}, exists=False), data=data(clip) | {"videos_owner": "recorder:video"}).text()
    assert "chmod 750 /videos" in text
    assert f"FINAL={shlex.quote(f'/videos/{NAME}')}\nSHA256={clip.sha256}\nOWNER=root:video\nMODE=640\n" in text
    assert "FINAL=/var/lib/shoal/videos.json\n" in text
    assert "OWNER=root:root\nMODE=600\n" in text


def test_converged_machine_is_left_alone(clip):
    outcome = run(videos.install, answer({NAME: [100, 7], "own.mp4": [5, 5]}, marker(clip)), data=data(clip))
    assert changed(outcome) == []


def test_folder_of_an_owner_is_left_as_it_is(clip):
    answers = answer({NAME: [100, 7]}, marker(clip)) | {"stat -c '%a %U:%G'": ["2770 recorder:video"]}
    assert changed(run(videos.install, answers, data=data(clip))) == []
    asked = run(videos.install, answers, data=data(clip) | {"videos_mode": "755", "videos_owner": "root:root"})
    assert changed(asked) == ["videos | Make the videos folder"]


def test_no_space_is_told_before_anything_is_sent(clip):
    outcome = run(videos.install, answer({}, free_bytes=1000), data=data(clip))
    assert outcome.failed
    assert "FileUpload" not in outcome.text()


def test_a_foreign_file_of_the_same_name_is_never_overwritten(clip):
    outcome = run(videos.install, answer({NAME: [99, 7]}), data=data(clip))
    assert outcome.failed
    assert outcome.commands == ["FunctionCommand(fail, (), {})"]


OLD = "f" * 64
SAME = (100, 7, INODE)


@pytest.mark.parametrize(
    ("there", "known", "found", "expected"),
    [
        pytest.param(None, {}, None, "place", id="missing"),
        pytest.param(SAME, {}, None, "nothing", id="right"),
        pytest.param((100, 8, INODE), {}, "right", "remember", id="touched"),
        pytest.param((100, 8, INODE), {}, OLD, "foreign", id="written over in place, same size"),
        pytest.param((99, 7, INODE), {}, OLD, "foreign", id="written over in place, other size"),
        pytest.param((100, 7, 6), {}, OLD, "foreign", id="another file, same size and time"),
        pytest.param((100, 7, 6), {}, "right", "found", id="another file, same content"),
        pytest.param((-1, 7, 6), {}, None, "foreign", id="a link"),
        pytest.param((90, 7, INODE), {"sha256": OLD}, OLD, "replace", id="our former clip"),
        pytest.param((90, 7, 6), {"sha256": OLD}, OLD, "foreign", id="our former content, not our file"),
        pytest.param((90, 7, 6), {"sha256": OLD, "inode": 0}, OLD, "replace", id="recorded by an earlier version"),
        pytest.param((90, 7, 6), {"inode": 0, "former_sha256": OLD}, OLD, "replace", id="cut off before it came"),
        pytest.param((90, 7, INODE), {"sha256": OLD, "found": True}, OLD, "foreign", id="found before us, other now"),
        pytest.param(SAME, None, "right", "found", id="the same clip, not from us"),
        pytest.param(SAME, None, OLD, "foreign", id="somebody else's"),
        pytest.param((99, 7, INODE), None, None, "foreign", id="somebody else's, other size"),
    ],
)
def test_plan(clip, there, known, found, expected):
    state = FolderFact(exists=True, files={NAME: there} if there else {})
    values = {"sha256": clip.sha256, "size_bytes": 100, "mtime_ns": 7, "inode": INODE}
    ours = Marker({NAME: Known(**{**values, **known})} if known is not None else {})
    assert doubtful(state, ours, [clip]) == ([NAME] if found else [])
    todo = plan(state, ours, [clip], {NAME: clip.sha256 if found == "right" else found} if found else {})
    assert bool(todo.place) is (expected in {"place", "replace"})
    assert todo.replace == ({NAME: OLD} if expected == "replace" else {})
    assert bool(todo.foreign) is (expected == "foreign")
    assert bool(todo.found) is (expected == "found")
    assert todo.remember is (expected in {"place", "replace", "remember", "found"})
    assert todo.remove == []


@pytest.mark.parametrize(
    ("there", "known", "content", "inodes", "taken"),
    [
        pytest.param(SAME, {}, "right", True, True, id="ours"),
        pytest.param(SAME, {}, OLD, True, False, id="ours by size, time and inode, not by content"),
        pytest.param((100, 7, 6), {}, "right", True, False, id="the same bytes, put there by somebody"),
        pytest.param((100, 7, 6), {}, "right", False, True, id="a file system that numbers its files anew"),
        pytest.param((100, 7, 6), {"inode": 0}, "right", True, True, id="recorded by an earlier version"),
        pytest.param(SAME, {"found": True}, "right", True, False, id="it was there before us"),
        pytest.param((-1, 7, 6), {}, None, True, False, id="a link"),
    ],
)
def test_what_is_not_wanted_any_more_goes_only_where_it_is_ours(  # noqa: PLR0917 - its cases
    clip, there, known, content, inodes, taken
):
    state = FolderFact(exists=True, files={NAME: there}, inodes=inodes)
    values = {"sha256": clip.sha256, "size_bytes": 100, "mtime_ns": 7, "inode": INODE}
    ours = Marker({NAME: Known(**{**values, **known})})
    hashes = {NAME: clip.sha256 if content == "right" else content} if content else {}
    todo = plan(state, ours, [], hashes if NAME in doubtful(state, ours, []) else {})
    assert (todo.remove == [NAME]) is taken
    assert (todo.left == [NAME]) is (not taken and not known.get("found"))


def test_the_nodes_own_deletion_takes_only_the_file_that_was_looked_at(tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"clip")
    infos = {name: (tmp_path / name).lstat() for name in ("a.mp4", "b.mp4", "c.mp4")}
    (tmp_path / "b.mp4").write_bytes(b"footage")  # written over meanwhile
    (tmp_path / "c.mp4").unlink()
    words = [str(word) for name, info in infos.items() for word in (name, info.st_size, info.st_mtime_ns, info.st_ino)]
    subprocess.run([sys.executable, "-c", TAKE, str(tmp_path), *words], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]


def test_clips_of_ours_that_are_not_wanted_go_and_others_stay(clip):
    answers = answer({NAME: [100, 7], "own.mp4": [5, 5]}, marker(clip), {NAME: clip.sha256})
    outcome = run(videos.install, answers, data=data())
    assert f"/videos {shlex.quote(NAME)} 100 7 {INODE}" in outcome.text()
    assert "own.mp4" not in outcome.text()


def test_remove_takes_ours_only(clip):
    answers = answer({NAME: [100, 7], "own.mp4": [5, 5]}, marker(clip, made_folder=True), {NAME: clip.sha256})
    text = run(videos.remove, answers).text()
    assert f"/videos {shlex.quote(NAME)} 100 7 {INODE}" in text
    assert "own.mp4" not in text
    assert "rmdir --ignore-fail-on-non-empty -- /videos" in text


def test_remove_leaves_footage_that_was_written_over_a_clip_of_ours(clip):
    answers = answer({NAME: [100, 7]}, marker(clip, made_folder=True), {NAME: OLD})
    text = run(videos.remove, answers).text()
    assert "python3 -c" not in text
    assert "rm -f /var/lib/shoal/videos.json" in text


def test_remove_gives_the_folder_its_mode_and_owner_back(clip):
    answers = answer({}, render_marker(Marker(folder_before="2775 root:cameras")))
    text = run(videos.remove, answers).text()
    assert "chown root:cameras /videos && chmod 2775 /videos" in text
    assert "rmdir" not in text


def test_subfolders_that_were_there_stay(clip):
    made = render_marker(Marker({"a/b/c.mp4": Known(clip.sha256, 100, 7, INODE)}, made_folders=["a/b"]))
    text = run(videos.remove, answer({"a/b/c.mp4": [100, 7]}, made, {"a/b/c.mp4": clip.sha256})).text()
    assert "for d in /videos/a/b;" in text


def test_remove_on_a_bare_machine_does_nothing():
    assert changed(run(videos.remove, answer({}, exists=False))) == []


def test_missing_local_files_are_all_told_before_any_change(tmp_path, clip):
    gone = VideoFile("a.mp4", tmp_path / "gone.mp4", "0" * 64, 1)
    grown = VideoFile("b.mp4", clip.path, clip.sha256, 99)
    outside = VideoFile("../c.mp4", clip.path, "zz", 100)
    with pytest.raises(RefusedError) as caught:
        run(videos.install, {}, data=data(gone, grown, outside))
    assert len(caught.value.faults) == 4


def test_marker_that_is_damaged_counts_as_none():
    for text in ("{", "[]", '{"files": {"a": {}}}', '{"files": {"a": 1}, "made_folder": true}', None):
        assert read_marker(text) == Marker()
    assert read_marker(render_marker(Marker({"ä": Known("a", 1, 2)}, True))) == Marker({"ä": Known("a", 1, 2)}, True)


def test_the_nodes_own_program(tmp_path):
    folder, note = tmp_path / "videos", tmp_path / "note.json"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / NAME).write_bytes(b"abc")
    note.write_text("noted", encoding="utf-8")
    name = f"sub/{NAME}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(note), name], capture_output=True, text=True, check=True
    )
    state = VideosState().process(done.stdout.splitlines())
    assert state.exists
    assert state.marker == "noted"
    assert state.files[name][0] == 3
    assert state.hashes == {name: hashlib.sha256(b"abc").hexdigest()}
    assert state.free_bytes > 0


NORTH, SOUTH = "/srv/cameras/north", "/data/cam-2"
SHOWN = cameras.shown((NORTH, SOUTH), "/videos")
PAST = Camera("/srv/past", "/videos/cameras/srv_past")


def mounts(
    *, units=SHOWN, source="there", shows="it", options="ro,relatime", wanted=SHOWN, enabled="enabled", theirs=()
):
    """Answers of a machine whose camera folders stand so."""
    lines = [f"unit {it.unit} {hashlib.sha256(it.text.encode()).hexdigest()} {it.target} {enabled}" for it in units]
    lines += [f"place {it.target} {source} {shows} {options}" for it in wanted]
    lines += [f"theirs {it.unit} /etc/systemd/system/{it.unit}" for it in theirs]
    return {"multi-user.target.wants": lines} | answer({})


def install_cameras(answers, *sources):
    return run(videos.install, answers, data=data() | {"videos_camera_folders": list(sources or (NORTH, SOUTH))})


def test_camera_folders_are_shown_on_a_fresh_machine():
    outcome = install_cameras(mounts(units=(), shows="nothing", options="-"))
    text = outcome.text()
    assert not outcome.failed
    for camera in SHOWN:
        assert f"> /etc/systemd/system/.{camera.unit}.part" in text.replace("'", "")
        assert f"systemctl enable --quiet {shlex.quote(camera.unit)}" in text
        assert f"mkdir -p {camera.target} && systemctl restart {shlex.quote(camera.unit)}" in text
    assert text.index("daemon-reload") < text.index("systemctl restart")
    assert "cp " not in text


def test_shown_camera_folders_are_left_alone():
    assert changed(install_cameras(mounts())) == []


@pytest.mark.parametrize(
    ("state", "wanted", "unwanted"),
    [
        pytest.param({"options": "rw,relatime"}, ["restart"], ["enable", "part"], id="writable"),
        pytest.param({"shows": "nothing", "options": "-"}, ["restart"], ["enable", "part"], id="unmounted by hand"),
        pytest.param({"shows": "other"}, ["restart"], ["enable", "part"], id="folder made anew"),
        pytest.param({"enabled": "off"}, ["enable"], ["restart", "part"], id="not there after a boot"),
    ],
)
def test_what_is_wrong_with_a_mount_is_mended_and_nothing_else(state, wanted, unwanted):
    text = install_cameras(mounts(**state)).text()
    for word in wanted:
        assert f"systemctl {word}" in text
    for word in unwanted:
        assert word not in text


def test_a_folder_that_is_not_listed_any_more_is_taken_out_and_its_footage_is_not():
    outcome = install_cameras(mounts(units=(*SHOWN, PAST)))
    text = outcome.text()
    assert f"systemctl disable --now --quiet {PAST.unit}" in text
    assert "rmdir --ignore-fail-on-non-empty -- /videos/cameras/srv_past" in text
    assert "rm -r" not in text
    for camera in SHOWN:
        assert camera.unit not in text


def test_remove_takes_the_mounts_out_and_the_footage_stays():
    text = run(videos.remove, mounts()).text()
    for camera in SHOWN:
        stopped = text.index(f"systemctl disable --now --quiet {shlex.quote(camera.unit)}")
        assert stopped < text.index(f"rm -f {shlex.quote(f'/etc/systemd/system/{camera.unit}')}")
    assert "rmdir --ignore-fail-on-non-empty -- /videos/cameras;" in text
    assert "rm -r" not in text
    assert NORTH not in text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"source": "missing", "units": ()}, "there is no camera folder {0.source}: make or mount it"),
        ({"shows": "files"}, "in {0.target} there are files, which a camera folder would hide"),
        ({"shows": "other", "units": ()}, "at {0.target} something is mounted that is not ours"),
        (
            {"shows": "nothing", "units": (), "theirs": SHOWN},
            "/etc/systemd/system/{0.unit} is a mount unit that is not ours, for {0.target}",
        ),
        ({"options": "rw,relatime", "units": (), "theirs": SHOWN}, "/etc/systemd/system/{0.unit} is a mount unit"),
    ],
)
def test_camera_folders_that_cannot_be_shown_are_refused_with_their_host_before_any_change(state, words):
    with pytest.raises(RefusedError) as caught:
        install_cameras(mounts(**state))
    told = [str(fault) for fault in caught.value.faults]
    assert len(told) == len(SHOWN)
    for line, camera in zip(told, SHOWN, strict=True):
        assert line.startswith(f"gate-1: videos: {words.format(camera)}")


def test_an_owners_mount_of_the_very_folder_serves_and_stays_his():
    answers = mounts(units=SHOWN[1:], theirs=SHOWN[:1])
    assert changed(install_cameras(answers)) == []
    assert SHOWN[0].unit not in run(videos.remove, answers).text()


def test_folders_that_cannot_be_shown_are_all_told():
    wrong = ["/srv/a/", "/srv/../b", "/", "/srv/cam", "/srv/cam/north", "/x/y-z", "/x_y-z", "/srv/cam"]
    clip = "cameras/a.mp4"
    found = [str(fault) for fault in cameras.faults(wrong, "/videos", [clip])]
    for words in (
        "[0]: must be the plain absolute path of a folder (found '/srv/a/')",
        "[1]: must be the plain absolute path",
        "[2]: / holds /videos itself",
        "[4]: /srv/cam/north and /srv/cam would show the same footage twice",
        "[6]: /x_y-z and /x/y-z would have the same name, x_y-z; rename one",
        "[7]: /srv/cam and /srv/cam would show the same footage twice",
        "'cameras/a.mp4': the folder cameras is for camera folders",
    ):
        assert any(words in line for line in found), (words, found)
    assert cameras.faults([NORTH, "/videos", "/videos/gate"][:2], "/videos", []) == []


def test_a_folder_under_the_videos_folder_is_seen_without_a_mount():
    assert cameras.shown(("/videos", "/videos/gate", NORTH), "/videos") == (
        Camera(NORTH, "/videos/cameras/srv_cameras_north"),
    )


@pytest.mark.parametrize("source", [NORTH, SOUTH, "/.hidden/cam", "/a/b--c.d"])
def test_units_are_named_as_systemd_wants_them(source):
    if not shutil.which("systemd-escape"):
        pytest.skip("no systemd here")
    (camera,) = cameras.shown((source,), "/videos")
    told = subprocess.run(
        ["systemd-escape", "--path", "--suffix=mount", camera.target], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == camera.unit
    assert not camera.target.rpartition("/")[2].startswith(".")


def test_the_nodes_own_look_at_mounts(tmp_path):
    """The command itself, on this machine: without a mount, with files in the way, without the folder."""
    there, full = tmp_path / "there", tmp_path / "full"
    there.mkdir()
    full.mkdir()
    (full / "own.mp4").touch()
    # A mount that is on every machine; as a camera folder and its place it is the same.
    wanted = (
        Camera(str(there), str(tmp_path / "place")),
        Camera(str(there), str(full)),
        Camera(str(tmp_path / "gone"), str(tmp_path / "other")),
        Camera("/proc", "/proc"),
        Camera(str(there), "/proc"),
    )
    states = []
    for camera in wanted:
        script = CameraMounts().command(cameras=(camera,))
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        states.append(CameraMounts().process(done.stdout.splitlines()).places[camera.target])
    assert [(state.source, state.shows) for state in states] == [
        ("there", "nothing"),
        ("there", "files"),
        ("missing", "nothing"),
        ("there", "it"),
        ("there", "other"),
    ]
    assert "relatime" in states[3].options


def test_the_nodes_own_look_at_units_of_the_same_name(tmp_path):
    """Ours bears our mark; a link to nothing, as `systemctl mask` makes it, is somebody else's too."""
    folder = tmp_path / "system"
    folder.mkdir()
    wanted = tuple(Camera(f"/srv/{name}", f"/videos/cameras/srv_{name}") for name in ("ours", "own", "masked", "none"))
    (folder / wanted[0].unit).write_text(wanted[0].text)
    (folder / wanted[1].unit).write_text("[Mount]\nWhat=/srv/own\n")
    (folder / wanted[2].unit).symlink_to("/dev/null")
    script = CameraMounts().command(cameras=wanted).replace("/etc/systemd/system", str(folder))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    found = CameraMounts().process(done.stdout.splitlines())
    assert [*found.units] == [wanted[0].unit]
    assert found.theirs == {camera.unit: str(folder / camera.unit) for camera in wanted[1:3]}
    assert PlaceFact("there", "it", "rw,noatime").right is False


def test_footage_that_is_only_shown_is_not_listed(tmp_path):
    """The node's program passes over mounts under `cameras`; /proc stands for one."""
    program = SCRIPT.replace('/ "cameras"', '/ "x"')
    assert program != SCRIPT
    folder = tmp_path / "videos"
    (folder / "x" / "own").mkdir(parents=True)
    (folder / "x" / "own" / "a.mp4").touch()
    table = tmp_path / "mountinfo"
    table.write_text(f"1 2 0:1 / {folder}/x/shown ro - ext4 /dev/x ro\n")
    (folder / "x" / "shown").mkdir()
    (folder / "x" / "shown" / "footage.mp4").touch()
    program = program.replace("/proc/self/mountinfo", str(table))
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(tmp_path / "note")], capture_output=True, text=True, check=True
    )
    assert list(json.loads(done.stdout)["files"]) == ["x/own/a.mp4"]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("ext4", True), ("nfs4", True), ("exfat", False), ("fuseblk", False), ("fuse.sshfs", False), ("fuse", False)],
)
def test_whether_a_file_system_keeps_the_numbers_of_its_files(tmp_path, kind, kept):
    """After a mount anew a clip of ours has another number, and still is ours by its content."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:50 / {tmp_path.resolve()} rw - {kind} x rw\n")
    program = SCRIPT.replace("/proc/self/mountinfo", str(table))
    words = [sys.executable, "-c", program, str(tmp_path), str(tmp_path / "marker")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["inodes"] is kept
