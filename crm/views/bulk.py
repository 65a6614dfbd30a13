"""Actions on many chosen deals: each goes through its operation, and the report names failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask_babel import gettext as _

from crm.operations import deal_moves, deals
from crm.operations.errors import OperationError, ValidationErrors
from crm.security.principal import Principal
from crm.views.deals_api import new_task
from crm.views.payload import Payload

MAX_BULK = 200
_CLOSING = ("loss_reason_id", "won_amount", "won_on")
Act = Callable[[int], Any]


def run_bulk(ids: Sequence[int], body: Payload, by: Principal) -> dict[str, Any]:
    """Do ``body.action`` to each deal on its own; a failure of one stops no other."""
    act = _action(body, by)
    done = 0
    failed: list[dict[str, Any]] = []
    for deal_id in ids:
        try:
            act(deal_id)
        except OperationError as error:
            failed.append({"id": deal_id, "message": error.message})
        else:
            done += 1
    return {"done": done, "failed": failed}


def _action(body: Payload, by: Principal) -> Act:
    match body.text("action"):
        case "assign":
            person = body.needed("responsible_id")
            over = body.flag("above_limit")
            return lambda pk: deals.assign(pk, person, by, above_limit=over)
        case "move":
            return _move(body, by)
        case "task":
            return lambda pk: new_task(body, by, deal_id=pk)
        case _:
            raise ValidationErrors.one("action", _("Такого действия нет."))


def _move(body: Payload, by: Principal) -> Act:
    stage_id = body.needed("stage_id")
    given: dict[str, Any] = {name: body.data.get(name) for name in _CLOSING}
    unchecked = body.flag("unchecked")
    return lambda pk: deal_moves.move_to_stage(pk, stage_id, by, unchecked=unchecked, **given)
