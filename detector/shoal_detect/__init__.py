"""Object detection in video files with a YOLOv5 model: the program inside the inference job's container."""

import os

__version__ = "0.1.0"

# onnxruntime reports to its vendor unless that is switched off, and reads this when it is imported. What runs next to
# somebody's cameras sends no reports, also where the container is given a network.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
