"""Zadarma and Novofon: one protocol at two hosts.

Sources: the operator's github.com/zadarma/openapi, github.com/zadarma/user-api-v1 (lib/Webhook,
lib/Client.php) and github.com/zadarma/user-api-py-v1; public connectors of Novofon use the same.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from crm.integrations.http_protocol import HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.telephony import zadarma_events, zadarma_simulation
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    Capability,
    ClickToCall,
    CredentialField,
    Extension,
    KnownCaller,
    Line,
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
from crm.integrations.telephony.zadarma_events import Origin
from crm.values import phones

ZADARMA, NOVOFON = "https://api.zadarma.com", "https://api.novofon.com"
DEFAULT_ZONE = "UTC+3"
ROUTE, ONLY_NAME = "route", "name"
# A month at most is allowed; months differ in length.
_HISTORY_WINDOW = timedelta(days=28)
_HISTORY_PAGE = 1000
# Names are asked for one by one and 100 requests a minute are allowed.
_MOST_NAMES = 80
_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_ECHO = re.compile(r"[A-Za-z0-9]{1,64}")
_RETURN_SECONDS = 15
_LONGEST_NAME = 64
_NOTICES = ", ".join(zadarma_events.TRANSLATORS)


def signature(secret: str, text: str) -> str:
    """Base64 of the lower-case hex of HMAC-SHA1, not of its bytes."""
    key, message = (value.encode("utf-8", "surrogatepass") for value in (secret, text))
    hexadecimal = hmac.new(key, message, hashlib.sha1).hexdigest()
    return base64.b64encode(hexadecimal.encode("ascii")).decode("ascii")


def request_signature(secret: str, path: str, query: str) -> str:
    """Signature of our own request; `query` is the encoded string, sorted by names."""
    digest = hashlib.md5(query.encode("ascii"), usedforsecurity=False).hexdigest()
    return signature(secret, f"{path}{query}{digest}")


class Zadarma(TelephonyOperator):
    """Zadarma or Novofon, by the chosen host."""

    slug = "zadarma"
    title = "Zadarma / Novofon"
    docs_url = "https://zadarma.com/ru/support/api/"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
        | Capability.LINES
        | Capability.SYNCHRONOUS_REPLY
    )
    credentials = (
        CredentialField("user_key", "Ключ", help="Поле Key на странице «Интеграции и API»"),
        CredentialField("secret", "Секрет", help="Поле Secret; кабинет показывает его один раз"),
        CredentialField(
            "service",
            "Сервис",
            secret=False,
            default=ZADARMA,
            choices=((ZADARMA, "Zadarma"), (NOVOFON, "Novofon")),
            help="Где заведён ваш кабинет",
        ),
        CredentialField(
            "timezone",
            "Часовой пояс кабинета",
            secret=False,
            default=DEFAULT_ZONE,
            choices=tuple((f"UTC+{hours}", f"UTC+{hours}") for hours in range(15)),
            help="Москва — UTC+3. Оператор пишет время без пояса, проверка связи сверит его",
        ),
        CredentialField(
            "steering",
            "Что делать, пока клиент ждёт ответа",
            secret=False,
            default=ONLY_NAME,
            choices=(
                (ONLY_NAME, "Показать имя клиента на телефоне"),
                (ROUTE, "Показать имя и направить звонок ответственному"),
            ),
            help="Если ответственный не снимет трубку, звонок вернётся в обычную схему АТС",
        ),
        CredentialField(
            "api_base",
            "Другой адрес API",
            secret=False,
            required=False,
            help="Оставьте пустым; заполняйте, только если так сказал оператор",
        ),
    )
    setup_steps = (
        (
            "В кабинете откройте «Настройки» → «Интеграции и API» и создайте ключи. Скопируйте их "
            "в поля «Ключ» и «Секрет» ниже."
        ),
        "Выберите сервис и часовой пояс кабинета, сохраните подключение и проверьте связь.",
        (
            "На той же странице кабинета, в разделе «Уведомления о звонках АТС», вставьте адрес "
            "{webhook_url}. Кабинет проверит его при сохранении, CRM ответит сама."
        ),
        f"Отметьте уведомления {_NOTICES}.",
        "У каждого внутреннего номера включите запись разговоров с хранением в облаке.",
        (
            "Укажите внутренние номера сотрудников и источники рекламы для ваших номеров: "
            "оба списка CRM получит у оператора."
        ),
    )
    cautions = (
        "Novofon: у новых кабинетов может быть другой API, с ними подключение не проверялось.",
        (
            "История звонков оператора не называет номер, на который звонил клиент. Если CRM "
            "пропустила уведомление, источник такого звонка останется неопределённым."
        ),
        (
            "Повторяет ли оператор уведомления, которые не дошли, неизвестно: "
            "пропущенное CRM берёт из истории звонков."
        ),
        (
            "Звонок, который принял автоответчик или голосовое меню, а не сотрудник, считается "
            "пропущенным."
        ),
        (
            "Оператор не сообщает номер звонка, заказанного из CRM: CRM узнаёт его по сотруднику, "
            "номеру клиента и времени."
        ),
        "Если разговор записан по частям, CRM хранит последнюю часть.",
        "Длительность оператор сообщает одну, CRM считает её временем разговора.",
    )
    recording_hosts = ("api.zadarma.com", "api.novofon.com")
    # The operator advises 40 seconds.
    recording_delay = timedelta(seconds=45)

    # Three requests of statistics a minute are allowed.
    statistics_pause: ClassVar[timedelta] = timedelta(seconds=20)

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """Signature over the values that the notice's kind names; absent ones are empty.

        Which values of a notice that no document names are signed is not known: it passes by the
        secret address alone, and nothing is read from it.
        """
        if _is_probe(request):
            return  # the cabinet's check is not signed; the secret address was checked already
        if self.missing_credentials():
            raise WebhookRejected("Ключи подключения не заполнены, подпись не проверить")
        fields = request.form()
        event = fields.get("event", "")
        names = zadarma_events.SIGNED.get(event)
        if names is None:
            if not event:
                raise WebhookRejected("Неизвестное уведомление, подпись не проверить")
            return
        text = "".join(fields.get(name, "") for name in names)
        expected = signature(self.credential("secret"), text)
        if not same_secret(request.headers.get("Signature", "").strip(), expected):
            raise WebhookRejected("Подпись не сходится")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate by the field `event`."""
        if _is_probe(request):
            return []
        fields = request.form()
        event = fields.get("event")
        if not event:
            raise MalformedRequest("Нет поля event")
        if event in zadarma_events.NOISE:
            return []
        translate = zadarma_events.TRANSLATORS.get(event)
        if translate is None:
            return [self.unknown_event(request)]
        return translate(Payload(fields), self._origin(request))

    def caller_question(self, request: InboundRequest) -> str | None:
        """A call that reached the PBX waits for our answer; a hidden number is not asked about."""
        if _is_probe(request):
            return None
        fields = request.form()
        asks = fields.get("event") == zadarma_events.START
        return phones.digits(fields.get("caller_id")) if asks else None

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:
        """The value of the cabinet's check, or who calls and where to lead him."""
        if _is_probe(request):
            return Reply(body=request.query["zd_echo"].encode("ascii"))
        steering = self._steering(caller) if caller else {}
        if not steering:
            return Reply()
        text = json.dumps(steering, ensure_ascii=False)
        return Reply(body=text.encode("utf-8", "replace"), content_type="application/json")

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The call as start, employee, answer, end and recording."""
        return [
            SimulatedRequest(
                path_tail="",
                headers={
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Signature": self._signed(step.fields),
                },
                body=urlencode(step.fields).encode("ascii"),
                delay=step.delay,
            )
            for step in zadarma_simulation.steps(scenario, self._zone())
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`request/callback`: rings the employee, then the client; tells no id of the call."""
        self._ask("/v1/request/callback/", {"from": call.extension, "to": call.number})
        return PlacedCall(request_id=call.request_id)

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`statistics/pbx`: windows shorter than a month, pages by offset, rows put together."""
        if since >= until:
            return
        zone = self._account_zone()
        # Asked once, when there is a row that may be the menu of a line.
        lines = cache(lambda: frozenset(line.number for line in self.lines()))
        try:
            for rows in zadarma_events.grouped(self._history_pages(since, until, zone)):
                raw = "\n".join(row.source() for row in rows)
                origin = replace(self._history_origin(zone, raw), lines=lines)
                yield zadarma_events.from_history(rows, origin)
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """`pbx/record/request`: a link that lives half an hour, by the part or by the call."""
        identity = ref.recording_ref or ref.provider_call_id
        if not identity:
            raise self.failure("у записи нет идентификатора", permanent=True)
        name = "pbx_call_id" if zadarma_events.is_call_id(identity) else "call_id"
        response = self._get("/v1/pbx/record/request/", {name: identity})
        # How a file that is still being made is refused is not documented.
        if response.status in (400, 404):
            raise self._no_recording(response)
        answer = self._object(response)
        listed = answer.get("links")
        links = [answer.get("link"), *(listed if isinstance(listed, list) else [])]
        found = [link for link in links if isinstance(link, str) and link]
        if not found:
            raise self._no_recording(response)
        return self.download(found[-1], own=self._base())

    def extensions(self) -> list[Extension]:
        """`pbx/internal`, then the name of each number, as far as the limit of requests goes."""
        numbers = self._ask("/v1/pbx/internal/", {}).get("numbers")
        if not isinstance(numbers, list):
            raise self.failure("в ответе нет списка внутренних номеров", permanent=False)
        shown = [str(number) for number in numbers if isinstance(number, str | int)]
        return [
            Extension(
                number=number,
                name=self._name_of(number) if place < _MOST_NAMES else number,
                employee_key=number,
            )
            for place, number in enumerate(shown)
        ]

    def lines(self) -> list[Line]:
        """`direct_numbers`: numbers of the account."""
        answer = Payload(self._ask("/v1/direct_numbers/", {}))
        return [
            Line(number=number, name=row.text("number_name") or "")
            for row in answer.objects("info")
            if (number := row.number("number"))
        ]

    def probe(self) -> str:
        """The keys are accepted and the zone of the settings is the account's."""
        zone = self._account_zone()
        now = datetime.now(UTC)
        if zone.utcoffset(now) != self._zone().utcoffset(now):
            raise self.failure(
                f"в кабинете часовой пояс {zone.tzname(now)}, а в настройках подключения "
                f"{self.credential('timezone')}: укажите такой же",
                permanent=True,
            )
        return f"Связь есть. Часовой пояс кабинета: {self.credential('timezone')}"

    # Details

    def _base(self) -> str:
        return (self.credential("api_base") or self.credential("service")).rstrip("/")

    def _zone(self) -> timezone:
        """Zone of events, as set; Moscow when the setting cannot be read."""
        zone = zadarma_events.zone_of(self.credential("timezone"))
        return zone or timezone(timedelta(hours=3))

    def _signed(self, fields: Mapping[str, str]) -> str:
        names = zadarma_events.SIGNED[fields["event"]]
        text = "".join(fields.get(name, "") for name in names)
        return signature(self.credential("secret"), text)

    def _origin(self, request: InboundRequest) -> Origin:
        return Origin(
            connection_id=self.connection_id,
            received_at=request.received_at,
            fallback_id=self.delivery_key(request),
            zone=self._zone(),
            raw=self.mask(request),
        )

    def _history_origin(self, zone: timezone, raw: str) -> Origin:
        return Origin(
            connection_id=self.connection_id,
            received_at=datetime.now(UTC),
            fallback_id="",
            zone=zone,
            raw=self.redacted(raw),
        )

    def _steering(self, caller: KnownCaller) -> dict[str, Any]:
        steering: dict[str, Any] = {}
        if caller.name:
            steering["caller_name"] = caller.name[:_LONGEST_NAME]
        extension = caller.responsible_extension or ""
        if self.credential("steering") == ROUTE and re.fullmatch(r"[0-9]{3,5}", extension):
            steering |= {"redirect": extension, "return_timeout": _RETURN_SECONDS}
        return steering

    def _get(self, path: str, params: Mapping[str, str]) -> HttpResponse:
        """Sign and send. Raises `OperatorError` when the minute's requests are used up."""
        self.require_credentials()
        query = urlencode(sorted({**params, "format": "json"}.items()))
        sign = request_signature(self.credential("secret"), path, query)
        response = self.send(
            "GET",
            f"{self._base()}{path}?{query}",
            headers={"Authorization": f"{self.credential('user_key')}:{sign}"},
        )
        if response.status == 429 and "Retry-After" not in response.headers:
            raise self.failure(
                "слишком много запросов", permanent=False, response=response, retry_after=_MINUTE
            )
        return response

    def _object(self, response: HttpResponse) -> dict[str, Any]:
        """The answer, fractions as text: ids are written as numbers (`1439981389.270277`)."""
        self.answer_object(response)
        value: dict[str, Any] = json.loads(response.text, parse_float=str)
        return value

    def _ask(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Raises `OperatorError` for a refusal inside a successful answer too."""
        return self._successful(self._get(path, params))

    def _successful(self, response: HttpResponse) -> dict[str, Any]:
        """Raises `OperatorError`."""
        answer = self._object(response)
        status = answer.get("status")
        if status != "success":
            refused = status == "error"
            raise self.failure("запрос не выполнен", permanent=refused, response=response)
        return answer

    def _account_zone(self) -> timezone:
        """`info/timezone`: the zone of texts in the statistics."""
        zone = zadarma_events.account_zone(Payload(self._ask("/v1/info/timezone/", {})))
        if zone is None:
            raise self.failure("часовой пояс кабинета не назван", permanent=False)
        return zone

    def _history_pages(
        self, since: datetime, until: datetime, zone: timezone
    ) -> Iterator[list[Payload]]:
        start, pause = since, timedelta()
        while start < until:
            end = min(start + _HISTORY_WINDOW, until)
            last = end if end == until else end - _SECOND
            skipped, size = 0, _HISTORY_PAGE
            while size == _HISTORY_PAGE:
                time.sleep(pause.total_seconds())
                page = self._history_page(start, last, zone, skipped)
                yield page
                size, pause = len(page), self.statistics_pause
                skipped += size
            start = end

    def _history_page(
        self, start: datetime, last: datetime, zone: timezone, skipped: int
    ) -> list[Payload]:
        order = {
            "start": _text_time(start, zone),
            "end": _text_time(last, zone),
            "version": "2",
            "skip": str(skipped),
            "limit": str(_HISTORY_PAGE),
        }
        rows = self._ask("/v1/statistics/pbx/", order).get("stats")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.failure("в ответе нет списка звонков", permanent=False)
        return [Payload({name: _plain(value) for name, value in row.items()}) for row in rows]

    def _name_of(self, number: str) -> str:
        """`pbx/internal/{number}/info`; the number itself when nobody is named."""
        response = self._get(f"/v1/pbx/internal/{quote(number, safe='')}/info/", {})
        if response.status in (400, 404):
            return number  # one number without a card must not hide the others
        return Payload(self._successful(response)).text("name") or number

    def _no_recording(self, response: HttpResponse) -> OperatorError:
        return self.failure(
            "записи ещё нет", permanent=False, response=response, kind=RecordingNotReady
        )


def _is_probe(request: InboundRequest) -> bool:
    """The cabinet asks for an echo; only short plain text is echoed."""
    return not request.body and _ECHO.fullmatch(request.query.get("zd_echo", "")) is not None


def _text_time(moment: datetime, zone: timezone) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _plain(value: object) -> object:
    """Flags as text: they come both as `true` and as `"true"`."""
    return str(value).lower() if isinstance(value, bool) else value
