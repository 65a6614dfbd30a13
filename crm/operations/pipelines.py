"""Settings of pipelines: stages with their options and order, preset tasks, required fields."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import exists, func, inspect, or_, select, update

from crm.models import (
    Deal,
    DealSide,
    Model,
    Pipeline,
    RequiredField,
    Stage,
    StageHistory,
    StageStatus,
    StageType,
    Task,
    TaskKind,
    db,
)
from crm.operations import audit, checks, deal_fields, records, rows
from crm.operations.errors import Conflict, FieldError, Forbidden, NotFound, ValidationErrors
from crm.operations.install import make_stages
from crm.operations.tasks import CLOSED_RESULT
from crm.operations.transaction import operation
from crm.security.principal import Principal
from crm.values.clock import utc_now

STAGE_OPTIONS = (
    "name", "description", "checklist", "type", "color", "active", "available_to_manager",
    "tasks_allowed", "open_view", "open_full", "skip_required", "mandatory", "time_limit_days",
    "time_limit_target_id", "probability", "wip_color_threshold",
)  # fmt: skip
_MAX_LIMIT_DAYS = 3650
_MAX_DELAY_DAYS = 365


class StageRemoval(enum.StrEnum):
    """What became of a stage that was to be deleted."""

    DELETED = "deleted"
    ARCHIVED = "archived"


# --- validators -----------------------------------------------------------------


@records.validator(Pipeline)
def check_pipeline(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a pipeline; a new one without stages gets the default ones.

    Ticking «основная» takes the mark from the other pipelines.
    """
    checks.clean(record, "name", "description")
    errors = checks.required(record, name=_("Укажите название воронки."))
    errors += checks.unique_name(record)
    if record.side is not None and record.side not in list(DealSide):
        errors.append(FieldError("side", _("Выберите вид сделок.")))
    if record.id is None and not record.stages:
        make_stages(record)
    if not any(_counts(stage) for stage in record.stages):
        errors.append(FieldError("stages", _("Нужен хотя бы один этап в работе.")))
    return errors + _default_errors(record)


@records.delete_guard(Pipeline)
def keep_used_pipeline(record: Model) -> str | None:
    """The default pipeline and those with deals stay."""
    reason: str | None = None
    if record.is_default:
        reason = _("Основную воронку удалить нельзя: сначала сделайте основной другую.")
    elif db.session.scalar(select(exists().where(Deal.pipeline_id == record.id))):
        reason = _("В воронке есть сделки. Отключите её вместо удаления.")
    return reason


