"""Why an operation did not happen, by cause. The texts are for people, in their language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OperationError(Exception):
    """Root of all refusals; ``message`` may be shown to the person."""

    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Forbidden(OperationError):
    """The person has no right to do this to the object."""

    status = 403


class NotFound(OperationError):
    """There is no such object, or the person may not know of it."""

    status = 404


class Conflict(OperationError):
    """Somebody else changed the object meanwhile, or the act makes no sense now."""

    status = 409


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field (``field`` empty: with the whole)."""

    field: str
    message: str


class ValidationErrors(OperationError):
    """All that is wrong, at once."""

    status = 422

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(" ".join(error.message for error in errors))
        self.errors = list(errors)

    @classmethod
    def one(cls, field: str, message: str) -> ValidationErrors:
        """A single complaint."""
        return cls([FieldError(field, message)])
