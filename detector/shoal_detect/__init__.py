"""Object detection in video files with a YOLOv5 model: the program inside the inference job's container."""

__version__ = "0.1.0"
