"""Knobs: a role's typed settings, read from host data and checked as a whole, all faults reported at once."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pyinfra.api.exceptions import PyinfraError

from shoal.cluster.document import Cluster, Node, field_faults
from shoal.errors import Fault

if TYPE_CHECKING:
    from pyinfra.api.host import Host

T = TypeVar("T")


class RefusedError(PyinfraError):
    """A deploy that must not begin. Derived from pyinfra's own error, which its command prints without a traceback."""

    def __init__(self, message: str, faults: list[Fault], hint: str | None = None) -> None:
        lines = [message, *(f"      - {fault}" for fault in faults)]
        if hint:
            lines.append(f"      what to do: {hint}")
        super().__init__("\n".join(lines))
        self.faults = tuple(faults)


def read(model: type[T], host: Host) -> T:
    """The knobs of one role for one host. Raises RefusedError with every fault."""
    knobs, faults = examine(model, host)
    if knobs is None or faults:
        raise RefusedError(f"the settings of {host.name} are not valid", faults)
    return knobs


def examine(model: type[T], host: Host) -> tuple[T | None, list[Fault]]:
    """The knobs and what is wrong with them; nothing is raised, so that faults of many roles and hosts can be joined.

    Data that begins with the role's name and is no knob is a fault: a misspelt knob must not pass in silence.
    """
    data: dict[str, Any] = host.data.dict()  # type: ignore[no-untyped-call]
    names = {field.name for field in fields(model)}  # type: ignore[arg-type]
    prefix = model.__module__.split(".")[1] + "_"
    faults = [
        Fault(f"{host.name}: {name}", f"no such setting; there are {', '.join(sorted(names))}")
        for name in sorted(data)
        if name.startswith(prefix) and name not in names
    ]
    try:
        knobs = TypeAdapter(model).validate_python({name: data[name] for name in names if name in data})
    except ValidationError as error:
        faults += [Fault(f"{host.name}: {fault.where}", fault.what) for fault in field_faults(error)]
        return None, faults
    if check := getattr(knobs, "faults", None):
        faults += [Fault(f"{host.name}: {fault.where}", fault.what) for fault in check()]
    return knobs, faults


def cluster_of(host: Host) -> Cluster:
    """The cluster this host belongs to."""
    return Cluster.model_validate(host.data.shoal_cluster)


def node_of(host: Host) -> Node:
    """This host's own entry in the cluster document."""
    return Node.model_validate(host.data.shoal_node)
