"""The reproducible demo on one machine, and how it is undone."""
