"""What ships events and masked clips from a node: `collect` fills the outbox, `ship` empties it into a store.

Runs on the node with Python's standard library alone; rclone is driven as a program. `detector/schemas` is all it knows
of the detector.
"""
