"""The engine, Bacalhau: its artefact, its HTTP API, its tokens, and what its words mean to the rest of shoal."""
