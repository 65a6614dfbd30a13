"""Ground of the tests of listings and feeds: invented offers, files of them, a company."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from crm.integrations.portals import registry
from crm.integrations.portals.base import AgencyInfo, Offer
from crm.models import Company, Feed, FeedRunItem, ImportFeed, ListingState, db
from crm.operations import imports, records
from crm.security.principal import Principal
from tests.integrations.portals.offers import STAMP, flat

AGENCY = AgencyInfo(name="АН «Причал»", ogrn_name="ООО «Причал»")
PHONE = "+78125550101"


def company(**values: Any) -> Company:
    """The agency with what a feed needs."""
    found: Company = db.session.scalars(select(Company)).one()
    found.name, found.ogrn_name, found.phone = "АН «Причал»", "ООО «Причал»", PHONE
    for name, value in values.items():
        setattr(found, name, value)
    db.session.commit()
    return found


def feed(name: str = "Яндекс", **values: Any) -> Feed:
    """An outgoing feed."""
    made = Feed(name=name, **values)
    records.create(made, None)
    return made


def source(name: str = "Партнёр", **values: Any) -> ImportFeed:
    """A foreign feed whose listings are published at once."""
    values.setdefault("state_for_new", ListingState.ACTIVE)
    made = ImportFeed(name=name, **values)
    records.create(made, None)
    return made


def flats(count: int, **values: Any) -> list[Offer]:
    """Distinct flats."""
    return [
        flat(
            public_id=f"A-{number}",
            address=f"Липовая аллея, {number}",
            cadastral_number=f"78:01:0004012:{number + 1}",
            flat_number=None,
            **values,
        )
        for number in range(count)
    ]


def written(offers: Iterable[Offer], modern: bool = True) -> bytes:
    """A feed file of the offers."""
    out = io.BytesIO()
    registry.get("yandex").write(offers, out, generated_at=STAMP, agency=AGENCY, modern=modern)
    return out.getvalue()


def run(target: ImportFeed, content: bytes | Iterable[Offer], *, dry_run: bool = False) -> Any:
    """Import a file (or offers) at once."""
    data = content if isinstance(content, bytes) else written(content)
    started = imports.start_import(target, data, dry_run=dry_run, enqueue=False)
    return imports.run_import(started.id)


def with_page(principal: Principal, page: str) -> Principal:
    """The person with the right to open the page, whatever pages are registered."""
    return replace(principal, permissions=principal.permissions | {("can_list", page)})


def items(run_id: int, outcome: str | None = None) -> list[FeedRunItem]:
    """The account of a run."""
    query = select(FeedRunItem).where(FeedRunItem.run_id == run_id).order_by(FeedRunItem.position)
    if outcome:
        query = query.where(FeedRunItem.outcome == outcome)
    return list(db.session.scalars(query))
