"""Sign-ins kept on the server: the cookie names one, the row makes it worth something.

FAB's stock cookie stays good after logout and after a change of password. Here
the cookie carries a random token whose hash must be in ``auth_session``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets

from sqlalchemy import delete, select, update

from crm.models import AuthSession, Employee, db
from crm.values.clock import utc_now

# The row is touched at most this often: a read must not write at each request.
_TOUCH = dt.timedelta(minutes=5)


def fingerprint(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def open_session(
    user_id: int, *, hours: int, ip: str | None = None, user_agent: str | None = None
) -> str:
    """Begin a sign-in (not committed); returns the token for the cookie."""
    token = secrets.token_urlsafe(32)
    now = utc_now()
    db.session.add(
        AuthSession(
            token_hash=fingerprint(token),
            user_id=user_id,
            created_at=now,
            seen_at=now,
            expires_at=now + dt.timedelta(hours=hours),
            ip=ip,
            user_agent=(user_agent or "")[:255],
        )
    )
    return token


def find_user(identity: str, *, idle_hours: int) -> Employee | None:
    """The active person behind a cookie's ``<id>.<token>``, else None (1 query)."""
    user_id, _, token = identity.partition(".")
    if not token or not user_id.isdigit():
        return None
    now = utc_now()
    row = db.session.execute(
        select(Employee, AuthSession)
        .join(AuthSession, AuthSession.user_id == Employee.id)
        .where(
            AuthSession.token_hash == fingerprint(token),
            Employee.id == int(user_id),
            AuthSession.expires_at > now,
            AuthSession.seen_at > now - dt.timedelta(hours=idle_hours),
        )
    ).one_or_none()
    if row is None or not row[0].active:
        return None
    user, session = row
    if now - session.seen_at > _TOUCH:
        db.session.execute(
            update(AuthSession).where(AuthSession.id == session.id).values(seen_at=now)
        )
        db.session.commit()
    user.auth_token = token
    return user


def close_session(token: str) -> None:
    """End one sign-in (not committed)."""
    db.session.execute(delete(AuthSession).where(AuthSession.token_hash == fingerprint(token)))


def close_all(user_id: int, *, keep: str | None = None) -> None:
    """End all sign-ins of a person, but for the one with token ``keep`` (not committed)."""
    statement = delete(AuthSession).where(AuthSession.user_id == user_id)
    if keep:
        statement = statement.where(AuthSession.token_hash != fingerprint(keep))
    db.session.execute(statement)
