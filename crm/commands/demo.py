"""The demonstration agency from the shell."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext

from crm.operations import demo as agency
from crm.operations.errors import OperationError


@click.group("demo")
def demo() -> None:
    """Демонстрационное агентство: загрузить, убрать, показать логины."""


@demo.command("load")
@click.option("--scale", default=1.0, show_default=True, help="Доля от полного объёма.")
@with_appcontext
def load(scale: float) -> None:
    """Загрузить агентство с историей за год."""
    try:
        made = agency.load(scale)
    except OperationError as error:
        raise click.ClickException(error.message) from error
    if not made:
        click.echo("Демонстрационное агентство уже загружено")
        return
    click.echo(
        f"Загружено: сделок {made['deal']}, объектов {made['listing']}, звонков {made['call']}"
    )


@demo.command("remove")
@click.option("--yes", is_flag=True, help="Не спрашивать.")
@with_appcontext
def remove(yes: bool) -> None:
    """Убрать демонстрационные данные; сделанное людьми остаётся."""
    if not yes:
        click.confirm("Убрать демонстрационное агентство?", abort=True)
    removed, kept = agency.remove()
    click.echo(f"Удалено записей: {sum(removed.values())}")
    for table, count in kept.items():
        click.echo(f"Оставлено, потому что используется: {table} — {count}")


@demo.command("logins")
@click.option("--json", "as_json", is_flag=True, help="Для программ.")
@with_appcontext
def logins(as_json: bool) -> None:
    """Логины и пароль демонстрационных сотрудников."""
    people = agency.logins()
    if as_json:
        click.echo(json.dumps(people, ensure_ascii=False))
        return
    for person in people:
        click.echo(
            f"{person['login']:<10} {person['name']:<20} {person['role']:<20} {person['password']}"
        )


COMMANDS = (demo,)
