"""pyinfra's command, begun as its own script begins it, and with connections by ProxyCommand that work in it.

`python -m pyinfra` loads the SSH library before pyinfra has made the process cooperative; a connection by ProxyCommand
then never lets anything else run, and the deploy hangs while it connects. Beside that, the library takes for granted
that a pipe takes everything at once, which a cooperative one does not: large uploads arrive damaged. And a proxy that
has ended is asked for more, for ever.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, Any

# The package's first lines patch what everything after them loads.
from pyinfra_cli.main import main

if TYPE_CHECKING:
    ProxyCommand = Any
else:
    from paramiko.proxy import ProxyCommand


def send(proxy: Any, content: bytes) -> int:
    """What the pipe took of `content`; the caller comes again with the rest. Raises OSError where it is closed."""
    return int(proxy.process.stdin.write(content) or 0)


def receive(proxy: Any, size: int) -> bytes:
    """What there is, at most `size` bytes; none means the end. Raises TimeoutError after the proxy's time-out."""
    deadline = None if proxy.timeout is None else time.monotonic() + proxy.timeout
    left = None if deadline is None else max(deadline - time.monotonic(), 0)
    readable, _, _ = select.select([proxy.process.stdout], [], [], left)
    if not readable:
        raise TimeoutError
    return os.read(proxy.process.stdout.fileno(), size)


if __name__ == "__main__":
    ProxyCommand.send = send
    ProxyCommand.recv = receive
    main()
