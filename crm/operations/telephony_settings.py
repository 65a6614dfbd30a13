"""Settings of a telephony connection: credentials that are never sent back, internal numbers."""

from __future__ import annotations

from collections.abc import Mapping

from flask_babel import gettext as _
from sqlalchemy import select

from crm.integrations.telephony.base import CredentialField, Extension
from crm.models import Employee, TelephonyConnection, TelephonyExtension, db
from crm.operations import audit, connections
from crm.operations.connections import find
from crm.operations.errors import FieldError, NotFound, ValidationErrors
from crm.operations.extension_guess import Guess
from crm.operations.transaction import operation
from crm.security.principal import Principal

_MAX_SECRET = 4000
# Certificates and templates.
_MAX_TEXT = 100_000


def stored(connection: TelephonyConnection, name: str) -> str:
    """Value of a credential as kept, "" when it is not filled in."""
    return str((connection.credentials or {}).get(name) or "")


@operation
def set_credentials(connection_id: int, by: Principal | None, typed: Mapping[str, str]) -> None:
    """Keep what the operator asks for; a secret left blank stays as it is.

    Raises ValidationErrors naming ``credential-<name>``.
    """
    connection = find(connection_id)
    values = dict(connection.credentials or {})
    for item in connections.build(connection).credentials:
        text = (typed.get(item.name) or "").strip()
        if text or not item.secret:
            values[item.name] = text
    # What is required may depend on what was chosen just now.
    asked = connections.assemble(connection, values).credentials
    errors = [error for item in asked if (error := _credential_error(item, values))]
    if errors:
        raise ValidationErrors(errors)
    changed = sorted(k for k, v in values.items() if v != (connection.credentials or {}).get(k))
    connection.credentials = values
    connection.last_error = None
    if changed:
        audit.record("credentials", connection, by, after={"changed": changed})


def _credential_error(item: CredentialField, values: Mapping[str, str]) -> FieldError | None:
    value = values.get(item.name) or ""
    if len(value) > (_MAX_TEXT if item.multiline else _MAX_SECRET):
        return FieldError(f"credential-{item.name}", _("Слишком длинное значение."))
    if item.required and not (value or item.default):
        return FieldError(f"credential-{item.name}", _("Заполните это поле."))
    if item.choices and value and value not in dict(item.choices):
        return FieldError(f"credential-{item.name}", _("Выберите значение из списка."))
    return None


@operation
def save_extensions(
    connection_id: int, by: Principal | None, owners: Mapping[str, int | None]
) -> None:
    """Whose each internal number is: operator's key → employee id or None.

    A key that is not known yet is added: the page may be older than the list. Raises
    ValidationErrors naming ``owner-<key>``.
    """
    connection = find(connection_id)
    known = {row.key: row for row in connection.extensions}
    before = {key: row.employee_id for key, row in known.items()}
    wanted = {pk for pk in owners.values() if pk is not None}
    real = set(db.session.scalars(select(Employee.id).where(Employee.id.in_(wanted))))
    errors = [
        FieldError(f"owner-{key}", _("Такого сотрудника нет."))
        for key, pk in owners.items()
        if pk is not None and pk not in real
    ]
    if errors:
        raise ValidationErrors(errors)
    for key, pk in owners.items():
        _extension(connection, known, key).employee_id = pk
    after = {key: row.employee_id for key, row in known.items()}
    _record(connection, by, before, after)


@operation
def add_extension(
    connection_id: int, key: str, by: Principal | None, *, employee_id: int | None = None
) -> None:
    """An internal number typed by hand; one that is known already keeps its owner.

    Raises ValidationErrors naming ``new-key`` or ``new-owner``.
    """
    connection = find(connection_id)
    known = {row.key: row for row in connection.extensions}
    if any(key in (row.key, row.number) for row in known.values()):
        text = _("Номер %(key)s уже есть в списке: выберите сотрудника в его строке.", key=key)
        raise ValidationErrors.one("new-key", text)
    if employee_id is not None and db.session.get(Employee, employee_id) is None:
        raise ValidationErrors.one("new-owner", _("Такого сотрудника нет."))
    _extension(connection, known, key).employee_id = employee_id
    _record(connection, by, {}, {key: employee_id})


@operation
def delete_extension(connection_id: int, key: str, by: Principal | None) -> None:
    """Forget an internal number."""
    connection = find(connection_id)
    row = next((row for row in connection.extensions if row.key == key), None)
    if row is None:
        raise NotFound(_("Такого внутреннего номера нет."))
    connection.extensions.remove(row)
    audit.record("extensions", connection, by, before={key: row.employee_id}, after={key: None})


@operation
def merge_extensions(connection_id: int, by: Principal | None, found: list[Extension]) -> int:
    """Take over the operator's list; numbers of nobody go to whom they seem to belong to.

    Returns how many numbers are new. Those that people mapped stay as they are.
    """
    connection = find(connection_id)
    known = {row.key: row for row in connection.extensions}
    before = {key: row.employee_id for key, row in known.items()}
    guess = Guess(connection_id)
    for item in found:
        key = (item.employee_key or item.number)[:64]
        row = _extension(connection, known, key)
        row.number = item.number[:32] if item.number and item.number != key else None
        row.title = " ".join(filter(None, (item.number, item.name)))[:120] or None
        if row.employee_id is None:
            row.employee_id = guess.owner(item)
    after = {key: row.employee_id for key, row in known.items()}
    _record(connection, by, before, after)
    return len(after) - len(before)


def _extension(
    connection: TelephonyConnection, known: dict[str, TelephonyExtension], key: str
) -> TelephonyExtension:
    if key not in known:
        known[key] = TelephonyExtension(key=key[:64])
        connection.extensions.append(known[key])
    return known[key]


def _record(
    connection: TelephonyConnection,
    by: Principal | None,
    before: Mapping[str, int | None],
    after: Mapping[str, int | None],
) -> None:
    changed = [key for key in after if key not in before or before[key] != after[key]]
    if changed:
        audit.record(
            "extensions",
            connection,
            by,
            before={key: before.get(key) for key in changed},
            after={key: after[key] for key in changed},
        )
