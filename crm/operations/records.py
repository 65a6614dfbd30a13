"""Plain settings records: create, change, delete with validation and audit.

Each model with rules of its own registers a validator; the settings pages, the
REST API and the shell all come through here.
"""

from __future__ import annotations

from collections.abc import Callable

from flask_babel import gettext as _
from sqlalchemy.exc import DataError, IntegrityError

from crm.models import Model, db
from crm.operations import audit
from crm.operations.errors import Conflict, FieldError, ValidationErrors
from crm.operations.transaction import operation
from crm.security.principal import Principal

# Returns everything that is wrong with the record; may also complete it.
Validator = Callable[[Model, Principal | None], list[FieldError]]
# Returns why the record cannot be deleted, in words, or None.
DeleteGuard = Callable[[Model], str | None]
_validators: dict[type[Model], Validator] = {}
_guards: dict[type[Model], DeleteGuard] = {}


def validator(model: type[Model]) -> Callable[[Validator], Validator]:
    """Register the validator of ``model``."""

    def register(function: Validator) -> Validator:
        _validators[model] = function
        return function

    return register


def delete_guard(model: type[Model]) -> Callable[[DeleteGuard], DeleteGuard]:
    """Register the delete guard of ``model``."""

    def register(function: DeleteGuard) -> DeleteGuard:
        _guards[model] = function
        return function

    return register


@operation
def create(record: Model, by: Principal | None) -> Model:
    """Store a new record; raises ValidationErrors with all complaints."""
    with db.session.no_autoflush:
        _validate(record, by)
    db.session.add(record)
    _flush()
    audit.record("create", record, by, after=audit.snapshot(record))
    return record


@operation
def update(record: Model, by: Principal | None) -> Model:
    """Store the changes already made to ``record``; raises ValidationErrors."""
    with db.session.no_autoflush:
        _validate(record, by)
        before, after = audit.changes(record)
    _flush()
    if after:
        audit.record("update", record, by, before=before, after=after)
    return record


@operation
def delete(record: Model, by: Principal | None) -> None:
    """Delete ``record``; raises Conflict when something depends on it."""
    guard = _guards.get(type(record))
    reason = guard(record) if guard else None
    if reason:
        raise Conflict(reason)
    audit.record("delete", record, by, before=audit.snapshot(record))
    db.session.delete(record)
    try:
        db.session.flush()
    except IntegrityError as error:
        raise Conflict(
            _("Запись используется в других данных. Отключите её вместо удаления.")
        ) from error


def _validate(record: Model, by: Principal | None) -> None:
    check = _validators.get(type(record))
    errors = check(record, by) if check else []
    if errors:
        raise ValidationErrors(errors)


def _flush() -> None:
    try:
        db.session.flush()
    except IntegrityError as error:
        # Two people may save the same name at once: the constraint decides.
        raise ValidationErrors.one("", _("Такая запись уже есть.")) from error
    except DataError as error:
        # PostgreSQL's last word on a number or a text that its column cannot hold.
        raise ValidationErrors.one("", _("Слишком большое или неверное значение.")) from error
