"""What lies on the disk: the lock, settings, finished videos, summaries."""
