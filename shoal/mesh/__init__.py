"""Moving a cluster onto its mesh and back: which nodes are reached where, and the proof before anything is moved."""
