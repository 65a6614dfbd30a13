"""Телфин («Телфин.Офис») and other brands of the RingMe platform: the host is a setting.

Sources: ringme-confluence.atlassian.net (events of an extension, callback), recorded replies of
github.com/xdimedrolx/telphin-go-sdk [G], the provider in the CRM module of ReadyScript CMS [R].
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from crm.integrations.http_protocol import HttpClient
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.telephony import telphin_events, telphin_simulation
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
    RecordingRef,
    SimulatedRequest,
    Subscription,
    WebhookRejected,
)
from crm.integrations.telephony.payload import Payload
from crm.integrations.telephony.telphin_api import TelphinApi
from crm.integrations.telephony.telphin_events import (
    BY_DIRECT_PHONES,
    BY_ENTRY,
    BY_PHONES,
    Origin,
)

API_BASE = "https://apiproxy.telphin.ru"
_NETWORKS = "213.170.84.96/27, 46.229.221.80/28, 79.175.9.160/28, 81.29.132.240/29"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Which notices each type of extension sends; more of them would only use up the account's limit.
_WANTED = {
    "phone": ("dial-in", "dial-out", "answer", "hangup"),
    "ivr": ("dial-in", "hangup"),
    "queue": ("dial-in", "hangup"),
}
_SEPARATORS = re.compile(r"[\s,;]+")


class Telphin(TelphinApi):
    """Телфин."""

    slug = "telphin"
    title = "Телфин"
    docs_url = "https://ringme-confluence.atlassian.net/wiki/spaces/Ringme/pages/1901921397"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
        | Capability.LINES
        | Capability.SUBSCRIPTION
    )
    credentials = (
        CredentialField("app_id", "App ID", secret=False, help="Идентификатор приложения API"),
        CredentialField("app_secret", "App Secret", help="Секрет приложения API"),
        CredentialField(
            "api_base",
            "Адрес API",
            secret=False,
            required=False,
            default=API_BASE,
            help="У Телфина менять не нужно. У других операторов на платформе RingMe — их адрес",
        ),
        CredentialField(
            "client",
            "Номер клиента в API",
            secret=False,
            required=False,
            default="@me",
            help="@me — клиент, которому принадлежит приложение. Меняйте, если так сказал оператор",
        ),
        CredentialField(
            "entry_extensions",
            "Внутренние номера меню и очередей",
            secret=False,
            required=False,
            help="Через запятую, например: 099, 200. Звонок в меню не считается чьим-то личным",
        ),
        CredentialField(
            "call_end",
            "Как CRM узнаёт, что входящий звонок окончен",
            secret=False,
            required=False,
            default=BY_ENTRY,
            choices=(
                (BY_ENTRY, "События шлют и меню с очередями: о конце звонка сообщают они"),
                (BY_PHONES, "События шлют только телефоны: звонок окончен, когда положили трубку"),
                (BY_DIRECT_PHONES, "Номера ведут сразу на телефоны: не ответил — пропущенный"),
            ),
            help="Если звонки подолгу висят как незавершённые, выберите другой вариант",
        ),
        CredentialField(
            "duration_unit",
            "Единица поля Duration",
            secret=False,
            required=False,
            default="auto",
            choices=(
                ("auto", "Определять по величине"),
                ("seconds", "Секунды"),
                ("milliseconds", "Миллисекунды"),
                ("microseconds", "Микросекунды"),
            ),
            help="Меняйте, если длительность разговора в CRM отличается от кабинета",
        ),
        CredentialField(
            "allowed_networks",
            "Принимать события только с адресов",
            secret=False,
            required=False,
            multiline=True,
            help=f"Пусто — с любых. Сторонние источники называют сети Телфина: {_NETWORKS}",
        ),
    )
    setup_steps = (
        "В кабинете оператора создайте доверенное приложение API с доступом «client_credentials».",
        "Скопируйте App ID и App Secret на шаг «Доступ», нажмите «Сохранить и проверить».",
        "Загрузите внутренние номера и назначьте их сотрудникам.",
        "Впишите внутренние номера голосовых меню и очередей.",
        (
            "В кабинете откройте «Настройки → Call Interactive → Вебхуки»: там должен быть адрес "
            "{webhook_url}. Если его нет, добавьте вручную, метод — POST."
        ),
        (
            "Каждому телефону нужны события dial-in, dial-out, answer и hangup, каждому меню и "
            "каждой очереди — dial-in и hangup."
        ),
        "Включите запись разговоров у внутренних номеров, иначе скачивать будет нечего.",
        "Позвоните на рабочий номер и сравните длительность разговора в CRM и в кабинете.",
    )
    cautions = (
        (
            "Единица поля Duration в событиях не описана: числа больше 100 000 CRM считает "
            "микросекундами, остальные — секундами. Точную длительность позже приносит история."
        ),
        (
            "Подписи у событий нет: отправителя доказывает только секрет в адресе. Никому его не "
            "показывайте, а если он стал известен — замените адрес."
        ),
        (
            "Список сетей Телфина — из стороннего источника. Если CRM стоит за прокси, сначала "
            "убедитесь, что она видит настоящий адрес отправителя."
        ),
        "Повторяет ли оператор недошедшие события, не описано: пропущенное приносит история.",
        (
            "Число подписок на события ограничено. Если CRM пишет, что подписку не приняли, "
            "попросите оператора поднять лимит или подпишите только нужные номера."
        ),
        (
            "Что call_uuid в истории — это CallID из событий, оператор прямо не пишет. Если "
            "звонки в CRM двоятся, сообщите разработчикам."
        ),
        "Сколько оператор хранит записи разговоров, не описано: не отключайте CRM надолго.",
        (
            "Звонок, который меню или очередь увели на мобильный сотрудника, до прихода истории "
            "может показываться не полностью."
        ),
    )
    recording_hosts = ("*.telphin.ru",)

    # Subscriptions do not end, but new extensions must be subscribed too.
    subscription_check: ClassVar[timedelta] = timedelta(days=1)

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        super().__init__(connection_id, credentials, http, webhook_token=webhook_token)
        # Without the notices of menus and queues nothing tells that an unanswered call is over.
        self.ends_by_legs = self.credential("call_end") != BY_ENTRY

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """The secret of the address is the only proof; the list of networks only adds to it."""
        try:
            networks = self._networks()
        except OperatorError as error:
            raise WebhookRejected(error.message) from error
        if networks and not _is_from(request.remote_addr, networks):
            raise WebhookRejected("Адрес отправителя не из разрешённых сетей")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate by `EventType`, whatever the path."""
        events = telphin_events.from_notice(Payload(_fields(request)), self._origin(request))
        return [self.unknown_event(request)] if events is None else events

    def reply(
        self,
        request: InboundRequest,  # noqa: ARG002 - every notice is answered alike
        caller: KnownCaller | None = None,  # noqa: ARG002
    ) -> Reply:
        """As [R] answers."""
        return Reply(body=b"OK")

    def mask(self, request: InboundRequest) -> str:
        """A notice sent by GET has its fields in the query: they are what a person must see."""
        if request.body or not request.query:
            return super().mask(request)
        body = urlencode(request.query, errors="replace").encode("ascii")
        return super().mask(replace(request, body=body, headers=_FORM))

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The call as menu, employee and the end of both."""
        microseconds = telphin_events.UNITS.get(self.credential("duration_unit"), 1_000_000)
        return [
            SimulatedRequest(
                path_tail="",
                headers=_FORM,
                body=urlencode(step.fields).encode("ascii"),
                delay=step.delay,
            )
            for step in telphin_simulation.steps(scenario, 1_000_000 // microseconds)
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`callback`: rings the employee, then the client; answers with the id of the events."""
        phone = self._phone(call.employee_key or call.extension)
        source = phone.text("name") or call.extension
        order: dict[str, Any] = {"src_num": [source], "dst_num": call.number}
        if call.line_number:
            order["dst_ani"] = call.line_number
        path = f"extension/{phone.text('id')}/callback/"
        answer = self.answer_object(self.ask("POST", path, json=order))
        call_id = answer.text("call_id") or answer.text("call_api_id")
        return PlacedCall(
            request_id=call.request_id,
            provider_call_id=telphin_events.call_key(call_id) if call_id else None,
        )

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`call_history`: pages in the order of time; calls that go on are left out."""
        for row in self.history_rows(since, until):
            yield from self._history_events(row)

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """`record/<id>`: the file itself."""
        if not ref.recording_ref:
            raise self.failure("у записи нет идентификатора", permanent=True)
        return self.sound(self.client_path(f"record/{quote(ref.recording_ref, safe='')}"))

    def extensions(self) -> list[Extension]:
        """Active telephones; blocked ones are left out."""
        found = (_extension(row) for row in self.extension_rows("phone"))
        return [extension for extension in found if extension is not None]

    def lines(self) -> list[Line]:
        """`did`: numbers outside the PBX."""
        numbers = [
            row.number("name") for row in self.rows(self.ask("GET", self.client_path("did")))
        ]
        return [Line(number=number) for number in numbers if number]

    def subscribe(self, webhook_url: str, current_id: str | None) -> Subscription:
        """Subscribe what is not subscribed yet, drop what leads to our former address.

        The operator's subscriptions do not end; the moment is when new extensions are looked for.
        """
        for kind, wanted in _WANTED.items():
            for row in self.extension_rows(kind):
                self._subscribe(row.text("id") or "", wanted, webhook_url, current_id)
        ends = datetime.now(UTC) + self.subscription_check
        return Subscription(id=_mark(webhook_url), expires_at=ends)

    def probe(self) -> str:
        """The list of networks is tried too: a misspelt one would refuse every notice."""
        self._networks()
        return super().probe()

    # Inside

    def _origin(self, request: InboundRequest | None, raw: str = "") -> Origin:
        return Origin(
            connection_id=self.connection_id,
            received_at=request.received_at if request else datetime.now(UTC),
            fallback_id=self.delivery_key(request) if request else "",
            entries=self._entries(),
            call_end=self.credential("call_end"),
            unit=self.credential("duration_unit"),
            raw=self.mask(request) if request else self.redacted(raw),
        )

    def _entries(self) -> frozenset[str]:
        """Numbers of menus and queues, however they are written."""
        listed = _listed(self.credential("entry_extensions"))
        return frozenset(telphin_events.internal_number(text) or text for text in listed)

    def _networks(self) -> list[IPv4Network | IPv6Network]:
        listed = _listed(self.credential("allowed_networks"))
        try:
            return [ip_network(text, strict=False) for text in listed]
        except ValueError as error:
            message = "список разрешённых адресов написан с ошибкой"
            raise self.failure(message, permanent=True) from error

    def _phone(self, key: str) -> Payload:
        """The telephone by its number, whole name or id. Raises `OperatorError`."""
        for row in self.extension_rows("phone"):
            name = row.text("name") or ""
            if key in (row.text("id"), name, telphin_events.internal_number(name)):
                return row
        raise self.failure(f"в АТС нет телефона с внутренним номером {key}", permanent=True)

    def _history_events(self, row: Any) -> list[CallEvent]:
        try:
            raw = Payload(row).source()
            return telphin_events.from_history(row, self._origin(None, raw))
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error

    def _subscribe(
        self, extension_id: str, wanted: tuple[str, ...], webhook_url: str, former: str | None
    ) -> None:
        path = f"extension/{extension_id}/event/"
        present = set()
        for event in self.rows(self.ask("GET", path)):
            url = event.text("url") or ""
            if _mark(url) == _mark(webhook_url):
                present.add(event.text("event_type"))
            elif former and _mark(url) == former:
                self._unsubscribe(f"{path}{event.text('id')}")
        for name in wanted:
            if name not in present:
                self._add_event(path, {"url": webhook_url, "event_type": name, "method": "POST"})

    def _unsubscribe(self, path: str) -> None:
        response = self.ask("DELETE", path)
        if response.status != 404:
            self.ensure_success(response)

    def _add_event(self, path: str, order: dict[str, str]) -> None:
        response = self.ask("POST", path, json=order)
        if 400 <= response.status < 500 and response.status not in (401, 408, 425, 429):
            message = "подписку на события не приняли: возможно, исчерпан их лимит"
            raise self.failure(message, permanent=True, response=response)
        self.ensure_success(response)


def _fields(request: InboundRequest) -> dict[str, str]:
    """By GET the fields are in the query, by POST in the body."""
    query = dict(request.query)
    if any("\x00" in text for pair in query.items() for text in pair):
        raise MalformedRequest("В адресе есть нулевой символ")
    return query if request.method == "GET" else {**query, **request.form()}


def _listed(text: str) -> list[str]:
    return [item for item in _SEPARATORS.split(text) if item]


def _is_from(address: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    try:
        sender = ip_address(address)
    except ValueError:
        return False
    if isinstance(sender, IPv6Address) and sender.ipv4_mapped:
        sender = sender.ipv4_mapped
    return any(sender in network for network in networks)


def _extension(row: Payload) -> Extension | None:
    name = row.text("name") or ""
    number = telphin_events.internal_number(name)
    if number is None:
        return None
    return Extension(number=number, name=row.text("label") or name, employee_key=number)


def _mark(url: str) -> str:
    """What of an address may be stored: it holds the secret."""
    return hashlib.sha256(url.rstrip("/").encode("utf-8", "surrogatepass")).hexdigest()[:32]
