"""Listings: adding, changing, states, hand-over, copies, and the warning about doubles."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from flask_babel import gettext as _

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import FIELDS
from crm.models import (
    Action,
    Contact,
    Department,
    Employee,
    EventKind,
    Listing,
    ListingState,
    ObjectKind,
    PriceChange,
    Scope,
    db,
)
from crm.operations import audit, listing_fields, photos, rows, search_index, timeline
from crm.operations.errors import (
    Conflict,
    FieldError,
    Forbidden,
    NotFound,
    ValidationErrors,
)
from crm.operations.listing_doubles import Double, find_doubles
from crm.operations.listing_ids import new_public_id
from crm.operations.listing_offers import set_values, values_of
from crm.operations.transaction import operation
from crm.reports import contact_masks
from crm.security import visibility
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values import clock
from crm.values.clock import utc_now

# Fields of the row that are not a portal's: whose it is and for how long.
OWN_FIELDS = ("owner_id", "department_id", "exclusive_until", "published_from")
_ROWS = {"owner_id": Contact, "department_id": Department}
_PUBLIC = frozenset({ListingState.ACTIVE, ListingState.DEPOSIT})


@dataclass(frozen=True, slots=True)
class ListingSaved:
    """The stored listing, and others that seem to be the same object."""

    listing: Listing
    doubles: list[Double] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """The same for a person."""
        return [double.message for double in self.doubles]


# --- operations -------------------------------------------------------------------------------


@operation
def create_listing(by: Principal, values: Mapping[str, Any]) -> ListingSaved:
    """Add a draft from raw form input; the person answers for it unless another is chosen.

    ``values``: fields of ``listing_fields``, ``OWN_FIELDS`` and ``responsible_id``. Raises
    Forbidden and ValidationErrors with all complaints.
    """
    _demand_work(by)
    typed, own, errors = _read(values, None, by)
    responsible = _responsible(values.get("responsible_id") or by.id, by, errors)
    errors += listing_fields.check_values(typed)
    if errors or responsible is None:
        raise ValidationErrors(errors)
    listing = Listing(
        public_id=new_public_id(),
        state=ListingState.DRAFT,
        deal_type=str(typed.pop("deal_type")),
        kind=str(typed.pop("kind")),
        currency=str(v.Currency.RUB),
        attributes={},
        responsible_id=responsible.id,
        department_id=responsible.department_id,
    )
    set_values(listing, typed)
    _set_own(listing, own)
    return ListingSaved(_born(listing, by), _doubles(listing, by))


@operation
def edit_listing(
    listing_id: int, by: Principal, values: Mapping[str, Any], version: int | None = None
) -> ListingSaved:
    """Change the given fields; ``version`` is what the person saw when he began.

    Raises NotFound, Forbidden, Conflict (changed meanwhile) and ValidationErrors.
    """
    listing = listing_to_change(listing_id, by)
    if version is not None and version != listing.version:
        raise Conflict(_("Объект только что изменил другой сотрудник. Обновите страницу."))
    typed, own, errors = _read(values, listing, by)
    old = values_of(listing)
    # What an import brought wrong already must not refuse a change of something else.
    known = _complaints(listing, old)
    errors += [error for error in _complaints(listing, old | typed) if error not in known]
    if errors:
        raise ValidationErrors(errors)
    old_price = listing.price
    changed = set_values(listing, typed)
    if "kind" in changed or "deal_type" in changed:
        changed |= set_values(listing, _unconcerned(listing))
    before, after = audit.changes(listing)
    own_changed = _set_own(listing, own)
    if changed or own_changed:
        _mark_edited(listing)
        _note_changes(listing, by, old_price, sorted({*changed, *own_changed}))
        before, after = before | own_changed, after | _plain(listing, own_changed)
        audit.record("update", listing, by, before=before, after=after)
    search_index.reindex_listing(listing)
    return ListingSaved(listing, _doubles(listing, by))


@operation
def set_state(listing_id: int, by: Principal, state: ListingState | str) -> Listing:
    """Move the listing to another state; archiving may be forbidden by a personal permission.

    Raises NotFound, Forbidden, and ValidationErrors when it cannot be published yet.
    """
    listing = listing_to_change(listing_id, by)
    try:
        target = ListingState(state)
    except ValueError:
        raise ValidationErrors.one("state", _("Такого состояния нет.")) from None
    if target is ListingState.ARCHIVE and by.can(Grant.FORBID_ARCHIVE_LISTING):
        raise Forbidden(_("Вам запрещено отправлять объекты в архив."))
    if target in _PUBLIC and (errors := _publishable(values_of(listing))):
        raise ValidationErrors(errors)
    if listing.state != target:
        old, listing.state = listing.state, str(target)
        if target is ListingState.ACTIVE and listing.published_from is None:
            listing.published_from = utc_now()
        timeline.note(EventKind.STATE, listing=listing, by=by, old=old, new=str(target))
        audit.record("state", listing, by, before={"state": old}, after={"state": str(target)})
    return listing


def archive(listing_id: int, by: Principal) -> Listing:
    """Send the listing to the archive; see `set_state`."""
    return set_state(listing_id, by, ListingState.ARCHIVE)


@operation
def transfer(listing_id: int, by: Principal, employee_id: int) -> Listing:
    """Give the listing to another employee and his department.

    Raises NotFound, Forbidden (not editable, or a personal permission) and ValidationErrors.
    """
    listing = listing_to_change(listing_id, by)
    if listing.responsible_id == employee_id:
        return listing
    if by.can(Grant.FORBID_TRANSFER_LISTING):
        raise Forbidden(_("Вам запрещено передавать объекты."))
    employee = _employee(employee_id)
    old = listing.responsible
    listing.responsible, listing.responsible_id = employee, employee.id
    if employee.department_id is not None:
        listing.department, listing.department_id = employee.department, employee.department_id
    timeline.note(
        EventKind.RESPONSIBLE,
        listing=listing,
        by=by,
        old=old.full_name if old else None,
        new=employee.full_name,
        old_id=old.id if old else None,
        new_id=employee.id,
    )
    audit.record(
        "transfer",
        listing,
        by,
        before={"responsible_id": old.id if old else None},
        after={"responsible_id": employee.id},
    )
    return listing


@operation
def copy_listing(listing_id: int, by: Principal) -> Listing:
    """A draft of the person's own with the same fields and photos.

    The owner comes along only from a listing that the person may edit, and if he is not hidden
    from the person, whom the copy would show him. Raises NotFound and
    Forbidden (no right to add, or somebody else's and a personal permission forbids).
    """
    _demand_work(by)
    source = visibility.get_visible(by, Listing, listing_id)
    if source is None:
        raise NotFound(_("Объект не найден."))
    if source.responsible_id != by.id and by.can(Grant.FORBID_COPY_FOREIGN):
        raise Forbidden(_("Вам запрещено копировать чужие объекты."))
    columns = Listing.__table__.columns.keys()
    kept = {name: getattr(source, name) for name in columns if name not in _NOT_COPIED}
    copy = Listing(**kept, attributes=_copied_attributes(source))
    copy.public_id, copy.state = new_public_id(), str(ListingState.DRAFT)
    copy.responsible_id = by.id
    copy.department_id = by.department_id or source.department_id
    seen = source.owner_id is None or not _is_opened(source.owner_id, by)
    if seen and visibility.may(by, Action.EDIT, source):
        copy.owner_id = source.owner_id
    _born(copy, by, copied_from=source.id)
    photos.copy_photos(source.id, copy.id)
    return copy


_NOT_COPIED = frozenset({
    "id", "public_id", "state", "responsible_id", "department_id", "owner_id", "exclusive_until",
    "published_from", "import_feed_id", "internal_id", "import_hash", "missing_since",
    "attributes", "version", "created_at", "updated_at",
})  # fmt: skip


def listing_to_change(listing_id: int, by: Principal | None) -> Listing:
    """The locked listing that ``by`` may edit; the system (None) may edit all.

    Raises NotFound when it is out of sight, Forbidden when it may only be read.
    """
    listing = rows.locked(Listing, listing_id)
    if listing is not None and (by is None or visibility.may(by, Action.EDIT, listing)):
        return listing
    if listing is not None and by is not None and visibility.may(by, Action.VIEW, listing):
        raise Forbidden(_("Изменять может ответственный или его руководитель."))
    raise NotFound(_("Объект не найден."))


# --- reading ----------------------------------------------------------------------------------


def _read(
    values: Mapping[str, Any], listing: Listing | None, by: Principal
) -> tuple[dict[str, Any], dict[str, Any], list[FieldError]]:
    errors: list[FieldError] = []
    typed: dict[str, Any] = {}
    kind = v.Kind.of(listing.kind) if listing else None
    deal_type = v.DealType.of(listing.deal_type) if listing else None
    try:
        typed = listing_fields.read_form(values, kind, deal_type)
    except ValidationErrors as refused:
        errors += refused.errors
    for name in ("kind", "deal_type", "currency"):
        if name in typed and typed[name] is None:
            del typed[name]
    own = {}
    for name in OWN_FIELDS:
        if name in values:
            try:
                kept = getattr(listing, name) if listing else None
                own[name] = _own_value(name, values[name], kept, by)
            except ValueError as error:
                errors.append(FieldError(name, str(error)))
    return typed, own, errors


def _own_value(name: str, raw: Any, kept: Any, by: Principal) -> Any:
    text = str(raw).strip() if raw is not None else ""
    if not text:
        return None
    if name in _ROWS:
        if not text.isdecimal() or len(text) > 9:  # noqa: PLR2004 no id is longer
            raise ValueError(_("Выберите значение из списка."))
        wanted = int(text)
        # A row out of sight may stay as it is, but cannot be attached: that would show it.
        if wanted != kept and visibility.get_visible(by, _ROWS[name], wanted) is None:
            raise ValueError(_("Такой записи нет, или она вам недоступна."))
        if wanted != kept and name == "owner_id" and _is_opened(wanted, by):
            raise ValueError(_("Контакты этого собственника от вас скрыты."))
        return wanted
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_("Укажите дату.")) from None
    if not clock.is_believable(moment):
        raise ValueError(_("Такой даты не бывает."))
    aware = moment if moment.tzinfo else moment.replace(tzinfo=clock.zone(None))
    return aware.astimezone(dt.UTC)


def _is_opened(owner_id: int, by: Principal) -> bool:
    owner: Contact | None = db.session.get(Contact, owner_id)
    return owner is not None and contact_masks.opened_by_listing(by, owner)


def _responsible(raw: Any, by: Principal, errors: list[FieldError]) -> Employee | None:
    try:
        employee = _employee(int(raw))
    except (TypeError, ValueError):
        errors.append(FieldError("responsible_id", _("Выберите ответственного.")))
        return None
    except ValidationErrors as error:
        errors += error.errors
        return None
    if employee.id == by.id:
        return employee
    if by.is_ordinary(ObjectKind.LISTING) or by.scope(ObjectKind.LISTING, Action.EDIT) is Scope.OWN:
        errors.append(FieldError("responsible_id", _("Вы можете завести только свой объект.")))
    elif by.can(Grant.FORBID_TRANSFER_LISTING):
        errors.append(FieldError("responsible_id", _("Вам запрещено передавать объекты.")))
    return employee


def _employee(employee_id: int) -> Employee:
    employee: Employee | None = db.session.get(Employee, employee_id)
    if employee is None or not employee.active:
        raise ValidationErrors.one("responsible_id", _("Выберите работающего сотрудника."))
    return employee


def _demand_work(by: Principal) -> None:
    if by.scope(ObjectKind.LISTING, Action.EDIT) is Scope.NONE:
        raise Forbidden(_("Вы не можете добавлять объекты."))


def _complaints(listing: Listing, values: Mapping[str, Any]) -> list[FieldError]:
    published = listing.state in _PUBLIC
    return listing_fields.check_values(values) + (_publishable(values) if published else [])


def _publishable(values: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    if values.get("price") is None:
        errors.append(FieldError("price", _("Укажите цену: без неё объект не публикуют.")))
    if not values.get("address") and not values.get("locality"):
        errors.append(FieldError("address", _("Укажите адрес: без него объект не публикуют.")))
    return errors


# --- writing ----------------------------------------------------------------------------------


def _born(listing: Listing, by: Principal, **data: Any) -> Listing:
    db.session.add(listing)
    db.session.flush()
    timeline.note(EventKind.CREATED, listing=listing, by=by, **data)
    audit.record("create", listing, by, after=audit.snapshot(listing))
    search_index.reindex_listing(listing)
    return listing


def _set_own(listing: Listing, own: Mapping[str, Any]) -> dict[str, Any]:
    """Write the row's own fields; the old values of those that changed, plain."""
    old = {name: getattr(listing, name) for name in own}
    changed = [name for name, value in own.items() if old[name] != value]
    before = _plain(listing, changed)
    for name in changed:
        setattr(listing, name, own[name])
    return before


def _plain(listing: Listing, names: Any) -> dict[str, Any]:
    wanted = tuple(names)
    return audit.snapshot(listing, wanted) if wanted else {}


def _unconcerned(listing: Listing) -> dict[str, Any]:
    """What the new kind or deal has no field for: it would be exported unseen."""
    kind, deal_type = v.Kind.of(listing.kind), v.DealType.of(listing.deal_type)
    return {
        name: [] if isinstance(value, list) else None
        for name, value in values_of(listing).items()
        if name not in listing_fields.MANAGED
        and not listing_fields.concerns(FIELDS[name], kind, deal_type)
    }


def _mark_edited(listing: Listing) -> None:
    """The moment that portals are told: it moves with the content, not with bookkeeping."""
    attributes = dict(listing.attributes or {})
    attributes["updated_at"] = utc_now().replace(microsecond=0).isoformat()
    listing.attributes = attributes


def _note_changes(
    listing: Listing, by: Principal, old_price: Decimal | None, changed: list[str]
) -> None:
    db.session.flush()
    if old_price != listing.price:
        note_price(listing, by, old_price)
    others = [name for name in changed if name != "price"]
    if others:
        timeline.note(EventKind.FIELDS, listing=listing, by=by, fields=others)


def note_price(listing: Listing, by: Principal | None, old_price: Decimal | None) -> None:
    """One row of the price's history and one line of the feed."""
    db.session.add(
        PriceChange(
            listing_id=listing.id,
            old_price=old_price,
            new_price=listing.price,
            actor_id=by.id if by else None,
        )
    )
    timeline.note(
        EventKind.PRICE,
        listing=listing,
        by=by,
        old=_text(old_price),
        new=_text(listing.price),
        currency=listing.currency,
    )


def _text(price: Decimal | None) -> str | None:
    return None if price is None else format(price, "f")


def _copied_attributes(source: Listing) -> dict[str, Any]:
    moments = ("created_at", "updated_at", "extra", "notes", "phones", "contact_name")
    return {name: value for name, value in source.attributes.items() if name not in moments}


def _doubles(listing: Listing, by: Principal) -> list[Double]:
    db.session.flush()
    return find_doubles(listing, by)


__all__ = [
    "OWN_FIELDS", "ListingSaved", "archive", "copy_listing", "create_listing", "edit_listing",
    "find_doubles", "listing_to_change", "new_public_id", "note_price", "set_state", "transfer",
]  # fmt: skip
