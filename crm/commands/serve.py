"""The processes of the product, each under its own command."""

from __future__ import annotations

import os

import click
from flask import current_app
from flask.cli import with_appcontext

import config
from crm import supervisor
from crm.jobs import context, worker


@click.command("web")
@click.option("--bind", default="127.0.0.1", help="Адрес, на котором слушать.")
def web(bind: str) -> None:
    """Страницы и API (gunicorn)."""
    _become(supervisor.web_argv(config.load(), bind))


@click.command("events")
@click.option("--bind", default="127.0.0.1", help="Адрес, на котором слушать.")
def events(bind: str) -> None:
    """Поток событий для открытых страниц (порт на единицу больше)."""
    _become(supervisor.events_argv(config.load(), bind))


@click.command("worker")
@click.option("--cron", "with_cron", is_flag=True, help="Вместе с расписанием.")
@with_appcontext
def work(with_cron: bool) -> None:
    """Фоновые задания всех очередей."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    context.provide(lambda: app)
    context.application()
    worker.build_lanes(app, with_cron=with_cron).run()


@click.command("cron")
@with_appcontext
def cron() -> None:
    """Расписание: передаёт задания в очереди в срок."""
    worker.run_cron()


def _become(argv: list[str]) -> None:
    """Replace this process: the server gets the signals and the memory that it needs."""
    os.chdir(config.ROOT)
    os.execv(argv[0], argv)  # noqa: S606


COMMANDS = (web, events, work, cron)
