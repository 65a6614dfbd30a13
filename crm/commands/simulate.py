"""Calls and requests that never happened, sent over HTTP to the running server as the real ones.

The requests are signed with the stored credentials of the connection or the intake point. A
simulated call announces no recording: there would be no file to fetch.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import select

from crm import running
from crm.integrations.errors import IntegrationError
from crm.integrations.http import GuardedClient
from crm.integrations.leads.base import LeadScenario, Utm
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import TelephonyOperator
from crm.integrations.telephony.simulation import CallScenario
from crm.models import Employee, IntakePoint, Source, TelephonyConnection, TelephonyExtension, db
from crm.operations import connections, doors
from crm.operations.demo import operators
from crm.values import phones
from crm.values.clock import utc_now

_TALK = dt.timedelta(seconds=35)
# Real calls last too long to be watched: the pauses are a tenth of theirs.
_HASTE = 0.1
# At most so many notices come after the first one of a call.
_NOTICES = 5
_TIMEOUT = 10.0
_SHOWN = 300
_GOOD = range(200, 300)
_CODES = ("911", "921", "931", "952", "981")
_CLIENTS = ("Мария Лебедева", "Антон Крылов", "Светлана Зуева", "Игорь Панов", "Елена Титова")
_WISHES = (
    "Ищу двухкомнатную рядом с парком, ипотека одобрена",
    "Хочу посмотреть квартиру в субботу",
    "Нужна оценка однокомнатной, думаем продавать",
)


@dataclass(frozen=True, slots=True)
class _Message:
    """A request ready to be sent; ``shown`` is its address without the secret part."""

    path: str
    shown: str
    method: str
    body: bytes
    headers: Mapping[str, str]
    query: Mapping[str, str]
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the server said."""

    method: str
    address: str
    status: int
    answer: str

    @property
    def accepted(self) -> bool:
        return self.status in _GOOD