@records.validator(Stage)
def check_stage(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a stage; a change of its type is followed by its deals at once.

    Full access means that everybody sees the deals too.
    """
    checks.clean(record, "name", "description", "checklist")
    errors = checks.required(record, name=_("Укажите название этапа."))
    errors += checks.color(record)
    if record.open_full:
        record.open_view = True
    if record.type not in list(StageType):
        errors.append(FieldError("type", _("Выберите тип этапа.")))
    else:
        errors += _last_open_errors(record) or _standing_errors(record)
    errors += _number_errors(record) + _limit_errors(record)
    if not errors:
        _follow_type(record)
    return errors


@records.delete_guard(Stage)
def keep_used_stage(record: Model) -> str | None:
    """A stage that deals are or were on stays, and so does the last one in work."""
    reason: str | None = None
    if _last_open_errors(record, gone=True):
        reason = _("Нужен хотя бы один этап в работе.")
    elif _was_used(record):
        reason = _("На этапе есть или были сделки. Отключите его вместо удаления.")
    return reason


@records.validator(StageStatus)
def check_status(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a preset task."""
    checks.clean(record, "text")
    errors = checks.required(record, text=_("Напишите, что сделать."))
    if record.text and len(record.text) > 255:  # noqa: PLR2004
        errors.append(FieldError("text", _("Не длиннее %(limit)s знаков.", limit=255)))
    if record.task_kind not in list(TaskKind):
        errors.append(FieldError("task_kind", _("Выберите вид задачи.")))
    if not _whole(record.delay_days, 0, _MAX_DELAY_DAYS):
        errors.append(FieldError("delay_days", _("Укажите число дней от 0 до 365.")))
    return errors


@records.validator(RequiredField)
def check_required_field(record: Model, _by: Principal | None) -> list[FieldError]:
    """Complaints about a required field: the card must have it, the stage be its pipeline's."""
    errors = []
    if record.field not in deal_fields.CATALOGUE:
        errors.append(FieldError("field", _("Такого поля в карточке нет.")))
    if record.from_stage_id is not None:
        stage = db.session.get(Stage, record.from_stage_id)
        if stage is None or stage.pipeline_id != record.pipeline_id:
            errors.append(FieldError("from_stage_id", _("Этап из другой воронки.")))
    return errors


# --- operations -----------------------------------------------------------------


@operation
def create_pipeline(name: str, by: Principal | None, side: str = DealSide.BUYER) -> Pipeline:
    """A pipeline with the default stages; raises ValidationErrors naming ``name``, ``side``."""
    _must_edit(by)
    count = len(db.session.scalars(select(Pipeline.id)).all())
    pipeline = Pipeline(name=name, side=side, position=count, active=True, is_default=False)
    records.create(pipeline, by)
    return pipeline


@operation
def add_stage(pipeline_id: int, by: Principal | None, **options: Any) -> Stage:
    """Add a stage: one in work after the others in work, a closing one at the end.

    ``options`` are columns of ``STAGE_OPTIONS``; raises ValidationErrors naming them.
    """
    _must_edit(by)
    pipeline = _locked_pipeline(pipeline_id)
    kind = options.get("type", StageType.IN_WORK)
    options.setdefault("tasks_allowed", kind == StageType.IN_WORK)
    options.setdefault("skip_required", kind == StageType.NON_TARGET)
    options.setdefault("active", True)
    options.setdefault("color", "#3056d3")
    stage = Stage(pipeline_id=pipeline_id, **{**_DEFAULTS, **_known(options), "type": kind})
    ordered = _stages(pipeline_id)
    place = _place(ordered, kind)
    stage.position = place
    records.create(stage, by)
    _number([*ordered[:place], stage, *ordered[place:]])
    db.session.expire(pipeline, ["stages"])
    return stage


@operation
def update_stage(stage_id: int, by: Principal | None, **options: Any) -> Stage:
    """Change options of a stage; raises NotFound, ValidationErrors naming the options."""
    _must_edit(by)
    stage = rows.locked(Stage, stage_id)
    if stage is None:
        raise NotFound(_("Этап не найден."))
    for name, value in _known(options).items():
        setattr(stage, name, value)
    records.update(stage, by)
    return stage


@operation
def delete_stage(stage_id: int, by: Principal | None) -> StageRemoval:
    """Delete a stage no deal has ever been on; another one is put away instead.

    Raises NotFound, Conflict (deals stand on it, or it is the last one in work).
    """
    _must_edit(by)
    stage = rows.locked(Stage, stage_id)
    if stage is None:
        raise NotFound(_("Этап не найден."))
    if _last_open_errors(stage, gone=True):
        raise Conflict(_("Нужен хотя бы один этап в работе."))
    pipeline = stage.pipeline
    if _was_used(stage):
        stage.active = False
        if standing := _standing_errors(stage):
            raise Conflict(standing[0].message)
        records.update(stage, by)
        return StageRemoval.ARCHIVED
    records.delete(stage, by)
    db.session.expire(pipeline, ["stages"])
    _number(_stages(pipeline.id))
    return StageRemoval.DELETED


@operation
def reorder_stages(pipeline_id: int, ids: Sequence[int], by: Principal | None) -> list[Stage]:
    """Put the stages in the order of ``ids``, which must name each of them once.

    Raises Conflict when they do not: somebody has added or deleted a stage meanwhile.
    """
    _must_edit(by)
    pipeline = _locked_pipeline(pipeline_id)
    stages = {stage.id: stage for stage in _stages(pipeline_id)}
    if sorted(ids) != sorted(stages):
        raise Conflict(_("Список этапов изменился. Обновите страницу и повторите."))
    before = {"stages": list(stages)}
    ordered = [stages[pk] for pk in ids]
    _number(ordered)
    audit.record("reorder", pipeline, by, before=before, after={"stages": list(ids)})
    db.session.expire(pipeline, ["stages"])
    return ordered


@operation
def save_statuses(
    stage_id: int, items: Sequence[Mapping[str, Any]], by: Principal | None
) -> list[StageStatus]:
    """Save the whole list of a stage's preset tasks in its order.

    Each item: ``id`` (of an old one), ``text``, ``task_kind``, ``delay_days``, ``active``.
    Those left out are deleted, or switched off when tasks refer to them. Raises
    ValidationErrors naming ``<index>.<field>``.
    """
    _must_edit(by)
    stage = rows.locked(Stage, stage_id)
    if stage is None:
        raise NotFound(_("Этап не найден."))
    old: dict[Any, StageStatus] = {status.id: status for status in stage.statuses}
    kept: list[StageStatus] = []
    errors: list[FieldError] = []
    with db.session.no_autoflush:
        for index, item in enumerate(items):
            status = old.pop(item.get("id"), None) or StageStatus(stage_id=stage_id)
            _fill_status(status, item, index)
            complaints = check_status(status, by)
            errors += [FieldError(f"{index}.{e.field}", e.message) for e in complaints]
            kept.append(status)
    if errors:
        raise ValidationErrors(errors)
    db.session.add_all(kept)
    for status in old.values():
        _drop_status(status)
    db.session.flush()
    audit.record("statuses", stage, by, after={"statuses": [s.text for s in kept]})
    db.session.expire(stage, ["statuses"])
    return list(stage.statuses)


@operation
def save_required_fields(
    pipeline_id: int, items: Sequence[Mapping[str, Any]], by: Principal | None
) -> list[RequiredField]:
    """Save the whole list of a pipeline's required fields: ``field``, ``from_stage_id``.

    Raises ValidationErrors naming ``<index>.<field>``.
    """
    _must_edit(by)
    pipeline = _locked_pipeline(pipeline_id)
    query = select(RequiredField).where(RequiredField.pipeline_id == pipeline_id)
    old = {row.field: row for row in db.session.scalars(query)}
    before = {code: row.from_stage_id for code, row in old.items()}
    kept: dict[str, RequiredField] = {}
    errors: list[FieldError] = []
    with db.session.no_autoflush:
        for index, item in enumerate(items):
            code = str(item.get("field") or "")
            row = old.pop(code, None) or RequiredField(pipeline_id=pipeline_id, field=code)
            row.from_stage_id = item.get("from_stage_id")
            complaints = check_required_field(row, by)
            if code in kept:
                complaints.append(FieldError("field", _("Поле указано дважды.")))
            errors += [FieldError(f"{index}.{e.field}", e.message) for e in complaints]
            kept.setdefault(code, row)
    if errors:
        raise ValidationErrors(errors)
    for row in old.values():
        db.session.delete(row)
    db.session.add_all(kept.values())
    db.session.flush()
    after = {code: row.from_stage_id for code, row in kept.items()}
    audit.record("required_fields", pipeline, by, before=before, after=after)
    return list(kept.values())


# --- parts ----------------------------------------------------------------------

# Column defaults are applied on INSERT only; the validator needs them before.
_DEFAULTS: dict[str, Any] = {
    "name": "",
    "available_to_manager": True,
    "open_view": False,
    "open_full": False,
    "mandatory": False,
}


def _must_edit(by: Principal | None) -> None:
    if by is not None and not by.may_open("can_edit", "Pipelines"):
        raise Forbidden(_("Настраивать воронки может только администратор."))


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(options) - set(STAGE_OPTIONS))
    if unknown:
        raise ValidationErrors([FieldError(name, _("Такой настройки нет.")) for name in unknown])
    return dict(options)


