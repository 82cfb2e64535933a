"""The model's stride, which sizes of its input must keep to."""

GRID = 32
"""YOLOv5's coarsest stride in pixels: both sides of the model's input are multiples of it."""
