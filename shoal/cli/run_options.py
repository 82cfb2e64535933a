"""Options of the verbs that begin a run, print its job or take one up: each written once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
Nodes = Annotated[list[str] | None, typer.Option("--node", metavar="NAME", help="Only here; repeatable.")]
Targets = Annotated[
    list[str] | None, typer.Option("--target", metavar="KEY=VALUE", help="Only nodes with this label; repeatable.")
]
Model = Annotated[str | None, typer.Option(metavar="FILE|SHA256", help="A YOLOv5 model as ONNX; else YOLOv5s.")]
ImageReference = Annotated[str | None, typer.Option(metavar="REFERENCE", help="Inference image; else the nodes' own.")]
Template = Annotated[str | None, typer.Option(metavar="NAME|PATH", help="Job template; else yolov5.")]
Conf = Annotated[float | None, typer.Option(min=0, max=1, help="Least confidence of a detection.")]
Iou = Annotated[float | None, typer.Option(min=0, max=1, help="Overlap above which boxes are one.")]
Classes = Annotated[str | None, typer.Option(metavar="A,B", help="Only these classes.")]
Img = Annotated[int | None, typer.Option(min=32, help="Longer side of the model's input, in pixels.")]
Stride = Annotated[int | None, typer.Option(min=1, help="Infer every n-th frame.")]
KeyFrames = Annotated[
    int | None, typer.Option("--key-frames", min=0, max=1000, help="Most pictures a video, 0 for none; else 3.")
]
Timeout = Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="Limit per node; a new run's is 24 h.")]
Cpu = Annotated[str | None, typer.Option(metavar="CPUS", help="Per node; a new run's is 80 % of the smallest.")]
Memory = Annotated[str | None, typer.Option(metavar="SIZE", help="Per node, such as 1500MB.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    typer.Option(
        help="Numbers the model computes in; else auto: bfloat16 where a trial finds the same.", show_default=False
    ),
]
Privacy = Annotated[
    Literal["people", "people-and-vehicles", "off"] | None,
    typer.Option(
        help="What is covered in every picture and clip; else people. `off` is for footage of one's own.",
        show_default=False,
    ),
]
BringHome = Annotated[
    Literal["events", "all"] | None,
    typer.Option(
        help="What comes home: events with covered clips, and counts, or the detections of every frame too; else "
        "events, and all with a template that makes none.",
        show_default=False,
    ),
]
Reuse = Annotated[
    Literal["off", "on"] | None,
    typer.Option(
        help="on: what was found is said again where a frame did not change; else off, and on over the archive.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only footage that ended later: a day, a time (UTC), or 90m, 12h, 7d ago."),
]
Cameras = Annotated[
    str | None, typer.Option(metavar="A,B", help="Only these cameras' footage, on the nodes that have it.")
]
Clips = Annotated[
    Literal["off", "on"] | None,
    typer.Option(
        help="off: events without clips; else on, and off over the archive (--since, --cameras).", show_default=False
    ),
]
Attempts = Annotated[
    int | None, typer.Option(min=1, help="How often a node gets the run by itself; else bacalhau 5, ssh 1.")
]
Fetch = Annotated[bool, typer.Option(" /--no-fetch", help="Leave the results on the nodes.", show_default=False)]
RecordAsJson = Annotated[
    bool, typer.Option("--json", help="The run's record as JSON on stdout at the end.", show_default=False)
]
