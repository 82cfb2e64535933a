"""A deploy of the firewall alone, for its tests."""

from roles import firewall

firewall.install()
