"""Moi Zvonki (moizvonki.ru): calls on the employees' own Android telephones.

The operator's guide is https://www.moizvonki.ru/guide/api/; it is known to us from quotations in
public integrations: github.com/IIISpikerIII/moizvonki, github.com/Abb0skx/botmoizvonki,
github.com/mamasadikov80/bonvi-zvonki, github.com/abboskhanme/BonviCall and
github.com/baxtiyorjongaziyev/oisha-os.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from crm.integrations.http_protocol import HttpClient, HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply, load_json
from crm.integrations.telephony import moizvonki_events, moizvonki_simulation
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    Capability,
    ClickToCall,
    CredentialField,
    Extension,
    KnownCaller,
    OperatorError,
    PlacedCall,
    Recording,
    RecordingRef,
    SimulatedRequest,
    Subscription,
    TelephonyOperator,
    WebhookRejected,
)
from crm.integrations.telephony.moizvonki_events import Origin
from crm.integrations.telephony.payload import Payload
from crm.values import phones

log = logging.getLogger(__name__)

PAGE = 100
_EVENTS = ("call.start", "call.answer", "call.finish")
_AGE = re.compile(rb'"event_age"\s*:\s*"?-?\d+"?')
_NOT_THIS_SHAPE = frozenset({400, 415, 422})
_BROKEN = frozenset({502, 503, 504})
_BUSY = _BROKEN | {408, 425, 429}
_ABOUT_ACCESS = re.compile(
    r"api.?key|user_?name|login|password|auth|forbidden|permission|access|"
    r"ключ|логин|парол|доступ|авториз|аутентиф",
    re.IGNORECASE,
)
_KEY_LINE = re.compile(r"(\S+?)\s*[:=\s]\s*(\S+)")
_SIM_LINE = re.compile(r"(\S+)\s+(\d+)\s*[:=\s]\s*(\+?[\d\s()-]+)")
_SUBSCRIBED_FOR = timedelta(days=7)


class Moizvonki(TelephonyOperator):
    """Moi Zvonki."""

    slug = "moizvonki"
    title = "Мои Звонки"
    # Telephones report late.
    request_window = timedelta(minutes=15)
    docs_url = "https://www.moizvonki.ru/guide/api/"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
        | Capability.SUBSCRIPTION
    )
    credentials = (
        CredentialField(
            "api_base",
            "Адрес API",
            secret=False,
            help="Из раздела «Параметры API», например https://company.moizvonki.ru/api/v1",
        ),
        CredentialField(
            "user_name",
            "Логин администратора",
            secret=False,
            help="Электронная почта, с которой администратор входит в «Мои Звонки»",
        ),
        CredentialField(
            "api_key",
            "Ключ API",
            help="Оттуда же. После нажатия «Изменить» прежний ключ сразу перестаёт работать",
        ),
        CredentialField(
            "account",
            "Имя или номер компании в событиях",
            secret=False,
            required=False,
            help="Если заполнить, события других компаний будут отклоняться. Можно оставить пустым",
        ),
        CredentialField(
            "employee_keys",
            "Отдельные ключи сотрудников",
            required=False,
            multiline=True,
            help=(
                "Нужны, только если звонок из CRM с общим ключом не проходит. "
                "Каждый с новой строки: логин, пробел, ключ"
            ),
        ),
        CredentialField(
            "sims",
            "Номера SIM-карт",
            secret=False,
            required=False,
            multiline=True,
            help=(
                "Для телефонов, которые не сообщают свой номер. Каждый с новой строки: логин, "
                "номер гнезда SIM, номер телефона"
            ),
        ),
        CredentialField(
            "shape",
            "Вид запросов",
            secret=False,
            required=False,
            default="auto",
            choices=(
                ("auto", "Определять автоматически"),
                ("json", "JSON"),
                ("form", "Поле формы request_data"),
            ),
        ),
    )
    setup_steps = (
        "Войдите в кабинет «Мои Звонки» администратором: «Настройки → Интеграция → Параметры API».",
        "На шаге «Доступ» впишите адрес API, ключ и логин администратора.",
        (
            "Загрузите сотрудников и укажите, кто есть кто: сотрудника мы узнаём по логину "
            "«Моих Звонков», и с его телефона пойдёт звонок из CRM."
        ),
        (
            "На события CRM подпишется сама, по адресу {webhook_url}. Позвоните на телефон "
            "сотрудника и проверьте, что звонок появился в CRM."
        ),
        "Включите на телефонах запись разговоров и оставьте приложению доступ в интернет.",
        "Внесите личные номера сотрудников в список номеров, которые не считаются клиентами.",
    )
    cautions = (
        (
            "Это не АТС: звонки идут с телефонов сотрудников. Перевода, очереди и общего звонка "
            "на всех нет, карточка всплывает только у владельца телефона."
        ),
        "В CRM попадут и личные звонки сотрудников, если не внести их номера в исключения.",
        "Источник по номеру определяется, только если для рекламы заведена отдельная SIM-карта.",
        "События не подписаны: подлинность доказывает только секрет в адресе.",
        (
            "Точный вид подписки на события подтвердить не удалось. Пока не пришло первое "
            "событие, звонки появляются при сверке истории, с опозданием."
        ),
        (
            "Номера звонка, начатого из CRM, оператор не сообщает: CRM узнаёт его по сотруднику, "
            "номеру клиента и времени."
        ),
        "Отдельные ли ключи у сотрудников, не известно: сначала попробуйте общий ключ.",
        "Как считаются гнёзда SIM, с 0 или с 1, не известно: сверьте по первому событию.",
        (
            "Список сотрудников отдают только администратору, и названия его полей взяты из "
            "чужих программ. Если он не загрузится, впишите логины вручную."
        ),
        (
            "Запись загружает сам телефон, иногда с большим опозданием, и хранится она 30 дней. "
            "CRM заберёт её к себе, когда она появится. С Яндекс.Диска и Google Диска не заберёт."
        ),
        (
            "Об ответе на исходящий звонок телефон сообщает сразу после набора, что бы ни "
            "случилось, поэтому CRM узнаёт о нём только по окончании звонка."
        ),
    )
    recording_hosts = ("*.moizvonki.ru",)
    # The address comes with the file.
    recording_delay = timedelta(seconds=10)

    # Single pages sometimes take longer than half a minute.
    pauses: ClassVar[tuple[timedelta, ...]] = (timedelta(seconds=2), timedelta(seconds=4))
    # Telephones report calls and upload recordings late, so the last day is always read again.
    reread: ClassVar[timedelta] = timedelta(days=1)

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        super().__init__(connection_id, credentials, http, webhook_token=webhook_token)
        self._keys = _employee_keys(self.credential("employee_keys"))
        self._sims = _sims(self.credential("sims"))
        # The guide contradicts itself about the shape; the one that worked is kept.
        self._shape = self.credential("shape")

    def secrets(self) -> list[str]:
        """With each employee's key by itself."""
        return [*super().secrets(), *self._keys.values()]

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """Nothing is signed: only the secret address proves the sender."""
        account = self.credential("account").lower()
        if not account:
            return
        webhook = moizvonki_events.part(request.json(), "webhook")
        told = {webhook.text("account_id"), webhook.text("account_name")} - {None}
        if told and account not in {str(name).lower() for name in told}:
            raise WebhookRejected("Событие другой компании")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate by `webhook.action`; messages are not calls."""
        value = request.json()
        webhook = moizvonki_events.part(value, "webhook")
        action = webhook.text("action") or ""
        if action.startswith("sms."):
            return []
        translate = moizvonki_events.TRANSLATORS.get(action)
        if translate is None:
            return [self.unknown_event(request)]
        origin = self._origin(request.received_at, self.mask(request))
        return translate(webhook, moizvonki_events.part(value, "event"), origin)

    def delivery_key(self, request: InboundRequest) -> str:
        """Without `event_age`: a repeat is older than the first delivery."""
        return super().delivery_key(replace(request, body=_AGE.sub(b"", request.body)))

    def reply(
        self,
        request: InboundRequest,  # noqa: ARG002 - every notice is answered alike
        caller: KnownCaller | None = None,  # noqa: ARG002
    ) -> Reply:
        """What working receivers answer."""
        return Reply(body=b'{"ok":true}', content_type="application/json")

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """Start, answer, finish; the scenario's extension is the employee's login."""
        account = self.credential("account") or "simulation"
        return [
            SimulatedRequest(
                path_tail="",
                headers={"Content-Type": "application/json"},
                body=json.dumps(step.value).encode("ascii"),
                delay=step.delay,
            )
            for step in moizvonki_simulation.steps(scenario, account)
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`calls.make_call`: the telephone of `user_name` dials; no id comes back."""
        login = call.employee_key or call.extension
        if login.isdecimal():
            message = "для звонка нужен логин сотрудника, а записан номер его SIM-карты"
            raise self.failure(message, permanent=True)
        to = phones.e164(call.number) or call.number
        # Never repeated: the telephone might dial twice.
        self._accept(self._shaped(self._order("calls.make_call", login=login, to=to)))
        return PlacedCall(request_id=call.request_id)

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`calls.list` by pages, not less than the day before `until`."""
        start = min(since, until - self.reread)
        rows = self._pages(
            "calls.list",
            from_date=int(start.timestamp()),
            to_date=int(until.timestamp()) + 1,
            supervised=1,
        )
        for row in rows:
            yield from self._row_events(row)

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """The address of the event; a relative one belongs to the host of the API."""
        if not ref.recording_url:
            raise self.failure("у записи нет адреса", permanent=True)
        try:
            link = urljoin(urljoin(self._url(), "/"), ref.recording_url)
        except ValueError as error:
            raise self.failure("адрес записи не разобрать", permanent=True) from error
        return self.download(link, own=self._url())

    def extensions(self) -> list[Extension]:
        """`company.list_employee`, for the administrator only."""
        rows = list(self._pages("company.list_employee"))
        found = [employee for row in rows if (employee := _employee(row)) is not None]
        if rows and not found:
            raise self.failure("в списке сотрудников не нашлось логинов", permanent=True)
        return found

    def probe(self) -> str:
        """`company.list_group` is the cheapest question."""
        self._answer("company.list_group", max_results=1)
        return "Связь есть. События проверьте звонком на телефон сотрудника."

    def subscribe(
        self,
        webhook_url: str,
        current_id: str | None,  # noqa: ARG002 - a new address replaces the old one
    ) -> Subscription:
        """`webhook.subscribe` in the three shapes seen; unknown members are ignored there."""
        hooks = dict.fromkeys(_EVENTS, webhook_url)
        order = self._order(
            "webhook.subscribe", hooks=hooks, url=webhook_url, events=list(_EVENTS), **hooks
        )
        response = self._repeated(order)
        self._accept(response)
        answer = self.redacted(response.text)[:300]
        log.info("moizvonki %s, webhook.subscribe: %s", self.connection_id, answer)
        # Whether it ever ends is not known; repeating it does no harm.
        name = urlsplit(self._url()).hostname or self.slug
        return Subscription(id=name, expires_at=datetime.now(UTC) + _SUBSCRIBED_FOR)

    # Details

    def _origin(self, received_at: datetime, raw: str) -> Origin:
        return Origin(
            connection_id=self.connection_id, received_at=received_at, raw=raw, sims=self._sims
        )

    def _row_events(self, row: Any) -> list[CallEvent]:
        source = json.dumps(row, ensure_ascii=False, sort_keys=True)
        try:
            origin = self._origin(datetime.now(UTC), self.redacted(source))
            return moizvonki_events.from_row(row, origin)
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error

    def _url(self) -> str:
        """The address as the cabinet shows it, or what people make of it: a host or a name."""
        address = self.credential("api_base").rstrip("/")
        if "://" not in address:
            address = f"https://{address}" if "." in address else f"https://{address}.moizvonki.ru"
        try:
            return address if urlsplit(address).path else f"{address}/api/v1"
        except ValueError as error:
            raise self.failure("адрес API записан с ошибкой", permanent=True) from error

    def _order(self, action: str, *, login: str = "", **params: Any) -> dict[str, Any]:
        return {
            "user_name": login or self.credential("user_name"),
            "api_key": self._keys.get(login.lower()) or self.credential("api_key"),
            "action": action,
            **params,
        }

    def _pages(self, action: str, **params: Any) -> Iterator[Any]:
        """Rows of every page. Raises `OperatorError`, also when the end does not come."""
        offset = 0
        while True:
            answer = self._answer(action, from_offset=offset, max_results=PAGE, **params)
            rows = answer.get("results")
            if not isinstance(rows, list):
                raise self.failure(f"в ответе на {action} нет списка", permanent=False)
            yield from rows
            paging = Payload(answer)
            remains = paging.integer("results_remains")
            following = paging.integer("results_next_offset") or 0
            if not (rows and following > offset if remains is None else remains > 0):
                return
            if following <= offset:
                raise self.failure(f"ответ на {action} прислан не до конца", permanent=False)
            offset = following

    def _answer(self, action: str, **params: Any) -> dict[str, Any]:
        """JSON object of a question that may be repeated. Raises `OperatorError`."""
        response = self._repeated(self._order(action, **params))
        self._check_status(response)
        answer = self.answer(response)
        if not isinstance(answer, dict):
            message = "ответ не является объектом"
            raise self.failure(message, permanent=False, response=response)
        self._check_error(answer, response)
        return answer

    def _accept(self, response: HttpResponse) -> None:
        """A command is obeyed unless the answer says otherwise: its form is not known."""
        self._check_status(response)
        if response.text.lstrip().startswith("<"):
            raise self.failure("вместо ответа пришла страница", permanent=False, response=response)
        try:
            self._check_error(load_json(response.text), response)
        except MalformedRequest:
            log.info("moizvonki %s: an answer without JSON", self.connection_id)

    def _repeated(self, order: Mapping[str, Any]) -> HttpResponse:
        """Ask again after a broken connection or a broken gateway."""
        for pause in self.pauses:
            try:
                response = self._shaped(order)
            except OperatorError as error:
                if error.permanent:
                    raise
            else:
                if response.status not in _BROKEN:
                    return response
            time.sleep(pause.total_seconds())
        return self._shaped(order)

    def _shaped(self, order: Mapping[str, Any]) -> HttpResponse:
        """Send as JSON; when that is not understood, once as a form, and remember."""
        response = self._post(order, as_form=self._shape == "form")
        if self._shape != "auto" or response.status not in _NOT_THIS_SHAPE or _denied(response):
            return response
        again = self._post(order, as_form=True)
        if again.status in _NOT_THIS_SHAPE and not _denied(again):
            return response
        self._shape = "form"
        return again

    def _post(self, order: Mapping[str, Any], *, as_form: bool) -> HttpResponse:
        self.require_credentials()
        if as_form:
            text = json.dumps(order, ensure_ascii=False)
            return self.send("POST", self._url(), data={"request_data": text})
        return self.send("POST", self._url(), json=order)

    def _check_status(self, response: HttpResponse) -> None:
        if 200 <= response.status < 300:
            return
        if _denied(response):
            message = "логин или ключ API не приняты"
            raise self.failure(message, permanent=True, response=response)
        if response.status == 404:
            message = "по этому адресу API нет: проверьте имя компании"
            raise self.failure(message, permanent=True, response=response)
        self.ensure_success(response)

    def _check_error(self, answer: Any, response: HttpResponse) -> None:
        """Some refusals come with status 200 and a member `error`."""
        if not isinstance(answer, dict) or not answer.get("error"):
            return
        about_access = _ABOUT_ACCESS.search(json.dumps(answer["error"], ensure_ascii=False))
        message = "логин или ключ API не приняты" if about_access else "оператор отказал"
        raise self.failure(message, permanent=True, response=response)


def _denied(response: HttpResponse) -> bool:
    """401 and 403, or a refusal whose text speaks of the key, the login or access."""
    if response.status in (401, 403):
        return True
    page = "html" in response.headers.get("Content-Type", "").lower()
    if page or response.status < 300 or response.status in (*_BUSY, 404):
        return False
    return _ABOUT_ACCESS.search(response.text) is not None


def _employee_keys(text: str) -> dict[str, str]:
    """Login in lower case → key, from lines of a setting."""
    found = (_KEY_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {parts[1].lower(): parts[2] for parts in found if parts}


def _sims(text: str) -> dict[tuple[str, str], str]:
    """(login in lower case, slot) → number, from lines of a setting."""
    found = (_SIM_LINE.fullmatch(line.strip()) for line in text.splitlines())
    numbers = {(parts[1].lower(), parts[2]): phones.digits(parts[3]) for parts in found if parts}
    return {sim: number for sim, number in numbers.items() if number}


def _employee(value: Any) -> Extension | None:
    """A row of the list; its names come from github.com/mamasadikov80/bonvi-zvonki."""
    if not isinstance(value, Mapping):
        return None
    row = Payload(value)
    names = ("email", "user_login", "user_account", "user_name", "login")
    login = next((login for name in names if (login := row.text(name))), None)
    if login is None:
        return None
    return Extension(
        number=login,
        name=row.text("display_name") or row.text("name") or login,
        employee_key=login.lower(),
        email=login if "@" in login else None,
        department=row.text("group_name"),
    )
