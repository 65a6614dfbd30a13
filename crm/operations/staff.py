"""Employees: hiring, changes, dismissal, personal exceptions from the role (domain §10)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from flask_appbuilder.security.sqla.models import Role
from flask_babel import gettext as _
from sqlalchemy import delete, func, inspect, or_, select

from crm.models import (
    AuthSession,
    Employee,
    Model,
    TelephonyConnection,
    TelephonyExtension,
    UserGrant,
    db,
)
from crm.operations import accounts, audit, checks, records
from crm.operations.errors import Conflict, FieldError, Forbidden, NotFound, ValidationErrors
from crm.operations.grant_values import read_value
from crm.operations.roles import is_powerful
from crm.operations.transaction import operation
from crm.reports.company import local_today
from crm.security import sessions
from crm.security.grants import CATALOGUE, Effect
from crm.security.principal import ADMIN_ROLE, Principal

ROLE, YES, NO = "role", "yes", "no"
# A year of birth and an age beyond which a date is a slip of the finger.
_OLDEST, _YOUNGEST = 1900, 14
_TEXTS = ("first_name", "last_name", "middle_name", "username", "position")


# --- the card ---------------------------------------------------------------------


@records.validator(Employee)
def check_employee(record: Model, by: Principal | None) -> list[FieldError]:
    """Complaints about an employee's card; normalises texts, mail and phone in place."""
    assert isinstance(record, Employee)
    checks.clean(record, *_TEXTS)
    errors = checks.required(
        record,
        last_name=_("Укажите фамилию."),
        first_name=_("Укажите имя."),
        email=_("Укажите почту: на неё приходит приглашение."),
        username=_("Укажите логин."),
    )
    errors += checks.email(record) + checks.phone(record)
    errors += _identity(record) + _birthday(record) + _head(record)
    return errors + _roles(record, by)


def _identity(person: Employee) -> list[FieldError]:
    """Login and mail both open the door, so neither may be anybody else's login or mail."""
    errors = []
    for name, text in (("username", person.username), ("email", person.email)):
        if text and _taken(text, person.id):
            errors.append(FieldError(name, _("Уже занято другим сотрудником.")))
    return errors


def _taken(text: str, own_id: int | None) -> bool:
    wanted = text.casefold()
    # SQLite folds only Latin letters: rows of the same length are compared here.
    same_length = or_(
        func.length(Employee.username) == len(text), func.length(Employee.email) == len(text)
    )
    query = select(Employee.id, Employee.username, Employee.email).where(same_length)
    return any(
        pk != own_id and wanted in (login.casefold(), mail.casefold())
        for pk, login, mail in db.session.execute(query)
    )


def _birthday(person: Employee) -> list[FieldError]:
    if (
        person.birth_date
        and not _OLDEST <= person.birth_date.year <= local_today().year - _YOUNGEST
    ):
        return [FieldError("birth_date", _("Проверьте дату рождения."))]
    return []


def _head(person: Employee) -> list[FieldError]:
    """The chain of heads must end."""
    head = person.manager
    if head is None:
        return []
    if head is person:
        return [FieldError("manager", _("Сотрудник не может руководить сам собой."))]
    above: Employee | None = head
    seen: set[int] = set()
    while above is not None and above.id not in seen:
        if person.id is not None and above.id == person.id:
            text = _("%(name)s подчиняется этому сотруднику: получится круг.", name=head.full_name)
            return [FieldError("manager", text)]
        seen.add(above.id)
        above = above.manager
    return []


def _roles(person: Employee, by: Principal | None) -> list[FieldError]:
    if not person.roles:
        return [FieldError("roles", _("Выберите хотя бы одну роль."))]
    held, changed = _role_changes(person)
    if changed and by is not None and not by.is_admin:
        if person.id == by.id:
            return [FieldError("roles", _("Свою роль меняет другой человек."))]
        if any(is_powerful(role) for role in changed):
            return [FieldError("roles", _("Такую роль даёт и забирает только администратор."))]
    lost = any(role.name == ADMIN_ROLE for role in held if role not in person.roles)
    if lost and _is_last_administrator(person):
        return [FieldError("roles", _("Это последний администратор: назначьте сначала другого."))]
    return []


def _role_changes(person: Employee) -> tuple[list[Role], list[Role]]:
    """Roles as stored, and those that are being given or taken."""
    # A collection that nobody has read yet has no history: it is read here.
    now = list(person.roles)
    history: Any = inspect(person).attrs.roles.history
    held = [*history.unchanged, *history.deleted]
    return held, [role for role in {*held, *now} if (role in held) != (role in now)]


