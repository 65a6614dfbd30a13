"""The list of deals, its export and saved views, and the form of a new deal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import (
    Response,
    abort,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask_babel import gettext as _
from werkzeug.wrappers import Response as BaseResponse

from crm.models import Action, Contact, ObjectKind, Pipeline, Scope
from crm.operations import deal_fields, new_deal, saved_views
from crm.operations.errors import OperationError, ValidationErrors
from crm.reports import call_card, contact_masks
from crm.reports import deals as report
from crm.reports.call_card import CallForDeal
from crm.reports.company import company_zone, local_today
from crm.reports.deal_cards import DealCard
from crm.reports.deal_filters import DealFilters
from crm.reports.filter_bar import PAGE, filter_bar
from crm.reports.known_clients import known_clients
from crm.reports.stages import StageBook, stage_book
from crm.security import visibility
from crm.security.principal import Principal, current_principal
from crm.views import csv_text
from crm.views.access import requires
from crm.views.base import expose
from crm.views.bulk import MAX_BULK, run_bulk
from crm.views.deal_card import DealCardView, channel_label
from crm.views.moves import source_options, stage_options
from crm.views.payload import Payload

_ADD_FIELDS = (
    "contact_name", "contact_email", "source", "amount", "need_kind", "need_rooms",
    "need_districts", "need_text", "payment", "comment",
)  # fmt: skip


class DealsView(DealCardView):
    """``/deals``."""

    default_view = "index"

    @expose("")
    @requires("list")
    def index(self) -> str:
        """One page of deals."""
        principal, book = current_principal(), stage_book()
        filters, pipeline = _asked(book)
        order, descending = _order()
        page = report.deal_page(
            principal,
            _default_state(filters),
            book,
            pipeline_id=pipeline.id if pipeline else None,
            order=order,
            descending=descending,
            after=request.args.get("after", ""),
            before=request.args.get("before", ""),
        )
        extra = _extra(pipeline, order, descending)
        stages = book.shown(pipeline.id, principal) if pipeline else []
        return self.page(
            "deals/index.html",
            page=page,
            pager=_pager(page, filters, extra),
            filters=filters,
            bar=filter_bar(principal, filters),
            extra=extra,
            segments=_segments(book, pipeline, filters, extra),
            columns=_columns(filters, extra, order, descending),
            stages=stages,
            stage_of=book.stages,
            stage_options=stage_options(stages),
            common_stages=book.common_ids(),
            pipeline=pipeline,
            may_export=_may_export(principal),
            max_bulk=MAX_BULK,
            export_url=url_for("DealsView.export", **{**extra, **filters.args()}),
        )

    @expose("/export")
    @requires("list")
    def export(self) -> Response:
        """The same deals as CSV, streamed; only those the person may export."""
        principal, book = current_principal(), stage_book()
        if not _may_export(principal):
            abort(403)
        filters, pipeline = _asked(book)
        cards = report.export(
            principal, _default_state(filters), book, pipeline.id if pipeline else None
        )
        name = f"sdelki-{local_today().isoformat()}.csv"
        return Response(
            stream_with_context(_csv(cards, book)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @expose("/bulk", methods=["POST"])
    @requires("edit")
    def bulk(self) -> Response:
        """{ids | all, action, …} on up to 200 deals, one operation each; a report of it."""
        principal, body = current_principal(), Payload()
        ids = _bulk_ids(principal, body)
        return jsonify(run_bulk(ids, body, principal))

    # --- new deal --------------------------------------------------------------------

    @expose("/add", methods=["GET", "POST"])
    @requires("add")
    def add(self) -> BaseResponse | str:
        """The form of a new deal; refused input comes back with what is wrong beside it.

        ``?call=``: from a call, which gives the client and comes to belong to the deal;
        ``?contact=``: for a client that is known.
        """
        book, errors, call = stage_book(), {}, _call_or_404()
        contact = _contact_or_404()
        if call is not None and call.call.deal_id is not None:
            return _to_deal_of(call)
        if request.method == "POST":
            try:
                deal_id = _create(current_principal(), call, contact)
            except ValidationErrors as error:
                errors = {item.field: item.message for item in error.errors}
            except OperationError as error:
                errors = {"": error.message}
            else:
                flash(_("Сделка создана."), "success")
                return redirect(url_for("DealsView.show", deal_id=deal_id))
        wanted = _number("pipeline") or (call.call.connection.pipeline_id if call else None)
        pipeline = book.pipeline(wanted)
        return self.page(
            "deals/add.html",
            errors=errors,
            call=call,
            contact=contact,
            client=contact_masks.shown_name(current_principal(), contact) if contact else "",
            typed=request.form,
            pipelines=[(p.id, p.name) for p in book.pipelines],
            pipeline=pipeline,
            sources=source_options(None),
            need_kinds=deal_fields.NEED_KINDS,
        )

    @expose("/known")
    @requires("add")
    def known(self) -> str:
        """Who is already known behind ``?phone=`` or the number of ``?call=``, as HTML."""
        call = _call_or_404()
        number = call.call.client_number if call else request.args.get("phone", "")[:40]
        found = known_clients(current_principal(), number or "")
        return render_template("deals/_known.html", known=found)

    # --- saved views -----------------------------------------------------------------

    @expose("/views", methods=["POST"])
    @requires("list")
    def save_view(self) -> Response:
        """Keep {name, query, shared}."""
        body = Payload()
        view = saved_views.save_view(
            page=PAGE,
            name=body.text("name"),
            query=body.text("query"),
            shared=body.flag("shared"),
            by=current_principal(),
        )
        return jsonify(id=view.id, name=view.name, query=view.query)

    @expose("/views/<int:view_id>", methods=["PATCH", "DELETE"])
    @requires("list")
    def change_view(self, view_id: int) -> Response:
        """Rename or share {name, shared}, or delete."""
        if request.method == "DELETE":
            saved_views.delete_view(view_id, current_principal())
        else:
            body = Payload()
            saved_views.rename_view(
                view_id, body.text("name"), body.flag("shared"), current_principal()
            )
        return jsonify(id=view_id)


# --- address ---------------------------------------------------------------------------


def _number(name: str) -> int | None:
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004


def _asked(book: StageBook) -> tuple[DealFilters, Pipeline | None]:
    wanted = _number("pipeline")
    pipeline = book.pipeline(wanted) if wanted is not None else None
    return DealFilters.parse(request.args), pipeline


def _default_state(filters: DealFilters) -> DealFilters:
    """Work first: finished deals are shown when asked for, or found by stage or text."""
    if filters.state or filters.stage is not None or filters.q:
        return filters
    return DealFilters.parse(filters.args(state="open"))


def _order() -> tuple[str, bool]:
    order = request.args.get("order", "created")
    descending = not order.startswith("-") if order else True
    name = order.lstrip("-")
    return (name, descending) if name in report.ORDERS else ("created", True)


def _extra(pipeline: Pipeline | None, order: str, descending: bool) -> dict[str, Any]:
    extra: dict[str, Any] = {"pipeline": str(pipeline.id)} if pipeline else {}
    if (order, descending) != ("created", True):
        extra["order"] = order if descending else f"-{order}"
    return extra


def _segments(
    book: StageBook, chosen: Pipeline | None, filters: DealFilters, extra: dict[str, Any]
) -> list[dict[str, Any]]:
    kept = {name: value for name, value in extra.items() if name != "pipeline"}
    kept |= filters.without("stage")
    made = [
        {
            "label": pipeline.name,
            "href": url_for("DealsView.index", pipeline=pipeline.id, **kept),
            "active": pipeline is chosen,
        }
        for pipeline in book.pipelines
    ]
    everything = {"label": _("Все"), "href": url_for("DealsView.index", **kept)}
    return [*made, {**everything, "active": chosen is None}]


def _columns(
    filters: DealFilters, extra: dict[str, Any], order: str, descending: bool
) -> dict[str, dict[str, Any]]:
    """Links that order by a column, and the arrow of the present one."""
    rest = {name: value for name, value in extra.items() if name != "order"} | filters.args()
    made = {}
    for name in report.ORDERS:
        turned = f"-{name}" if name == order and descending else name
        arrow = ("arrow-down" if descending else "arrow-up") if name == order else ""
        made[name] = {"href": url_for("DealsView.index", order=turned, **rest), "arrow": arrow}
    return made


def _pager(page: report.DealPage, filters: DealFilters, extra: dict[str, Any]) -> dict[str, Any]:
    rest = {**extra, **filters.args()}
    number = max(_number("page") or 1, 1) if page.previous else 1
    first = (number - 1) * report.PAGE + 1
    return {
        "first": first,
        "last": first + len(page.cards) - 1,
        "count": page.count if page.cards else 0,
        "capped": page.capped,
        "prev_url": page.previous
        and url_for("DealsView.index", before=page.previous, page=max(number - 1, 1), **rest),
        "next_url": page.following
        and url_for("DealsView.index", after=page.following, page=number + 1, **rest),
    }


# --- export and bulk -------------------------------------------------------------------


def _may_export(principal: Principal) -> bool:
    return principal.scope(ObjectKind.DEAL, Action.EXPORT) is not Scope.NONE


def _csv(cards: Iterator[DealCard], book: StageBook) -> Iterator[str]:
    heads = (
        _("№"), _("Клиент"), _("Телефон"), _("Воронка"), _("Этап"), _("Бюджет"), _("Запрос"),
        _("Источник"), _("Канал"), _("Ответственный"), _("Следующая задача"), _("Срок задачи"),
        _("Создана"),
    )  # fmt: skip
    yield csv_text.MARK + csv_text.line(heads)
    for card in cards:
        stage = book.stages.get(card.stage_id)
        yield csv_text.line((
            card.id, card.name, card.phone, stage.pipeline.name if stage else "",
            stage.name if stage else "", card.amount if card.amount is not None else "",
            card.need, card.source, channel_label(card.channel), card.responsible,
            card.task_text, _local(card.task_due), _local(card.created_at),
        ))  # fmt: skip


def _local(moment: Any) -> str:
    return moment.astimezone(company_zone()).strftime("%Y-%m-%d %H:%M") if moment else ""


def _bulk_ids(principal: Principal, body: Payload) -> list[int]:
    if body.flag("all"):
        book = stage_book()
        filters, pipeline = _asked(book)
        pipeline_id = pipeline.id if pipeline else None
        shown = _default_state(filters)
        found = report.matching_ids(principal, shown, book, pipeline_id, MAX_BULK + 1)
    else:
        given = body.data.get("ids")
        found = given if isinstance(given, list) else []
    ids = [pk for pk in found if type(pk) is int and 0 < pk < 2**31]
    if not ids or len(ids) != len(found):
        raise ValidationErrors.one("ids", _("Выберите сделки."))
    if len(ids) > MAX_BULK:
        raise ValidationErrors.one(
            "ids", _("За один раз можно изменить не больше %(limit)s сделок.", limit=MAX_BULK)
        )
    return list(dict.fromkeys(ids))


# --- new deal --------------------------------------------------------------------------


def _call_or_404() -> CallForDeal | None:
    """The call named in the address."""
    if "call" not in request.args:
        return None
    call = call_card.for_deal(current_principal(), _number("call") or 0)
    return call or abort(404)


def _contact_or_404() -> Contact | None:
    """The client named in the address."""
    if "contact" not in request.args:
        return None
    found: Contact | None = visibility.get_visible(
        current_principal(), Contact, _number("contact") or 0
    )
    return found or abort(404)


def _to_deal_of(call: CallForDeal) -> BaseResponse:
    """Two people at once: the second is led to what the first has made."""
    if call.deal is None:
        flash(_("У этого звонка уже есть сделка, её ведёт другой сотрудник."), "warning")
        return redirect(url_for("DealsView.index"))
    return redirect(url_for("DealsView.show", deal_id=call.deal.id))


def _create(by: Principal, call: CallForDeal | None, contact: Contact | None) -> int:
    form = request.form
    pipeline_id = form.get("pipeline_id", "")
    if not pipeline_id.isdecimal() or len(pipeline_id) > 9:  # noqa: PLR2004
        raise ValidationErrors.one("pipeline_id", _("Выберите воронку."))
    deal = new_deal.create_with_client(
        pipeline_id=int(pipeline_id),
        by=by,
        phone=form.get("contact_phone", "").strip()[:40],
        contact_id=contact.id if contact else None,
        call_id=call.call.id if call else None,
        confirmed=form.get("confirmed") == "y",
        values={code: form[code] for code in _ADD_FIELDS if form.get(code)},
    )
    return deal.id
