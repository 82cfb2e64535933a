"""What stands before a test's camera and makes it one that wants a password, or whose clock jumps."""

from __future__ import annotations

import asyncio
import base64
import re
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CLOCK_HZ = 90_000
"""Of video in RTP (RFC 6184, 5.1)."""
SENDER_REPORT = 200
"""RTCP's packet type (RFC 3550, 6.4.1)."""


@dataclass
class Front:
    """A camera's front: everything goes on to the camera, changed by what is set here."""

    address: str
    port: int
    behind: int
    """The camera's own port."""
    password: str | None = None
    """`user:password` that it wants."""
    shift_s: float = 0.0
    """How far the camera's clock is from what it was."""
    turned_away: int = 0
    """Requests that it answered with 401."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @contextmanager
    def open(self) -> Iterator[Front]:
        """It answers, until the block ends."""
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        serving = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._served, self.address, self.port), self._loop
        )
        serving.result(30)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(_ended(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(30)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            camera = await asyncio.open_connection(self.address, self.behind)
        except OSError:
            writer.close()
            return
        ways = [self._asked(reader, writer, camera[1]), self._answered(camera[0], writer)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        with suppress(asyncio.CancelledError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        writer.close()
        camera[1].close()

    async def _asked(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, on: asyncio.StreamWriter) -> None:
        async for kind, message in _messages(reader):
            if kind is None and self.password is not None:
                wanted = b"Authorization: Basic " + base64.b64encode(self.password.encode())
                if wanted not in message:
                    self.turned_away += 1
                    number = re.search(rb"(?i)cseq: *(\d+)", message)
                    answer = b"RTSP/1.0 401 Unauthorized\r\nCSeq: " + (number.group(1) if number else b"0")
                    back.write(answer + b'\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n')
                    continue
            on.write(message)
            await on.drain()

    async def _answered(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        async for kind, message in _messages(reader):
            back.write(message if kind is None else self._shifted(kind, message))
            await back.drain()

    def _shifted(self, channel: int, message: bytes) -> bytes:
        """A packet with the camera's time of now: RTP on even channels, RTCP on odd ones."""
        ticks = round(self.shift_s * CLOCK_HZ)
        changed = bytearray(message)
        if channel % 2 == 0:
            _move(changed, 4 + 4, ticks)
        elif message[4 + 1] == SENDER_REPORT:
            _move(changed, 4 + 8, round(self.shift_s))
            _move(changed, 4 + 16, ticks)
        return bytes(changed)


async def _ended() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _move(message: bytearray, at: int, by: int) -> None:
    (before,) = struct.unpack_from(">I", message, at)
    struct.pack_into(">I", message, at, (before + by) % 2**32)


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int | None, bytes]]:
    """Interleaved packets with their channel (RFC 2326, 10.12), and requests or answers with None."""
    try:
        while True:
            first = await reader.readexactly(1)
            if first == b"$":
                head = await reader.readexactly(3)
                yield head[0], first + head + await reader.readexactly(int.from_bytes(head[1:], "big"))
                continue
            text = first + await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", text)
            yield None, text + (await reader.readexactly(int(length.group(1))) if length else b"")
    except (asyncio.IncompleteReadError, ConnectionError):
        return
