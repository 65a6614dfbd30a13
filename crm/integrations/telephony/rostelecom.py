"""Rostelecom ("Виртуальная АТС", "Новая телефония"): the integration API of its Cloud PBX.

Sources: the operator's article habr.com/ru/post/484180; its manual "Интеграционный API" v7.5 as
quoted by github.com/kamotora/diplom; where the live service differs from it [L], by
github.com/LLCIBS/saasBW.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import IO, Any, ClassVar
from urllib.parse import urljoin

from crm.integrations.errors import IntegrationError
from crm.integrations.http_protocol import HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply, load_json
from crm.integrations.telephony import (
    rostelecom_events,
    rostelecom_history,
    rostelecom_simulation,
)
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
from crm.integrations.telephony.payload import Payload
from crm.integrations.telephony.rostelecom_events import Origin, extension_of, moscow, pin_of
from crm.integrations.telephony.rostelecom_history import Row
from crm.values import phones

API_BASE = "https://api.cloudpbx.rt.ru"
CALL_EVENTS, WHO_CALLS, HISTORY_READY = "call_events", "get_number_info", "history_file_completed"
BY_PIN, BY_SIP = "pin", "sipuri"
_JSON = "application/json; charset=utf-8"
_OK = {"result": "0", "resultMessage": "OK"}
_UNKNOWN_CALLER = {"result": 404, "resultMessage": "not found"}
_HISTORY_WINDOW = timedelta(days=7)
_NO_FILE_YET = frozenset({202, 204, 404})
# The same period may not be ordered twice in a row [L].
_ALREADY_ORDERED = "уже существует"
_REORDER_PAUSE = timedelta(minutes=10)
_RECORD_PAUSE = timedelta(seconds=30)


def signature(client_id: str, body: bytes, client_key: str) -> str:
    """Lower-case hex SHA-256 of the joined bytes; not an HMAC."""
    parts = (client_id.encode("utf-8"), body, client_key.encode("utf-8"))
    return hashlib.sha256(b"".join(parts)).hexdigest()


class Rostelecom(TelephonyOperator):
    """Rostelecom Cloud PBX."""

    slug = "rostelecom"
    title = "Ростелеком"
    docs_url = "https://numbers.cloudpbx.rt.ru/docs/"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
        | Capability.SYNCHRONOUS_REPLY
    )
    credentials = (
        CredentialField(
            "client_id",
            "Уникальный код идентификации",
            secret=False,
            help="32 знака со страницы «Интеграционный API» в кабинете",
        ),
        CredentialField(
            "client_key",
            "Уникальный ключ для подписи",
            help="С той же страницы; по сети не передаётся, им подписываются запросы",
        ),
        CredentialField(
            "domain",
            "Домен",
            secret=False,
            required=False,
            help="Например, 123456.20.rt.ru — нужен для списка сотрудников",
        ),
        CredentialField(
            "api_base",
            "Адрес API",
            secret=False,
            required=False,
            default=API_BASE,
            help="Меняйте, только если в кабинете указан другой",
        ),
        CredentialField(
            "dial_by",
            "Кого набирать при звонке из CRM",
            secret=False,
            required=False,
            default=BY_PIN,
            choices=((BY_PIN, "По внутреннему номеру"), (BY_SIP, "По SIP-адресу сотрудника")),
            help="Второй способ — на случай, если АТС отвечает отказом на первый",
        ),
        CredentialField(
            "ca_certificates",
            "Сертификаты удостоверяющего центра",
            secret=False,
            required=False,
            multiline=True,
            help=(
                "Текст файла из кабинета («Скачать сертификат API»), вместе со строками "
                "BEGIN CERTIFICATE и END CERTIFICATE. Сертификатов может быть несколько подряд"
            ),
        ),
    )
    ca_credential = "ca_certificates"
    setup_steps = (
        "Войдите в кабинет Виртуальной АТС администратором домена и откройте «Интеграционный API».",
        (
            "Скопируйте «Уникальный код идентификации», «Уникальный ключ для подписи» и «Домен» "
            "на шаг «Доступ». Если «Адрес API» другой, перенесите и его."
        ),
        (
            "Нажмите «Скачать сертификат API», откройте файл «Блокнотом» и вставьте весь его текст "
            "в поле «Сертификаты удостоверяющего центра»: сервер Ростелекома защищён сертификатом "
            "Russian Trusted CA (Минцифры), которого обычно нет среди доверенных. Если текст не "
            "читается, возьмите сертификаты в виде текста на gosuslugi.ru/crt."
        ),
        (
            "В поле «Адрес внешней системы» вставьте {webhook_url} — без косой черты в конце: "
            "названия методов АТС добавит сама. Адрес должен открываться из интернета по https."
        ),
        (
            "Адрес внешней системы у домена только один. Если он занят другой программой, оставьте "
            "её адрес: история звонков и записи загрузятся и так, не будет только событий во время "
            "звонка."
        ),
        "Если доступ к API ограничен по IP-адресам, добавьте внешний адрес сервера CRM.",
        "Включите запись разговоров и отправьте пробный запрос: ответ CRM виден в журнале.",
        "Впишите номера линий вручную: списка линий API не отдаёт.",
    )
    cautions = (
        "Номер линии берётся из поля request_number: для событий это вывод из описания истории.",
        (
            "Событие об окончании звонка не говорит, был ли разговор и сколько он длился. Точные "
            "итог и длительность приходят с историей, обычно в течение получаса."
        ),
        "Коды причин отбоя оператором не описаны: неуспешный звонок отмечается как «нет ответа».",
        "Повторяет ли АТС события, не известно: пропущенное CRM восстанавливает по истории.",
        (
            "Наибольший период и частота выгрузки истории не описаны: CRM заказывает не больше "
            "недели за раз и по одному файлу. Пустой файл считается верным, если не наполнился "
            "за пять минут."
        ),
        "Записи скачиваются только с cloudpbx.rt.ru и с сервера API: других адресов не известно.",
        "Срок хранения записей в документах не указан: CRM забирает запись сразу после звонка.",
        (
            "Сколько АТС ждёт ответа на вопрос «кто звонит» и что делает, если у клиента нет "
            "ответственного, не описано. CRM отвечает сразу; без ответственного внутренний номер "
            "в ответе не указывается."
        ),
        "Звонок из CRM находится по сотруднику, номеру и времени: свой номер АТС не обещает.",
        "Вид списка сотрудников не подтверждён: если не загрузится, впишите номера вручную.",
    )
    recording_hosts = ("*.cloudpbx.rt.ru",)
    recording_delay = timedelta(seconds=30)

    # A report takes about five minutes; an empty file may still be filled within that time.
    poll_interval: ClassVar[timedelta] = timedelta(seconds=30)
    poll_attempts: ClassVar[int] = 20
    empty_attempts: ClassVar[int] = 10

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """Our id and the signature over the body exactly as it came."""
        if self.missing_credentials():
            raise WebhookRejected("Ключи подключения не заполнены, подпись не проверить")
        if not same_secret(request.headers.get("X-Client-ID", ""), self.credential("client_id")):
            raise WebhookRejected("Чужой X-Client-ID")
        given = request.headers.get("X-Client-Sign", "").strip().lower()
        if not same_secret(given, self._sign(request.body)):
            raise WebhookRejected("Подпись не сходится")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate `call_events`; the other methods say nothing about the state of a call."""
        method = _method(request)
        if method in (WHO_CALLS, HISTORY_READY):
            return []
        if method != CALL_EVENTS:
            return [self.unknown_event(request)]
        payload = rostelecom_events.event_payload(request.json())
        origin = Origin(
            connection_id=self.connection_id,
            received_at=request.received_at,
            fallback_id=self.delivery_key(request),
            raw=self.mask(request),
        )
        events = rostelecom_events.from_notice(payload, origin)
        return [self.unknown_event(request)] if events is None else events

    def delivery_key(self, request: InboundRequest) -> str:
        """By what a notice tells: the address is not signed, so it may not make a repeat new."""
        if _method(request) == CALL_EVENTS:
            payload = _payload(request)
            key = rostelecom_events.identity(payload) if payload else None
            if key is not None:
                return key
        return super().delivery_key(request)

    def caller_question(self, request: InboundRequest) -> str | None:
        """`get_number_info` asks who calls while the client hears ringing."""
        payload = _payload(request) if _method(request) == WHO_CALLS else None
        number = payload.number("from_number") if payload else None
        return None if phones.is_internal(number) else number

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:
        """Signed as requests are; who is not known is answered 404, others by name and number."""
        if _method(request) != WHO_CALLS:
            return self._signed_reply(200, _OK)
        if caller is None or not (caller.name or caller.responsible_extension):
            return self._signed_reply(404, _UNKNOWN_CALLER)
        value = {"result": 0, "resultMessage": "ok", "displayName": caller.name}
        if caller.responsible_extension:
            value["PIN"] = caller.responsible_extension
        return self._signed_reply(200, value)

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The call from its beginning to its end."""
        found = []
        for step in rostelecom_simulation.steps(scenario):
            body = _serialised(step.value)
            found.append(
                SimulatedRequest(
                    path_tail=CALL_EVENTS,
                    body=body,
                    headers=self._headers(body),
                    delay=step.delay,
                )
            )
        return found

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`call_back`: rings the employee, then the client; the id of the call is not promised."""
        value = {"request_number": _dialled(call.number)}
        if self.credential("dial_by") == BY_SIP:
            value["from_sipuri"] = self._sip_address(call.extension)
        else:
            value["from_pin"] = call.extension
        response = self._post("call_back", value)
        if self._accepted(response).text("result") is None:
            message = "АТС не подтвердила звонок"
            raise self.failure(message, permanent=False, response=response)
        return PlacedCall(request_id=call.request_id)

    def extensions(self) -> list[Extension]:
        """`users_info`: employees without an internal number are left out."""
        found = (extension_of(user) for user in self._users(self._users_info()))
        return [extension for extension in found if extension is not None]

    def probe(self) -> str:
        """Any `result` of HTTP 200 proves the keys [L]; the list of employees is a bonus."""
        response = self._users_info()
        self.answer_object(response)
        try:
            count = sum(extension_of(user) is not None for user in self._users(response))
        except OperatorError:
            return "Связь есть, ключи приняты, но список сотрудников оператор не отдал."
        return f"Связь есть. Внутренних номеров: {count}"

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`domain_call_history`: a report for each week, ordered and waited for one by one."""
        start = since
        while start < until:
            end = min(start + _HISTORY_WINDOW, until)
            yield from self._report(start, end)
            start = end

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """`get_record`: a link that works once and from the asking address only."""
        if not ref.recording_ref:
            raise self.failure("у записи нет идентификатора звонка", permanent=True)
        answer = self.answer_object(self._post("get_record", {"session_id": ref.recording_ref}))
        link = answer.text("url")
        if answer.text("result") not in (None, "0") or link is None:
            reason = answer.text("resultMessage") or "ссылка не пришла"
            raise self.failure(
                f"записи ещё нет: {reason}",
                permanent=False,
                kind=RecordingNotReady,
                retry_after=_RECORD_PAUSE,
            )
        return self.download(self._absolute(link), own=self.credential("api_base"))

    # Details

    def _sign(self, body: bytes) -> str:
        return signature(self.credential("client_id"), body, self.credential("client_key"))

    def _headers(self, body: bytes) -> dict[str, str]:
        return {
            "Content-Type": _JSON,
            "X-Client-ID": self.credential("client_id"),
            "X-Client-Sign": self._sign(body),
        }

    def _signed_reply(self, status: int, value: Mapping[str, Any]) -> Reply:
        body = _serialised(value)
        headers = self._headers(body)
        return Reply(status, body, headers.pop("Content-Type"), headers)

    def _absolute(self, path: str) -> str:
        return urljoin(self.credential("api_base").rstrip("/") + "/", path)

    def _post(self, method: str, value: Mapping[str, Any], *, stream: bool = False) -> HttpResponse:
        """Serialised once: exactly the signed bytes are sent."""
        body = _serialised(value)
        url = self._absolute(method)
        return self.send("POST", url, data=body, headers=self._headers(body), stream=stream)

    def _accepted(self, response: HttpResponse) -> Payload:
        """The answer, unless its `result` (a number or text) is a refusal."""
        answer = self.answer_object(response)
        if answer.text("result") not in (None, "0"):
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: Payload) -> OperatorError:
        """Codes are not documented, only the words of one refusal tell that it will pass."""
        words = answer.text("resultMessage") or "причина не названа"
        again = _ALREADY_ORDERED in words.lower()
        return self.failure(
            f"отказ {answer.text('result')}: {words}",
            permanent=not again,
            retry_after=_REORDER_PAUSE if again else None,
        )

    def _users_info(self) -> HttpResponse:
        domain = self.credential("domain")
        return self._post("users_info", {"domain": domain} if domain else {})

    def _users(self, response: HttpResponse) -> list[Payload]:
        users = self._accepted(response).objects("users")
        if not users:
            message = "список сотрудников пуст или пришёл в незнакомом виде"
            raise self.failure(message, permanent=False, response=response)
        return users

    def _sip_address(self, extension: str) -> str:
        users = self._users(self._users_info())
        names = [user.text("name") for user in users if pin_of(user) == extension]
        name = next((name.removeprefix("sip:") for name in names if name), None)
        domain = self.credential("domain")
        if name is None or not ("@" in name or domain):
            message = f"SIP-адрес сотрудника {extension} не известен: проверьте «Домен»"
            raise self.failure(message, permanent=True)
        return name if "@" in name else f"{name}@{domain}"

    def _report(self, start: datetime, end: datetime) -> Iterator[CallEvent]:
        order_id = self._order(start, end)
        with rostelecom_history.new_file() as file:
            self._wait(order_id, file)
            for row in self._rows(file):
                yield self._history_event(row)

    def _order(self, start: datetime, end: datetime) -> str:
        """Order the report of all calls of a period; its id. Raises `OperatorError`."""
        period = {"date_start": moscow(start), "date_end": moscow(end)}
        response = self._post("domain_call_history", {**period, "direction": 0, "state": 0})
        order_id = self._accepted(response).text("order_id")
        if order_id is None:
            message = "история заказана, но номер заказа не пришёл"
            raise self.failure(message, permanent=False, response=response)
        return order_id

    def _wait(self, order_id: str, file: IO[bytes]) -> None:
        """Fetch the report until it has rows or stays empty for as long as it may be filled."""
        empty = 0
        for _ in range(self.poll_attempts):
            time.sleep(self.poll_interval.total_seconds())
            if not self._fetched(order_id, file):
                continue
            empty += 1
            if empty >= self.empty_attempts or next(self._rows(file), None) is not None:
                return
        raise self.failure("история не подготовлена за отведённое время", permanent=False)

    def _fetched(self, order_id: str, file: IO[bytes]) -> bool:
        """Whether the report is in `file` now. Raises `OperatorError`."""
        response = self._post("download_call_history", {"order_id": order_id}, stream=True)
        try:
            with response:
                if response.status in _NO_FILE_YET:
                    return False
                self.ensure_success(response)
                rostelecom_history.fill(file, response.iter_bytes())
        except OperatorError:
            raise
        except IntegrationError as error:
            raise self.failure(error.message, permanent=error.permanent) from error
        excuse = rostelecom_history.excuse(file)
        if excuse is not None and not rostelecom_history.is_absence(excuse):
            raise self._excused(excuse)
        return excuse is None

    def _excused(self, text: str) -> OperatorError:
        try:
            return self._refusal(Payload(load_json(text)))
        except MalformedRequest:
            return self.failure("вместо файла истории пришла страница", permanent=False)

    def _rows(self, file: IO[bytes]) -> Iterator[Row]:
        try:
            yield from rostelecom_history.rows(file)
        except MalformedRequest as error:
            raise self.failure(f"история: {error.message}", permanent=False) from error

    def _history_event(self, row: Row) -> CallEvent:
        payload = Payload(row)
        origin = Origin(
            connection_id=self.connection_id,
            received_at=datetime.now(UTC),
            fallback_id="",
            raw=self.redacted(payload.source()),
        )
        try:
            return rostelecom_events.from_history(payload, origin)
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error


def _method(request: InboundRequest) -> str:
    """Last part of the path: the PBX appends the name of the method to our address."""
    return request.path_tail.strip("/").rsplit("/", 1)[-1]


def _payload(request: InboundRequest) -> Payload | None:
    """The body, None when it is not an object: here garbage must not stop the answer."""
    try:
        return rostelecom_events.event_payload(request.json())
    except MalformedRequest:
        return None


def _serialised(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _dialled(number: str) -> str:
    return number if phones.is_internal(number) else f"+{number}"
