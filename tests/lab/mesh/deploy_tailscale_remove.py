"""Takes the mesh's daemon away again, and nothing else."""

from roles import tailscale

tailscale.remove()