_base_url = click.option(
    "--base-url", help="Адрес сервера; по умолчанию запущенный здесь, иначе PUBLIC_URL."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Для программ.")
_count = click.option("--count", default=1, show_default=True, type=click.IntRange(1, 1000))


@click.group("simulate")
def simulate() -> None:
    """Разыграть звонок или заявку на работающем сервере."""


@simulate.command("call")
@click.option("--operator", default="mango", show_default=True, help="Оператор телефонии.")
@click.option("--from", "number", help="Номер клиента; по умолчанию выдуманный.")
@click.option("--line", help="Номер линии; по умолчанию телефон случайного источника.")
@click.option("--extension", help="Внутренний номер сотрудника; по умолчанию случайный.")
@click.option("--missed", is_flag=True, help="Никто не ответил.")
@_count
@click.option("--pause", type=click.FloatRange(0, 60), help="Секунд между событиями.")
@_base_url
@_as_json
@with_appcontext
def call(
    operator: str,
    number: str | None,
    line: str | None,
    extension: str | None,
    missed: bool,
    count: int,
    pause: float | None,
    base_url: str | None,
    as_json: bool,
) -> None:
    """Разыграть входящий звонок: меню, вызов сотрудника, разговор, итог."""
    connection = _connection(operator)
    translator = connections.build(connection)
    if missing := translator.missing_credentials():
        names = ", ".join(field.label for field in missing)
        raise click.ClickException(f"У подключения не заполнено: {names}.")
    secret_path = urlsplit(connections.webhook_url(connection)).path
    chosen_line, chosen_extension = _line(line), extension or _extension(connection)
    client = _digits(number, "--from") if number else None
    db.session.rollback()
    messages = (
        message
        for _ in range(count)
        for message in _call_messages(
            translator,
            _scenario(client or _invented(), chosen_line, chosen_extension, missed, pause),
            secret_path,
            pause,
        )
    )
    _run(messages, base_url, as_json=as_json, pages=("/board", "/calls"))


@simulate.command("lead")
@click.option("--point", help="Ключ или название точки приёма; по умолчанию первая включённая.")
@click.option("--name", help="Имя клиента.")
@click.option("--phone", help="Телефон; по умолчанию выдуманный.")
@click.option("--email", default="", help="Почта.")
@click.option("--comment", help="Текст заявки.")
@click.option("--page-url", default="https://novy-adres.example.ru/flat/17", show_default=True)
@click.option("--utm-source", default="yandex", show_default=True)
@click.option("--utm-medium", default="cpc", show_default=True)
@click.option("--utm-campaign", default="")
@click.option("--utm-content", default="")
@click.option("--utm-term", default="")
@_count
@click.option("--unsigned", is_flag=True, help="Без подписи, как из браузера.")
@_base_url
@_as_json
@with_appcontext
def lead(
    point: str | None,
    name: str | None,
    phone: str | None,
    email: str,
    comment: str | None,
    page_url: str,
    count: int,
    unsigned: bool,
    base_url: str | None,
    as_json: bool,
    **marks: str,
) -> None:
    """Разыграть заявку с сайта."""
    door = _point(point)
    channel, settings = doors.channel_of(door.channel), doors.settings_of(door)
    db.session.rollback()
    if unsigned:
        settings = replace(settings, secret="")
    utm = Utm(**{mark.removeprefix("utm_"): value for mark, value in marks.items()})

    def message() -> _Message:
        scenario = LeadScenario(
            name=name or _any(_CLIENTS),
            phone=phone or f"+{_invented()}",
            email=email,
            comment=comment or _any(_WISHES),
            page_url=page_url,
            utm=utm,
        )
        sent = channel.simulate(scenario, settings, utc_now())
        path = f"/api/v1/intake/{sent.path_tail}"
        return _Message(path, path, sent.method, sent.body, sent.headers, sent.query)

    messages = (message() for _ in range(count))
    _run(messages, base_url, as_json=as_json, pages=("/appeals", "/board"))


# --- what is sent -----------------------------------------------------------------------------


def _scenario(
    client: str, line: str, extension: str, missed: bool, pause: float | None
) -> CallScenario:
    """A call that ends about when its last notice is sent."""
    call_key = secrets.token_hex(6)
    started = CallScenario(
        call_key=call_key,
        client_number=client,
        line_number=line,
        extension=extension,
        started_at=utc_now(),
        answered=not missed,
        recorded=False,
        talk=_TALK,
    )
    lasts = started.ended_at - started.started_at
    sending = lasts * _HASTE if pause is None else dt.timedelta(seconds=pause * _NOTICES)
    begun = started.started_at - max(lasts - sending, dt.timedelta())
    return replace(started, started_at=begun)


def _call_messages(
    translator: TelephonyOperator, scenario: CallScenario, secret_path: str, pause: float | None
) -> Iterator[_Message]:
    for number, sent in enumerate(translator.simulate(scenario)):
        delay = sent.delay.total_seconds() * _HASTE if pause is None else pause
        tail = f"/{sent.path_tail}" if sent.path_tail else ""
        yield _Message(
            secret_path + tail,
            f"/telephony/{translator.slug}/…{tail}",
            sent.method,
            sent.body,
            sent.headers,
            sent.query,
            delay if number else 0.0,
        )


def _connection(operator: str) -> TelephonyConnection:
    try:
        registry.get(operator)
    except registry.UnknownOperator as error:
        raise click.ClickException(error.message) from error
    query = select(TelephonyConnection).where(
        TelephonyConnection.operator == operator, TelephonyConnection.active
    )
    found: TelephonyConnection | None = db.session.scalars(
        query.order_by(TelephonyConnection.id).limit(1)
    ).first()
    found = found or operators.connect(operator)
    if found is None:
        raise click.ClickException(
            f"Нет включённого подключения «{operator}». Добавьте его в настройках телефонии "
            "или загрузите демонстрацию: crm demo load."
        )
    return found


def _point(wanted: str | None) -> IntakePoint:
    query = select(IntakePoint).where(IntakePoint.active).order_by(IntakePoint.id)
    if wanted:
        query = query.where((IntakePoint.key == wanted) | (IntakePoint.name == wanted))
    found: IntakePoint | None = db.session.scalars(query.limit(1)).first()
    if found is None:
        raise click.ClickException(
            "Нет включённой точки приёма заявок"
            + (f" «{wanted}». " if wanted else ". ")
            + "Добавьте её в настройках или загрузите демонстрацию: crm demo load."
        )
    return found


def _line(typed: str | None) -> str:
    if typed:
        return _digits(typed, "--line")
    query = select(Source.phone).where(Source.active, Source.phone.is_not(None))
    lines = [digits for text in db.session.scalars(query) if (digits := phones.digits(text))]
    if not lines:
        raise click.ClickException("Ни у одного источника нет телефона: укажите --line.")
    return _any(lines)


def _extension(connection: TelephonyConnection) -> str:
    query = (
        select(TelephonyExtension.key)
        .join(Employee, Employee.id == TelephonyExtension.employee_id)
        .where(TelephonyExtension.connection_id == connection.id, Employee.active.is_(True))
    )
    keys = list(db.session.scalars(query))
    if not keys:
        raise click.ClickException("Внутренние номера не заведены: укажите --extension.")
    return _any(keys)


def _digits(typed: str, option: str) -> str:
    digits = phones.digits(phones.e164(typed) or "")
    if not digits:
        raise click.ClickException(f"{option}: «{typed}» — не номер. Пример: +7 912 345-67-89.")
    return digits


def _invented() -> str:
    """Digits of a number that the zeros after its code show to be invented."""
    return f"7{_any(_CODES)}00{random.randint(10_000, 99_999)}"  # noqa: S311 - not a secret


def _any(choices: Any) -> str:
    return str(random.choice(choices))  # noqa: S311 - not a secret


# --- sending ----------------------------------------------------------------------------------


def _run(
    messages: Iterator[_Message], base_url: str | None, *, as_json: bool, pages: tuple[str, ...]
) -> None:
    here = running.running_at(Path(current_app.config["INSTANCE_DIR"]))
    base = (base_url or here or current_app.config["PUBLIC_URL"]).rstrip("/")
    host = urlsplit(base).hostname
    if not host:
        raise click.ClickException(f"«{base}» — не адрес. Пример: http://127.0.0.1:8080.")
    # The server that is asked for is ours, wherever it stands.
    client = GuardedClient(allow_private_hosts=(host,), total_timeout=_TIMEOUT)
    answers = []
    for message in messages:
        time.sleep(message.delay)
        answers.append(_send(client, base, message))
        if not as_json:
            _print(answers[-1])
    _conclude(answers, base, as_json=as_json, pages=pages)


def _send(client: GuardedClient, base: str, message: _Message) -> _Answer:
    try:
        response = client.request(
            message.method,
            base + message.path,
            params=message.query or None,
            data=message.body,
            headers=message.headers,
            follow_redirects=False,
        )
    except IntegrationError as error:
        raise click.ClickException(
            f"Сервер {base} недоступен: {error.message}. "
            "Запустите его командой crm run или укажите --base-url."
        ) from error
    text = " ".join(response.text.split())[:_SHOWN]
    return _Answer(message.method, message.shown, response.status, text)


def _print(answer: _Answer) -> None:
    mark = "принято" if answer.accepted else "ОТКАЗ"
    click.echo(f"{answer.method} {answer.address} → {answer.status} {mark} {answer.answer}")


def _conclude(answers: list[_Answer], base: str, *, as_json: bool, pages: tuple[str, ...]) -> None:
    """Addresses to look at; exit code 1 when anything was refused."""
    refused = sum(not answer.accepted for answer in answers)
    addresses = [base + page for page in pages]
    if as_json:
        told = {"ok": not refused, "requests": [asdict(a) for a in answers], "pages": addresses}
        click.echo(json.dumps(told, ensure_ascii=False))
    elif refused:
        click.echo(f"Отказано: {refused} из {len(answers)}", err=True)
    else:
        click.echo(f"Принято: {len(answers)}. Смотрите: {', '.join(addresses)}")
    if refused:
        raise click.exceptions.Exit(1)


COMMANDS = (simulate,)
