"""What a job template comes down to for a node's admission: image, entry point, variables and working directory."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from pydantic import ValidationError

from shoal import jobs
from shoal.cluster.document import field_faults
from shoal.errors import UsageError
from shoal.jobs.identity import KNOBS
from shoal.jobs.spec import DockerParams
from shoal.site.document import SiteJob

_ANY_IMAGE = "site.example/image@sha256:" + "0" * 64


def kind_of_job(template: str | None, image: str | None) -> SiteJob:
    """The kind of job that `template` makes with `image`: by default the image's own entry point, and the site's image.

    Raises UsageError where the template is wrong or the image is not pinned by a digest.
    """
    made = _made(template) if template else []
    variables = {pair.partition("=")[0] for params in made for pair in params.environment_variables}
    try:
        return SiteJob(
            image=image,
            entrypoint=made[0].entrypoint if made else (),
            variables=tuple(sorted(variables)),
            working_directory=(made[0].working_directory or "") if made else "",
        )
    except ValidationError as error:
        raise UsageError(
            "what is to be allowed is not one image for good",
            faults=tuple(field_faults(error)),
            hint="name it by digest: `docker image inspect --format '{{.RepoDigests}}' IMAGE` shows that on a node",
        ) from None


def _made(template: str) -> list[DockerParams]:
    """Rendered as for a run, first without settings, then with each that the template knows: one may be a variable.

    A template may make its entry point of the program that goes with it, never of the run. Raises UsageError.
    """
    values = jobs.Values(
        run="any", attempt=1, image=_ANY_IMAGE, weights_name="any", weights_sha256="0" * 64, cpu="1", memory="1GB",
        timeout_s=1,
    )  # fmt: skip
    made = [jobs.render(template, values).task.engine.params]
    for knob in KNOBS:
        with suppress(UsageError):  # not one of this template's
            made.append(jobs.render(template, replace(values, knobs={knob: "1"})).task.engine.params)
    return made
