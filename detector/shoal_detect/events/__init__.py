"""From detections to what matters: cameras, tracks, rules, events, and clips with people covered."""
