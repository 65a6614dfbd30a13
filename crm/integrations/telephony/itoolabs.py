"""ITooLabs platform, sold by several operators under their own names: one driver, many brands.

Two secrets: the PBX sends `crm_token` to us, we send its key to the PBX. Two generations of the API
that we ask: REST (`crmapi/v1`, header `X-API-KEY`) and commands (form fields `cmd` and `token`).
Sources: github.com/antibaloo/bpm.ucre.ru, github.com/mikopbx/ModuleMegafonPbx,
github.com/skytecs/MegafonPbxApiClient, github.com/maxim-oleinik/gravitel.
"""

from __future__ import annotations

import json
import re
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlencode, urlsplit

from crm.integrations.http_protocol import HttpClient, HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply, load_json
from crm.integrations.telephony import itoolabs_events, itoolabs_history, itoolabs_simulation
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    Capability,
    ClickToCall,
    CredentialField,
    Extension,
    KnownCaller,
    Line,
    PlacedCall,
    Recording,
    RecordingRef,
    SimulatedRequest,
    TelephonyOperator,
    WebhookRejected,
    same_secret,
)
from crm.integrations.telephony.itoolabs_events import Durations, Origin, fields_of
from crm.integrations.telephony.payload import Payload
from crm.integrations.telephony.shapes import named_values

REST = "rest"
COMMANDS = "commands"

COMMANDS_CAPABILITIES = (
    Capability.CLICK_TO_CALL
    | Capability.HISTORY
    | Capability.RECORDINGS
    | Capability.EXTENSIONS
    | Capability.SYNCHRONOUS_REPLY
)
REST_CAPABILITIES = COMMANDS_CAPABILITIES | Capability.LINES

_CAPABILITIES = {REST: REST_CAPABILITIES, COMMANDS: COMMANDS_CAPABILITIES}
_PATHS = {REST: "/crmapi/v1", COMMANDS: "/sys/crm_api.wcgp"}
_HISTORY_LIMIT = 1000
_USERS_LIMIT = 200
_LINES_LIMIT = 100
_MAX_PAGES = 50
# An id, not a word such as `OK`.
_CALL_ID = re.compile(r"(?=.*\d)[\w.:-]{6,128}")
_JSON = "application/json"

CAUTIONS = (
    (
        "Документы расходятся в том, что такое «длительность» звонка. Пока вы не выбрали ответ в "
        "поле «Что оператор считает длительностью», чистое время разговора берётся только из "
        "выгрузки истории. Сверьте один звонок с кабинетом АТС."
    ),
    "В событиях АТС нет времени: до прихода итога звонка показывается время получения.",
    "Повторяет ли АТС недоставленные запросы, не описано: пропущенное восполняет выгрузка истории.",
    (
        "Имя звонящего и логин ответственного отправляются на запрос АТС в полях contact_name и "
        "responsible: названия полей известны из интеграций, а не из документа оператора. Если имя "
        "на телефоне не появляется, спросите названия у поддержки и впишите их в поля «…в ответе "
        "«кто звонит»»."
    ),
    "Ограничения на частоту запросов не опубликованы: CRM спрашивает не чаще раза в секунду.",
)
COMMANDS_CAUTION = (
    "В выгрузке прежнего API нет итога звонка: звонок с нулевой длительностью считается "
    "неотвеченным."
)

_CRM_TOKEN = CredentialField(
    "crm_token",
    "Ключ для авторизации в CRM",
    help="Его АТС присылает нам. Придумайте длинный случайный, не короче 32 знаков: "
    "знающий этот ключ может подделать звонок",
)
_API_KEY = CredentialField(
    "api_key",
    "Ключ для авторизации в АТС",
    help="Скопируйте из кабинета: с ним CRM обращается к АТС",
)
_PROTOCOL = CredentialField(
    "protocol",
    "Какой API у вашей АТС",
    secret=False,
    required=False,
    default=REST,
    choices=(
        (REST, "REST API (адрес заканчивается на /crmapi/v1)"),
        (COMMANDS, "Прежний API (адрес заканчивается на crm_api.wcgp)"),
    ),
    help="Вид API подсказывает адрес АТС в кабинете",
)
_DURATIONS = CredentialField(
    "durations",
    "Что оператор считает длительностью",
    secret=False,
    required=False,
    default=Durations.AS_TOLD.value,
    choices=(
        (Durations.AS_TOLD.value, "Не знаю: показывать как есть"),
        (Durations.TOTAL.value, "Весь звонок вместе с ожиданием"),
        (Durations.TALK.value, "Только разговор"),
    ),
    help="Сравните звонок в кабинете АТС с тем же звонком в CRM",
)
_RECORDINGS = CredentialField(
    "recording_host",
    "Сервер записей",
    secret=False,
    required=False,
    help="Нужен, только если ссылки на записи ведут не на адреса оператора, "
    "например records.example.ru",
)


