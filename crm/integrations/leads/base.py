"""What every lead channel gives (`LeadSubmission`) and what it must answer for (`LeadChannel`).

A channel is pure: no database, no Flask. The rim authenticates on the raw bytes, stores the
delivery under `delivery_key` and answers; `parse` runs later and may run again on the same bytes.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from crm.integrations.errors import IntegrationError
from crm.integrations.inbound import InboundRequest, Reply
from crm.values import phones
from crm.values.phones import Phone

DEAL_TYPES = ("buy", "sell", "rent", "rent_out", "mortgage", "callback", "question")


_REASONS = {
    "not_found": "Точка приёма заявок не найдена или выключена",
    "origin_not_allowed": "Сайт не входит в список разрешённых для этой точки приёма",
    "bad_signature": "Подпись запроса отсутствует, просрочена или неверна",
    "too_large": "Тело запроса больше 256 КБ",
    "too_many_fields": "В запросе больше 100 полей",
    "unsupported_media_type": "Тип содержимого не поддерживается: нужен JSON или форма",
    "empty": "В заявке нет ни телефона, ни почты, ни имени, ни текста",
}


class LeadRejected(IntegrationError):
    """The request is refused at the door with an HTTP status and a code for the sender.

    `fields` names the fields at fault with a reason in Russian.
    """

    def __init__(self, status: int, code: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(_REASONS.get(code, code), permanent=True)
        self.status = status
        self.code = code
        self.fields = dict(fields or {})


@dataclass(frozen=True, slots=True)
class Trust:
    """What authentication has proved: a valid signature, and the browser's origin if any."""

    signed: bool = False
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Utm:
    """Five marks of an advertisement, decoded; '' when absent."""

    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""

    def __bool__(self) -> bool:
        return any((*self.marks, self.term))

    @property
    def marks(self) -> tuple[str, str, str, str]:
        """The four marks that decide the source (the term takes no part)."""
        return self.source, self.medium, self.campaign, self.content


@dataclass(frozen=True, slots=True)
class LeadSubmission:
    """One request of a client, normalised; the same from every channel. Texts are '' when absent.

    `extra` holds every field we have no name for (label -> value), `client` technical values of
    the browser, `raw` the fields as they came with unknown and secret values masked,
    `truncated` notes in Russian about what was cut or refused. Personal data stay out of `repr`.
    """

    channel: str
    external_id: str = ""
    name: str = field(default="", repr=False)
    phones: tuple[Phone, ...] = field(default=(), repr=False)
    email: str = field(default="", repr=False)
    comment: str = field(default="", repr=False)
    deal_type: str = ""
    listing_ref: str = ""
    page_url: str = ""
    referrer: str = ""
    form_name: str = ""
    utm: Utm = Utm()
    first_utm: Utm = Utm()
    click_ids: Mapping[str, str] = field(default_factory=dict)
    consent: bool | None = None
    policy_version: str = ""
    responsible_email: str = field(default="", repr=False)
    source_id: int | None = None
    created_at: dt.datetime | None = None
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    client: Mapping[str, str] = field(default_factory=dict)
    ip: str = field(default="", repr=False)
    user_agent: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    captcha_token: str = field(default="", repr=False)
    honeypot_filled: bool = False
    redirect: str = ""
    raw: str = field(default="", repr=False)
    truncated: tuple[str, ...] = ()

    @property
    def full_comment(self) -> str:
        """The visitor's words followed by `label: value` lines of the other fields."""
        lines = [f"{label}: {value}" for label, value in self.extra.items()]
        return "\n".join(filter(None, (self.comment, *lines)))

    @property
    def is_empty(self) -> bool:
        """Whether nothing of use is here: no phone, e-mail, name or words."""
        return not (self.phones or self.email or self.name or self.full_comment)

    def double_key(self, point_id: int) -> str | None:
        """Key of a double: contact, point and words (site.md §8.2), compared within ten minutes.

        64 hex digits; None when there is no contact to compare by.
        """
        contact = self.contact_key
        if not contact:
            return None
        words = " ".join(self.full_comment.casefold().split())
        return digest(str(point_id), contact, words)

    @property
    def contact_key(self) -> str:
        """Match key of the first phone, else the e-mail, else ''."""
        numbers = (phone.e164 or phone.raw for phone in self.phones)
        return next(filter(None, map(phones.match_key, numbers)), self.email)


