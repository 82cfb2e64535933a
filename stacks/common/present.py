"""The outputs that came to be in an update of which a part failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import pulumi

T = TypeVar("T")


def present(outputs: Sequence[pulumi.Output[T]]) -> pulumi.Output[list[T]]:
    """The values of those outputs that are known, in their order.

    With `--continue-on-error` an output of a resource that could not be made stays unknown, and one unknown value makes
    the whole of what it goes into unknown: here the others are kept. At a preview, where values may be unknown because
    nothing was made yet, all are asked for.
    """
    if pulumi.runtime.is_dry_run():
        return pulumi.Output.all(*outputs)

    async def known() -> list[T]:
        return [value for output in outputs if await output.is_known() and (value := await output.future()) is not None]

    async def always() -> bool:
        return True

    async def hidden() -> bool:
        return any([await output.is_secret() for output in outputs])

    return pulumi.Output(set(), known(), always(), hidden())
