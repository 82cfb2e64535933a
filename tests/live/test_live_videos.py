"""Role `videos` on the compute nodes."""

from __future__ import annotations

import json

import pytest

from roles.videos import cameras

pytestmark = pytest.mark.live


def test_folder(worker):
    assert worker.file("/videos").is_directory


def test_every_clip_of_ours_is_whole(worker):
    marker = worker.file("/var/lib/shoal/videos.json")
    assert marker.exists
    files = json.loads(marker.content_string)["files"]
    for name, known in files.items():
        clip = worker.file(f"/videos/{name}")
        assert clip.is_file
        assert clip.size == known["size_bytes"]
        assert clip.sha256sum == known["sha256"]
        assert (clip.user, clip.mode) == ("root", 0o640)


def test_no_unfinished_upload_lies_about(worker):
    assert worker.check_output("find /videos /var/lib/shoal/incoming -name '.*.part' -o -name '*.part'") == ""


def test_camera_folders_are_shown_read_only_and_come_back_with_a_boot(worker):
    for camera in cameras.shown(worker.node.camera_folders, "/videos"):
        mount = worker.mount_point(camera.target)
        assert mount.exists
        assert "ro" in mount.options
        assert worker.check_output("stat -c %%d:%%i %s", camera.source) == worker.check_output(
            "stat -c %%d:%%i %s", camera.target
        )
        assert worker.check_output("systemctl is-enabled %s", camera.unit) == "enabled"
