"""Jobs: Bacalhau's job format rendered from a template, parsed back and checked before anything is started.

Templates are `<name>.yaml.j2` beside this file, or a file of the user's own; they get the values of `Values`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

from shoal.errors import UsageError
from shoal.jobs.identity import ATTEMPT_LABEL, RUN_LABEL, refuse_other_run
from shoal.jobs.spec import Constraint, JobSpec, parse
from shoal.paths import NODE_RUNS, NODE_WEIGHTS

SUFFIX = ".yaml.j2"
DEFAULT_IMAGES = {"yolov5-upstream": "docker.io/ultralytics/yolov5:v7.0"}
"""Of templates that are not for the site's own inference image; `--image` names another."""
_SURROGATES = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Values:
    """What a template may use."""

    run: str
    attempt: int
    image: str
    """The inference image, by digest."""
    weights_name: str
    weights_sha256: str
    cpu: str
    memory: str
    timeout_s: int
    knobs: Mapping[str, str | int | float] = field(default_factory=dict)
    """The detector's flags without dashes: `conf`, `iou`, `classes`, `img`, `stride`."""
    constraints: Sequence[Constraint] = ()


def job_name(run: str, attempt: int) -> str:
    """The name of one attempt, unique with the engine, and of its container on a node."""
    return f"shoal-{run}-a{attempt}"


def labels(run: str, attempt: int) -> dict[str, str]:
    """The job's labels, by which the engine finds a run again."""
    return {RUN_LABEL: run, ATTEMPT_LABEL: str(attempt)}


def only_nodes(names: Sequence[str]) -> Constraint:
    """The job is for these nodes."""
    return Constraint.model_validate({"Key": "name", "Operator": "in", "Values": list(names)})


def label_is(key: str, value: str) -> Constraint:
    """The job is for nodes with this label."""
    return Constraint.model_validate({"Key": key, "Operator": "=", "Values": [value]})


def templates() -> list[str]:
    """Names of the templates that come with shoal."""
    return sorted(path.name.removesuffix(SUFFIX) for path in Path(__file__).parent.glob(f"*{SUFFIX}"))


def template_path(template: str) -> Path:
    """The file of a template given by name or by path. Raises UsageError where there is none."""
    if template in templates():
        return Path(__file__).parent / f"{template}{SUFFIX}"
    path = Path(template)
    if path.is_file():
        return path
    raise UsageError(
        f"there is no job template {template!r}",
        hint=f"give the path of a file, or one of: {', '.join(templates())}",
    )


def render(template: str, values: Values) -> JobSpec:
    """The job that `template` makes of `values`. Raises UsageError where the template or its outcome is wrong."""
    path = template_path(template)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701  # YAML, not HTML
    environment.filters["tojson"] = quoted
    environment.globals["refuse"] = _refuse
    environment.globals["program"] = _program
    given = {
        "name": job_name(values.run, values.attempt),
        "run": values.run,
        "attempt": values.attempt,
        "image": values.image,
        "weights_name": values.weights_name,
        "weights_sha256": values.weights_sha256,
        "weights_dir": str(NODE_WEIGHTS),
        "state_dir": str(NODE_RUNS / values.run),
        "cpu": values.cpu,
        "memory": values.memory,
        "timeout_s": values.timeout_s,
        "knobs": dict(values.knobs),
        "constraints": [constraint.model_dump(mode="json", by_alias=True) for constraint in values.constraints],
    }
    try:
        text = environment.from_string(path.read_text(encoding="utf-8")).render(given)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the job template {path} cannot be read: {error}") from None
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"the job template {path} is wrong in line {error.lineno}: {error.message}") from None
    except jinja2.TemplateError as error:
        raise UsageError(f"the job template {path} cannot be filled in: {error.message}") from None
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"the job template {path} does not make YAML: {error}") from None
    job = parse(raw, source=f"the job made from {path}")
    refuse_other_run(job, values.run, source=f"the job made from {path}")
    return job


def read(path: Path) -> JobSpec:
    """A finished job in a file, YAML or JSON. Raises UsageError with every fault."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the job {path} cannot be read: {error}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"the job {path} is not YAML: {error}") from None
    return parse(raw, source=str(path))


def text(job: JobSpec) -> str:
    """The job as YAML, as the engine's own command line takes it; `read` gives the same job."""
    return yaml.safe_dump(job.to_document(), sort_keys=False, allow_unicode=True)


def _program(name: str) -> str:
    """For templates: a program of shoal's that goes into the job as it is."""
    return (Path(__file__).parent / "programs" / f"{name}.py").read_text(encoding="utf-8")


def _refuse(message: str) -> str:
    """For templates: end the rendering with a message for the user."""
    raise UsageError(message)


def quoted(value: Any) -> str:
    """`value` as JSON that is YAML as well: one line, printable ASCII, nothing in it is read as YAML's own signs."""
    # An undefined value raises in str(), as it does everywhere else in a template.
    text = json.dumps(value, default=str).replace("\x7f", "\\u007f")
    # JSON writes characters beyond 16 bits as two escapes, which YAML reads as two characters.
    return _SURROGATES.sub(lambda pair: f"\\U{ord(json.loads(chr(34) + pair[0] + chr(34))):08x}", text)
