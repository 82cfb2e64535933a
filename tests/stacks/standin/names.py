"""Property names, types and required inputs of a resource, read from the SDK's generated classes."""

from __future__ import annotations

import collections.abc
import importlib
import inspect
import typing
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pulumi import Output
from pulumi._types import input_type_py_to_pulumi_names, input_type_types, is_input_type

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What the engine sends at a preview for a value that is not known yet."""


@lru_cache
def inputs_class(token: str) -> type | None:
    """The class of a resource's inputs: `gcp:compute/instance:Instance` is `pulumi_gcp.compute.InstanceArgs`."""
    module = token.split(":")[1].partition("/")[0]
    return getattr(importlib.import_module(f"pulumi_gcp.{module}"), f"{token.rpartition(':')[2]}Args", None)


def faults(token: str, inputs: dict[str, Any]) -> list[tuple[str, str]]:
    """Property and reason of every unknown name, missing input and wrong type in `inputs`."""
    found = inputs_class(token)
    if found is None:
        return [("", f"there is no resource {token} in the SDK")]
    return list(_faults(found, inputs, ""))


def _faults(cls: type, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if value == UNKNOWN:
        return
    if not isinstance(value, dict):
        yield path, f"must be an object, found {value!r}"
        return
    types = input_type_types(cls)  # keyed by the provider's own names
    own_names = input_type_py_to_pulumi_names(cls)
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if (
            name != "__self__"
            and parameter.default is inspect.Parameter.empty
            and own_names.get(name, name) not in value
        ):
            yield f"{path}{own_names.get(name, name)}", "is required"
    for name, inner in value.items():
        if name == "__defaults":
            continue
        if name not in types:
            yield f"{path}{name}", f"{cls.__name__} has no such property"
        else:
            yield from _typed(types[name], inner, f"{path}{name}")


def _typed(hint: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if value is None or value == UNKNOWN:
        return
    options = [option for option in _options(hint) if option is not type(None)]
    for option in options:
        origin = typing.get_origin(option)
        if isinstance(option, type) and is_input_type(option):
            yield from _faults(option, value, f"{path}.")
        elif origin in (collections.abc.Sequence, list):
            if not isinstance(value, list):
                yield path, f"must be a list, found {value!r}"
                return
            for index, inner in enumerate(value):
                yield from _typed(typing.get_args(option)[0], inner, f"{path}[{index}]")
        elif origin in (collections.abc.Mapping, dict):
            if not isinstance(value, dict):
                yield path, f"must be a map, found {value!r}"
        elif isinstance(option, type) and not _is_plain(option, value):
            yield path, f"must be {option.__name__}, found {value!r}"
        return


def _options(hint: Any) -> list[Any]:
    """What a hint allows, without the wrappers that an input may come in."""
    if typing.get_origin(hint) is typing.Union:
        inner = [option for part in typing.get_args(hint) for option in _options(part)]
        return [option for option in inner if not _is_wrapper(option)]
    return [hint]


def _is_wrapper(option: Any) -> bool:
    return typing.get_origin(option) in (Output, collections.abc.Awaitable) or isinstance(option, typing.ForwardRef)


def _is_plain(option: type, value: Any) -> bool:
    if option is bool:
        return isinstance(value, bool)
    if option is int:
        return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    if option is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return not isinstance(value, bool) if option is not str else isinstance(value, str)
