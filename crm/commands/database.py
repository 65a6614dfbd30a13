"""Installation and accounts from the shell."""

from __future__ import annotations

import click
from flask.cli import with_appcontext
from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import select

from crm.models import Employee, db
from crm.operations import accounts
from crm.operations.upgrade import upgrade
from crm.security.principal import ADMIN_ROLE


@click.command("init")
@with_appcontext
def init() -> None:
    """Создать или обновить базу, права и начальные данные."""
    click.echo(f"База готова, прав: {upgrade()}")


@click.command("create-admin")
@click.option("--login", required=True)
@click.option("--email", required=True)
@click.option("--first-name", default="Администратор")
@click.option("--last-name", default="")
@click.password_option("--password", prompt="Пароль", confirmation_prompt="Ещё раз")
@with_appcontext
def create_admin(login: str, email: str, first_name: str, last_name: str, password: str) -> None:
    """Завести администратора."""
    user = Employee(
        username=login, email=email, first_name=first_name, last_name=last_name, active=True
    )
    errors = accounts.password_errors(user, password)
    if errors:
        raise click.ClickException(" ".join(error.message for error in errors))
    user.roles = list(db.session.scalars(select(Role).where(Role.name == ADMIN_ROLE)))
    user.password = accounts.hash_password(password)
    db.session.add(user)
    db.session.commit()
    click.echo(f"Администратор {login} создан")


COMMANDS = (init, create_admin)
