"""Operators whose protocol nobody described: the administrator of the connection chooses one.

A brand has no code of its own. It lends its name and its credentials to the driver of the chosen
protocol. Drivers are found through the registry when they are needed, never at import.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, cast

from crm.integrations.http_protocol import HttpClient
from crm.integrations.inbound import InboundRequest, Reply
from crm.integrations.telephony import registry
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    ClickToCall,
    CredentialField,
    Extension,
    KnownCaller,
    Line,
    PlacedCall,
    Recording,
    RecordingRef,
    SetupText,
    SimulatedRequest,
    Subscription,
    TelephonyOperator,
)

SELECTOR = "protocol"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A protocol to choose from; `operator` is the slug whose driver speaks it."""

    name: str
    operator: str
    title: str
    hint: str
    # Instead of the driver's own steps, when those describe another operator's cabinet.
    steps: tuple[str, ...] = ()
    # Fields whose defaults are another operator's: here they must be told.
    asked: frozenset[str] = frozenset()


GENERAL = Offer(
    name="generic",
    operator="generic",
    title="Общий протокол",
    hint="события присылает скрипт или АТС, настроенная специалистом",
)
ITOOLABS = Offer(
    name="itoolabs",
    operator="megafon",
    title="ITooLabs",
    hint="в кабинете АТС спрашивают адрес CRM и два ключа",
    steps=(
        "В кабинете АТС откройте настройки интеграции с CRM и вставьте адрес CRM: {webhook_url}",
        (
            "Придумайте ключ не короче 32 знаков, впишите его в кабинете как ключ CRM и повторите "
            "в поле «ITooLabs: Ключ для авторизации в CRM»."
        ),
        (
            "Скопируйте из кабинета адрес API и ключ к нему в поля «ITooLabs: Адрес АТС» и "
            "«ITooLabs: Ключ для авторизации в АТС»."
        ),
        "Включите запись разговоров, иначе скачивать будет нечего.",
        "Сопоставьте сотрудников CRM с логинами АТС: события называют сотрудника логином.",
    ),
)
MANGO = Offer(
    name="mango",
    operator="mango",
    title="MANGO",
    hint="в кабинете АТС есть код АТС и ключ для создания подписи",
    steps=(
        "В кабинете АТС откройте настройки API и вставьте адрес внешней системы: {webhook_url}",
        "Скопируйте код АТС и ключ для создания подписи в поля, которые начинаются с «MANGO».",
        "Спросите у оператора адрес API и впишите его в поле «MANGO: Адрес API».",
        "Включите хранение записей разговоров, иначе скачивать будет нечего.",
        "Впишите номера линий вручную: по этому протоколу они не загружаются.",
    ),
    asked=frozenset({"api_base"}),
)
DETECT = Offer(
    name="detect",
    operator="detect",
    title="Ещё не знаю",
    hint="записать первые запросы и узнать протокол по ним",
)
QUESTIONS = SetupText(
    "Что спросить у оператора",
    """\
Здравствуйте! Подключаем виртуальную АТС к нашей CRM, просим ответить:
1. Есть ли для нашего тарифа документ «API» или «Интеграция с CRM»? Пришлите его, пожалуйста.
2. Какой адрес у API и где взять ключ к нему?
3. Где в кабинете АТС вписывается адрес нашей CRM?
4. Присылает ли АТС события, когда телефон звонит, когда сняли трубку и когда звонок закончился?
5. Как получить запись разговора?
6. Есть ли в событиях номер компании, на который позвонил клиент?""",
)


class _OfDefault:
    """What a brand as such declares: that of its default protocol, read when it is asked for."""

    def __init__(self, read: Callable[[type[Brand]], Any]) -> None:
        self._read = read

    def __get__(self, instance: object, owner: type[Brand]) -> Any:
        return self._read(owner)


def _declared(read: Callable[[type[Brand]], Any]) -> Any:
    """A type checker sees the attribute, not the descriptor behind it."""
    return cast("Any", _OfDefault(read))


