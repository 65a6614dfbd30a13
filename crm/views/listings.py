"""The list of listings, its export and actions on many of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from flask import Response, abort, jsonify, request, stream_with_context
from flask_babel import gettext as _

from crm.integrations.portals import vocabulary as v
from crm.models import Action, Employee, ListingState, ObjectKind, Scope, db
from crm.operations import listings as operations
from crm.operations.errors import OperationError, ValidationErrors
from crm.reports import listings as report
from crm.reports.company import company_zone, local_today
from crm.reports.listing_filters import ALL_STATES, NOBODY, ROOMS, ListingFilters
from crm.reports.listings import ListingRow
from crm.security.grants import Grant
from crm.security.principal import Principal, current_principal
from crm.views import csv_text
from crm.views import listing_labels as labels
from crm.views.access import requires
from crm.views.base import expose
from crm.views.listing_card import ListingCardView
from crm.views.payload import Payload

MAX_BULK = 200


class ListingsView(ListingCardView):
    """``/listings``."""

    default_view = "index"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """One page of listings, as cards or as a table."""
        principal, filters = current_principal(), ListingFilters.parse(request.args)
        order, descending = _order()
        page = report.listing_page(
            principal,
            filters,
            order=order,
            descending=descending,
            after=request.args.get("after", ""),
            before=request.args.get("before", ""),
        )
        extra = _extra(order, descending)
        return self.page(
            "listings/index.html",
            page=page,
            pager=_pager(page, filters, extra),
            filters=filters,
            extra=extra,
            labels=labels,
            words=_words(),
            chosen_person=_chosen_person(filters),
            cards=request.args.get("view") == "cards",
            link=lambda **changes: _link(filters, extra, **changes),
            orders=_orders(filters, extra, order, descending),
            may_export=may_export(principal),
            may_transfer=not principal.can(Grant.FORBID_TRANSFER_LISTING),
            bulk_states=bulk_states(principal),
            max_bulk=MAX_BULK,
        )

    @expose("/export", methods=["GET"])
    @requires("export")
    def export(self) -> Response:
        """The same listings as CSV, streamed; only those the person may export."""
        principal = current_principal()
        if not may_export(principal):
            abort(403)
        rows = report.export(principal, ListingFilters.parse(request.args))
        name = f"obekty-{local_today().isoformat()}.csv"
        return Response(
            stream_with_context(_csv(rows)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @expose("/bulk", methods=["POST"])
    @requires("edit")
    def bulk(self) -> Response:
        """{ids | all, action, …} on up to 200 listings, one operation each; a report of it."""
        principal, body = current_principal(), Payload()
        act = _action(body, principal)
        done, failed = 0, []
        for pk in _bulk_ids(principal, body):
            try:
                act(pk)
            except OperationError as error:
                failed.append({"id": pk, "message": error.message})
            else:
                done += 1
        return jsonify(done=done, failed=failed)


def may_export(principal: Principal) -> bool:
    """Whether the person may take listings away in a file."""
    return principal.scope(
        ObjectKind.LISTING, Action.EXPORT
    ) is not Scope.NONE and principal.may_open("can_export", "Listings")


def bulk_states(principal: Principal) -> list[tuple[str, str]]:
    """States that the person may give to listings."""
    kept = [state for state in ListingState if state is not ListingState.ARCHIVE]
    offered = kept if principal.can(Grant.FORBID_ARCHIVE_LISTING) else list(ListingState)
    return [(state.value, labels.state_label(state)) for state in offered]


# --- address ---------------------------------------------------------------------------


def _words() -> dict[str, list[tuple[str, str]]]:
    """Choices of the filters."""
    last = ROOMS[-1]
    return {
        "deal_types": labels.term_options(v.DealType),
        "kinds": labels.term_options(v.Kind),
        "states": [(state.value, labels.state_label(state)) for state in ListingState],
        "rooms": [(number, f"{number}+" if number == last else number) for number in ROOMS],
        "all": [(ALL_STATES, _("Все"))],
    }


def _chosen_person(filters: ListingFilters) -> str:
    if filters.responsible is None:
        return ""
    if filters.responsible == NOBODY:
        return _("никто")
    person = db.session.get(Employee, filters.responsible)
    return person.full_name if person else ""


def _order() -> tuple[str, bool]:
    order = request.args.get("order", "new")
    name = order.lstrip("-")
    return (name, not order.startswith("-")) if name in report.ORDERS else ("new", True)


def _extra(order: str, descending: bool) -> dict[str, str]:
    extra: dict[str, str] = {"view": "cards"} if request.args.get("view") == "cards" else {}
    if (order, descending) != ("new", True):
        extra["order"] = order if descending else f"-{order}"
    return extra


def _link(filters: ListingFilters, extra: dict[str, str], **changes: Any) -> str:
    """The same list with some conditions, or ``view`` and ``order``, changed."""
    kept = dict(extra)
    for name in ("view", "order"):
        if name in changes:
            kept[name] = changes.pop(name)
    query = {name: value for name, value in kept.items() if value} | filters.args(**changes)
    return "/listings" + (f"?{urlencode(query)}" if query else "")


def _orders(
    filters: ListingFilters, extra: dict[str, str], order: str, descending: bool
) -> dict[str, dict[str, str]]:
    """Links that order by a column, and the arrow of the present one."""
    made = {}
    for name in report.ORDERS:
        turned = f"-{name}" if name == order and descending else name
        arrow = ("arrow-down" if descending else "arrow-up") if name == order else ""
        made[name] = {"href": _link(filters, extra, order=turned), "arrow": arrow}
    return made


def _pager(
    page: report.ListingPage, filters: ListingFilters, extra: dict[str, str]
) -> dict[str, Any]:
    base = {**extra, **filters.args()}
    text = request.args.get("page", "")
    asked = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1  # noqa: PLR2004
    number = max(asked, 1) if page.previous else 1
    first = (number - 1) * report.PAGE + 1

    def url(name: str, key: str, step: int) -> str:
        target = {**base, name: key, "page": str(max(number + step, 1))}
        return f"/listings?{urlencode(target)}" if key else ""

    return {
        "first": first,
        "last": first + len(page.rows) - 1,
        "count": page.count if page.rows else 0,
        "capped": page.capped,
        "prev_url": url("before", page.previous, -1),
        "next_url": url("after", page.following, 1),
    }


# --- export and bulk -------------------------------------------------------------------


def _csv(rows: Iterator[ListingRow]) -> Iterator[str]:
    heads = (
        _("№"), _("Номер на площадках"), _("Состояние"), _("Сделка"), _("Вид"), _("Объект"),
        _("Адрес"), _("Комнат"), _("Площадь, м²"), _("Этаж"), _("Этажей"), _("Цена"),
        _("Валюта"), _("Ответственный"), _("Фотографий"), _("Создан"), _("Изменён"),
    )  # fmt: skip
    yield csv_text.MARK + csv_text.line(heads)
    for row in rows:
        item = row.listing
        yield csv_text.line((
            item.id, item.public_id, labels.state_label(item.state),
            labels.deal_type_label(item.deal_type), labels.kind_label(item.kind),
            labels.headline(item), labels.place(item), item.rooms, item.area_total, item.floor,
            item.floors_total, item.price, item.currency,
            item.responsible.full_name if item.responsible else "", row.photos,
            _local(item.created_at), _local(item.updated_at),
        ))  # fmt: skip


def _local(moment: Any) -> str:
    return moment.astimezone(company_zone()).strftime("%Y-%m-%d %H:%M") if moment else ""


def _action(body: Payload, by: Principal) -> Any:
    match body.text("action"):
        case "state":
            state = body.text("state")
            return lambda pk: operations.set_state(pk, by, state)
        case "transfer":
            person = body.needed("responsible_id")
            return lambda pk: operations.transfer(pk, by, person)
        case _:
            raise ValidationErrors.one("action", _("Такого действия нет."))


def _bulk_ids(principal: Principal, body: Payload) -> list[int]:
    if body.flag("all"):
        filters = ListingFilters.parse(request.args)
        found: list[Any] = list(report.matching_ids(principal, filters, MAX_BULK + 1))
    else:
        given = body.data.get("ids")
        found = given if isinstance(given, list) else []
    ids = [pk for pk in found if type(pk) is int and 0 < pk < 2**31]
    if not ids or len(ids) != len(found):
        raise ValidationErrors.one("ids", _("Выберите объекты."))
    if len(ids) > MAX_BULK:
        raise ValidationErrors.one(
            "ids", _("За один раз можно изменить не больше %(limit)s объектов.", limit=MAX_BULK)
        )
    return list(dict.fromkeys(ids))