def _locked_pipeline(pipeline_id: int) -> Pipeline:
    pipeline = rows.locked(Pipeline, pipeline_id)
    if pipeline is None:
        raise NotFound(_("Воронка не найдена."))
    return pipeline


def _stages(pipeline_id: int) -> list[Stage]:
    query = select(Stage).where(Stage.pipeline_id == pipeline_id)
    return list(db.session.scalars(query.order_by(Stage.position, Stage.id)))


def _place(ordered: Sequence[Stage], kind: str) -> int:
    if kind != StageType.IN_WORK:
        return len(ordered)
    closing = (place for place, stage in enumerate(ordered) if not stage.kind.is_open)
    return next(closing, len(ordered))


def _number(ordered: Sequence[Stage]) -> None:
    for position, stage in enumerate(ordered):
        stage.position = position
    db.session.flush()


def _counts(stage: Stage) -> bool:
    return stage.active is not False and stage.type == StageType.IN_WORK


def _default_errors(pipeline: Model) -> list[FieldError]:
    query = select(Pipeline).where(Pipeline.is_default)
    others = [row for row in db.session.scalars(query) if row is not pipeline]
    if not pipeline.is_default:
        text = _("Одна из воронок должна быть основной.")
        return [] if others else [FieldError("is_default", text)]
    if pipeline.active is False:
        return [FieldError("active", _("Основную воронку отключить нельзя."))]
    for other in others:
        other.is_default = False
    return []


def _last_open_errors(stage: Model, *, gone: bool = False) -> list[FieldError]:
    if not gone and _counts(stage):
        return []
    query = select(
        exists().where(
            Stage.pipeline_id == stage.pipeline_id,
            Stage.id != (stage.id or 0),
            Stage.active,
            Stage.type == StageType.IN_WORK,
        )
    )
    if db.session.scalar(query):
        return []
    name = "active" if stage.active is False else "type"
    return [FieldError(name, _("Нужен хотя бы один этап в работе."))]


