"""The suite's people: one of each role, in two departments."""

from __future__ import annotations

from functools import cache

from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from crm.models import Department, Employee, db
from crm.security.principal import ADMIN_ROLE

PASSWORD = "very-long-phrase-42"
# login → role, department, login of the head
NAMES: dict[str, tuple[str, str | None, str | None]] = {
    "admin": (ADMIN_ROLE, None, None),
    "director": ("Директор", None, None),
    "head": ("Руководитель", "Вторичная недвижимость", "director"),
    "manager": ("Менеджер", "Вторичная недвижимость", "head"),
    "teammate": ("Менеджер", "Вторичная недвижимость", "head"),
    "stranger": ("Менеджер", "Новостройки", "director"),
    "marketer": ("Маркетолог", "Маркетинг", "director"),
}


@cache
def hashed() -> str:
    """One cheap hash for all: the suite does not test scrypt."""
    value: str = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1000")
    return value


def create() -> None:
    """Store the people."""
    made: dict[str, Employee] = {}
    departments = {d.name: d for d in db.session.scalars(select(Department))}
    roles = {role.name: role for role in db.session.scalars(select(Role))}
    for login, (role, department, head) in NAMES.items():
        made[login] = Employee(
            username=login,
            first_name=login.capitalize(),
            last_name="Тестов",
            email=f"{login}@example.ru",
            active=True,
            password=hashed(),
            department=departments.get(department or ""),
            manager=made.get(head or ""),
            roles=[roles[role]],
        )
        db.session.add(made[login])
    db.session.commit()
