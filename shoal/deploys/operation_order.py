"""The order of a deploy's operations as pyinfra reckons it, without the reading of source files.

pyinfra orders operations by the line numbers on their call stack, and takes the stack from `inspect.stack()`, which
looks up and reads the source of every frame: about 20 ms per operation and host, more than all else of a deploy that
changes nothing. The numbers are in the frames themselves.
"""

from __future__ import annotations

import sys
from importlib import import_module

import pyinfra
from pyinfra.api.state import State
from pyinfra.api.util import PYINFRA_INSTALL_DIR


def from_frames(state: State) -> list[int]:
    """Line numbers from the deploy file inward, without pyinfra's own.

    The result is that of `pyinfra.api.util.get_operation_order_from_stack` of pyinfra 3.
    """
    frames: list[tuple[str, int]] = []
    frame = sys._getframe(1)
    while True:
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        if frame.f_back is None:
            break
        frame = frame.f_back
    frames.reverse()
    if state.current_deploy_filename:
        names = [name for name, _ in frames]
        found = state.current_deploy_filename in names
        frames = frames[names.index(state.current_deploy_filename) :] if found else []
    numbers = [line for name, line in frames if not name.startswith(PYINFRA_INSTALL_DIR)]
    return [state.current_op_file_number, *numbers] if pyinfra.is_cli else numbers


def use() -> None:
    """Have pyinfra in this process take the order from here."""
    vars(import_module("pyinfra.api.operation"))["get_operation_order_from_stack"] = from_frames
