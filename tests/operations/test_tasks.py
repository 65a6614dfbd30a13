"""Tasks and the deal's copy of its nearest one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
import time_machine
from sqlalchemy import select

from crm.models import Company, Deal, EventKind, LossReason, Task, TaskKind, TimelineEvent, db
from crm.operations import deal_moves, deals, tasks
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.security.principal import Principal
from crm.values.clock import utc_now
from tests.factories import Factory

Rights = Callable[[str], Principal]
HOUR = dt.timedelta(hours=1)


def fields(error: pytest.ExceptionInfo[ValidationErrors]) -> list[str]:
    return [complaint.field for complaint in error.value.errors]


def nearest(deal: Deal) -> tuple[dt.datetime | None, str | None]:
    stored = db.session.execute(
        select(Deal.next_task_due, Deal.next_task_text).where(Deal.id == deal.id)
    ).one()
    assert tuple(stored) == (deal.next_task_due, deal.next_task_text)
    return deal.next_task_due, deal.next_task_text


def test_setting_a_task_ends_the_unprocessed_mark(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(is_saved=False), principal("manager")
    due = utc_now() + HOUR
    task = tasks.set_task(
        by=by, deal_id=deal.id, text=" Позвонить  клиенту ", kind="call", due_at=due
    )
    assert (task.text, task.responsible_id, task.author_id) == ("Позвонить клиенту", by.id, by.id)
    assert deal.is_saved
    assert nearest(deal) == (due, "Позвонить клиенту")
    event = db.session.scalars(
        select(TimelineEvent).where(TimelineEvent.kind == EventKind.TASK_SET)
    ).one()
    assert event.data["task_id"] == task.id


def test_without_a_time_it_is_due_at_the_end_of_the_working_day(
    make: Factory, principal: Rights
) -> None:
    company = db.session.scalars(select(Company)).one()
    company.timezone, company.work_end = "Asia/Yekaterinburg", dt.time(18, 30)
    db.session.commit()
    with time_machine.travel(dt.datetime(2026, 11, 23, 8, tzinfo=dt.UTC)):
        task = tasks.set_task(
            by=principal("manager"),
            deal_id=make.deal().id,
            text="Отправить подборку",
            kind="letter",
            due_date=dt.date(2026, 11, 25),
        )
    assert task.due_at == dt.datetime(2026, 11, 25, 13, 30, tzinfo=dt.UTC)
    assert not task.has_time


def test_a_preset_gives_text_and_kind(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    preset, foreign = make.stage(0).statuses[0], make.stage(2).statuses[0]
    due = utc_now() + HOUR
    task = tasks.set_task(by=by, deal_id=deal.id, status_id=preset.id, due_at=due)
    assert (task.text, task.kind, task.status_id) == ("Позвонить клиенту", TaskKind.CALL, preset.id)
    preset.active = False
    db.session.commit()
    for wrong in (preset.id, foreign.id, 999_999):
        with pytest.raises(ValidationErrors) as refused:
            tasks.set_task(by=by, deal_id=deal.id, text="x", status_id=wrong, due_at=due)
        assert fields(refused) == ["status_id"]


def test_all_complaints_at_once(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    with pytest.raises(ValidationErrors) as refused:
        tasks.set_task(by=by, deal_id=deal.id, text=" ", kind="dance", responsible_id=999_999)
    assert fields(refused) == ["text", "kind", "responsible_id", "due_at"]
    with pytest.raises(ValidationErrors) as refused:
        tasks.set_task(by=by, deal_id=deal.id, text="x" * 256, due_at=utc_now() - HOUR)
    assert fields(refused) == ["text", "due_at"]
    due = utc_now() + HOUR
    with pytest.raises(ValidationErrors) as refused:
        tasks.set_task(by=by, deal_id=deal.id, text="x", due_at=due, remind_at=due + HOUR)
    assert fields(refused) == ["remind_at"]
    assert db.session.scalars(select(Task)).all() == []


def test_the_stage_must_take_tasks_and_the_deal_be_ones_own(
    make: Factory, principal: Rights
) -> None:
    due = utc_now() + HOUR
    with pytest.raises(Conflict, match="Отказ"):
        tasks.set_task(by=principal("manager"), deal_id=make.deal(stage=7).id, text="x", due_at=due)
    for who in ("stranger", "marketer"):
        with pytest.raises(NotFound):
            tasks.set_task(by=principal(who), deal_id=make.deal().id, text="x", due_at=due)
    common = make.deal("stranger", 6)
    with pytest.raises(Forbidden):
        tasks.set_task(by=principal("manager"), deal_id=common.id, text="x", due_at=due)


def test_tasks_of_a_listing_and_of_nobody(make: Factory, principal: Rights) -> None:
    by, due = principal("manager"), utc_now() + HOUR
    listing = make.listing()
    task = tasks.set_task(by=by, listing_id=listing.id, text="Сфотографировать", due_at=due)
    event = db.session.scalars(select(TimelineEvent)).one()
    assert (task.listing_id, event.listing_id) == (listing.id, listing.id)
    assert tasks.set_task(by=by, text="Планёрка", due_at=due).responsible_id == by.id
    with pytest.raises(NotFound):
        tasks.set_task(by=by, listing_id=999_999, text="x", due_at=due)


def test_the_nearest_undone_task_is_kept_on_the_deal(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    now = utc_now()
    late = tasks.set_task(by=by, deal_id=deal.id, text="Потом", due_at=now + 3 * HOUR)
    soon = tasks.set_task(by=by, deal_id=deal.id, text="Скоро", due_at=now + HOUR)
    assert nearest(deal)[1] == "Скоро"
    tasks.reschedule(soon.id, by, due_at=now + 5 * HOUR)
    assert nearest(deal) == (now + 3 * HOUR, "Потом")
    tasks.complete_task(late.id, by, "Договорились")
    assert nearest(deal) == (now + 5 * HOUR, "Скоро")
    tasks.delete_task(soon.id, by)
    assert nearest(deal) == (None, None)
    tasks.reopen(late.id, by)
    assert nearest(deal) == (now + 3 * HOUR, "Потом")
    assert (late.result, late.done_at) == (None, None)
    deals.assign(deal.id, make.people["teammate"].id, by)
    assert late.responsible_id == make.people["teammate"].id
    assert nearest(deal)[1] == "Потом"


def test_the_company_may_demand_a_result(make: Factory, principal: Rights) -> None:
    task, by = make.task(make.deal()), principal("manager")
    db.session.scalars(select(Company)).one().task_result_required = True
    db.session.commit()
    with pytest.raises(ValidationErrors) as refused:
        tasks.complete_task(task.id, by, "  ")
    assert fields(refused) == ["result"]
    tasks.complete_task(task.id, by, "Дозвонился")
    with pytest.raises(Conflict):
        tasks.complete_task(task.id, by, "Ещё раз")
    with pytest.raises(Conflict):
        tasks.reschedule(task.id, by, due_at=utc_now() + HOUR)


def test_others_tasks_are_out_of_reach(make: Factory, principal: Rights) -> None:
    task = make.task(make.deal())
    for who in ("stranger", "marketer", "teammate"):
        for act in (
            lambda p: tasks.complete_task(task.id, p, "x"),
            lambda p: tasks.reschedule(task.id, p, due_at=utc_now() + HOUR),
            lambda p: tasks.delete_task(task.id, p),
        ):
            with pytest.raises(NotFound):
                act(principal(who))
    # Set by nobody the manager may name as himself: only a head deletes it.
    with pytest.raises(Forbidden):
        tasks.delete_task(task.id, principal("manager"))
    tasks.delete_task(task.id, principal("head"))


def test_a_closed_deals_task_stays_closed(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(source=make.source(), amount=1, need_text="дом"), principal("manager")
    task = make.task(deal)
    reason = db.session.scalars(select(LossReason.id)).first()
    deal_moves.move_to_stage(deal.id, make.stage(7).id, by, loss_reason_id=reason)
    with pytest.raises(Conflict, match="Сделка закрыта"):
        tasks.reopen(task.id, by)
