"""Drives the real Pulumi engine in tests: a home, a file backend and a passphrase of its own, nothing from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulumi import automation

PASSPHRASE = "only-for-tests"
Program = Callable[[], None]


@dataclass(frozen=True)
class Engine:
    """One Pulumi home and backend."""

    root: Path
    install: Path
    env: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, root: Path, install: Path) -> Engine:
        for name in ("home", "backend", "work"):
            (root / name).mkdir(parents=True)
        passphrase = root / "passphrase"
        passphrase.write_text(PASSPHRASE)
        env = {
            "PULUMI_HOME": str(root / "home"),
            "PULUMI_BACKEND_URL": (root / "backend").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1",
            "PULUMI_DISABLE_REGISTRY_RESOLVE": "1",
            "PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK": "1",
        }
        return cls(root, install, env)

    @property
    def state(self) -> Path:
        """Everything that the backend keeps."""
        return self.root / "backend"

    def stack(
        self,
        project: str,
        program: Program,
        settings: Mapping[str, Any],
        *,
        name: str = "test",
        secrets: tuple[str, ...] = (),
    ) -> automation.Stack:
        """The stack `name` with exactly these settings; structured ones travel as JSON, as Pulumi itself does it."""
        stack = automation.create_or_select_stack(
            stack_name=name,
            project_name=project,
            program=program,
            opts=automation.LocalWorkspaceOptions(
                work_dir=str(self.root / "work"),
                env_vars=self.env,
                pulumi_home=str(self.root / "home"),
                pulumi_command=automation.PulumiCommand(root=str(self.install), skip_version_check=True),
                project_settings=automation.ProjectSettings(
                    name=project, runtime="python", backend=automation.ProjectBackend(url=self.state.as_uri())
                ),
            ),
        )
        configure(stack, project, settings, secrets)
        return stack

    def traces(self, text: str) -> list[Path]:
        """Files of the backend, backups included, that hold `text` in clear."""
        wanted = text.encode()
        return [path for path in self.state.rglob("*") if path.is_file() and wanted in path.read_bytes()]


def configure(
    stack: automation.Stack, project: str, settings: Mapping[str, Any], secrets: tuple[str, ...] = ()
) -> None:
    """Make `settings` all that is set of `project`; keys with a colon are another provider's."""
    stale = [key for key in stack.get_all_config() if key.startswith(f"{project}:")]
    if stale:
        stack.remove_all_config(stale)
    values = {
        key if ":" in key else f"{project}:{key}": automation.ConfigValue(
            value if isinstance(value, str) else json.dumps(value), secret=key in secrets
        )
        for key, value in settings.items()
    }
    stack.set_all_config(values)


def operations(summary: Mapping[Any, int] | None) -> dict[str, int]:
    """Numbers of resources per operation, by plain names, without those that stay the same."""
    named = {getattr(key, "value", str(key)): count for key, count in (summary or {}).items()}
    return {key: count for key, count in named.items() if key != "same" and count}
