"""The life of a stack's cluster: up, reachable, drifted, destroyed, and the proof that nothing is left."""
