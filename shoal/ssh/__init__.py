"""OpenSSH as a subprocess, and what can go wrong with it."""
