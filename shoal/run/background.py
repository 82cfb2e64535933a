"""A call in a thread whose answer is a future, which an interrupt does not wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_background(act: Callable[[], T]) -> Future[T]:
    """`act` in a thread that does not keep the process alive; what it raises, `result()` raises."""
    future: Future[T] = Future()

    def body() -> None:
        try:
            future.set_result(act())
        except BaseException as error:  # noqa: BLE001  # handed to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=body, daemon=True).start()
    return future
