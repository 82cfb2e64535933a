"""A job as the site's own template makes it, and the same with one value changed."""

from __future__ import annotations

from typing import Any

from shoal import jobs

IMAGE = "10.0.0.10:5000/shoal/detector@sha256:" + "d" * 64


def values(**changes: Any) -> jobs.Values:
    given: dict[str, Any] = {
        "run": "r1",
        "attempt": 1,
        "image": IMAGE,
        "weights_name": "yolov5s",
        "weights_sha256": "b" * 64,
        "cpu": "1.6",
        "memory": "2GB",
        "timeout_s": 60,
    }
    return jobs.Values(**{**given, **changes})


def changed(path: str, value: Any) -> dict[str, Any]:
    document = jobs.render("yolov5", values()).to_document()
    *parents, last = path.split("/")
    place: Any = document
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    place[last] = value
    return document