def _is_last_administrator(person: Employee) -> bool:
    query = (
        select(func.count())
        .select_from(Employee)
        .where(
            Employee.active, Employee.id != person.id, Employee.roles.any(Role.name == ADMIN_ROLE)
        )
    )
    with db.session.no_autoflush:
        return not db.session.scalar(query)


@records.delete_guard(Employee)
def keep_employee(_record: Model) -> str:
    """People are switched off, never deleted: their deals and history stay theirs."""
    return str(_("Сотрудника нельзя удалить. Отключите его: сделки и история останутся."))


@operation
def hire(person: Employee, by: Principal | None) -> Employee:
    """Store a new employee without a usable password; he sets his own by an invitation."""
    person.active = True
    person.password = accounts.hash_password(secrets.token_urlsafe(32))
    records.create(person, by)
    audit.record("roles", person, by, after={"roles": _names(person.roles)})
    return person


@operation
def update(person: Employee, by: Principal | None) -> Employee:
    """Store changes of a card; a change of roles ends the person's sign-ins.

    Raises ValidationErrors, Forbidden for somebody who deals rights himself.
    """
    guard(person, by)
    old, changed = _role_changes(person)
    records.update(person, by)
    if changed:
        after = {"roles": _names(person.roles)}
        audit.record("roles", person, by, before={"roles": _names(old)}, after=after)
        if by is None or by.id != person.id:
            sessions.close_all(person.id)
            accounts.tell_streams(person.id)
    return person


def _names(roles: Iterable[Role]) -> list[str]:
    return sorted(role.name for role in roles)


def guard(person: Employee, by: Principal | None) -> None:
    """Refuse to let somebody change a person who has more power than he; raises Forbidden."""
    if by is None or by.is_admin or by.id == person.id:
        return
    held, _changed = _role_changes(person)
    if any(is_powerful(role) for role in held):
        raise Forbidden(_("Этого сотрудника меняет только администратор."))


# --- on and off ---------------------------------------------------------------------


@operation
def deactivate(employee_id: int, by: Principal | None) -> Employee:
    """Switch a person off: he is out at once; deals stay his until they are handed over."""
    person = find(employee_id)
    guard(person, by)
    if by is not None and by.id == person.id:
        raise Conflict(_("Себя отключить нельзя."))
    is_admin = any(role.name == ADMIN_ROLE for role in person.roles)
    if is_admin and _is_last_administrator(person):
        raise Conflict(_("Это последний администратор: назначьте сначала другого."))
    person.active = False
    person.on_shift = False
    sessions.close_all(person.id)
    accounts.tell_streams(person.id)
    audit.record("deactivate", person, by, before={"active": True}, after={"active": False})
    return person


@operation
def activate(employee_id: int, by: Principal | None) -> Employee:
    """Take a person back with his old rights; he signs in with his old password."""
    person = find(employee_id)
    guard(person, by)
    person.active = True
    person.on_shift = True
    person.fail_login_count = 0
    audit.record("activate", person, by, before={"active": False}, after={"active": True})
    return person


@operation
def end_session(employee_id: int, session_id: int, by: Principal | None) -> None:
    """End one sign-in of a person; raises NotFound when it has ended already."""
    person = find(employee_id)
    guard(person, by)
    ended = db.session.execute(
        delete(AuthSession).where(AuthSession.id == session_id, AuthSession.user_id == person.id)
    )
    if not ended.rowcount:
        raise NotFound(_("Этот вход уже завершён."))
    accounts.tell_streams(person.id)
    audit.record("session_end", person, by)


@operation
def end_all_sessions(employee_id: int, by: Principal | None) -> None:
    """End every sign-in of a person."""
    person = find(employee_id)
    guard(person, by)
    sessions.close_all(person.id)
    accounts.tell_streams(person.id)
    audit.record("session_end", person, by, after={"all": True})


def find(employee_id: int) -> Employee:
    """The employee; raises NotFound."""
    person: Employee | None = db.session.get(Employee, employee_id)
    if person is None:
        raise NotFound(_("Такого сотрудника нет."))
    return person


# --- extra permissions ----------------------------------------------------------------


