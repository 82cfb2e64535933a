"""How a machine's address is written, for every role alike."""

from __future__ import annotations


def authority(address: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
