"""What the pages of employees and roles show beside their forms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask_appbuilder.security.sqla.models import PermissionView, Role, assoc_user_role
from sqlalchemy import func, select

from crm.models import (
    AuthSession,
    Department,
    Employee,
    RoleGrant,
    RoleScope,
    Source,
    TelephonyConnection,
    TelephonyExtension,
    UserGrant,
    db,
)
from crm.security import sessions
from crm.security.grants import CATALOGUE, GrantInfo
from crm.values.clock import utc_now

_MANY = 1000


@dataclass(frozen=True, slots=True)
class SignIn:
    """A live sign-in of a person."""

    row: AuthSession
    is_current: bool


@dataclass(frozen=True, slots=True)
class GrantLine:
    """An extra permission of a person: the role's default and the personal choice."""

    info: GrantInfo
    by_role: bool
    role_value: Any
    choice: str
    value: Any


def sign_ins(person_id: int, current_token: str = "") -> list[SignIn]:
    """Live sign-ins, the latest first."""
    query = (
        select(AuthSession)
        .where(AuthSession.user_id == person_id, AuthSession.expires_at > utc_now())
        .order_by(AuthSession.seen_at.desc())
        .limit(50)
    )
    mark = sessions.fingerprint(current_token) if current_token else ""
    return [SignIn(row, row.token_hash == mark) for row in db.session.scalars(query)]


def grant_lines(person: Employee) -> list[GrantLine]:
    """All extra permissions in the order of the catalogue (2 queries)."""
    defaults = role_grants(role.id for role in person.roles)
    query = select(UserGrant).where(UserGrant.user_id == person.id)
    own = {row.code: row for row in db.session.scalars(query)}
    lines = []
    for info in CATALOGUE:
        row = own.get(info.code)
        choice = "role" if row is None else ("yes" if row.allow else "no")
        value = row.value if row is not None else None
        by_role = info.code in defaults
        lines.append(GrantLine(info, by_role, defaults.get(info.code), choice, value))
    return lines


def role_grants(role_ids: Iterable[int]) -> dict[str, Any]:
    """Extra permissions that the roles give, with their values."""
    query = select(RoleGrant).where(RoleGrant.role_id.in_(list(role_ids)))
    return {row.code: row.value for row in db.session.scalars(query)}


def role_scopes(role_id: int) -> dict[tuple[str, str], str]:
    """(kind, action) → reach."""
    query = select(RoleScope).where(RoleScope.role_id == role_id)
    return {(row.kind, row.action): row.scope for row in db.session.scalars(query)}


def grant_options() -> dict[str, list[tuple[int, str]]]:
    """Rows offered by grants whose value is a list (2 queries)."""
    named: dict[str, Any] = {
        "limit_stats_sources": Source,
        "limit_stats_departments": Department,
    }
    return {
        code: [
            (pk, name)
            for pk, name in db.session.execute(
                select(model.id, model.name).order_by(model.name).limit(_MANY)
            )
        ]
        for code, model in named.items()
    }


def extensions_of(person_id: int) -> list[tuple[TelephonyConnection, str]]:
    """Each working connection with the person's internal numbers as a comma list (2 queries)."""
    connections = db.session.scalars(
        select(TelephonyConnection)
        .where(TelephonyConnection.active)
        .order_by(TelephonyConnection.name)
    ).all()
    keys: dict[int, list[str]] = {}
    query = select(TelephonyExtension).where(TelephonyExtension.employee_id == person_id)
    for row in db.session.scalars(query.order_by(TelephonyExtension.key)):
        keys.setdefault(row.connection_id, []).append(row.key)
    return [(one, ", ".join(keys.get(one.id, []))) for one in connections]


def role_sizes() -> dict[int, int]:
    """How many people hold each role."""
    query = (
        select(assoc_user_role.c.role_id, func.count())
        .join(Employee, Employee.id == assoc_user_role.c.user_id)
        .where(Employee.active)
        .group_by(assoc_user_role.c.role_id)
    )
    return dict(list(db.session.execute(query)))


def roles() -> list[Role]:
    """All roles by name."""
    return list(db.session.scalars(select(Role).order_by(Role.name)))


def page_permissions() -> list[PermissionView]:
    """Every page permission there is (1 query)."""
    return list(db.session.scalars(select(PermissionView)).unique())
