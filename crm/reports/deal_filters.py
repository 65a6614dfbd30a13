"""Which deals the board and the list show: the filters of the address and their SQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, True_, and_, false, or_, select, true

from crm.models import Contact, ContactPhone, Deal, Employee, ObjectKind, Scope, SearchToken, db
from crm.reports import contact_masks
from crm.reports.company import company_zone
from crm.reports.stages import StageBook
from crm.security import visibility
from crm.security.principal import Principal
from crm.values import phones
from crm.values.clock import day_bounds, utc_now

Condition = ColumnElement[bool]
NOBODY = 0
STATES = ("open", "closed", "all")
_MAX_ID = 2**31 - 1
_ID_DIGITS = 10
_SHORTEST_TAIL, _WHOLE_NUMBER = 4, 10


@dataclass(frozen=True, slots=True)
class DealFilters:
    """Conditions of the address; empty ones let everything through."""

    q: str = ""
    responsible: int | None = None
    department: int | None = None
    source: int | None = None
    stage: int | None = None
    state: str = ""
    created_from: dt.date | None = None
    created_to: dt.date | None = None
    mine: bool = False
    no_task: bool = False
    overdue: bool = False
    unprocessed: bool = False
    common: bool = False

    @classmethod
    def parse(cls, args: Mapping[str, str]) -> DealFilters:
        """Read query arguments; what cannot be understood is left out."""
        return cls(
            q=args.get("q", "").replace("\x00", "").strip()[:100],
            responsible=_number(args.get("responsible")),
            department=_number(args.get("department")),
            source=_number(args.get("source")),
            stage=_number(args.get("stage")),
            state=args["state"] if args.get("state") in STATES else "",
            created_from=_date(args.get("created_from")),
            created_to=_date(args.get("created_to")),
            mine=args.get("mine") == "1",
            no_task=args.get("no_task") == "1",
            overdue=args.get("overdue") == "1",
            unprocessed=args.get("unprocessed") == "1",
            common=args.get("common") == "1",
        )

    def args(self, **changes: Any) -> dict[str, Any]:
        """Query arguments of these filters with ``changes`` made; empty ones are left out."""
        changed = replace(self, **changes)
        pairs = ((item.name, getattr(changed, item.name)) for item in fields(changed))
        return {
            name: "1" if value is True else str(value)
            for name, value in pairs
            if value not in ("", None, False) or (name == "responsible" and value == NOBODY)
        }

    def without(self, *names: str) -> dict[str, Any]:
        """Query arguments with the named conditions taken off."""
        defaults = DealFilters()
        return self.args(**{name: getattr(defaults, name) for name in names})

    @property
    def narrowed(self) -> bool:
        """Whether anything at all is asked for."""
        return self != DealFilters()


def _number(text: str | None) -> int | None:
    if not text or not text.isascii() or not text.isdigit() or len(text) > _ID_DIGITS:
        return None
    return min(int(text), _MAX_ID)


def _date(text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat((text or "")[:10])
    except ValueError:
        return None


def conditions(principal: Principal, filters: DealFilters, book: StageBook) -> list[Condition]:
    """SQL of the filters on top of what the person may see."""
    found = [visibility.condition(principal, Deal), *_reach(principal, filters, book)]
    simple = (
        (Deal.department_id, filters.department),
        (Deal.source_id, filters.source),
        (Deal.stage_id, filters.stage),
    )
    found += [column == value for column, value in simple if value is not None]
    if filters.state in ("open", "closed"):
        ids = book.open_ids() if filters.state == "open" else book.closed_ids()
        found.append(Deal.stage_id.in_(ids))
    found += _marks(filters, book)
    found += _period(filters)
    if filters.q:
        found.append(text_condition(principal, filters.q))
    return found


def _reach(principal: Principal, filters: DealFilters, book: StageBook) -> list[Condition]:
    """Whose deals: narrows by the responsible person first, so that an index is walked.

    Deals of others on stages open to everybody are the section «Общие сделки» (domain §8):
    they are shown when asked for, or found by text.
    """
    if filters.common:
        others = Deal.responsible_id.is_distinct_from(principal.id)
        return [Deal.stage_id.in_(book.common_ids()), others]
    if filters.mine:
        return [Deal.responsible_id == principal.id]
    if filters.responsible is not None:
        return [Deal.responsible_id == (filters.responsible or None)]
    ids = _people(principal)
    if ids is None or filters.q:
        return []
    return [or_(Deal.responsible_id.in_(ids), Deal.responsible_id.is_(None))]


def _people(principal: Principal) -> list[int] | None:
    """Ids of those whose deals are within the person's scope; None means everybody."""
    scope = principal.scope(ObjectKind.DEAL)
    if scope is Scope.ALL:
        return None
    if scope in (Scope.OWN, Scope.NONE):
        return [principal.id]
    places = {Scope.DEPARTMENT: Employee.department_id, Scope.OFFICE: Employee.office_id}
    place_id = principal.office_id if scope is Scope.OFFICE else principal.department_id
    if scope not in places or place_id is None:
        return list(principal.team_ids)
    colleagues = db.session.scalars(select(Employee.id).where(places[scope] == place_id))
    return sorted({*principal.team_ids, *colleagues})


def _marks(filters: DealFilters, book: StageBook) -> list[Condition]:
    found: list[Condition] = []
    if filters.no_task:
        found += [Deal.next_task_due.is_(None), Deal.stage_id.in_(book.tasked_ids())]
    if filters.overdue:
        found.append(Deal.next_task_due < utc_now())
    if filters.unprocessed:
        found += [~Deal.is_saved, Deal.stage_id.in_(book.open_ids())]
    return found


def _period(filters: DealFilters) -> list[Condition]:
    found: list[Condition] = []
    if filters.created_from:
        found.append(Deal.created_at >= day_bounds(filters.created_from, company_zone())[0])
    if filters.created_to:
        found.append(Deal.created_at < day_bounds(filters.created_to, company_zone())[1])
    return found


def text_condition(principal: Principal, text: str) -> Condition:
    """Deals by number, by the client's phone in any spelling, or by words of his name.

    A part of a number or a name finds only clients whose numbers and names the person sees.
    """
    digits = phones.search_digits(text)
    number = text.lstrip("№ ").replace(" ", "")
    found: list[Condition] = []
    if number.isascii() and number.isdigit() and int(number) <= _MAX_ID:
        found.append(Deal.id == int(number))
    if digits and len(digits) >= _SHORTEST_TAIL:
        by_phone = select(ContactPhone.contact_id).where(
            ContactPhone.key_reversed.like(digits[::-1] + "%")
        )
        whole = len(digits) >= _WHOLE_NUMBER
        seen = true() if whole else contact_masks.findable_by_tail(principal)
        found.append(and_(Deal.contact_id.in_(by_phone), _of_client(seen)))
    if not digits:
        found.append(and_(_by_words(text), _of_client(contact_masks.findable_by_name(principal))))
    return or_(false(), *found)


def _of_client(condition: Condition) -> Condition:
    """What the deal's client must meet; no table is asked for what everybody meets."""
    if isinstance(condition, True_):
        return condition
    return Deal.contact_id.in_(select(Contact.id).where(condition))


def _by_words(text: str) -> Condition:
    found: Condition = true()
    for word in text.casefold().replace("ё", "е").split()[:5]:
        tokens = select(SearchToken.object_id).where(
            SearchToken.kind == "contact",
            SearchToken.token >= word,
            SearchToken.token < word + "\uffff",
        )
        found = found & Deal.contact_id.in_(tokens)
    return found