class Brand(TelephonyOperator):
    """A name over several protocols. A leaf says what it offers, the default first."""

    own_steps: ClassVar[tuple[str, ...]] = ()
    own_texts: ClassVar[tuple[SetupText, ...]] = ()
    own_cautions: ClassVar[tuple[str, ...]] = ()
    own_recording_hosts: ClassVar[tuple[str, ...]] = ()

    credentials = _declared(lambda brand: _fields(brand, chosen=None))
    capabilities = _declared(lambda brand: _driver_class(brand.offers()[0]).capabilities)
    setup_steps = _declared(lambda brand: _steps(brand, brand.offers()[0]))
    setup_texts = _declared(
        lambda brand: (*brand.own_texts, *_driver_class(brand.offers()[0]).setup_texts)
    )
    cautions = _declared(
        lambda brand: (*brand.own_cautions, *_driver_class(brand.offers()[0]).cautions)
    )
    recording_hosts = _declared(
        lambda brand: (
            *_driver_class(brand.offers()[0]).recording_hosts,
            *brand.own_recording_hosts,
        )
    )
    recording_delay = _declared(lambda brand: _driver_class(brand.offers()[0]).recording_delay)

    @classmethod
    @abstractmethod
    def offers(cls) -> tuple[Offer, ...]:
        """Protocols to choose from, the default first."""

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        super().__init__(connection_id, credentials, http, webhook_token=webhook_token)
        offers = {offer.name: offer for offer in reversed(self.offers())}
        self.offer = offers.get(self.credential(SELECTOR), self.offers()[0])
        self.driver = self._driver(webhook_token)
        self.credentials = _fields(type(self), chosen=self.offer)
        self.capabilities = self.driver.capabilities
        self.setup_steps = _steps(type(self), self.offer)
        self.setup_texts = (*self.own_texts, *self.driver.setup_texts)
        self.cautions = (*self.own_cautions, *self.driver.cautions)
        self.recording_hosts = self.driver.recording_hosts
        self.recording_delay = self.driver.recording_delay
        self.ends_by_legs = self.driver.ends_by_legs

    def _driver(self, webhook_token: str) -> TelephonyOperator:
        kind = _driver_class(self.offer)
        names = _names(type(self))
        values = {
            item.name: self.credential(names[self.offer.name, item.name])
            for item in kind.credentials
        }
        driver = kind(self.connection_id, values, self.http, webhook_token=webhook_token)
        # Its events and errors speak of the brand.
        vars(driver).update(slug=self.slug, title=self.title)
        driver.recording_hosts = (*driver.recording_hosts, *self.own_recording_hosts)
        return driver

    def missing_credentials(self) -> list[CredentialField]:
        """Only what the chosen protocol needs."""
        names = _names(type(self))
        empty = {names[self.offer.name, item.name] for item in self.driver.missing_credentials()}
        return [
            item
            for item in self.credentials
            if item.name in empty or (item.required and not self.credential(item.name))
        ]

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """Every check of the chosen protocol, that of the secret address among them."""
        self.driver.verify(request)

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """As the chosen protocol does."""
        return [self._own(event) for event in self.driver.parse(request)]

    def delivery_key(self, request: InboundRequest) -> str:
        """As the chosen protocol does."""
        return self.driver.delivery_key(request)

    def caller_question(self, request: InboundRequest) -> str | None:
        """As the chosen protocol does."""
        return self.driver.caller_question(request)

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:
        """As the chosen protocol does."""
        return self.driver.reply(request, caller)

    def mask(self, request: InboundRequest) -> str:
        """As the chosen protocol does."""
        return self.driver.mask(request)

    def ended_subscription(self, request: InboundRequest) -> str | None:
        """As the chosen protocol does."""
        return self.driver.ended_subscription(request)

    def notes(self, request: InboundRequest) -> Mapping[str, Any]:
        """As the chosen protocol does."""
        return self.driver.notes(request)

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """As the chosen protocol does."""
        return self.driver.simulate(scenario)

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """As the chosen protocol does."""
        return self._ready().place_call(call)

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """As the chosen protocol does."""
        for event in self._ready().history(since, until):
            yield self._own(event)

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """As the chosen protocol does."""
        return self._ready().fetch_recording(ref)

    def extensions(self) -> list[Extension]:
        """As the chosen protocol does."""
        return self._ready().extensions()

    def lines(self) -> list[Line]:
        """As the chosen protocol does."""
        return self._ready().lines()

    def subscribe(self, webhook_url: str, current_id: str | None) -> Subscription:
        """As the chosen protocol does."""
        return self._ready().subscribe(webhook_url, current_id)

    def subscription_lives(self, webhook_url: str, current_id: str) -> bool:
        """As the chosen protocol does."""
        return self._ready().subscription_lives(webhook_url, current_id)

    def probe(self) -> str:
        """As the chosen protocol does."""
        return self._ready().probe()

    # Details

    def _own(self, event: CallEvent) -> CallEvent:
        """A driver may write its own name into its events."""
        return replace(event, operator=self.slug)

    def _ready(self) -> TelephonyOperator:
        """The driver; without the brand's fields it might ask another operator's server."""
        self.require_credentials()
        return self.driver


def _driver_class(offer: Offer) -> type[TelephonyOperator]:
    return registry.get(offer.operator)


def _steps(brand: type[Brand], offer: Offer) -> tuple[str, ...]:
    return (*brand.own_steps, *(offer.steps or _driver_class(offer).setup_steps))


@cache
def _names(brand: type[Brand]) -> Mapping[tuple[str, str], str]:
    """Protocol and its field to the brand's field: prefixed where two have the same name."""
    pairs = [
        (offer.name, item.name)
        for offer in brand.offers()
        for item in _driver_class(offer).credentials
    ]
    count = Counter(name for _, name in pairs)
    return {
        (protocol, name): f"{protocol}_{name}" if count[name] > 1 or name == SELECTOR else name
        for protocol, name in pairs
    }


def _fields(brand: type[Brand], chosen: Offer | None) -> tuple[CredentialField, ...]:
    """The selector and the fields of every protocol; only those of the chosen are required."""
    offers = brand.offers()
    selector = CredentialField(
        SELECTOR,
        "Протокол АТС",
        secret=False,
        default=offers[0].name,
        choices=tuple((offer.name, f"{offer.title} — {offer.hint}") for offer in offers),
        help="Его называет оператор. Заполните ниже поля, которые начинаются с этого названия",
    )
    return (selector, *(_field(brand, offer, item, chosen) for offer, item in _offered(offers)))


def _offered(offers: tuple[Offer, ...]) -> Iterator[tuple[Offer, CredentialField]]:
    for offer in offers:
        for item in _driver_class(offer).credentials:
            yield offer, item


def _field(
    brand: type[Brand], offer: Offer, item: CredentialField, chosen: Offer | None
) -> CredentialField:
    asked = item.name in offer.asked
    return replace(
        item,
        name=_names(brand)[offer.name, item.name],
        label=f"{offer.title}: {item.label}",
        protocol=offer.name,
        required=offer == chosen and (item.required or asked),
        default="" if asked else item.default,
    )
