"""A stack's configuration as one typed document: all faults are reported at once, before any resource."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

import pulumi
from pulumi.runtime import config as runtime_config
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from shoal.cluster.document import field_faults
from shoal.errors import Fault, UsageError


class Settings(BaseModel):
    """Base of what stands in a stack's configuration. Keys are camelCase there, as everywhere in Pulumi."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


Model = TypeVar("Model", bound=Settings)


def raw_settings(project: str) -> dict[str, Any]:
    """All keys that are set for `project`, without the project's name; structured values decoded."""
    entries = {**runtime_config.get_config_env(), **runtime_config.CONFIG.get()}
    prefix = f"{project}:"
    return {key.removeprefix(prefix): _decoded(value) for key, value in entries.items() if key.startswith(prefix)}


def is_secret(project: str, key: str) -> bool:
    """Whether the key was set with `pulumi config set --secret`."""
    name = f"{project}:{key}"
    return runtime_config.is_config_secret(name) or name in runtime_config.get_config_secret_keys_env()


def validated(model: type[Model], raw: dict[str, Any]) -> tuple[Model | None, list[Fault]]:
    """The typed settings, or None and all the faults of single fields and of the model's own checks."""
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        faults = field_faults(error)
        faults += [
            Fault("settings", str(entry["ctx"]["error"]))
            for entry in error.errors(include_url=False)
            if not entry["loc"] and entry["type"] == "value_error"
        ]
        return None, faults


def refuse(stack: str, faults: Iterable[Fault]) -> NoReturn:
    """End the program with one list of all faults and no traceback."""
    listed = tuple(dict.fromkeys(faults))
    error = UsageError(
        f"the settings of stack {stack} are refused ({len(listed)} fault{'s' if len(listed) != 1 else ''});"
        " nothing was changed",
        faults=listed,
        hint="mend the named keys in the stack's Pulumi.*.yaml; docs/cloud-lab.md and docs/edge-boxes.md list them",
    )
    raise pulumi.RunError(str(error))


def _decoded(value: Any) -> Any:
    """Pulumi hands structured values over as JSON text and everything else as plain text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value
