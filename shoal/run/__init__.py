"""Carrying a run out: checks before it, its start, following it, attempts after a failure."""
