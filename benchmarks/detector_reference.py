"""Runs in the reference's own environment: makes `yolov5s.pt` from the weights' layers, as YOLOv5's code loads it.

    python detector_reference.py LAYERS.npz WEIGHTS.pt

`LAYERS.npz` has kernel_0, bias_0 ... in network order with batch normalisation fused, as `shoal.site.yolov5_onnx` reads
them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import yolov5
from yolov5.models.yolo import Model

NAMES_AT = "data/coco.yaml"


def main(layers_path: str, weights_path: str) -> None:
    """Write the model. Raises SystemExit where the layers are not those of YOLOv5s."""
    home = Path(yolov5.__file__).parent
    model = Model(home / "models" / "yolov5s.yaml", ch=3, nc=80).float().eval().fuse()
    layers = np.load(layers_path)
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    if 2 * len(convolutions) != len(layers.files):
        raise SystemExit(f"{len(convolutions)} convolutions, but {len(layers.files) // 2} layers")
    for number, module in enumerate(convolutions):
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(layers[f"kernel_{number}"]))
            module.bias.copy_(torch.from_numpy(layers[f"bias_{number}"]))
    model.names = {number: str(number) for number in range(80)}
    torch.save({"model": model, "ema": None, "epoch": -1}, weights_path)


if __name__ == "__main__":
    main(*sys.argv[1:])
