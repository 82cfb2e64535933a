"""Runs a stack's program on Pulumi's mocks and keeps what it asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import settings as settings_of_run
from pulumi.runtime import stack


@dataclass(frozen=True)
class Made:
    """One resource that the program registered, its inputs by the provider's own (camelCase) names."""

    type: str
    name: str
    inputs: dict[str, Any]
    custom: bool


@dataclass(frozen=True)
class Options:
    """How a resource is held, beside what it is made of."""

    ignored: tuple[str, ...]
    protected: bool


@dataclass
class Run:
    """What one run of a program made, exported and said."""

    made: list[Made] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    options: dict[str, Options] = field(default_factory=dict)
    """By the resource's type and name, as in `Made`."""

    def of(self, kind: str) -> list[Made]:
        """Resources (not components) whose type ends so, e.g. `Instance`."""
        return [made for made in self.made if made.custom and made.type.rpartition(":")[2] == kind]

    def one(self, kind: str) -> Made:
        (found,) = self.of(kind)
        return found


class _Mocks(pulumi.runtime.Mocks):
    def __init__(self, run: Run, project: str) -> None:
        self.run, self.project = run, project

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if args.typ != "pulumi:pulumi:Stack":
            self.run.made.append(Made(args.typ, args.name, dict(args.inputs), bool(args.custom)))
        state = dict(args.inputs)
        if args.typ == "gcp:serviceaccount/account:Account":
            state["email"] = f"{state['accountId']}@{self.project}.iam.gserviceaccount.com"
            state["name"] = f"projects/{self.project}/serviceAccounts/{state['email']}"
        if args.typ == "pulumi:index:Stash":
            state["output"] = state.get("input")
        return f"{args.name}-id", state

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"the program looked something up: {args.token}")


def _note(run: Run, args: pulumi.ResourceTransformationArgs) -> None:
    run.options[f"{args.type_} {args.name}"] = Options(tuple(args.opts.ignore_changes or ()), bool(args.opts.protect))


def run(
    program: Callable[[], None],
    project: str,
    settings: Mapping[str, Any],
    *,
    stack_name: str = "test",
    cloud_project: str = "my-project-1",
    secrets: tuple[str, ...] = (),
) -> Run:
    """Run `program` with these settings. Raises what the program raises."""
    done = Run()
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(_Mocks(done, cloud_project), project=project, stack=stack_name, preview=False)
    pulumi.runtime.set_all_config(
        {
            key if ":" in key else f"{project}:{key}": value if isinstance(value, str) else json.dumps(value)
            for key, value in settings.items()
        },
        [f"{project}:{key}" for key in secrets],
    )

    # The root resource is kept per process; the one of an earlier run is in the way.
    settings_of_run.set_root_resource(None)  # type: ignore[arg-type]

    @pulumi.runtime.test
    def body() -> None:
        root = stack.Stack()
        pulumi.runtime.register_stack_transformation(lambda args: _note(done, args))
        program()
        for name, value in root.outputs.items():
            pulumi.Output.from_input(value).apply(lambda seen, name=name: done.outputs.__setitem__(name, seen))

    said = pulumi.log.info, pulumi.log.warn
    pulumi.log.info = lambda msg, *rest, **more: done.said.append(msg)
    pulumi.log.warn = lambda msg, *rest, **more: done.said.append(f"warning: {msg}")
    try:
        body()
    finally:
        pulumi.log.info, pulumi.log.warn = said
    return done
