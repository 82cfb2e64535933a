"""A ProxyCommand that makes a line slow: `slow_line.py MILLISECONDS HOST PORT`, the time there and back."""

import queue
import socket
import sys
import threading
import time
from collections.abc import Callable


def pump(read: Callable[[], bytes], write: Callable[[bytes], object], delay_s: float) -> None:
    """Hand on what comes, each piece so much later; many may be under way."""
    pieces: queue.Queue[tuple[float, bytes]] = queue.Queue()

    def take() -> None:
        piece = b"?"
        while piece:
            piece = read()
            pieces.put((time.monotonic() + delay_s, piece))

    threading.Thread(target=take, daemon=True).start()
    while True:
        due, piece = pieces.get()
        time.sleep(max(0.0, due - time.monotonic()))
        if not piece:
            return
        write(piece)


def main() -> None:
    """Until one of both ends is closed."""
    delay_s = int(sys.argv[1]) / 2000
    line = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def up() -> None:
        pump(lambda: sys.stdin.buffer.raw.read(1 << 16), line.sendall, delay_s)
        line.shutdown(socket.SHUT_WR)

    threading.Thread(target=up, daemon=True).start()

    def out(piece: bytes) -> None:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    pump(lambda: line.recv(1 << 16), out, delay_s)


main()
