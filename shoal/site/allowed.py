"""What a job template comes down to for a node's admission: its image and its entry point."""

from __future__ import annotations

from pydantic import ValidationError

from shoal import jobs
from shoal.cluster.document import field_faults
from shoal.errors import UsageError
from shoal.site.document import SiteJob

_ANY_IMAGE = "site.example/image@sha256:" + "0" * 64


def kind_of_job(template: str | None, image: str | None) -> SiteJob:
    """The kind of job that `template` makes with `image`: by default the image's own entry point, and the site's image.

    Raises UsageError where the template is wrong or the image is not pinned by a digest.
    """
    entrypoint = _entrypoint(template) if template else ()
    try:
        return SiteJob(image=image, entrypoint=entrypoint)
    except ValidationError as error:
        raise UsageError(
            "what is to be allowed is not one image for good",
            faults=tuple(field_faults(error)),
            hint="name it by digest: `docker image inspect --format '{{.RepoDigests}}' IMAGE` shows that on a node",
        ) from None


def _entrypoint(template: str) -> tuple[str, ...]:
    """Rendered as for a run: a template may make its entry point of the program that goes with it, never of the run."""
    values = jobs.Values(
        run="any", attempt=1, image=_ANY_IMAGE, weights_name="any", weights_sha256="0" * 64, cpu="1", memory="1GB",
        timeout_s=1,
    )  # fmt: skip
    return jobs.render(template, values).task.engine.params.entrypoint
