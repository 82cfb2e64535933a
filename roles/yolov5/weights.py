"""Operations of role `yolov5` for the models on compute nodes."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.notes import will
from roles.common.operations import Commands, upload
from roles.yolov5.defaults import WeightsFile
from roles.yolov5.facts import AnyModel, Models
from shoal.paths import NODE_WEIGHTS


@operation()
def weights(files: tuple[WeightsFile, ...]) -> Commands:
    """Each model as <sha256>.onnx, mode 0644; the name says the content, so others may stay beside it."""
    if not files:
        host.noop("no models are asked for")
        return
    paths = {file.sha256: str(NODE_WEIGHTS / f"{file.sha256}.onnx") for file in files}
    there = host.get_fact(Models, paths=tuple(paths.values()))
    missing = [file for file in files if (file.sha256, "644", "root") not in there]
    if missing:
        names = ", ".join(file.name or file.sha256[:12] for file in missing)
        will(f"place {len(missing)} models in {NODE_WEIGHTS}: {names}")
    for file in missing:
        yield from upload(str(file.path), file.sha256, paths[file.sha256])


@operation()
def weights_absent() -> Commands:
    """All models of ours: their names are their content. What else lies in the folder stays."""
    folder = shlex.quote(str(NODE_WEIGHTS))
    ours = f"find {folder} -maxdepth 1 -regextype posix-extended -regex '.*/[0-9a-f]{{64}}[.]onnx' -type f"
    if host.get_fact(AnyModel, folder=str(NODE_WEIGHTS), find=ours):
        will(f"remove the models in {NODE_WEIGHTS}")
        yield f"{ours} -delete"
