"""Beeline «Облачная АТС» (cloudpbx.beeline.ru): REST API in JSON, XSI events in XML.

The operator's own document is inside its cabinet; everything here comes from code that runs on the
live service: github.com/antibaloo/bpm.ucre.ru (beelinePbx), github.com/bzdvdn/beeline_portal.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from crm.integrations.http_protocol import HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest, load_json
from crm.integrations.telephony import beeline_events, beeline_simulation
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    Capability,
    ClickToCall,
    CredentialField,
    Extension,
    Line,
    OperatorError,
    PlacedCall,
    Recording,
    RecordingNotReady,
    RecordingRef,
    SimulatedRequest,
    Subscription,
    TelephonyOperator,
)
from crm.integrations.telephony.beeline_events import Origin
from crm.integrations.telephony.beeline_history import HistoryWindow
from crm.integrations.telephony.payload import Payload

log = logging.getLogger(__name__)

API_BASE = "https://cloudpbx.beeline.ru/apis/portal"
TOKEN_HEADER = "X-MPBX-API-AUTH-TOKEN"  # noqa: S105 - name of a header
_RECORDS_PAGE = 100
_STATISTICS_PAGE = 100
# Recordings of one such stretch are held while its calls are read.
_HISTORY_WINDOW = timedelta(days=1)
# Statuses that say nothing of the thing asked for: the token, the limit.
_ABOUT_US = frozenset({401, 403, 429})


class Beeline(TelephonyOperator):
    """Beeline «Облачная АТС»."""

    slug = "beeline"
    title = "Билайн"
    ends_by_legs = True
    docs_url = "https://cloudpbx.beeline.ru/"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
        | Capability.LINES
        | Capability.SUBSCRIPTION
    )
    credentials = (
        CredentialField("api_token", "Токен API", help="Кабинет Облачной АТС, раздел «API»"),
        CredentialField(
            "api_base",
            "Адрес API",
            secret=False,
            required=False,
            default=API_BASE,
            help="Меняйте, только если так сказал оператор",
        ),
    )
    setup_steps = (
        "Войдите в кабинет cloudpbx.beeline.ru под администратором и откройте раздел «API».",
        "Создайте токен и скопируйте его на шаг «Доступ». Храните его как пароль.",
        (
            "Больше в кабинете ничего вписывать не нужно: CRM сама подпишется на события и назовёт"
            " Билайну адрес {webhook_url}."
        ),
        "Адрес CRM должен открываться из интернета по HTTPS, иначе события не дойдут.",
        "Включите запись разговоров каждому сотруднику: без этого скачивать будет нечего.",
        "Загрузите список внутренних номеров и укажите, кому из сотрудников CRM какой принадлежит.",
    )
    cautions = (
        (
            "Подписка на события живёт не дольше суток. CRM продлевает её сама и каждые 20 минут"
            " проверяет, жива ли она; пока сервер CRM выключен, подписка может закончиться, и"
            " звонки придут только из истории."
        ),
        (
            "Билайн не подписывает события. Их защищает только секрет в адресе: никому его не"
            " показывайте, а если он утёк, смените."
        ),
        (
            "Когда звонок распределяет группа, пропущенным он становится после выгрузки истории:"
            " событие сообщает лишь, что не ответил один сотрудник. Звонок, который с личного"
            " номера уходит к коллеге, может на время показаться пропущенным."
        ),
        (
            "В истории Билайна нет ни кода звонка, ни набранной клиентом линии. Код CRM берёт из"
            " списка записей (поле externalId), а строки без записи сопоставляет по сотруднику,"
            " номеру клиента и времени. Если события звонка не дошли, источник останется"
            " неопределённым."
        ),
        (
            "Что именно означает длительность в истории, в открытых источниках не сказано. CRM"
            " считает её временем разговора."
        ),
        (
            "Как в событиях выглядит переадресация с линии, мы знаем из чужих интеграций. Проверьте"
            " первым звонком, что линия клиента определяется правильно."
        ),
        (
            "При звонке из CRM Билайн сначала вызывает сотрудника. Может оказаться, что ответом он"
            " считает уже снятую сотрудником трубку. Код такого звонка Билайн сообщает"
            " по-разному, поэтому CRM узнаёт звонок по сотруднику, номеру и времени."
        ),
        (
            "Записи появляются через несколько минут после разговора, и Билайн о них не сообщает:"
            " CRM спрашивает сама, пока запись не появится."
        ),
        (
            "Ограничений на частоту запросов Билайн открыто не называет. Не выгружайте историю чаще"
            " раза в 5 минут."
        ),
    )
    recording_hosts = ("cloudpbx.beeline.ru",)

    # How long a subscription is ordered for, and how near its end it is made anew.
    subscription_life: ClassVar[timedelta] = timedelta(days=1)
    subscription_reserve: ClassVar[timedelta] = timedelta(hours=1)

    # Inbound

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate one XSI event: the element `eventData` names its kind."""
        origin = Origin(
            connection_id=self.connection_id,
            received_at=request.received_at,
            fallback_id=self.delivery_key(request),
            raw=self.mask(request),
        )
        events = beeline_events.from_xml(request.text(), origin)
        return [self.unknown_event(request)] if events is None else events

    def ended_subscription(self, request: InboundRequest) -> str | None:
        """`SubscriptionTerminatedEvent`, by the operator's own notice of it."""
        return beeline_events.ended_subscription(request.text())

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The call as received, answered and released at one employee."""
        return [
            SimulatedRequest(
                path_tail="",
                headers={"Content-Type": "application/xml; charset=UTF-8"},
                body=step.xml.encode("utf-8"),
                delay=step.delay,
            )
            for step in beeline_simulation.steps(scenario, self._webhook_token)
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`POST /abonents/{pattern}/call`: rings the employee, then the client.

        The answer holds some id whose form differs between versions: it is not relied upon.
        """
        employee = _quoted(call.employee_key or call.extension)
        number = {"phoneNumber": _ten_digits(call.number)}
        response = self._ask("POST", f"abonents/{employee}/call", params=number)
        self.ensure_success(response)
        if response.text.lstrip().startswith("<"):
            message = "вместо JSON пришла страница"
            raise self.failure(message, permanent=False, response=response)
        if (error := _told_error(response)) is not None:
            raise self._refusal(error, response)
        return PlacedCall(request_id=call.request_id)

    def extensions(self) -> list[Extension]:
        """`GET /abonents`."""
        found = (_extension(row) for row in self._list("abonents"))
        return [extension for extension in found if extension is not None]

    def lines(self) -> list[Line]:
        """`GET /numbers`."""
        found = (row.number("phone") for row in self._list("numbers"))
        return [Line(number=number) for number in found if number is not None]

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`/records`, which have ids of calls, joined to `/v2/statistics`, which have them not."""
        start = since
        while start < until:
            end = min(start + _HISTORY_WINDOW, until)
            yield from self._history_window(start, end)
            start = end

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """`/v2/records/…/download`, by the call and its employee or by the id of the recording."""
        key = ref.recording_ref
        if key is None and ref.provider_call_id and ref.employee_key:
            key = f"{ref.provider_call_id}/{ref.employee_key}"
        if not key:
            raise self.failure("у записи нет идентификатора", permanent=True)
        path = "/".join(_quoted(part) for part in key.split("/", 1))
        base = self.credential("api_base")
        try:
            return self.download(
                self._url(f"v2/records/{path}/download"), own=base, headers=self._headers()
            )
        except OperatorError as error:
            if not _is_not_ready(error):
                raise
            raise self.failure(
                "записи ещё нет, спросим позже",
                permanent=False,
                kind=RecordingNotReady,
                retry_after=timedelta(minutes=1),
            ) from error

    def subscribe(self, webhook_url: str, current_id: str | None) -> Subscription:
        """`PUT /subscription` for all employees, unless the current one still has long to live."""
        now = datetime.now(UTC)
        current = self._living(current_id) if current_id else None
        if current_id and current:
            left = self._time_left(current, webhook_url)
            if left is not None:
                return Subscription(id=current_id, expires_at=now + left)
        made = self._subscribe_anew(webhook_url, now)
        if current_id and current and current_id != made.id:
            self._unsubscribe(current_id)
        return made

    def subscription_lives(self, webhook_url: str, current_id: str) -> bool:
        """`GET /subscription`: it may go before its end, and then no event says so."""
        current = self._living(current_id)
        return current is not None and current.text("url") in (None, webhook_url)

    # Details

    def _url(self, path: str) -> str:
        return f"{self.credential('api_base').rstrip('/')}/{path}"

    def _headers(self) -> dict[str, str]:
        self.require_credentials()
        return {TOKEN_HEADER: self.credential("api_token")}

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> HttpResponse:
        url, headers = self._url(path), self._headers()
        return self.send(method, url, params=params, json=json, headers=headers)

    def _read(self, response: HttpResponse) -> Any:
        """JSON that is not `{"errorCode": …, "description": …}`. Raises `OperatorError`."""
        value = self.answer(response)
        if (error := _error_in(value)) is not None:
            raise self._refusal(error, response)
        return value

    def _refusal(self, error: Payload, response: HttpResponse) -> OperatorError:
        words = (error.text("errorCode"), error.text("description"))
        message = "отказ " + ": ".join(word for word in words if word)
        return self.failure(message, permanent=True, response=response)

    def _list(self, path: str, params: Mapping[str, str] | None = None) -> list[Payload]:
        """Objects of a list. Raises `OperatorError` for anything else."""
        response = self._ask("GET", path, params=params)
        value = self._read(response)
        if not isinstance(value, list):
            raise self.failure("ответ не является списком", permanent=False, response=response)
        try:
            return [Payload(row) for row in value]
        except MalformedRequest as error:
            message = "в списке не только объекты"
            raise self.failure(message, permanent=False, response=response) from error

    def _history_window(self, start: datetime, end: datetime) -> Iterator[CallEvent]:
        period = {"dateFrom": _iso(start), "dateTo": _iso(end)}
        window = HistoryWindow(self.connection_id)
        try:
            for record in self._records(period):
                window.add_record(record, self.redacted(record.source()))
            for row in self._statistics(period):
                yield from window.take(row, self.redacted(row.source()))
            yield from window.rest()
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error

    def _records(self, period: Mapping[str, str]) -> Iterator[Payload]:
        """Pages by the id of the last row, which may come again."""
        seen: set[str] = set()
        params = dict(period)
        rows = self._list("records", params)
        while rows:
            fresh = {row.required("id"): row for row in rows if row.required("id") not in seen}
            yield from fresh.values()
            if len(rows) < _RECORDS_PAGE:
                return
            if not fresh:
                raise self.failure("список записей не листается дальше", permanent=False)
            seen = {row.required("id") for row in rows}
            rows = self._list("records", {**params, "id": rows[-1].required("id")})

    def _statistics(self, period: Mapping[str, str]) -> Iterator[Payload]:
        """Pages from 0 until an empty one."""
        page, before = 0, ""
        while True:
            params = {**period, "page": str(page), "pageSize": str(_STATISTICS_PAGE)}
            rows = self._list("v2/statistics", params)
            if not rows:
                return
            content = "\n".join(row.source() for row in rows)
            if content == before:
                raise self.failure("страницы истории повторяются", permanent=False)
            yield from rows
            page, before = page + 1, content

    def _living(self, subscription_id: str) -> Payload | None:
        """The subscription as the operator knows it, None when it is gone."""
        params = {"subscriptionId": subscription_id}
        response = self._ask("GET", "subscription", params=params)
        gone = response.status == 404 or _told_error(response) is not None
        if gone and response.status not in _ABOUT_US:
            return None
        return self.answer_object(response)

    def _time_left(self, current: Payload, webhook_url: str) -> timedelta | None:
        """How long the subscription may be left alone; None when it is to be made anew.

        Whether `expires` counts down is not documented: the ordered value itself proves nothing.
        """
        left = timedelta(seconds=min(current.integer("expires") or 0, 10**9))
        ours = current.text("url") in (None, webhook_url)
        if ours and self.subscription_reserve < left < self.subscription_life:
            return left
        return None

    def _subscribe_anew(self, webhook_url: str, now: datetime) -> Subscription:
        ordered = int(self.subscription_life.total_seconds())
        order = {"expires": ordered, "subscriptionType": "BASIC_CALL", "url": webhook_url}
        response = self._ask("PUT", "subscription", json=order)
        self._read(response)
        answer = self.answer_object(response)
        # One public client reads the id under another name.
        found = answer.text("subscriptionId") or answer.text("id")
        if found is None:
            message = "подписка заказана, но её номер не пришёл"
            raise self.failure(message, permanent=False, response=response)
        told = answer.integer("expires") or ordered
        seconds = told if 0 < told < ordered else ordered
        return Subscription(id=found, expires_at=now + timedelta(seconds=seconds))

    def _unsubscribe(self, subscription_id: str) -> None:
        """Take the old one away. It ends by itself, so a failure must not lose the new one."""
        params = {"subscriptionId": subscription_id}
        try:
            self.ensure_success(self._ask("DELETE", "subscription", params=params))
        except OperatorError as error:
            log.warning(
                "connection %s: the old subscription stays until its end: %s",
                self.connection_id,
                error.message,
            )


def _told_error(response: HttpResponse) -> Payload | None:
    """The operator's error object, whatever the status; None for any other body."""
    try:
        return _error_in(load_json(response.text))
    except MalformedRequest:
        return None