@dataclass(frozen=True, slots=True)
class SpamLimits:
    """Values of the spam layers of a point: points, seconds, counts an hour or a minute.

    `blocked_phones` are match keys, `blocked_email_domains` lower-case hosts.
    """

    threshold: int = 5
    max_links: int = 2
    min_token_age: float = 3.0
    max_token_age: float = 24 * 3600.0
    per_ip_10_minutes: int = 10
    per_key_minute: int = 120
    per_phone_hour: int = 5
    phrases: tuple[str, ...] = ()
    blocked_phones: frozenset[str] = frozenset()
    blocked_email_domains: frozenset[str] = frozenset()
    blocked_ips: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """An intake point as a channel needs it; `aliases` maps a site's own label to our field.

    `key` is public and stands in the address; `secret` signs requests, `token_secret` the
    snippet's tokens. `deal_type_map` leads from a deal type to a pipeline id.
    """

    id: int
    key: str
    secret: str = field(default="", repr=False)
    require_signature: bool = False
    allowed_domains: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    honeypot: str = "website"
    uses_snippet: bool = False
    token_secret: str = field(default="", repr=False)
    allow_responsible: bool = False
    allow_source: bool = False
    city_code: str | None = None
    deal_type_map: Mapping[str, int] = field(default_factory=dict)
    spam: SpamLimits = SpamLimits()


class OutcomeKind(enum.StrEnum):
    """What became of a request that was let in."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    SPAM = "spam"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to answer: the kind and our id of the request (None while it only lies in the inbox)."""

    kind: OutcomeKind
    id: int | None = None


@dataclass(frozen=True, slots=True)
class LeadScenario:
    """An invented request for trying a point without a site."""

    name: str = "Мария Лебедева"
    phone: str = "+7 (916) 204-17-35"
    email: str = "m.lebedeva@example.org"
    comment: str = "Ищу двухкомнатную рядом с парком, ипотека одобрена"
    page_url: str = "https://example.org/flats/17"
    utm: Utm = Utm("yandex", "cpc", "spring", "ad1", "купить квартиру")
    deal_type: str = "buy"
    listing_ref: str = ""
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """A request ready to be sent to our own door: the tail is what follows the door's address."""

    method: str
    path_tail: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)


class LeadChannel(ABC):
    """Translator of one way in. A subclass declares itself and translates, nothing else."""

    slug: ClassVar[str]
    title: ClassVar[str]
    docs: ClassVar[str]
    # How the owner connects it, step by step, in Russian; `{intake_url}` is replaced.
    setup_steps: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def authenticate(
        self, request: InboundRequest, settings: IntakeSettings, now: dt.datetime
    ) -> Trust:
        """Check the sender on the raw bytes; raises LeadRejected."""

    @abstractmethod
    def parse(
        self, request: InboundRequest, settings: IntakeSettings, trust: Trust | None = None
    ) -> LeadSubmission:
        """Read the request; without `trust` it is proved again from the request itself.

        Raises LeadRejected (too large, empty) and MalformedRequest (unreadable), nothing else.
        """

    @abstractmethod
    def delivery_key(self, request: InboundRequest, settings: IntakeSettings) -> str:
        """Unique key of this delivery within the point, at most 128 ASCII characters.

        Never raises: an unreadable body has a key too, so that it can be kept.
        """

    @abstractmethod
    def reply(
        self,
        request: InboundRequest,
        settings: IntakeSettings,
        trust: Trust,
        outcome: Outcome,
    ) -> Reply:
        """Answer a request that was let in."""

    @abstractmethod
    def refuse(
        self, request: InboundRequest, settings: IntakeSettings | None, error: LeadRejected
    ) -> Reply:
        """Answer a refused request; `settings` is None when the key is unknown."""

    @abstractmethod
    def mask(self, request: InboundRequest, settings: IntakeSettings) -> str:
        """Return the body as a page may show it: secrets masked. Never raises."""

    @abstractmethod
    def simulate(
        self, scenario: LeadScenario, settings: IntakeSettings, now: dt.datetime
    ) -> SimulatedRequest:
        """Build the request, correctly signed, that a real site would send."""


def digest(*parts: Any) -> str:
    """SHA-256 in hex of several texts; no two different lists of parts are joined alike."""
    joined = "".join(f"{len(text)}:{text}" for text in map(str, parts))
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
