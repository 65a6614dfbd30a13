"""What the scripts that move deals are told: stages, and the fields a refused move asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flask import Response, jsonify, make_response
from flask_babel import gettext as _
from sqlalchemy import select

from crm.models import Deal, LossReason, Source, Stage, db
from crm.operations import deal_fields, deal_moves
from crm.operations.deal_fields import FieldKind
from crm.operations.errors import OperationError, ValidationErrors
from crm.reports.company import company, local_today
from crm.security import visibility
from crm.security.principal import Principal
from crm.views.errors import error_body

_PLAIN = {FieldKind.LONG_TEXT: "longtext", FieldKind.LIST: "text"}
_REMOTE = {FieldKind.SOURCE: "sources", FieldKind.EMPLOYEE: "employees"}


def stage_options(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """Stages for «Переместить» and for the drag, in order."""
    return [
        {"id": stage.id, "name": stage.name, "color": stage.color, "type": stage.type}
        for stage in stages
    ]


def refusal(
    error: OperationError, deal_id: int, by: Principal, stage_id: int | None = None
) -> Response:
    """Answer of a move that did not happen: why, and the fields that would let it happen."""
    body = error_body(error)
    deal = visibility.get_visible(by, Deal, deal_id)
    if deal is not None and isinstance(error, ValidationErrors):
        body["fields"] = asked_fields(deal, [item.field for item in error.errors], by)
    body["may_skip"] = deal is not None and stage_id is not None and _skips(deal, stage_id, by)
    return make_response(jsonify(body), error.status)


def _skips(deal: Deal, stage_id: int, by: Principal) -> bool:
    """Heads may go on without the checks; it is written in the history (domain §3.3)."""
    stage = db.session.get(Stage, stage_id)
    if stage is None or by.is_ordinary():
        return False
    new_pipeline = stage.pipeline_id != deal.pipeline_id
    plan = deal_moves.plan_move(deal, stage, by, new_pipeline=new_pipeline)
    return plan.can_uncheck and bool(plan.refusal or plan.missing)


def asked_fields(deal: Deal, codes: Iterable[str], by: Principal) -> list[dict[str, Any]]:
    """Descriptions of the fields for a dialog, in order, a group of parts one by one."""
    made: list[dict[str, Any]] = []
    for code in dict.fromkeys(codes):
        if code in _OWN:
            made.append(_OWN[code](deal))
        elif code in deal_fields.CATALOGUE:
            made += card_fields(deal, code, by)
    return made


def card_fields(deal: Deal, code: str, by: Principal) -> list[dict[str, Any]]:
    """One field of the card as a dialog or the editing in place shows it."""
    field = deal_fields.CATALOGUE[code]
    codes = field.parts or (code,)
    own_shown = company().show_contacts_in_own_deals
    described = deal_fields.describe(deal, by, codes, own_shown=own_shown)
    made = [_control(item, required=not field.parts) for item in described.values()]
    if field.parts:
        name = str(field.label)
        made[0]["hint"] = _("«%(name)s»: заполните хотя бы одно из полей.", name=name)
    return made


def _control(item: dict[str, Any], *, required: bool) -> dict[str, Any]:
    kind = FieldKind(item["kind"])
    value = item["value"]
    made: dict[str, Any] = {
        "code": item["code"],
        "label": item["label"] + (f", {item['unit']}" if item["unit"] else ""),
        "kind": "remote" if kind in _REMOTE else _PLAIN.get(kind, str(kind)),
        "value": ", ".join(map(str, value)) if isinstance(value, list) else value,
        "options": item["choices"],
        "required": required,
    }
    if kind in _REMOTE:
        made["remote"] = f"/api/v1/options/{_REMOTE[kind]}"
        made["options"] = [[value, item["text"]]] if value else []
    if kind is FieldKind.SOURCE:
        made["kind"], made["options"] = "choice", source_options(value, item["text"])
    return made


def source_options(value: int | None, text: str = "") -> list[list[Any]]:
    """Sources that may be chosen by hand (domain §7.4) and the present one."""
    from crm.security.principal import current_principal

    query: Any = select(Source.id, Source.name).where(Source.active, Source.show_in_crm)
    query = visibility.visible(query, current_principal(), Source).order_by(Source.name)
    rows = [[row.id, row.name] for row in db.session.execute(query.limit(500))]
    if value and all(row[0] != value for row in rows):
        rows.insert(0, [value, text])
    return rows


def loss_reason_options() -> list[list[Any]]:
    """Active reasons of refusal in their order."""
    query = select(LossReason.id, LossReason.name).where(LossReason.active)
    rows = db.session.execute(query.order_by(LossReason.position, LossReason.name))
    return [[row.id, row.name] for row in rows]


def _loss_reason(_deal: Deal) -> dict[str, Any]:
    return {
        "code": "loss_reason_id",
        "label": _("Причина отказа"),
        "kind": "choice",
        "options": loss_reason_options(),
        "required": True,
    }


def _won_amount(deal: Deal) -> dict[str, Any]:
    value = deal.won_amount or deal.amount
    return {
        "code": "won_amount",
        "label": _("Сумма сделки"),
        "kind": "money",
        "value": str(int(value)) if value is not None else "",
        "required": True,
    }


def _won_on(deal: Deal) -> dict[str, Any]:
    return {
        "code": "won_on",
        "label": _("Дата сделки"),
        "kind": "date",
        "value": (deal.won_on or local_today()).isoformat(),
        "required": True,
    }


_OWN = {"loss_reason_id": _loss_reason, "won_amount": _won_amount, "won_on": _won_on}
