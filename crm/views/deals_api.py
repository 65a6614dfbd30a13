"""``/api/v1/deals``: reading by declared columns, changing through the operations only."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, make_response
from flask_appbuilder.api import rison
from flask_appbuilder.api.schemas import get_item_schema, get_list_schema
from flask_babel import gettext as _
from sqlalchemy import select

from crm.models import Action, Deal, MoveHow, StageHistory, Task, db
from crm.operations import comments, deal_moves, deals, new_deal, tasks
from crm.operations.errors import NotFound, OperationError, ValidationErrors
from crm.reports.deal_cards import DealCard, cards_of
from crm.reports.stages import stage_book
from crm.security import visibility
from crm.security.principal import Principal, current_principal
from crm.views import moves
from crm.views.access import requires
from crm.views.base import CappedInterface, expose
from crm.views.base_api import CrmRestApi
from crm.views.payload import Payload

_CREATED = 201


class DealApi(CrmRestApi):
    """Deals for our own pages and for programs."""

    resource_name = "deals"
    class_permission_name = "Deals"
    datamodel = CappedInterface(Deal)
    # FAB's own writing routes would go past the operations.
    exclude_route_methods = {"info", "post", "put", "delete"}
    list_columns = [
        "id", "pipeline.id", "pipeline.name", "stage.id", "stage.name", "responsible.id",
        "responsible.first_name", "responsible.last_name", "department.id", "department.name",
        "source.id", "source.name", "contact.id", "channel", "amount", "need_text", "is_saved",
        "created_at", "stage_entered_at", "last_activity_at", "next_task_due", "next_task_text",
        "closed_at", "version",
    ]  # fmt: skip
    show_columns = [
        *list_columns, "payment", "need", "comment", "first_appeal_at",
        "processed_at", "loss_reason.id", "loss_reason.name", "won_amount", "won_on", "commission",
    ]  # fmt: skip
    search_columns = [
        "id", "pipeline", "stage", "responsible", "department", "source", "contact", "channel",
        "amount", "is_saved", "created_at", "stage_entered_at", "next_task_due", "closed_at",
    ]  # fmt: skip
    order_columns = ["id", "created_at", "amount", "stage_entered_at", "next_task_due"]
    base_order = ("id", "desc")

    # --- reading ------------------------------------------------------------------

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @requires("list")
    @rison(get_list_schema)
    def get_list(self, **kwargs: Any) -> Response:
        """Deals that the person sees, filtered and ordered by declared columns."""
        return self.get_list_headless(**kwargs)

    @expose("/<int:pk>", methods=["GET"])
    @requires("show")
    @rison(get_item_schema)
    def get(self, pk: int, **kwargs: Any) -> Response:
        """One deal."""
        return self.get_headless(pk, **kwargs)

    def pre_get_list(self, data: dict[str, Any]) -> None:
        """Add the clients, masked as the person may see them."""
        cards = cards_of(current_principal(), data.get("ids") or [], stage_book())
        for deal_id, row in zip(data.get("ids") or [], data.get("result") or [], strict=False):
            if deal_id in cards:
                row["client"] = _client(cards[deal_id])

    def pre_get(self, data: dict[str, Any]) -> None:
        """Add the client, masked as the person may see him."""
        card = cards_of(current_principal(), [data["id"]], stage_book()).get(data["id"])
        if card is not None:
            data["result"]["client"] = _client(card)

    # --- making and changing ---------------------------------------------------------

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @requires("add")
    def create(self) -> Response:
        """A deal made by hand: {pipeline_id, stage_id?, contact_id? | phone?, values}."""
        by, body = current_principal(), Payload()
        deal = new_deal.create_with_client(
            pipeline_id=body.needed("pipeline_id"),
            by=by,
            phone=body.text("phone"),
            contact_id=body.number("contact_id"),
            confirmed=body.flag("confirmed"),
            stage_id=body.number("stage_id"),
            responsible_id=body.number("responsible_id"),
            source_id=body.number("source_id"),
            listing_id=body.number("listing_id"),
            channel="api",
            values=body.mapping("values"),
            how=MoveHow.API,
        )
        return _answer(_CREATED, id=deal.id, version=deal.version)

    @expose("/<int:pk>", methods=["PATCH"])
    @requires("edit")
    def change(self, pk: int) -> Response:
        """Fields of the card by their codes, and ``version`` of the card that was seen."""
        by, body = current_principal(), Payload()
        version = body.number("version")
        values = {name: value for name, value in body.data.items() if name != "version"}
        deal = deals.edit_deal(pk, by, values, version)
        return _answer(id=deal.id, version=deal.version)

    @expose("/<int:pk>", methods=["DELETE"])
    @requires("edit")
    def remove(self, pk: int) -> Response:
        """Hide a deal for good (administrators)."""
        deals.delete_deal(pk, current_principal())
        return _answer(id=pk)

    @expose("/<int:pk>/fields/<string:code>", methods=["GET"])
    @requires("show")
    def field(self, pk: int, code: str) -> Response:
        """How a field of the card is edited: its controls with present values."""
        by = current_principal()
        deal = visibility.get_visible(by, Deal, pk, Action.EDIT)
        fields = moves.asked_fields(deal, [code], by) if deal is not None else []
        if not fields or deal is None:
            return _answer(404, message=_("Такого поля нет, или изменить его нельзя."))
        return _answer(fields=fields, version=deal.version)

    @expose("/<int:pk>/save", methods=["POST"])
    @requires("edit")
    def save(self, pk: int) -> Response:
        """«Сохранить»: {values}; ends the unprocessed mark."""
        by = current_principal()
        try:
            deal = deals.save_deal(pk, by, Payload().mapping("values"))
        except ValidationErrors as error:
            return moves.refusal(error, pk, by)
        return _answer(id=deal.id, version=deal.version)

    @expose("/<int:pk>/take", methods=["POST"])
    @requires("list")
    def take(self, pk: int) -> Response:
        """«Взять себе»."""
        deal = deals.take(pk, current_principal())
        return _answer(id=deal.id, responsible_id=deal.responsible_id)

    @expose("/<int:pk>/assign", methods=["POST"])
    @requires("edit")
    def assign(self, pk: int) -> Response:
        """Give the deal to {responsible_id}; {above_limit: true} goes over his limit."""
        body = Payload()
        deal = deals.assign(
            pk,
            body.number("responsible_id"),
            current_principal(),
            above_limit=body.flag("above_limit"),
        )
        return _answer(id=deal.id, responsible_id=deal.responsible_id)

    # --- stages ----------------------------------------------------------------------

    @expose("/<int:pk>/move", methods=["POST"])
    @requires("edit")
    def move(self, pk: int) -> Response:
        """To {stage_id} with {values, loss_reason_id, won_amount, won_on, unchecked}.

        A refusal names what is missing in ``fields``; ``may_skip`` offers «без проверки».
        """
        by, body = current_principal(), Payload()
        stage_id = body.needed("stage_id")
        try:
            result = deal_moves.move_to_stage(
                pk,
                stage_id,
                by,
                values=body.mapping("values") or None,
                loss_reason_id=body.data.get("loss_reason_id"),
                won_amount=body.data.get("won_amount"),
                won_on=body.data.get("won_on"),
                unchecked=body.flag("unchecked"),
            )
        except OperationError as error:
            return moves.refusal(error, pk, by, stage_id)
        return _answer(
            deal_id=result.deal.id,
            stage_id=result.deal.stage_id,
            history_id=result.history.id,
            warnings=list(result.warnings),
            version=result.deal.version,
        )

    @expose("/<int:pk>/undo", methods=["POST"])
    @requires("edit")
    def undo(self, pk: int) -> Response:
        """Take back one's own move {history_id} of the last ten minutes."""
        history_id = Payload().needed("history_id")
        query = select(StageHistory.deal_id).where(StageHistory.id == history_id)
        if db.session.scalar(query) != pk:
            raise NotFound(_("Перемещение не найдено."))
        deal = deal_moves.undo_move(history_id, current_principal())
        return _answer(deal_id=deal.id, stage_id=deal.stage_id, version=deal.version)

    @expose("/<int:pk>/pipeline", methods=["POST"])
    @requires("edit")
    def pipeline(self, pk: int) -> Response:
        """To {stage_id} of another pipeline."""
        by = current_principal()
        body = Payload()
        stage_id = body.needed("stage_id")
        try:
            result = deal_moves.change_pipeline(
                pk,
                stage_id,
                by,
                values=body.mapping("values") or None,
                unchecked=body.flag("unchecked"),
            )
        except OperationError as error:
            return moves.refusal(error, pk, by, stage_id)
        return _answer(
            deal_id=pk,
            stage_id=stage_id,
            history_id=result.history.id,
            warnings=list(result.warnings),
            version=result.deal.version,
        )

    # --- comments and tasks -------------------------------------------------------------

    @expose("/<int:pk>/comments", methods=["POST"])
    @requires("edit")
    def comment(self, pk: int) -> Response:
        """A note {text} in the feed."""
        made = comments.add_comment(pk, current_principal(), Payload().text("text"))
        return _answer(_CREATED, id=made.id)

    @expose("/<int:pk>/tasks", methods=["POST"])
    @requires("edit")
    def task(self, pk: int) -> Response:
        """A task of the deal: see ``new_task``."""
        made = new_task(Payload(), current_principal(), deal_id=pk)
        return _answer(_CREATED, id=made.id)


def _answer(code: int = 200, **body: Any) -> Response:
    return make_response(jsonify(body), code)


def new_task(body: Payload, by: Principal, deal_id: int | None = None) -> Task:
    """Set a task: {text | status_id, kind, due_at | due_date, responsible_id, remind_at}."""
    day = body.date("due_date")
    return tasks.set_task(
        by=by,
        deal_id=deal_id,
        text=body.text("text"),
        kind=body.text("kind") or None,
        due_at=None if day else body.moment("due_at"),
        due_date=day,
        responsible_id=body.number("responsible_id"),
        status_id=body.number("status_id"),
        remind_at=body.moment("remind_at"),
    )


def _client(card: DealCard) -> dict[str, str]:
    return {"name": card.name, "phone": card.phone}