_ANSWER_HELP = "Как АТС называет это поле; можно несколько названий через запятую"
_NAMES = CredentialField(
    "name_fields",
    "Имя клиента в ответе «кто звонит»",
    secret=False,
    required=False,
    default="contact_name",
    help=_ANSWER_HELP,
)
_RESPONSIBLES = CredentialField(
    "responsible_fields",
    "Ответственный в ответе «кто звонит»",
    secret=False,
    required=False,
    default="responsible",
    help=_ANSWER_HELP,
)


@dataclass(frozen=True, kw_only=True)
class Brand:
    """What differs between those who sell the platform."""

    # Generations of the API that may be asked; with two the administrator chooses.
    protocols: tuple[str, ...]
    # Body that answers a request taken in.
    acknowledgement: bytes = b"{}"
    # Whether `makeCall` knows `clid`, the number shown to the client.
    commands_know_clid: bool = False


def credential_fields(brand: Brand, address_help: str) -> tuple[CredentialField, ...]:
    """Fields of a connection; `address_help` shows what the brand's addresses look like."""
    address = CredentialField("api_url", "Адрес АТС", secret=False, help=address_help)
    choice = (_PROTOCOL,) if len(brand.protocols) > 1 else ()
    asked = (_CRM_TOKEN, address, _API_KEY, *choice)
    return (*asked, _DURATIONS, _RECORDINGS, _NAMES, _RESPONSIBLES)


