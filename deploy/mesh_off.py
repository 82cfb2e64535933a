"""Opens the machines' first addresses again, before `shoal mesh off` goes back to them; the tailnet stays."""

from roles import firewall

firewall.remove()
