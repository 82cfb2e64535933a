"""Runs an iterator in a thread of its own, a few items ahead of its reader."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """Marks the end of the items, and carries what the iterator raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(items: Generator[Item, None, None], ahead: int) -> Generator[Item, None, None]:
    """Yield what `items` yields, computed at most `ahead` items early. Its exceptions are raised here.

    Closing the returned generator ends the thread and closes `items` before it returns.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(maxsize=ahead)
    closed = threading.Event()

    def put(item: Item | _End) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as raised:  # noqa: BLE001 - handed over to the reader, nothing is swallowed
            error = raised
        finally:
            items.close()
        put(_End(error))

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closed.set()
        thread.join()
