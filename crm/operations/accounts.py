"""Signing in and out, passwords, the person's own settings."""

from __future__ import annotations

import secrets
from functools import cache

from flask_babel import gettext as _
from sqlalchemy import func, or_, select
from werkzeug.security import check_password_hash, generate_password_hash

from crm.models import Employee, db
from crm.operations import audit, bus
from crm.operations.errors import FieldError, ValidationErrors
from crm.operations.transaction import operation
from crm.security import passwords, sessions
from crm.security.principal import Principal
from crm.values.clock import utc_now


@operation
def sign_in(
    login: str, password: str, *, hours: int, ip: str | None, user_agent: str | None
) -> tuple[Employee, str] | None:
    """The person and the token of the new sign-in, or None for any wrong pair.

    Takes the same time for an unknown login: a hash is always computed.
    """
    user = _find(login)
    stored = user.password if user and user.active and user.password else _decoy()
    good = check_password_hash(stored, password) and password.strip("\0 ") != ""
    if user is None or not user.active:
        return None
    if not good:
        user.fail_login_count = (user.fail_login_count or 0) + 1
        audit.record("login_failed", user, None, after={"failures": user.fail_login_count})
        return None
    user.fail_login_count = 0
    user.login_count = (user.login_count or 0) + 1
    user.last_login = utc_now().replace(tzinfo=None)
    token = sessions.open_session(user.id, hours=hours, ip=ip, user_agent=user_agent)
    audit.record("login", user, None, actor_id=user.id)
    return user, token


@operation
def sign_out(user: Employee, token: str) -> None:
    """End this sign-in: the cookie, even copied, opens nothing any more."""
    sessions.close_session(token)
    tell_streams(user.id)
    audit.record("logout", user, None, actor_id=user.id)


@operation
def change_password(user: Employee, current: str, new: str, *, keep_token: str) -> None:
    """Change one's own password; every other sign-in of the person ends.

    Raises ValidationErrors naming ``current_password`` or ``password``.
    """
    errors = []
    if not user.password or not check_password_hash(user.password, current):
        errors.append(FieldError("current_password", _("Текущий пароль введён неверно.")))
    errors += password_errors(user, new)
    if errors:
        raise ValidationErrors(errors)
    _set(user, new)
    sessions.close_all(user.id, keep=keep_token)
    tell_streams(user.id)
    audit.record("password_change", user, None, actor_id=user.id)


@operation
def set_password(user: Employee, new: str, by: Principal | None) -> None:
    """Set somebody's password (administrator or shell); all sign-ins of the person end."""
    errors = password_errors(user, new)
    if errors:
        raise ValidationErrors(errors)
    _set(user, new)
    sessions.close_all(user.id)
    tell_streams(user.id)
    audit.record("password_set", user, by)


def tell_streams(user_id: int) -> None:
    """Let the event streams of a person whose sign-ins ended look at the database at once."""
    bus.emit("session.closed", [user_id])


@operation
def set_locale(user: Employee, locale: str) -> None:
    """Remember the person's language."""
    user.locale = locale


def password_errors(user: Employee, new: str) -> list[FieldError]:
    """Complaints about a new password."""
    personal = (user.username, user.email, user.first_name, user.last_name)
    return [FieldError("password", text) for text in passwords.problems(new, personal)]


def hash_password(password: str) -> str:
    """Stored form of a password."""
    hashed: str = generate_password_hash(password, method="scrypt")
    return hashed


def _set(user: Employee, new: str) -> None:
    user.password = hash_password(new)


def _find(login: str) -> Employee | None:
    wanted = login.strip().lower()
    if not wanted:
        return None
    query = select(Employee).where(
        or_(func.lower(Employee.username) == wanted, func.lower(Employee.email) == wanted)
    )
    found: Employee | None = db.session.scalars(query.limit(1)).first()
    return found


@cache
def _decoy() -> str:
    return hash_password(secrets.token_hex(16))