def _error_in(value: object) -> Payload | None:
    answer = Payload(value) if isinstance(value, Mapping) else None
    return answer if answer and answer.text("errorCode") else None


def _is_not_ready(error: OperatorError) -> bool:
    """Whether a failed download means that the file is still to come.

    Until then the answer is an error object instead of sound. Without a status and a cause the
    base tells of a text under a successful status.
    """
    if error.status is None:
        return not error.permanent and error.__cause__ is None
    return error.status not in _ABOUT_US and "errorCode" in error.body


def _quoted(part: str) -> str:
    return quote(part, safe="@")


def _ten_digits(number: str) -> str:
    """Russian numbers are dialled without the country code."""
    return number[1:] if len(number) == 11 and number.startswith("7") else number


def _iso(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _extension(abonent: Payload) -> Extension | None:
    """The employee's key is `userId`; the internal number may be absent, then the telephone is."""
    employee = abonent.text("userId")
    number = abonent.text("extension") or abonent.text("phone") or employee
    if employee is None or number is None:
        return None
    names = (abonent.text("lastName"), abonent.text("firstName"))
    return Extension(
        number=number,
        name=" ".join(name for name in names if name) or number,
        employee_key=employee,
        email=abonent.text("email"),
        department=abonent.text("department"),
    )
