"""The outboxes of a cluster's nodes, seen from the control machine."""
