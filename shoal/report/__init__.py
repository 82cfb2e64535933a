"""The report of a run: `read_run` figures it out, `write_page` and `table.show` show it."""

from __future__ import annotations

from pathlib import Path

from shoal.errors import ShoalError
from shoal.files import FOR_ALL, PRIVATE_FILE, write_atomic
from shoal.report.cost import cost_lines, cost_of
from shoal.report.data import read_run
from shoal.report.html import DEFAULT_IMAGES_MAX_BYTES, render
from shoal.report.model import Run
from shoal.results.record import run_dir

__all__ = ["cost_lines", "cost_of", "page_path", "read_run", "write_page"]


def page_path(run: str) -> Path:
    """Where the page of `run` goes by default: `runs/<run id>/report.html`."""
    return run_dir(run) / "report.html"


def write_page(run: Run, path: Path | None = None, *, images_max_bytes: int = DEFAULT_IMAGES_MAX_BYTES) -> Path:
    """Render `run` and write it atomically to `path`. Returns the path. Raises ShoalError where that fails."""
    target = (path or page_path(run.run)).absolute()
    page = render(run, run_dir(run.run), images_max_bytes=images_max_bytes)
    try:
        # A page that was named goes where others may read it; one of ours stays among the run's results.
        write_atomic(target, page, mode=PRIVATE_FILE if path is None else FOR_ALL)
    except OSError as error:
        raise ShoalError(
            f"the report cannot be written to {target}: {error.strerror or error}",
            hint="name another file with --html PATH, or make room",
        ) from None
    return target
