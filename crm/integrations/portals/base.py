"""What every portal's format module offers: read a feed, write a feed, say what is refused."""

from __future__ import annotations

import datetime as dt
import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, ClassVar

from crm.integrations.portals.fields import (
    FIELDS,
    FieldKind,
    FieldSpec,
    Group,
    Metro,
    OfferPhoto,
    fields_of,
)
from crm.integrations.portals.offer import Offer

__all__ = [
    "FIELDS",
    "AgencyInfo",
    "FeedBroken",
    "FieldKind",
    "FieldSpec",
    "Group",
    "Metro",
    "Offer",
    "OfferPhoto",
    "OfferRead",
    "OfferRefused",
    "Portal",
    "ReadResult",
    "Refusal",
    "Severity",
    "WriteReport",
    "fields_of",
]


@dataclass(frozen=True, slots=True)
class AgencyInfo:
    """The publishing company.

    `phone` (E.164), when set, replaces the phones of every offer: the tracking number of one
    portal. The other values only fill what an offer does not state. `ogrn_name` is the name in the
    state register, which Yandex wants to know before it takes a feed.
    """

    name: str = ""
    ogrn_name: str = ""
    phone: str | None = None
    url: str | None = None
    email: str | None = None
    logo_url: str | None = None


@dataclass(slots=True)
class OfferRead:
    """An offer taken from the file; `position` counts offers from 1."""

    position: int
    internal_id: str
    offer: Offer


@dataclass(frozen=True, slots=True)
class OfferRefused:
    """An offer that cannot be taken: Russian reasons and the beginning of its text."""

    position: int
    internal_id: str | None
    reasons: tuple[str, ...]
    raw: str


@dataclass(frozen=True, slots=True)
class FeedBroken:
    """The file cannot be read further; always the last result. `position` offers came before."""

    position: int
    message: str


ReadResult = OfferRead | OfferRefused | FeedBroken


class Severity(enum.StrEnum):
    """`REFUSE`: the portal will not publish; `WARN`: it publishes worse or may refuse."""

    REFUSE = "refuse"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a portal would say about one field, in Russian; `agency` is the field of the company."""

    field: str
    message: str
    severity: Severity


@dataclass(slots=True)
class WriteReport:
    """How many offers are in the file and which ones the format cannot express (id, reason)."""

    written: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


class Portal(ABC):
    """A feed format; one instance serves every feed, so it keeps no state."""

    slug: ClassVar[str]
    title: ClassVar[str]
    format_name: ClassVar[str]

    @abstractmethod
    def read(self, stream: BinaryIO) -> Iterator[ReadResult]:
        """Give exactly one result an offer, and `FeedBroken` last when the file is not whole.

        Plain, gzip and zip files; memory does not grow with the file.
        """

    @abstractmethod
    def write(
        self,
        offers: Iterable[Offer],
        out: BinaryIO,
        *,
        generated_at: dt.datetime,
        agency: AgencyInfo,
        modern: bool = False,
    ) -> WriteReport:
        """Stream the feed; the same arguments give the same bytes.

        `modern` adds elements newer than the last published schema.
        """

    @abstractmethod
    def check(self, offer: Offer, agency: AgencyInfo, *, modern: bool = False) -> list[Refusal]:
        """What the portal would refuse or dislike in this offer, known before publication."""

    @abstractmethod
    def carried(self, offer: Offer, agency: AgencyInfo, *, modern: bool = False) -> Offer:
        """The offer after all losses of the format: reading what was written gives exactly it."""