def _standing_errors(stage: Model) -> list[FieldError]:
    """Deals in work would vanish from the board together with their stage."""
    if stage.active or stage.id is None or stage.type != StageType.IN_WORK:
        return []
    if not inspect(stage).attrs.active.history.has_changes():
        return []
    standing = select(func.count()).where(Deal.stage_id == stage.id, Deal.deleted_at.is_(None))
    count = db.session.scalar(standing)
    if not count:
        return []
    text = _("На этапе стоят сделки: %(count)s. Сначала переместите их.", count=count)
    return [FieldError("active", text)]


def _number_errors(stage: Model) -> list[FieldError]:
    ranges = (
        ("time_limit_days", 1, _MAX_LIMIT_DAYS, _("Укажите число дней от 1 до 3650.")),
        ("probability", 0, 100, _("Укажите вероятность от 0 до 100 %.")),
        ("wip_color_threshold", 1, 100_000, _("Укажите число сделок больше нуля.")),
    )
    return [
        FieldError(name, text)
        for name, low, high, text in ranges
        if getattr(stage, name) is not None and not _whole(getattr(stage, name), low, high)
    ]


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _limit_errors(stage: Model) -> list[FieldError]:
    """The limit has a target in the same pipeline and no way back by limits alone."""
    target_id = stage.time_limit_target_id
    if (stage.time_limit_days is None) != (target_id is None):
        missing = "time_limit_target_id" if target_id is None else "time_limit_days"
        return [FieldError(missing, _("Укажите и срок, и этап, на который перейдёт сделка."))]
    if target_id is None:
        return []
    text = _limit_refusal(stage, target_id)
    return [FieldError("time_limit_target_id", text)] if text else []


def _limit_refusal(stage: Model, target_id: int) -> str | None:
    reason: str | None = None
    stages = {row.id: row for row in _stages(stage.pipeline_id)}
    if target_id == stage.id:
        reason = _("Нельзя переводить этап в самого себя.")
    elif target_id not in stages:
        reason = _("Этап должен быть в той же воронке.")
    elif not stages[target_id].active:
        reason = _("Этот этап отключён.")
    elif stage.id is not None and _leads_back(stage.id, target_id, stages):
        reason = _("Сроки этапов образуют круг: сделка ходила бы по нему без конца.")
    return reason


def _leads_back(start: int, first: int, stages: Mapping[int, Stage]) -> bool:
    seen: set[int] = set()
    step: int | None = first
    while step is not None and step in stages and step not in seen:
        if step == start:
            return True
        seen.add(step)
        step = stages[step].time_limit_target_id
    return False


def _follow_type(stage: Model) -> None:
    """Close or reopen the deals on a stage whose type has just been changed."""
    history = inspect(stage).attrs.type.history
    if stage.id is None or not history.has_changes() or not history.deleted:
        return
    was_open, is_open = StageType(history.deleted[0]).is_open, StageType(stage.type).is_open
    here = Deal.stage_id == stage.id
    if was_open and not is_open:
        now = utc_now()
        ids = select(Deal.id).where(here)
        db.session.execute(
            update(Task)
            .where(Task.deal_id.in_(ids), Task.done_at.is_(None))
            .values(done_at=now, result=CLOSED_RESULT),
            execution_options={"synchronize_session": "fetch"},
        )
        closed = {"closed_at": now, "next_task_due": None, "next_task_text": None}
        db.session.execute(update(Deal).where(here, Deal.closed_at.is_(None)).values(**closed))
    elif is_open and not was_open:
        db.session.execute(update(Deal).where(here).values(closed_at=None))


def _was_used(stage: Model) -> bool:
    on_it = exists().where(Deal.stage_id == stage.id)
    passed = exists().where(
        or_(StageHistory.to_stage_id == stage.id, StageHistory.from_stage_id == stage.id)
    )
    return bool(db.session.scalar(select(or_(on_it, passed))))


def _fill_status(status: StageStatus, item: Mapping[str, Any], index: int) -> None:
    status.text = str(item.get("text") or "")
    status.task_kind = item.get("task_kind") or TaskKind.OTHER
    status.delay_days = item.get("delay_days", 1)
    status.active = bool(item.get("active", True))
    status.position = index


def _drop_status(status: StageStatus) -> None:
    if db.session.scalar(select(exists().where(Task.status_id == status.id))):
        status.active = False
    else:
        db.session.delete(status)
