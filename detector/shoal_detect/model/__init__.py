"""From frames to detections: fit, infer, select."""
