"""Recordings: which files are footage, and their frames."""
