"""Deals: making, filling in, saving, giving to people and deleting."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, NoReturn

from flask_babel import gettext as _
from sqlalchemy import select

from crm.models import (
    Action,
    Contact,
    Deal,
    Department,
    Employee,
    EventKind,
    Listing,
    MoveHow,
    ObjectKind,
    Pipeline,
    Scope,
    Source,
    Stage,
    StageHistory,
    StageType,
    db,
)
from crm.operations import audit, bus, deal_fields, limits, rows, stage_rules, tasks, timeline
from crm.operations.deal_marks import mark_processed, tell
from crm.operations.errors import (
    Conflict,
    Forbidden,
    NotFound,
    ValidationErrors,
)
from crm.operations.transaction import operation
from crm.security import visibility
from crm.security.grants import Grant
from crm.security.principal import Principal
from crm.values.clock import utc_now

DELETED_RESULT = "сделка удалена"


@operation
def create_deal(
    *,
    pipeline_id: int,
    by: Principal | None,
    contact: Contact | None = None,
    stage_id: int | None = None,
    responsible_id: int | None = None,
    department_id: int | None = None,
    source_id: int | None = None,
    channel: str = "manual",
    is_saved: bool = True,
    values: Mapping[str, Any] | None = None,
    listing_id: int | None = None,
    how: MoveHow = MoveHow.MANUAL,
    received_at: dt.datetime | None = None,
) -> Deal:
    """Make a deal on ``stage_id`` or on the pipeline's first stage in work.

    ``by`` None is the system: nothing is demanded of it. A person needs the right to add,
    a source he may choose, and the stage's required fields in ``values`` (raw input by field
    code). ``received_at`` (aware): when the appeal came. Raises Forbidden, ValidationErrors.
    """
    if by is not None and not by.may_open("can_add", "Deals"):
        raise Forbidden(_("У вас нет права создавать сделки."))
    card = dict(values or {})
    chosen = card.pop("source", None)
    stage = _birth_stage(pipeline_id, stage_id, by)
    source = _birth_source(source_id if source_id is not None else chosen, by)
    owner = _birth_owner(responsible_id, by)
    now = utc_now()
    deal = Deal(
        pipeline_id=stage.pipeline_id,
        stage=stage,
        contact=contact,
        responsible=owner,
        department=_birth_department(department_id, owner, source),
        source=source,
        author_id=by.id if by else None,
        listing_id=_birth_listing(listing_id, by),
        channel=channel,
        is_saved=is_saved,
        processed_at=now if is_saved else None,
        first_appeal_at=received_at,
        created_at=min(received_at, now) if received_at else now,
        stage_entered_at=now,
        last_activity_at=now,
        closed_at=None if stage.kind.is_open else now,
        need={},
    )
    db.session.add(deal)
    db.session.flush()
    deal_fields.apply(deal, card, by)
    if by is not None:
        _demand_required(deal, stage)
    _record_birth(deal, by, how)
    if how is MoveHow.INTAKE and owner is not None:
        # Requests given by distribution count; the distribution itself looks at the limits.
        limits.claim_place(owner, deal, by, above_limit=True)
    return deal


@operation
def edit_deal(
    deal_id: int, by: Principal | None, values: Mapping[str, Any], version: int | None = None
) -> Deal:
    """Write raw input into the card's fields by their codes.

    ``version`` is the one the person saw: Conflict when it is not the present one.
    Raises ValidationErrors naming the fields, NotFound, Forbidden.
    """
    deal = rows.deal_to_change(deal_id, by)
    if version is not None and version != deal.version:
        raise Conflict(
            _("Карточку только что изменил другой сотрудник. Обновите страницу и повторите.")
        )
    if write_fields(deal, values, by):
        tell(deal)
    return deal


@operation
def save_deal(deal_id: int, by: Principal, values: Mapping[str, Any] | None = None) -> Deal:
    """«Сохранить»: write ``values`` and take the deal out of the unprocessed ones.

    Raises ValidationErrors naming every required field of the stage that is empty.
    """
    deal = rows.deal_to_change(deal_id, by)
    write_fields(deal, values or {}, by)
    if not deal.is_saved:
        _demand_required(deal, deal.stage)
        mark_processed(deal, by)
        timeline.note(EventKind.SAVED, deal=deal, by=by)
    tell(deal)
    return deal


@operation
def change_source(deal_id: int, source_id: int, by: Principal) -> Deal:
    """Change the advertising source, if the present one allows it to the person."""
    return edit_deal(deal_id, by, {"source": source_id})


@operation
def assign(
    deal_id: int, employee_id: int | None, by: Principal | None, *, above_limit: bool = False
) -> Deal:
    """Give the deal with its undone tasks to another person (None: back to distribution).

    Heads give any deal they may edit or take, an ordinary employee only his own. A request counts
    against the receiver's limits; ``above_limit`` confirms that a head goes over them.
    Raises Forbidden, NotFound, Conflict (limit), ValidationErrors naming ``responsible``.
    """
    deal = _deal_to_give(deal_id, by)
    if employee_id == deal.responsible_id:
        return deal
    _may_give(deal, employee_id, by)
    try:
        employee = deal_fields.active_employee(employee_id) if employee_id is not None else None
    except ValueError as error:
        raise ValidationErrors.one("responsible", str(error)) from error
    if employee is not None and not deal.is_saved:
        may_exceed = above_limit and (by is None or not by.is_ordinary())
        limits.claim_place(employee, deal, by, above_limit=may_exceed)
    _hand_over(deal, employee, by)
    return deal


@operation
def take(deal_id: int, by: Principal) -> Deal:
    """«Взять себе»: make an undistributed or fully open deal one's own.

    Of two people at once the second gets Conflict. Raises Conflict also when the person's
    limit is used up, Forbidden when the deal may only be read, NotFound when not even that.
    """
    deal = rows.locked(Deal, deal_id)
    if deal is None or deal.deleted_at is not None:
        raise NotFound(_("Сделка не найдена."))
    if deal.responsible_id == by.id:
        return deal
    if not _takeable(deal, by):
        _refuse_taking(deal, by)
    me: Employee = db.session.get(Employee, by.id)
    if deal.responsible_id is None:
        limits.claim_place(me, deal, by)
    _hand_over(deal, me, by)
    return deal


@operation
def delete_deal(deal_id: int, by: Principal) -> Deal:
    """Hide the deal for good; its undone tasks are closed. Administrators only."""
    deal = rows.locked(Deal, deal_id)
    if deal is None or not visibility.may(by, Action.VIEW, deal):
        raise NotFound(_("Сделка не найдена."))
    if not visibility.may(by, Action.DELETE, deal):
        raise Forbidden(_("Удалять сделки может только администратор."))
    now = utc_now()
    deal.deleted_at = now
    tasks.close_tasks(deal, now, DELETED_RESULT)
    audit.record("delete", deal, by, before=audit.snapshot(deal))
    tell(deal)
    return deal


@operation
def restore_deal(deal_id: int, by: Principal) -> Deal:
    """Bring a deleted deal back with the tasks that its deletion closed."""
    if not by.is_admin:
        raise Forbidden(_("Восстанавливать сделки может только администратор."))
    deal = rows.locked(Deal, deal_id)
    if deal is None or deal.deleted_at is None:
        raise NotFound(_("Удалённая сделка не найдена."))
    tasks.reopen_closed(deal, deal.deleted_at, DELETED_RESULT)
    deal.deleted_at = None
    audit.record("restore", deal, by)
    tell(deal)
    return deal


def write_fields(deal: Deal, values: Mapping[str, Any], by: Principal | None) -> bool:
    """Write raw input into a locked deal, with its line in the feed and audit."""
    before = audit.snapshot(deal)
    changed = deal_fields.apply(deal, values, by)
    if not changed:
        return False
    db.session.flush()
    after = audit.snapshot(deal)
    names = [name for name in after if name not in _BOOKKEEPING and after[name] != before[name]]
    audit.record(
        "update",
        deal,
        by,
        before={name: before[name] for name in names},
        after={name: after[name] for name in names},
    )
    # The source and the person responsible have lines of their own.
    told = [change for change in changed if change["field"] not in ("source", "responsible")]
    if told:
        timeline.note(EventKind.FIELDS, deal=deal, by=by, changes=told)
    return True


_BOOKKEEPING = frozenset({"version", "updated_at", "last_activity_at"})


# --- birth ----------------------------------------------------------------------


def _birth_stage(pipeline_id: int, stage_id: int | None, by: Principal | None) -> Stage:
    pipeline = db.session.get(Pipeline, pipeline_id)
    if pipeline is None or (by is not None and not pipeline.active):
        raise ValidationErrors.one("pipeline_id", _("Такой воронки нет."))
    if stage_id is None:
        return _first_stage(pipeline_id, by)
    stage: Stage | None = db.session.get(Stage, stage_id)
    if stage is None or stage.pipeline_id != pipeline_id or not stage.active:
        raise ValidationErrors.one("stage_id", _("Такого этапа в воронке нет."))
    if by is not None:
        reason = stage_rules.closed_to(stage, by) or _birth_refusal(stage)
        if reason:
            raise ValidationErrors.one("stage_id", reason)
    return stage


def _first_stage(pipeline_id: int, by: Principal | None) -> Stage:
    query = select(Stage).where(
        Stage.pipeline_id == pipeline_id, Stage.active, Stage.type == StageType.IN_WORK
    )
    if by is not None and by.is_ordinary():
        query = query.where(Stage.available_to_manager)
    stage: Stage | None = db.session.scalars(query.order_by(Stage.position, Stage.id)).first()
    if stage is None:
        raise ValidationErrors.one("stage_id", _("В воронке нет этапа, с которого начать."))
    return stage


def _birth_refusal(stage: Stage) -> str | None:
    if not stage.kind.is_open:
        reason: str = _("Новую сделку заводят на этапе в работе.")
        return reason
    return stage_rules.mandatory_refusal(stage, visited=frozenset())


def _birth_source(raw: Any, by: Principal | None) -> Source | None:
    try:
        source_id = deal_fields.CATALOGUE["source"].parse(raw)
        if source_id is None and by is not None:
            raise ValidationErrors.one("source", _("Выберите источник."))
        return deal_fields.choosable_source(source_id, by)
    except ValueError as error:
        raise ValidationErrors.one("source", str(error)) from error


def _birth_owner(responsible_id: int | None, by: Principal | None) -> Employee | None:
    if responsible_id is None and by is not None:
        responsible_id = by.id
    if responsible_id is None:
        return None
    try:
        return deal_fields.active_employee(responsible_id)
    except ValueError as error:
        raise ValidationErrors.one("responsible", str(error)) from error


def _birth_department(
    department_id: int | None, owner: Employee | None, source: Source | None
) -> Department | None:
    if department_id is None and owner is not None:
        department_id = owner.department_id
    if department_id is None and source is not None:
        department_id = source.department_id
    found: Department | None = (
        db.session.get(Department, department_id) if department_id is not None else None
    )
    return found


def _birth_listing(listing_id: int | None, by: Principal | None) -> int | None:
    """The listing that the client asked about; a person names one that he sees."""
    if listing_id is None or by is None:
        return listing_id
    if visibility.get_visible(by, Listing, listing_id) is None:
        text = _("Такого объекта нет, или он вам недоступен.")
        raise ValidationErrors.one("listing_id", text)
    return listing_id


def _demand_required(deal: Deal, stage: Stage) -> None:
    missing = stage_rules.missing_fields(deal, stage)
    if missing:
        raise ValidationErrors(stage_rules.missing_errors(missing))


def _record_birth(deal: Deal, by: Principal | None, how: MoveHow) -> None:
    db.session.add(
        StageHistory(
            deal_id=deal.id,
            to_stage_id=deal.stage_id,
            actor_id=by.id if by else None,
            moved_at=deal.stage_entered_at,
            how=how,
        )
    )
    timeline.note(
        EventKind.CREATED,
        deal=deal,
        by=by,
        how=str(how),
        channel=deal.channel,
        source=deal.source.name if deal.source else None,
        stage=deal.stage.name,
    )
    audit.record("create", deal, by, after=audit.snapshot(deal))
    tell(deal)


# --- people ---------------------------------------------------------------------


def _deal_to_give(deal_id: int, by: Principal | None) -> Deal:
    deal = rows.locked(Deal, deal_id)
    if deal is not None and by is not None and not by.is_ordinary() and _takeable(deal, by):
        return deal
    return rows.deal_to_change(deal_id, by)


def _may_give(deal: Deal, employee_id: int | None, by: Principal | None) -> None:
    if by is None or not by.is_ordinary():
        return
    # On a fully open stage anybody may edit, but only take, not give away.
    if employee_id is None or by.id not in (deal.responsible_id, employee_id):
        raise Forbidden(_("Передать сделку может её ответственный или руководитель."))


def _hand_over(deal: Deal, employee: Employee | None, by: Principal | None) -> None:
    old = deal.responsible
    limits.give_back(deal, by)
    deal.responsible, deal.responsible_id = employee, employee.id if employee else None
    if deal.department_id is None and employee is not None:
        deal.department, deal.department_id = employee.department, employee.department_id
    db.session.flush()
    tasks.hand_over(deal, deal.responsible_id)
    old_id, new_id = old.id if old else None, deal.responsible_id
    timeline.note(
        EventKind.RESPONSIBLE,
        deal=deal,
        by=by,
        old=old.full_name if old else None,
        new=employee.full_name if employee else None,
        old_id=old_id,
        new_id=new_id,
    )
    audit.record(
        "assign", deal, by, before={"responsible_id": old_id}, after={"responsible_id": new_id}
    )
    tell(deal)
    bus.emit("task.changed", deal_id=deal.id)


def _takeable(deal: Deal, by: Principal) -> bool:
    if by.scope(ObjectKind.DEAL, Action.EDIT) is Scope.NONE:
        return False
    query = select(Deal.id).where(Deal.id == deal.id, visibility.may_take_condition(by))
    return db.session.scalar(query) is not None


def _refuse_taking(deal: Deal, by: Principal) -> NoReturn:
    if deal.department_id is None:
        shown = not by.can(Grant.HIDE_ALL_DEPARTMENT_REQUESTS)
    else:
        shown = deal.department_id == by.department_id
    works = by.scope(ObjectKind.DEAL, Action.EDIT) is not Scope.NONE
    if deal.responsible is not None and shown and works:
        # A moment ago he saw it among the undistributed ones: tell him who was quicker.
        raise Conflict(_("Сделку уже взял(а) %(name)s.", name=deal.responsible.full_name))
    if visibility.may(by, Action.VIEW, deal):
        raise Forbidden(_("Эту сделку нельзя взять себе."))
    raise NotFound(_("Сделка не найдена."))


__all__ = [
    "assign", "change_source", "create_deal", "delete_deal", "edit_deal",
    "mark_processed", "restore_deal", "save_deal", "take", "tell", "write_fields",
]  # fmt: skip
