"""Яндекс Недвижимость: the YRL feed, out and in; several other portals read the same file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from crm.integrations.portals.base import (
    AgencyInfo,
    Offer,
    Portal,
    ReadResult,
    Refusal,
    WriteReport,
)
from crm.integrations.portals.yandex_carried import carried
from crm.integrations.portals.yandex_check import check_offer
from crm.integrations.portals.yandex_stream import read_feed
from crm.integrations.portals.yandex_write import write_feed


class YandexPortal(Portal):
    """YRL after https://yandex.ru/support/realty/rules/content-requirements.html."""

    slug = "yandex"
    title = "Яндекс Недвижимость"
    format_name = "YRL"

    def read(self, stream: BinaryIO) -> Iterator[ReadResult]:
        """See `Portal.read`."""
        return read_feed(stream)

    def write(
        self,
        offers: Iterable[Offer],
        out: BinaryIO,
        *,
        generated_at: dt.datetime,
        agency: AgencyInfo,
        modern: bool = False,
    ) -> WriteReport:
        """See `Portal.write`; without `modern` the file fits the schema of 2017."""
        return write_feed(offers, out, generated_at=generated_at, agency=agency, modern=modern)

    def check(self, offer: Offer, agency: AgencyInfo, *, modern: bool = False) -> list[Refusal]:
        """See `Portal.check`."""
        return check_offer(offer, agency, modern)

    def carried(self, offer: Offer, agency: AgencyInfo, *, modern: bool = False) -> Offer:
        """See `Portal.carried`."""
        return carried(offer, agency, modern)
