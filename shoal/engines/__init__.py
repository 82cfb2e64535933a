"""Runners: what starts a job on the nodes. One protocol (`protocol.py`), one module per engine."""