class ITooLabs(TelephonyOperator):
    """A PBX of the platform, abstract: no operator by itself.

    A brand is a subclass that sets `brand`, `credentials` (by `credential_fields`) and what every
    operator declares.
    """

    # At most one request a second while a list or a history is read.
    request_pause: ClassVar[timedelta] = timedelta(seconds=1)
    # The link comes when the file is there.
    recording_delay = timedelta()

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        super().__init__(connection_id, credentials, http, webhook_token=webhook_token)
        chosen = self._values.get("protocol", "")
        self.protocol = chosen if chosen in self.brand.protocols else self.brand.protocols[0]
        self.capabilities = _CAPABILITIES[self.protocol]
        host = _split(self.credential("recording_host")).hostname
        if host:
            self.recording_hosts = (*self.recording_hosts, host)

    @property
    @abstractmethod
    def brand(self) -> Brand:
        """Settings of the brand; a class attribute in a subclass."""

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """The field `crm_token` is all that proves the sender."""
        if not same_secret(fields_of(request).get("crm_token", ""), self.credential("crm_token")):
            raise WebhookRejected("Неверный crm_token")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate by the field `cmd`."""
        fields = fields_of(request)
        command = fields.get("cmd", "").lower()
        if not command:
            raise MalformedRequest("Нет поля cmd")
        payload, origin = Payload(fields), self._told(request, command, fields)
        if command == "contact":
            return itoolabs_events.from_contact(payload, origin)
        if command == "rating":
            return []
        events = None
        if command == "event":
            events = itoolabs_events.from_event(payload, origin)
        elif command == "history":
            events = itoolabs_events.from_history(payload, origin)
        return [self.unknown_event(request)] if events is None else events

    def delivery_key(self, request: InboundRequest) -> str:
        """The same fields in another order are the same request."""
        try:
            fields = fields_of(request)
        except MalformedRequest:
            return super().delivery_key(request)
        return itoolabs_events.fingerprint(fields) if fields else super().delivery_key(request)

    def mask(self, request: InboundRequest) -> str:
        """A request by GET has its fields in the address."""
        if request.method != "GET":
            return super().mask(request)
        query = "&".join(f"{name}={value}" for name, value in request.query.items())
        return self.redacted(query)[:10_000]

    def caller_question(self, request: InboundRequest) -> str | None:
        """`cmd=contact` waits to be told who calls."""
        number = Payload(_readable(request)).number("phone")
        if not _is_question(request) or itoolabs_events.is_internal(None, number):
            return None
        return number

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:
        """Name and responsible (login) of a known caller, `{}` for another."""
        if not _is_question(request):
            body = self.brand.acknowledgement
            return Reply(body=body, content_type=_JSON) if body else Reply()
        answer = self._known(caller) if caller else {}
        return Reply(body=json.dumps(answer, ensure_ascii=False).encode(), content_type=_JSON)

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The call as who-calls, ringing, answer, end and history."""
        address = _split(self.credential("api_url"))
        records = f"https://{address.hostname or 'records.example.ru'}/records"
        token = {"crm_token": self.credential("crm_token")}
        return [
            SimulatedRequest(
                path_tail="",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode({**step.fields, **token}).encode("ascii"),
                delay=step.delay,
            )
            for step in itoolabs_simulation.steps(scenario, records)
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`makecall`, `makeCall`: rings the employee, then the client."""
        fields = {"phone": call.number, "user": call.employee_key or call.extension}
        if call.line_number and (self.protocol == REST or self.brand.commands_know_clid):
            fields["clid"] = call.line_number
        if self.protocol == REST:
            found = _call_id(self._rest("POST", "makecall", body=fields))
        else:
            found = self._placed(self._command("makeCall", fields))
        return PlacedCall(request_id=call.request_id, provider_call_id=found)

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`history/json` or the CSV of `cmd=history`."""
        ask = self._json_history if self.protocol == REST else self._csv_history
        try:
            for row in itoolabs_history.rows_between(
                since, until, ask, limit=_HISTORY_LIMIT, pause=self.request_pause
            ):
                yield from itoolabs_history.from_row(row, self._pulled(row))
        except MalformedRequest as error:
            raise self.failure(f"история: {error.message}", permanent=False) from error

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """The link of the history; our key goes with it to the PBX itself only."""
        if not ref.recording_url:
            raise self.failure("у записи нет ссылки", permanent=True)
        api, link = _split(self._address()), _split(ref.recording_url)
        own = (api.scheme, api.netloc) == (link.scheme, link.netloc) and self.protocol == REST
        return self.download(
            ref.recording_url, own=self._address(), headers=self._key() if own else None
        )

    def extensions(self) -> list[Extension]:
        """`users` or `accounts`: an employee without an internal number is known by the login."""
        if self.protocol == REST:
            users, key, name = self._pages("users", _USERS_LIMIT), "login", "name"
        else:
            answer = self.answer(self._command("accounts", {}))
            users, key, name = iter(self._objects(answer)), "name", "realName"
        try:
            found = [_extension(user, key, name) for user in users]
        except MalformedRequest as error:
            raise self.failure(f"сотрудники: {error.message}", permanent=False) from error
        return [extension for extension in found if extension is not None]

    def lines(self) -> list[Line]:
        """`telnums`; commands have no such list."""
        if self.protocol != REST:
            raise self.unsupported("список линий")
        return [
            Line(number=number, name=line.text("name") or "")
            for line in self._pages("telnums", _LINES_LIMIT)
            if (number := line.number("telnum")) is not None
        ]

    # Details

    def _told(self, request: InboundRequest, command: str, fields: Mapping[str, str]) -> Origin:
        return Origin(
            operator=self.slug,
            connection_id=self.connection_id,
            received_at=request.received_at,
            event_id=f"{command}:{itoolabs_events.fingerprint(fields)}",
            durations=self._durations(),
            raw=self.mask(request),
        )

    def _pulled(self, row: Payload) -> Origin:
        """In a history `duration` is the talk, if nothing else was chosen."""
        durations = self._durations()
        return Origin(
            operator=self.slug,
            connection_id=self.connection_id,
            received_at=datetime.now(UTC),
            # A later export may know more (a recording): the content is part of the id.
            event_id="history:" + itoolabs_events.sha256(row.source()),
            durations=Durations.TALK if durations is Durations.AS_TOLD else durations,
            raw=self.redacted(row.source()),
        )

    def _known(self, caller: KnownCaller) -> dict[str, str]:
        """What is known of a caller, under the names that the PBX reads."""
        name, responsible = map(self.credential, ("name_fields", "responsible_fields"))
        return named_values([(name, caller.name), (responsible, caller.responsible_key)])

    def _durations(self) -> Durations:
        chosen = self.credential("durations")
        return next((item for item in Durations if item.value == chosen), Durations.AS_TOLD)

    def _address(self) -> str:
        """Address of the API, completed when only the host was copied."""
        self.require_credentials()
        parts = _split(self.credential("api_url"))
        if not parts.hostname or parts.scheme not in ("https", "http"):
            raise self.failure("адрес АТС записан с ошибкой", permanent=True)
        path = parts.path.rstrip("/") or _PATHS[self.protocol]
        return f"{parts.scheme}://{parts.netloc}{path}"

    def _key(self) -> dict[str, str]:
        return {"X-API-KEY": self.credential("api_key")}

    def _rest(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
    ) -> Any:
        """JSON of a successful answer. Raises `OperatorError`, also for an error told with 200."""
        url = f"{self._address()}/{path}"
        response = self.send(method, url, params=params, json=body, headers=self._key())
        if response.status == 501:
            message = "в вашей АТС эта часть API закрыта, спросите о ней оператора"
            raise self.failure(message, permanent=True, response=response)
        return self._unless_error(self.answer(response), response)

    def _command(self, command: str, fields: Mapping[str, str]) -> HttpResponse:
        """A successful answer to a command: JSON, CSV or plain text. Raises `OperatorError`."""
        form = {"cmd": command, "token": self.credential("api_key"), **fields}
        response = self.send("POST", self._address(), data=form)
        self.ensure_success(response)
        if response.text.lstrip()[:1] == "{":
            self._unless_error(self.answer(response), response)
        return response

    def _unless_error(self, answer: Any, response: HttpResponse) -> Any:
        error = answer.get("error") if isinstance(answer, Mapping) else None
        if error:
            raise self.failure("запрос отклонён", permanent=True, response=response)
        return answer

    def _placed(self, response: HttpResponse) -> str | None:
        """Id of a call from JSON or plain text; an empty answer and `OK` are a success too."""
        text = response.text.strip()
        if text.startswith("<"):
            message = "вместо ответа пришла страница"
            raise self.failure(message, permanent=False, response=response)
        try:
            return _call_id(load_json(text))
        except MalformedRequest:
            return _call_id(text)

    def _pages(self, path: str, limit: int) -> Iterator[Payload]:
        start = 0
        for page in range(_MAX_PAGES):
            time.sleep(self.request_pause.total_seconds() if page else 0)
            params = {"search": "", "start": str(start), "limit": str(limit)}
            answer = self._rest("GET", path, params=params)
            rows = self._objects(answer)
            yield from rows
            # Some accounts tell where the next page starts, the others only fill pages.
            told = Payload(answer).integer("info.next") if isinstance(answer, Mapping) else None
            following = told or (start + len(rows) if len(rows) >= limit else 0)
            if following <= start:
                return
            start = following
        raise self.failure("список не кончается", permanent=False)

    def _objects(self, answer: Any) -> list[Payload]:
        """A list, a list in `items`, or null when there is nothing. Raises `OperatorError`."""
        rows = answer.get("items") if isinstance(answer, Mapping) else answer
        if rows is None and not isinstance(answer, Mapping):
            return []
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise self.failure("в ответе нет списка", permanent=False)
        return [Payload(row) for row in rows]

    def _json_history(self, start: datetime, end: datetime) -> list[Payload]:
        return self._objects(self._rest("GET", "history/json", params=_period(start, end)))

    def _csv_history(self, start: datetime, end: datetime) -> list[Payload]:
        return itoolabs_history.csv_rows(self._command("history", _period(start, end)).text)


def _readable(request: InboundRequest) -> dict[str, str]:
    """Fields, none when they cannot be read."""
    try:
        return fields_of(request)
    except MalformedRequest:
        return {}


def _is_question(request: InboundRequest) -> bool:
    return _readable(request).get("cmd", "").lower() == "contact"


def _split(address: str) -> SplitResult:
    """Parts of an address that may lack a scheme; empty ones for a wrong address."""
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
        _ = parts.port  # a wrong one is noticed only when it is read
        return parts
    except ValueError:
        return urlsplit("")


def _period(start: datetime, end: datetime) -> dict[str, str]:
    moments = {"start": start, "end": end}
    told = {name: at.strftime("%Y%m%dT%H%M%SZ") for name, at in moments.items()}
    return {**told, "type": "all", "limit": str(_HISTORY_LIMIT)}


def _call_id(answer: Any) -> str | None:
    """Id of a placed call, if the answer names one."""
    if isinstance(answer, Mapping):
        names = ("callid", "uuid", "CallID")
        answer = next((answer[name] for name in names if name in answer), None)
    text = str(answer) if isinstance(answer, str | int) and not isinstance(answer, bool) else ""
    return text if _CALL_ID.fullmatch(text) else None


def _extension(user: Payload, key: str, name: str) -> Extension | None:
    login = itoolabs_events.login(user, key)
    if login is None:
        return None
    number = user.identifier("ext") or login
    return Extension(
        number=number, name=user.text(name) or login, employee_key=login, email=user.text("email")
    )
