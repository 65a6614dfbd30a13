"""Gravitel (ВАТС), the current API at crm.aicall.ru; the older command API is another operator.

The operator publishes no document. Sources, all running programs: github.com/izhislin/LLM_GR
(`src/gravitel_api.py`, `src/web/routes/webhook.py`) and github.com/Sile9t/GravitelBitrixMediator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from crm.integrations.http_protocol import HttpClient
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply, load_json
from crm.integrations.telephony import gravitel_events, gravitel_simulation
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
from crm.integrations.telephony.gravitel_events import Origin
from crm.integrations.telephony.shapes import named_values

API_BASE = "https://crm.aicall.ru/v1"
# The only `limit` seen in a running program; a full answer is asked again in halves.
HISTORY_LIMIT = 100
_DAY = timedelta(days=1)
_Row = TypeVar("_Row")
_SHORTEST_WINDOW = timedelta(seconds=1)
_COMMAND = re.compile(r"(?:(GET|POST)\s+)?([^\s{][^\s]*)(?:\s+(\{.*\}))?", re.DOTALL)


class Gravitel(TelephonyOperator):
    """Gravitel, current API."""

    slug = "gravitel"
    title = "Гравител"
    capabilities = (
        Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
        | Capability.LINES
        | Capability.SYNCHRONOUS_REPLY
    )
    credentials = (
        CredentialField(
            "domain",
            "Домен АТС",
            secret=False,
            help="Имя вашей АТС в кабинете, например company.aicall.ru",
        ),
        CredentialField(
            "api_key", "Ключ API", help="С ним CRM обращается к АТС: история, записи, сотрудники"
        ),
        CredentialField(
            "webhook_key",
            "Ключ для событий",
            help="Его АТС присылает нам с каждым событием. Обычно это не тот же ключ, что выше",
        ),
        CredentialField(
            "name_fields",
            "Имя клиента в ответе «кто звонит»",
            secret=False,
            required=False,
            default="contact_name",
            help="Как АТС называет это поле; можно несколько названий через запятую",
        ),
        CredentialField(
            "responsible_fields",
            "Ответственный в ответе «кто звонит»",
            secret=False,
            required=False,
            default="responsible",
            help="Как АТС называет это поле; можно несколько названий через запятую",
        ),
        CredentialField(
            "call_command",
            "Команда звонка из CRM",
            secret=False,
            required=False,
            help=(
                "Пусто — кнопки звонка нет. Если поддержка назвала команду, впишите её, например: "
                'POST makecall {"extension": "{extension}", "client": "{number}"}. '
                "Подставляются {extension}, {number}, {line} и {request}"
            ),
        ),
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
        "Узнайте в кабинете «Гравител» домен АТС и ключ API и впишите их на шаге «Доступ».",
        (
            "В настройках интеграции с CRM в кабинете укажите адрес нашей CRM: {webhook_url}. "
            "Окончания /event, /history и /client АТС допишет сама."
        ),
        (
            "Там же задайте ключ, который АТС будет присылать нам с каждым событием, "
            "и впишите его в поле «Ключ для событий»."
        ),
        "Включите запись разговоров в АТС, иначе скачивать будет нечего.",
        "Позвоните на свой номер и проверьте, что звонок появился в CRM.",
    )
    cautions = (
        (
            "У «Гравител» два разных API. Это подключение — для нынешнего: адрес crm.aicall.ru, "
            "ключ в заголовке X-API-KEY. Если в кабинете просят crm_token, выберите "
            "«Гравител (прежний API)»."
        ),
        (
            "Описания API в открытом доступе нет: подключение сделано по программам, которые с ним "
            "работают. Проверьте его пробным звонком."
        ),
        (
            "Как АТС называет имя клиента и ответственного в ответе на вопрос «кто звонит», "
            "подтвердить не удалось: если имя не показывается, спросите названия полей у поддержки."
        ),
        "Команда звонка из CRM не известна, поэтому кнопка выключена, пока её не впишут.",
        "Запись может появиться позже самого звонка: тогда CRM найдёт её при сверке истории.",
        (
            "Чем закончился звонок, CRM узнаёт из итогового события АТС или при сверке истории: "
            "событие о конце разговора этого не говорит. Пока итога нет, входящий звонок, на "
            "который никто не ответил, через 15 секунд тишины считается пропущенным."
        ),
        "Пока звонит отдел, АТС, по-видимому, называет номер отдела, а не сотрудника.",
        (
            "Сколько звонков истории АТС отдаёт за раз и как часто её можно спрашивать, "
            f"не известно: CRM берёт не больше {HISTORY_LIMIT} и дробит период."
        ),
    )
    recording_hosts = ("records.aicall.ru",)
    # `released` without `talking` is a missed call until the final record says otherwise.
    ends_by_legs = True
    # The address comes with the file.
    recording_delay = timedelta(seconds=10)

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        super().__init__(connection_id, credentials, http, webhook_token=webhook_token)
        if self.credential("call_command"):
            self.capabilities |= Capability.CLICK_TO_CALL

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """Header `X-API-KEY`; the body is not signed."""
        if not self.credential("webhook_key"):
            raise WebhookRejected("Ключ для событий не заполнен")
        if not same_secret(request.headers.get("X-API-KEY", ""), self.credential("webhook_key")):
            raise WebhookRejected("Чужой X-API-KEY")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate by the end of the path; at the bare address the members tell what it is."""
        tail = _tail(request)
        if tail == "client":
            return []
        if tail not in ("event", "history", ""):
            return [self.unknown_event(request)]
        payload = gravitel_events.fields(request.json())
        origin = Origin(
            connection_id=self.connection_id,
            received_at=request.received_at,
            raw=self.mask(request),
        )
        if tail == "event" or (not tail and payload.text("stage")):
            return gravitel_events.from_event(payload, origin)
        if tail == "history" or payload.text("result"):
            return gravitel_events.from_history(payload, origin)
        return [self.unknown_event(request)]

    def caller_question(self, request: InboundRequest) -> str | None:
        """Who calls, asked at `/client` while the telephone rings."""
        if _tail(request) != "client":
            return None
        try:
            return gravitel_events.caller(gravitel_events.fields(request.json()))
        except MalformedRequest:
            return None

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:
        """Any JSON will do, except at `/client`, where the PBX waits for a name."""
        value = {"status": "ok"}
        if _tail(request) == "client":
            value = self._known(caller) if caller else {}
        body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        return Reply(body=body, content_type="application/json")

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """Ringing, talk, end, final record."""
        return [
            SimulatedRequest(
                path_tail=step.path,
                headers={
                    "Content-Type": "application/json",
                    "X-API-KEY": self.credential("webhook_key"),
                },
                body=json.dumps(step.value).encode("ascii"),
                delay=step.delay,
            )
            for step in gravitel_simulation.steps(scenario)
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """The command that the administrator has typed; the answer's shape is not known."""
        if not self.credential("call_command"):
            return super().place_call(call)
        method, path, value = self._command(call)
        response = self.send(method, self._url(path), json=value, headers=self._headers())
        self.ensure_success(response)
        if response.text.lstrip().startswith("<"):
            raise self.failure("вместо ответа пришла страница", permanent=False, response=response)
        if _told_error(response.text):
            raise self.failure("АТС отказала в звонке", permanent=True, response=response)
        return PlacedCall(request_id=call.request_id)

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`POST history`: no pages there, so a day at a time and smaller when an answer is full."""
        start = since
        while start < until:
            end = min(start + _DAY, until)
            yield from self._window(start, end)
            start = end

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """The address of the event, with the key of the API."""
        if not ref.recording_url:
            raise self.failure("у записи нет адреса", permanent=True)
        own = self.credential("api_base")
        return self.download(ref.recording_url, own=own, headers=self._headers())

    def extensions(self) -> list[Extension]:
        """`GET accounts`: rows without a number are left out."""
        found = [self._read(_extension, row) for row in self._rows("GET", "accounts")]
        return [extension for extension in found if extension is not None]

    def lines(self) -> list[Line]:
        """`GET numbers`."""
        found = [self._read(_line, row) for row in self._rows("GET", "numbers")]
        return [line for line in found if line is not None]

    # Details

    def _known(self, caller: KnownCaller) -> dict[str, str]:
        name, responsible = map(self.credential, ("name_fields", "responsible_fields"))
        return named_values([(name, caller.name), (responsible, caller.responsible_extension)])

    def _url(self, path: str) -> str:
        domain = re.sub(r"^https?://", "", self.credential("domain")).strip("/")
        return f"{self.credential('api_base').rstrip('/')}/{quote(domain)}/{path.lstrip('/')}"

    def _headers(self) -> dict[str, str]:
        return {"X-API-KEY": self.credential("api_key")}

    def _command(self, call: ClickToCall) -> tuple[str, str, Any]:
        """Method, path and JSON of the typed command with the call's values in it."""
        parts = _COMMAND.fullmatch(self.credential("call_command"))
        if parts is None:
            raise self.failure("команда звонка из CRM записана с ошибкой", permanent=True)
        values = {
            "{extension}": call.extension,
            "{number}": call.number,
            "{line}": call.line_number or "",
            "{request}": call.request_id,
        }
        path, text = parts[2], parts[3] or ""
        for name, value in values.items():
            path = path.replace(name, quote(value, safe=""))
            text = text.replace(name, json.dumps(value)[1:-1])
        try:
            return parts[1] or "POST", path, load_json(text) if text else None
        except MalformedRequest as error:
            message = "команда звонка из CRM записана с ошибкой"
            raise self.failure(message, permanent=True) from error

    def _rows(self, method: str, path: str, value: Any = None) -> list[Any]:
        """An answer that must be a list. Raises `OperatorError`."""
        response = self.send(method, self._url(path), json=value, headers=self._headers())
        answer = self.answer(response)
        if not isinstance(answer, list):
            message = "вместо списка пришёл другой ответ"
            raise self.failure(message, permanent=False, response=response)
        return answer

    def _read(self, translate: Callable[[Any], _Row], row: Any) -> _Row:
        try:
            return translate(row)
        except MalformedRequest as error:
            raise self.failure(f"строка ответа: {error.message}", permanent=False) from error

    def _window(self, start: datetime, end: datetime) -> Iterator[CallEvent]:
        """Events of one window; a full answer may hide calls and is asked again in halves."""
        order = {"start": _iso(start), "end": _iso(end), "type": "all", "limit": HISTORY_LIMIT}
        rows = self._rows("POST", "history", order)
        if len(rows) < HISTORY_LIMIT:
            for row in rows:
                yield from self._read(self._history_events, row)
            return
        if end - start <= _SHORTEST_WINDOW:
            raise self.failure("за секунду истории звонков больше, чем АТС отдаёт", permanent=False)
        middle = start + (end - start) / 2
        yield from self._window(start, middle)
        yield from self._window(middle, end)

    def _history_events(self, row: Any) -> list[CallEvent]:
        payload = gravitel_events.row_fields(row)
        origin = Origin(
            connection_id=self.connection_id,
            received_at=datetime.now(UTC),
            raw=self.redacted(payload.source()),
        )
        return gravitel_events.from_history(payload, origin)


def _tail(request: InboundRequest) -> str:
    """Last part of the path, "" for the bare address."""
    return request.path_tail.strip("/").rsplit("/", 1)[-1].lower()


def _told_error(text: str) -> bool:
    """Whether a successful status brings a refusal, as the older API writes it."""
    try:
        answer = load_json(text)
    except MalformedRequest:
        return False
    return isinstance(answer, Mapping) and bool(answer.get("error"))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _extension(value: Any) -> Extension | None:
    row = gravitel_events.fields(value)
    number = row.identifier("extension")
    if number is None:
        return None
    return Extension(number=number, name=row.text("name") or number, employee_key=number)


def _line(value: Any) -> Line | None:
    row = gravitel_events.fields(value)
    number = row.number("number")
    return Line(number=number, name=row.text("name") or "") if number else None
