"""Reads what shoal itself keeps about a cluster beside its document: notes that a person may have edited or damaged."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from shoal.cluster.document import field_faults
from shoal.errors import UsageError
from shoal.untrusted import ANSWER, Bounds, DamagedDocumentError, ModelT, json_value, read_bytes


def read_kept(
    path: Path, kind: type[ModelT], *, source: str, valid: str, hint: str, bounds: Bounds = ANSWER
) -> ModelT | None:
    """The document at `path`, None where there is none. Raises UsageError with `hint` where it is damaged.

    `source` names the file and `valid` what it should be, in the error's text.
    """
    try:
        return kind.model_validate(json_value(read_bytes(path, bounds=bounds), source=source, bounds=bounds))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UsageError(f"{path} is not {valid}", faults=tuple(field_faults(error)), hint=hint) from None
    except DamagedDocumentError as error:
        raise UsageError(error.message, hint=hint) from None
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error}", hint=hint) from None
