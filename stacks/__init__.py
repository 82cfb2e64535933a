"""Pulumi programs whose output is the cluster document: `gcp` makes machines, `edge` registers machines that exist."""
