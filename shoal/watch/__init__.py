"""The always-on side, seen from the control machine: what the nodes record and watch, and how it stands."""
