"""Mango Office (ВАТС, «VPBX API»).

Sources: the operator's MangoOffice_VPBX_API.pdf (16.02.2026); behaviour marked [N] was seen by
github.com/x0cfwm/n8n-nodes-mango-office, codes come from github.com/Bobrovskih/mango-vpbx.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode, urljoin
from zoneinfo import ZoneInfo

from crm.integrations.http_protocol import HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply, load_json
from crm.integrations.telephony import mango_events, mango_simulation
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
    RecordingNotReady,
    RecordingRef,
    SimulatedRequest,
    TelephonyOperator,
    WebhookRejected,
    same_secret,
)
from crm.integrations.telephony.mango_events import ACCEPTED, Origin
from crm.integrations.telephony.payload import Payload

API_BASE = "https://app.mango-office.ru/vpbx/"
_MOSCOW = ZoneInfo("Europe/Moscow")
# Exactly 30 days are refused with 3100 [N].
_HISTORY_WINDOW = timedelta(days=29)
_HISTORY_PAGE = 500
_SENDERS = "81.88.80.132, 81.88.80.133, 81.88.82.36, 81.88.82.44, 81.88.82.45"
_NO_SUCH_RECORDING = 3320
# After a wrong request every further one is answered 401 until two minutes have passed.
_BLOCK = timedelta(minutes=2)
_TRANSIENT_CODES = frozenset({4200})


def signature(key: str, payload: str, salt: str) -> str:
    """Lower-case hex SHA-256 of the joined strings; not an HMAC."""
    return hashlib.sha256(f"{key}{payload}{salt}".encode("utf-8", "surrogatepass")).hexdigest()


class Mango(TelephonyOperator):
    """Mango Office."""

    slug = "mango"
    title = "Mango Office"
    docs_url = "https://www.mango-office.ru/upload/api/MangoOffice_VPBX_API_v1.9.pdf"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
    )
    credentials = (
        CredentialField("api_key", "Уникальный код вашей АТС", help="Поле vpbx_api_key"),
        CredentialField("api_salt", "Ключ для создания подписи", help="Поле vpbx_api_salt"),
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
        "В кабинете lk.mango-office.ru откройте «Интеграции» → «API коннектор» и подключите его.",
        "Скопируйте «Уникальный код вашей АТС» и «Ключ для создания подписи» на шаг «Доступ».",
        "В поле «Адрес внешней системы» вставьте {webhook_url} и нажмите «Проверить соединение».",
        f"Разрешите входящие запросы с адресов {_SENDERS}.",
        "Веб-сервер CRM должен принимать TLS 1.2: версию 1.3 Mango не поддерживает.",
        "Включите хранение записей разговоров в облаке АТС, иначе скачивать будет нечего.",
        "Впишите номера линий вручную: надёжного списка линий API не отдаёт.",
    )
    cautions = (
        (
            "Повторяет ли АТС уведомление, которое не дошло, не описано: пропущенное восполняет"
            " сверка истории."
        ),
        (
            "При звонке из CRM АТС сначала вызывает сотрудника. Его снятую трубку CRM за разговор"
            " не считает: о разговоре говорят ответ клиента и итог звонка. Порядок вызова — наш"
            " вывод, сверьте первый такой звонок с кабинетом."
        ),
        (
            "После неверного запроса АТС две минуты отклоняет все остальные. Если ключи"
            " перепутаны, исправьте их и подождите две минуты до следующей проверки."
        ),
    )
    recording_hosts = ("app.mango-office.ru", "files.mango-office.ru")

    # The history is prepared in the background; asking sooner than in 5 s is refused.
    poll_interval: ClassVar[timedelta] = timedelta(seconds=5)
    poll_attempts: ClassVar[int] = 36

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """Key and signature over the exact text of the field `json`."""
        fields = request.form()
        if not fields and _tail(request) == "ping":
            return  # the cabinet's check carries nothing; the secret address was checked already
        expected = signature(
            self.credential("api_key"),
            fields.get("json", ""),
            self.credential("api_salt"),
        )
        if self.missing_credentials():
            raise WebhookRejected("Ключи подключения не заполнены, подпись не проверить")
        if not same_secret(fields.get("vpbx_api_key", ""), self.credential("api_key")):
            raise WebhookRejected("Чужой vpbx_api_key")
        if not same_secret(fields.get("sign", "").lower(), expected):
            raise WebhookRejected("Подпись не сходится")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate by the tail of the path; the document also writes a prefix before it."""
        tail = _tail(request)
        if tail in mango_events.NOISE:
            return []
        translate = mango_events.TRANSLATORS.get(tail)
        if translate is None:
            return [self.unknown_event(request)]
        text = request.form().get("json")
        if text is None:
            raise MalformedRequest("Нет поля json")
        return translate(Payload(load_json(text)), self._origin(request))

    def reply(
        self,
        request: InboundRequest,  # noqa: ARG002 - every notice is answered alike
        caller: KnownCaller | None = None,  # noqa: ARG002
    ) -> Reply:
        """What the operator's examples answer."""
        return Reply(body=b'{"success":true}', content_type="application/json")

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The call as menu, employee, summary and recording."""
        return [
            SimulatedRequest(
                path_tail=step.path,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(self._signed(step.value)).encode("ascii"),
                delay=step.delay,
            )
            for step in mango_simulation.steps(scenario)
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`commands/callback`: rings the employee, then the client."""
        value: dict[str, Any] = {
            "command_id": call.request_id,
            "from": {"extension": call.extension},
            "to_number": call.number,
        }
        if call.line_number:
            value["line_number"] = call.line_number
        self._command("commands/callback", value)
        return PlacedCall(request_id=call.request_id)

    def extensions(self) -> list[Extension]:
        """`config/users/request`: employees without an internal number are left out."""
        answer = self._command("config/users/request", {})
        found = (_extension(user) for user in answer.objects("users"))
        return [extension for extension in found if extension is not None]

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`stats/calls`: windows shorter than 30 days, pages by offset."""
        start = since
        while start < until:
            end = min(start + _HISTORY_WINDOW, until)
            yield from self._history_window(start, end)
            start = end

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """`queries/recording/post`: a redirect to a link that works once."""
        if not ref.recording_ref:
            raise self.failure("у записи нет идентификатора", permanent=True)
        value = {"recording_id": ref.recording_ref, "action": "download"}
        response = self._post("queries/recording/post", value)
        if response.status not in (301, 302, 303, 307):
            self._refused_recording(response)
        link = urljoin(self._url("queries/recording/post"), response.headers.get("Location", ""))
        return self.download(link, own=self.credential("api_base"))

    # Details

    def _origin(self, request: InboundRequest | None, raw: str = "") -> Origin:
        return Origin(
            connection_id=self.connection_id,
            received_at=request.received_at if request else datetime.now(UTC),
            fallback_id=self.delivery_key(request) if request else "",
            raw=self.mask(request) if request else self.redacted(raw),
        )

    def _signed(self, value: Mapping[str, Any]) -> dict[str, str]:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        key = self.credential("api_key")
        return {
            "vpbx_api_key": key,
            "sign": signature(key, text, self.credential("api_salt")),
            "json": text,
        }

    def _url(self, path: str) -> str:
        return urljoin(self.credential("api_base").rstrip("/") + "/", path)

    def _post(self, path: str, value: Mapping[str, Any]) -> HttpResponse:
        self.require_credentials()
        response = self.send("POST", self._url(path), data=self._signed(value))
        if response.status == 401:
            message = "ключ или подпись не приняты, либо действует блокировка на 2 минуты"
            raise self.failure(message, permanent=True, response=response, retry_after=_BLOCK)
        return response

    def _command(self, path: str, value: Mapping[str, Any]) -> Payload:
        """Send and read the JSON answer. Raises `OperatorError` for any code but 1000."""
        response = self._post(path, value)
        answer = self.answer_object(response)
        code = answer.integer("result")
        if code is not None and code != ACCEPTED:
            raise self._refusal(code, response)
        return answer

    def _refusal(self, code: int, response: HttpResponse) -> OperatorError:
        transient = code in _TRANSIENT_CODES or 5000 <= code < 6000
        return self.failure(
            f"отказ {code}: {mango_events.meaning(code)}",
            permanent=not transient,
            response=response,
            retry_after=None if transient else _BLOCK,
        )

    def _history_window(self, start: datetime, end: datetime) -> Iterator[CallEvent]:
        offset, rows = 0, _HISTORY_PAGE
        while rows == _HISTORY_PAGE:
            page = self._history_page(start, end, offset)
            yield from (event for row in page for event in self._history_events(row))
            rows = len(page)
            offset += rows

    def _history_events(self, row: Payload) -> list[CallEvent]:
        try:
            return mango_events.from_history(row, self._origin(None, row.source()))
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error

    def _history_page(self, start: datetime, end: datetime, offset: int) -> list[Payload]:
        order = {
            "start_date": _moscow(start),
            "end_date": _moscow(end),
            "limit": _HISTORY_PAGE,
            "offset": offset,
        }
        key = self._command("stats/calls/request/", order).text("key")
        if key is None:
            raise self.failure("история заказана, но ключ не пришёл", permanent=False)
        answer = self._finished(key)
        return [row for part in answer.objects("data") for row in part.objects("list")]

    def _finished(self, key: str) -> Payload:
        """Wait for `complete`: a `work` answer may carry only a part of the calls [N]."""
        for _ in range(self.poll_attempts):
            time.sleep(self.poll_interval.total_seconds())
            response = self._post("stats/calls/result/", {"key": key})
            if response.status == 204:
                continue
            answer = self.answer_object(response)
            status = answer.text("status")
            if status == "complete":
                return answer
            if status not in ("request", "work"):
                raise self.failure("история не готова", permanent=False, response=response)
        raise self.failure("история не подготовлена за отведённое время", permanent=False)

    def _refused_recording(self, response: HttpResponse) -> None:
        """Raise for an answer without a link: an absent file may still be on its way."""
        code = None
        if "json" in response.headers.get("Content-Type", ""):
            code = self.answer_object(response).integer("result") if response.status < 300 else None
        if response.status == 404 or code == _NO_SUCH_RECORDING:
            message = "записи ещё нет в облаке"
            raise self.failure(
                message,
                permanent=False,
                kind=RecordingNotReady,
                retry_after=timedelta(minutes=1),
            )
        if code is not None and code != ACCEPTED:
            raise self._refusal(code, response)
        self.ensure_success(response)
        raise self.failure("вместо ссылки на запись пришёл другой ответ", permanent=False)


def _tail(request: InboundRequest) -> str:
    """Known end of the path, whatever stands before it."""
    path = "/" + request.path_tail.strip("/")
    known = (*mango_events.TRANSLATORS, *mango_events.NOISE)
    return next((tail for tail in known if path.endswith("/" + tail)), path)


def _moscow(moment: datetime) -> str:
    """ISO dates are refused with code 3104 [N]."""
    return moment.astimezone(_MOSCOW).strftime("%d.%m.%Y %H:%M:%S")


def _extension(user: Payload) -> Extension | None:
    number = user.identifier("telephony.extension")
    if number is None:
        return None
    return Extension(
        number=number,
        name=user.text("general.name") or number,
        employee_key=number,
        email=user.text("general.email"),
        department=user.text("general.department"),
    )
