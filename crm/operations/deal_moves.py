"""Moving deals between stages: the checks in their order, the move, and taking it back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import exists, func, select

from crm.models import (
    Action,
    Deal,
    EventKind,
    LossReason,
    MoveHow,
    Pipeline,
    Stage,
    StageHistory,
    StageType,
    Task,
    TimelineEvent,
    db,
)
from crm.operations import audit, bus, deals, field_values, rows, stage_rules, tasks, timeline
from crm.operations.deal_fields import DealField
from crm.operations.deal_marks import mark_processed, tell
from crm.operations.errors import (
    Conflict,
    FieldError,
    Forbidden,
    NotFound,
    OperationError,
    ValidationErrors,
)
from crm.operations.transaction import operation
from crm.reports.company import local_today
from crm.security import visibility
from crm.security.principal import Principal
from crm.values.clock import utc_now

UNDO_WITHIN = dt.timedelta(minutes=10)
# Moves nobody stands behind: mandatory stages and required fields do not stop them.
_AUTOMATIC = (MoveHow.RULE, MoveHow.INTAKE)
# What the move itself may change and its undoing puts back.
_CLOSING = (
    "closed_at", "loss_reason_id", "won_amount", "won_on",
    "stage_entered_at", "is_saved", "processed_at",
)  # fmt: skip


@dataclass(slots=True)
class MovePlan:
    """What stands in the way of a move and what it will ask for.

    ``refusal`` says in words why it cannot be; ``can_uncheck``: a head may tick «без
    проверки» and pass. ``missing`` are all empty required fields at once; ``asks`` is
    ``loss_reason`` or ``won``.
    """

    refusal: str | None = None
    error: type[OperationError] = Conflict
    can_uncheck: bool = False
    missing: list[DealField] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MoveResult:
    """The moved deal, its new history row, and warnings in words."""

    deal: Deal
    history: StageHistory
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class _Closing:
    """What a closing stage asks for, as typed."""

    loss_reason_id: Any = None
    won_amount: Any = None
    won_on: Any = None


def plan_move(
    deal: Deal,
    stage: Stage,
    by: Principal | None,
    *,
    unchecked: bool = False,
    how: MoveHow = MoveHow.MANUAL,
    new_pipeline: bool = False,
) -> MovePlan:
    """Check the move in the order of the rules, changing nothing (domain §3.3).

    ``unchecked`` is obeyed for heads only; ``new_pipeline`` moves to another pipeline, whose
    history is empty.
    """
    plan = MovePlan(can_uncheck=by is None or not by.is_ordinary())
    if by is not None and not visibility.may(by, Action.EDIT, deal):
        plan.refusal = _("Переместить сделку может её ответственный или руководитель.")
        plan.error = Forbidden
        return plan
    plan.refusal = _target_refusal(deal, stage, by, new_pipeline)
    if plan.refusal:
        plan.can_uncheck = False
        return plan
    if how not in _AUTOMATIC and not (unchecked and plan.can_uncheck):
        plan.refusal = _order_refusal(deal, stage, new_pipeline)
        if plan.refusal:
            return plan
        plan.missing = stage_rules.missing_fields(deal, stage)
    if how not in _AUTOMATIC:
        plan.asks = _asks(stage)
    plan.warnings = _warnings(deal, stage)
    return plan


@operation
def move_to_stage(
    deal_id: int,
    stage_id: int,
    by: Principal | None,
    *,
    values: Mapping[str, Any] | None = None,
    loss_reason_id: Any = None,
    won_amount: Any = None,
    won_on: Any = None,
    unchecked: bool = False,
    how: MoveHow = MoveHow.MANUAL,
) -> MoveResult:
    """Move the deal within its pipeline, first writing ``values`` into the card.

    ``won_amount`` in roubles and ``won_on`` (date or ISO text) go with a success,
    ``loss_reason_id`` with a refusal. Raises NotFound, Forbidden, Conflict (the reason in
    words), ValidationErrors naming exactly the fields to ask for.
    """
    closing = _Closing(loss_reason_id, won_amount, won_on)
    return _move(deal_id, stage_id, by, values or {}, closing, unchecked, how)


@operation
def change_pipeline(
    deal_id: int,
    stage_id: int,
    by: Principal | None,
    *,
    values: Mapping[str, Any] | None = None,
    unchecked: bool = False,
    how: MoveHow = MoveHow.MANUAL,
) -> MoveResult:
    """Move the deal to a stage of another pipeline, whose history for it is empty.

    Raises as ``move_to_stage``; a closing stage is refused: the deal enters in work.
    """
    closing = _Closing()
    return _move(deal_id, stage_id, by, values or {}, closing, unchecked, how, new_pipeline=True)


@operation
def undo_move(history_id: int, by: Principal) -> Deal:
    """Take one's own move back within ten minutes, when nothing has moved the deal since.

    Restores the stage, the time on it, the closing fields and the tasks the move has closed.
    Raises NotFound, Forbidden (somebody else's move), Conflict (too late).
    """
    moved = db.session.get(StageHistory, history_id)
    deal = rows.locked(Deal, moved.deal_id) if moved is not None else None
    if moved is None or deal is None or deal.deleted_at is not None:
        raise NotFound(_("Перемещение не найдено."))
    if moved.actor_id != by.id:
        if not visibility.may(by, Action.VIEW, deal):
            raise NotFound(_("Перемещение не найдено."))
        raise Forbidden(_("Отменить перемещение может только тот, кто его сделал."))
    db.session.refresh(moved)
    back = _undoable(moved)
    restored = _restorable(moved)
    left = deal.stage_id
    before = audit.snapshot(deal, ("stage_id", "pipeline_id", *_CLOSING))
    _stand_on(deal, back)
    for name, value in restored.items():
        setattr(deal, name, value)
    deal.loss_reason = _reason_of(deal)
    moved.undone = True
    history = _write_history(deal, left, by, MoveHow.UNDO, unchecked=False, at=utc_now())
    tasks.reopen_closed(deal, moved.moved_at, tasks.CLOSED_RESULT)
    _record(deal, history, by, before, {})
    return deal


# --- checks ---------------------------------------------------------------------


def _target_refusal(
    deal: Deal, stage: Stage, by: Principal | None, new_pipeline: bool
) -> str | None:
    """The target exists for this deal and this person."""
    reason: str | None = None
    if stage.id == deal.stage_id:
        reason = _("Сделка уже на этапе «%(name)s».", name=stage.name)
    elif new_pipeline and stage.pipeline_id == deal.pipeline_id:
        reason = _("Этап «%(name)s» — в той же воронке.", name=stage.name)
    elif new_pipeline and not stage.kind.is_open:
        reason = _("В другую воронку сделка входит на этап в работе.")
    elif new_pipeline and not _active_pipeline(stage.pipeline_id):
        reason = _("Эта воронка отключена.")
    elif not new_pipeline and stage.pipeline_id != deal.pipeline_id:
        reason = _("Этап «%(name)s» — из другой воронки.", name=stage.name)
    elif not stage.active:
        reason = _("Этап «%(name)s» отключён.", name=stage.name)
    elif by is not None:
        reason = stage_rules.closed_to(stage, by)
    return reason


def _active_pipeline(pipeline_id: int) -> bool:
    return bool(db.session.scalar(select(Pipeline.active).where(Pipeline.id == pipeline_id)))


def _order_refusal(deal: Deal, stage: Stage, new_pipeline: bool) -> str | None:
    if new_pipeline:
        return stage_rules.mandatory_refusal(stage, frozenset())
    if deal.stage.kind.is_open and stage.kind.is_open and stage.position < deal.stage.position:
        # Back is free; from a closed stage it would be a way around the mandatory ones.
        return None
    return stage_rules.mandatory_refusal(stage, stage_rules.visited_stages(deal))


def _asks(stage: Stage) -> list[str]:
    if stage.kind is StageType.SUCCESS:
        return ["won"]
    if stage.kind is StageType.REFUSAL and _any_reason():
        return ["loss_reason"]
    return []


def _any_reason() -> bool:
    return bool(db.session.scalar(select(exists().where(LossReason.active))))


def _warnings(deal: Deal, stage: Stage) -> list[str]:
    if stage.tasks_allowed or not stage.kind.is_open:
        return []
    left = db.session.scalar(
        select(func.count()).where(Task.deal_id == deal.id, Task.done_at.is_(None))
    )
    if not left:
        return []
    return [_("На этом этапе задачи не ставят, а у сделки остались невыполненные.")]


# --- the move -------------------------------------------------------------------


def _move(
    deal_id: int,
    stage_id: int,
    by: Principal | None,
    values: Mapping[str, Any],
    typed: _Closing,
    unchecked: bool,
    how: MoveHow,
    *,
    new_pipeline: bool = False,
) -> MoveResult:
    deal = rows.deal_to_change(deal_id, by)
    stage = db.session.get(Stage, stage_id)
    if stage is None:
        raise NotFound(_("Такого этапа нет."))
    if unchecked and by is not None and by.is_ordinary():
        raise Forbidden(_("Перемещать без проверки может только руководитель."))
    errors = _written(deal, values, by)
    plan = plan_move(deal, stage, by, unchecked=unchecked, how=how, new_pipeline=new_pipeline)
    if plan.refusal:
        raise plan.error(plan.refusal)
    closing, closing_errors = _read_closing(typed, plan.asks)
    complained = {error.field for error in errors}
    errors += [e for e in stage_rules.missing_errors(plan.missing) if e.field not in complained]
    if errors or closing_errors:
        raise ValidationErrors(errors + closing_errors)
    now = utc_now()
    left, restore = deal.stage_id, {name: getattr(deal, name) for name in _CLOSING}
    before = audit.snapshot(deal, ("stage_id", "pipeline_id", *_CLOSING))
    _stand_on(deal, stage)
    deal.stage_entered_at = now
    _close_or_open(deal, stage, closing, now)
    if by is not None or not stage.kind.is_open:
        mark_processed(deal, by)
    history = _write_history(deal, left, by, how, unchecked=unchecked, at=now)
    if not stage.kind.is_open:
        tasks.close_tasks(deal, now, tasks.CLOSED_RESULT)
    _record(deal, history, by, before, restore)
    return MoveResult(deal, history, plan.warnings)


def _written(deal: Deal, values: Mapping[str, Any], by: Principal | None) -> list[FieldError]:
    """Write what the dialog has brought; complaints wait to be shown with the others.

    What is right beside them is written too, lest it be called missing; nothing of it stays.
    """
    try:
        deals.write_fields(deal, values, by)
    except ValidationErrors as refused:
        wrong = {error.field for error in refused.errors}
        right = {code: raw for code, raw in values.items() if code not in wrong}
        if right and len(right) < len(values):
            _written(deal, right, by)
        return refused.errors
    return []


def _read_closing(typed: _Closing, asks: list[str]) -> tuple[dict[str, Any], list[FieldError]]:
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    if "loss_reason" in asks:
        _read(values, errors, "loss_reason_id", _reason, typed.loss_reason_id)
    if "won" in asks:
        _read(values, errors, "won_amount", _won_amount, typed.won_amount)
        _read(values, errors, "won_on", _won_on, typed.won_on)
    return values, errors


def _read(
    values: dict[str, Any],
    errors: list[FieldError],
    name: str,
    parse: Callable[[Any], Any],
    raw: Any,
) -> None:
    try:
        values[name] = parse(raw)
    except ValueError as error:
        errors.append(FieldError(name, str(error)))


def _reason(raw: Any) -> int:
    reason_id = field_values.row_id(raw)
    reason = db.session.get(LossReason, reason_id) if reason_id is not None else None
    if reason is None or not reason.active:
        raise ValueError(_("Выберите причину отказа."))
    return int(reason.id)


def _won_amount(raw: Any) -> Decimal:
    amount = field_values.money(raw)
    if not amount:
        raise ValueError(_("Укажите сумму сделки."))
    return amount


def _won_on(raw: Any) -> dt.date:
    try:
        day = raw if isinstance(raw, dt.date) else dt.date.fromisoformat(str(raw or "").strip())
    except ValueError as error:
        raise ValueError(_("Укажите дату сделки.")) from error
    if day > local_today():
        raise ValueError(_("Дата сделки ещё не наступила."))
    return day


def _stand_on(deal: Deal, stage: Stage) -> None:
    deal.stage, deal.stage_id = stage, stage.id
    if deal.pipeline_id != stage.pipeline_id:
        deal.pipeline, deal.pipeline_id = stage.pipeline, stage.pipeline_id


def _close_or_open(deal: Deal, stage: Stage, closing: Mapping[str, Any], now: dt.datetime) -> None:
    if stage.kind is StageType.ARCHIVE and deal.closed_at is not None:
        # Put away: how and when the deal ended stays as it was.
        return
    deal.closed_at = None if stage.kind.is_open else now
    for name in ("loss_reason_id", "won_amount", "won_on"):
        setattr(deal, name, closing.get(name))
    deal.loss_reason = _reason_of(deal)


def _reason_of(deal: Deal) -> LossReason | None:
    found: LossReason | None = (
        db.session.get(LossReason, deal.loss_reason_id) if deal.loss_reason_id else None
    )
    return found


def _write_history(
    deal: Deal,
    left: int,
    by: Principal | None,
    how: MoveHow,
    *,
    unchecked: bool,
    at: dt.datetime,
) -> StageHistory:
    history = StageHistory(
        deal_id=deal.id,
        from_stage_id=left,
        to_stage_id=deal.stage_id,
        actor_id=by.id if by else None,
        moved_at=at,
        how=how,
        unchecked=unchecked,
    )
    db.session.add(history)
    db.session.flush()
    return history


def _record(
    deal: Deal,
    history: StageHistory,
    by: Principal | None,
    before: dict[str, Any],
    restore: Mapping[str, Any],
) -> None:
    """The line in the feed, the audit entry and the news for open pages."""
    left = db.session.get(Stage, history.from_stage_id)
    reason = deal.loss_reason.name if deal.loss_reason else None
    timeline.note(
        EventKind.STAGE,
        deal=deal,
        by=by,
        at=history.moved_at,
        history_id=history.id,
        old=left.name if left else None,
        new=deal.stage.name,
        how=str(history.how),
        unchecked=history.unchecked,
        reason=reason,
        restore={name: _plain(value) for name, value in restore.items()},
    )
    after = audit.snapshot(deal, tuple(before))
    audit.record("move", deal, by, before=before, after=after)
    tell(deal, history.from_stage_id)
    bus.emit("task.changed", deal_id=deal.id)


def _plain(value: Any) -> Any:
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


# --- taking back ----------------------------------------------------------------


def _undoable(moved: StageHistory) -> Stage:
    latest = db.session.scalar(
        select(func.max(StageHistory.id)).where(StageHistory.deal_id == moved.deal_id)
    )
    if latest != moved.id or moved.undone:
        raise Conflict(_("Сделку с тех пор уже переместили."))
    if utc_now() - moved.moved_at > UNDO_WITHIN:
        raise Conflict(_("Отменить перемещение можно только в течение 10 минут."))
    back: Stage | None = (
        db.session.get(Stage, moved.from_stage_id) if moved.from_stage_id is not None else None
    )
    if back is None or not back.active or moved.how == MoveHow.UNDO:
        raise Conflict(_("Вернуть сделку некуда."))
    return back


def _restorable(moved: StageHistory) -> dict[str, Any]:
    """Values before the move, from its own line in the feed."""
    query = select(TimelineEvent).where(
        TimelineEvent.deal_id == moved.deal_id,
        TimelineEvent.kind == EventKind.STAGE,
        TimelineEvent.occurred_at == moved.moved_at,
    )
    for event in db.session.scalars(query):
        if event.data.get("history_id") == moved.id:
            return {name: _typed(name, event.data["restore"][name]) for name in _CLOSING}
    raise Conflict(_("Вернуть сделку некуда."))


def _typed(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "won_amount":
        return Decimal(value)
    if name == "won_on":
        return dt.date.fromisoformat(value)
    return dt.datetime.fromisoformat(value) if name.endswith("_at") else value
