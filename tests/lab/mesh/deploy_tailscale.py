"""A deploy of the mesh's daemon alone, for its tests."""

from roles import tailscale

tailscale.install()