@operation
def set_grants(
    employee_id: int, by: Principal | None, choices: Mapping[str, tuple[str, Any]]
) -> None:
    """Replace personal exceptions: code → (``role``, ``yes`` or ``no``; raw value).

    Raises ValidationErrors naming ``grant-<code>``, Forbidden for oneself and for people
    of more power.
    """
    person = find(employee_id)
    guard(person, by)
    if by is not None and not by.is_admin and by.id == person.id:
        raise Forbidden(_("Свои права меняет другой человек."))
    before = _personal(person.id)
    after = _chosen(choices)
    _refuse_raising(before, after, by)
    db.session.execute(delete(UserGrant).where(UserGrant.user_id == person.id))
    for code, (allow, value) in after.items():
        db.session.add(UserGrant(user_id=person.id, code=code, allow=allow, value=value))
    if before != after:
        changed = [code for code in before | after if before.get(code) != after.get(code)]
        audit.record(
            "grants",
            person,
            by,
            before={code: _shown(before.get(code)) for code in changed},
            after={code: _shown(after.get(code)) for code in changed},
        )


Personal = dict[str, tuple[bool, Any]]


def _personal(user_id: int) -> Personal:
    rows = db.session.scalars(select(UserGrant).where(UserGrant.user_id == user_id))
    return {row.code: (row.allow, row.value) for row in rows}


def _chosen(choices: Mapping[str, tuple[str, Any]]) -> Personal:
    made: Personal = {}
    errors = []
    for info in CATALOGUE:
        choice, raw = choices.get(info.code, (ROLE, None))
        if choice == NO:
            made[info.code] = (False, None)
        elif choice == YES:
            try:
                made[info.code] = (True, read_value(info.code, raw))
            except ValueError as error:
                errors.append(FieldError(f"grant-{info.code}", str(error)))
    if errors:
        raise ValidationErrors(errors)
    return made


def _refuse_raising(before: Personal, after: Personal, by: Principal | None) -> None:
    """Nobody but an administrator gives what he himself does not have."""
    if by is None or by.is_admin:
        return
    for info in CATALOGUE:
        given = after.get(info.code, (False, None))[0] and not before.get(info.code, (False,))[0]
        if info.effect is Effect.ALLOW and given and not by.can(info.code):
            text = _("Такое право даёт тот, у кого оно есть.")
            raise ValidationErrors.one(f"grant-{info.code}", text)


def _shown(choice: tuple[bool, Any] | None) -> Any:
    if choice is None:
        return None
    allow, value = choice
    return allow if value is None else {"allow": allow, "value": value}


# --- internal numbers -----------------------------------------------------------------


@operation
def set_extensions(employee_id: int, by: Principal | None, numbers: Mapping[int, str]) -> None:
    """Internal numbers of a person: connection id → comma list of the operator's keys.

    Raises ValidationErrors naming ``extension-<connection id>``, Forbidden for people of more
    power.
    """
    person = find(employee_id)
    guard(person, by)
    errors = []
    for connection_id, typed in numbers.items():
        keys = list(dict.fromkeys(key.strip() for key in typed.split(",") if key.strip()))
        complaint = _extension_complaint(connection_id, keys, person.id)
        if complaint:
            errors.append(FieldError(f"extension-{connection_id}", complaint))
        else:
            _give_extensions(connection_id, keys, person.id)
    if errors:
        raise ValidationErrors(errors)
    audit.record("extensions", person, by, after={str(key): text for key, text in numbers.items()})


def _extension_complaint(connection_id: int, keys: list[str], person_id: int) -> str | None:
    if db.session.get(TelephonyConnection, connection_id) is None:
        return str(_("Такого подключения больше нет."))
    if any(len(key) > 64 for key in keys):  # noqa: PLR2004  width of the column
        return str(_("Внутренний номер длиннее 64 знаков."))
    query = select(TelephonyExtension).where(
        TelephonyExtension.connection_id == connection_id, TelephonyExtension.key.in_(keys)
    )
    for row in db.session.scalars(query):
        if row.employee_id not in (None, person_id):
            owner = db.session.get(Employee, row.employee_id)
            return str(_("Номер %(key)s уже у сотрудника %(name)s.", key=row.key, name=str(owner)))
    return None


def _give_extensions(connection_id: int, keys: list[str], person_id: int) -> None:
    rows = db.session.scalars(
        select(TelephonyExtension).where(TelephonyExtension.connection_id == connection_id)
    )
    known = {row.key: row for row in rows}
    for row in known.values():
        if row.employee_id == person_id and row.key not in keys:
            row.employee_id = None
    for key in keys:
        if key not in known:
            known[key] = TelephonyExtension(connection_id=connection_id, key=key)
            db.session.add(known[key])
        known[key].employee_id = person_id
