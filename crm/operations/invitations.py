"""One-time links by which a person sets his password.

The token is signed, lives 72 hours and is bound to the password's present hash: once a
password has been set by it, it opens nothing any more. No table keeps it.
"""

from __future__ import annotations

import hashlib

from flask import current_app
from flask_babel import gettext as _
from itsdangerous import BadData, URLSafeTimedSerializer

from crm.models import Employee, db
from crm.operations import accounts, audit
from crm.operations.errors import Conflict, NotFound
from crm.operations.staff import find, guard
from crm.operations.transaction import operation
from crm.security.principal import Principal

HOURS = 72


@operation
def invite(employee_id: int, by: Principal | None) -> str:
    """Token of a new link for an active employee; the caller makes the address.

    Raises Conflict for somebody switched off, Forbidden for people of more power.
    """
    person = find(employee_id)
    guard(person, by)
    if not person.active:
        raise Conflict(_("Сотрудник отключён. Сначала включите его."))
    audit.record("invite", person, by)
    return _serializer().dumps([person.id, _mark(person)])


def invited(token: str) -> Employee:
    """The person behind a live token; raises NotFound for any other."""
    try:
        person_id, mark = _serializer().loads(token, max_age=HOURS * 3600)
    except (BadData, ValueError, TypeError) as error:
        raise _dead() from error
    person: Employee | None = db.session.get(Employee, person_id)
    if person is None or not person.active or mark != _mark(person):
        raise _dead()
    return person


@operation
def accept(token: str, password: str) -> Employee:
    """Set the password of the invited person; the link dies.

    Raises ValidationErrors naming ``password``, NotFound for a dead link.
    """
    person = invited(token)
    accounts.set_password(person, password, None)
    person.fail_login_count = 0
    return person


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="crm.invitation")


def _mark(person: Employee) -> str:
    return hashlib.sha256(f"{person.id}:{person.password}".encode()).hexdigest()[:32]


def _dead() -> NotFound:
    return NotFound(
        _("Ссылка устарела или уже использована. Попросите администратора прислать новую.")
    )
