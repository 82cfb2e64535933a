"""The engine, Bacalhau: its artefact, its HTTP API, its tokens, and what its words mean to the rest of shoal."""

API_PORT = 1234
"""Where the orchestrator's API listens, on the requester's loopback: the engine's own default."""
