"""The life of nodes: added, listed, drained, removed."""
