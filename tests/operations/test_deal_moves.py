"""Moving deals: each check of the rules in its order, closing, undoing, other pipelines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import pytest
import time_machine
from sqlalchemy import select

from crm.models import (
    AuditEntry,
    BrowserEvent,
    Deal,
    EventKind,
    LossReason,
    MoveHow,
    Pipeline,
    RequiredField,
    StageHistory,
    StageType,
    TimelineEvent,
    db,
)
from crm.operations import deal_moves, tasks
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.operations.install import make_stages
from crm.security.principal import Principal
from crm.values.clock import utc_now
from tests.factories import Factory

Rights = Callable[[str], Principal]
FIRST, NEED, SHOWING, DEPOSIT, _CLOSE, WON, LATER, LOST, NON_TARGET, ARCHIVE = range(10)
FULL = {
    "contact_name": "Анна Лебедева",
    "amount": "11 300 000",
    "need_kind": "flat",
    "need_rooms": "2",
}


@pytest.fixture
def full(make: Factory) -> Callable[..., Deal]:
    """Deals with every required field filled."""

    def deal(owner: str | None = "manager", stage: int = FIRST, **values: object) -> Deal:
        values.setdefault("source", make.source(f"Авито {utc_now().timestamp()}"))
        values.setdefault("amount", Decimal(11_300_000))
        values.setdefault("need_text", "2-к, Пушкин")
        return make.deal(owner, stage, **values)

    return deal


def reason_id() -> int:
    return db.session.scalars(select(LossReason.id)).first()


def fields(error: pytest.ExceptionInfo[ValidationErrors]) -> list[str]:
    return [complaint.field for complaint in error.value.errors]


def history(deal: Deal) -> list[StageHistory]:
    query = select(StageHistory).where(StageHistory.deal_id == deal.id)
    return list(db.session.scalars(query.order_by(StageHistory.id)))


# --- check 1: right ---------------------------------------------------------------


def test_only_the_responsible_and_his_heads_move(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, target = full(), make.stage(NEED)
    for who in ("teammate", "stranger", "marketer"):
        with pytest.raises(NotFound):
            deal_moves.move_to_stage(deal.id, target.id, principal(who))
    for who, stage in (("manager", NEED), ("head", FIRST), ("director", NEED), ("admin", FIRST)):
        deal_moves.move_to_stage(deal.id, make.stage(stage).id, principal(who))
        assert deal.stage_id == make.stage(stage).id


def test_who_may_only_look_is_told_so(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal = full("stranger", LATER)
    with pytest.raises(Forbidden):
        deal_moves.move_to_stage(deal.id, make.stage(FIRST).id, principal("manager"))
    plan = deal_moves.plan_move(deal, make.stage(FIRST), principal("manager"))
    assert plan.refusal is not None
    assert plan.error is Forbidden


def test_anybody_moves_from_a_fully_open_stage(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    make.stage(LATER).open_full = True
    deal = full("stranger", LATER)
    result = deal_moves.move_to_stage(deal.id, make.stage(FIRST).id, principal("manager"))
    # He no longer may edit it, but his own slip he may take back.
    assert (
        deal_moves.undo_move(result.history.id, principal("manager")).stage_id
        == make.stage(LATER).id
    )


# --- check 2: target --------------------------------------------------------------


def other_pipeline(name: str = "Аренда") -> Pipeline:
    pipeline = Pipeline(name=name)
    make_stages(pipeline)
    db.session.add(pipeline)
    db.session.commit()
    return pipeline


def test_target_must_be_in_the_pipeline_active_and_available(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal = full()
    foreign = other_pipeline().stages[0]
    with pytest.raises(Conflict, match="из другой воронки"):
        deal_moves.move_to_stage(deal.id, foreign.id, principal("admin"))
    with pytest.raises(Conflict, match="уже на этапе"):
        deal_moves.move_to_stage(deal.id, make.stage(FIRST).id, principal("admin"))
    with pytest.raises(NotFound):
        deal_moves.move_to_stage(deal.id, 999_999, principal("admin"))
    make.stage(NEED).available_to_manager = False
    make.stage(SHOWING).active = False
    db.session.commit()
    with pytest.raises(Conflict, match="отключён"):
        deal_moves.move_to_stage(deal.id, make.stage(SHOWING).id, principal("admin"))
    with pytest.raises(Conflict, match="только руководителю"):
        deal_moves.move_to_stage(deal.id, make.stage(NEED).id, principal("manager"))
    deal_moves.move_to_stage(deal.id, make.stage(NEED).id, principal("head"))
    # Hidden from its own responsible while it stands there.
    with pytest.raises(NotFound):
        deal_moves.move_to_stage(deal.id, make.stage(FIRST).id, principal("manager"))


# --- check 3: mandatory stages ----------------------------------------------------


def test_mandatory_stage_is_named_and_history_satisfies_it(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(), principal("manager")
    make.stage(SHOWING).mandatory = True
    db.session.commit()
    with pytest.raises(Conflict, match="«Потребность», «Показ / Встреча»"):
        deal_moves.move_to_stage(deal.id, make.stage(DEPOSIT).id, by)
    for place in (NEED, SHOWING, FIRST, DEPOSIT):
        deal_moves.move_to_stage(deal.id, make.stage(place).id, by)
    assert deal.stage_id == make.stage(DEPOSIT).id


def test_a_move_taken_back_is_no_visit(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(), principal("manager")
    moved = deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by)
    deal_moves.undo_move(moved.history.id, by)
    with pytest.raises(Conflict, match="Потребность"):
        deal_moves.move_to_stage(deal.id, make.stage(SHOWING).id, by)


def test_mandatory_stages_bind_success_but_not_the_lost(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    by = principal("manager")
    with pytest.raises(Conflict, match="Потребность"):
        deal_moves.move_to_stage(
            full().id, make.stage(WON).id, by, won_amount=1, won_on="2020-01-01"
        )
    for place in (LOST, NON_TARGET, ARCHIVE):
        deal = full()
        deal_moves.move_to_stage(deal.id, make.stage(place).id, by, loss_reason_id=reason_id())
        assert deal.stage_id == make.stage(place).id


def test_back_is_free_but_not_through_a_closed_stage(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    by = principal("manager")
    deal = full(stage=DEPOSIT)
    deal_moves.move_to_stage(deal.id, make.stage(SHOWING).id, by)
    around = full(stage=FIRST)
    deal_moves.move_to_stage(around.id, make.stage(LOST).id, by, loss_reason_id=reason_id())
    with pytest.raises(Conflict, match="Потребность"):
        deal_moves.move_to_stage(around.id, make.stage(DEPOSIT).id, by)
    deal_moves.move_to_stage(around.id, make.stage(FIRST).id, by)
    assert around.closed_at is None
    assert around.loss_reason_id is None


def test_archived_mandatory_stage_demands_nothing(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    make.stage(NEED).active = False
    deal = full()
    deal_moves.move_to_stage(deal.id, make.stage(SHOWING).id, principal("manager"))
    assert deal.stage_id == make.stage(SHOWING).id


# --- check 4: required fields -----------------------------------------------------


def test_all_missing_fields_are_named_at_once_and_can_be_brought(
    make: Factory, principal: Rights
) -> None:
    deal, by = make.deal(contact=make.contact("")), principal("manager")
    with pytest.raises(ValidationErrors) as refused:
        deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by)
    assert fields(refused) == ["contact_name", "source", "amount", "need"]
    plan = deal_moves.plan_move(deal, make.stage(NEED), by)
    assert [field.code for field in plan.missing] == fields(refused)
    with pytest.raises(ValidationErrors) as refused:
        deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by, values={"amount": "много"})
    assert fields(refused) == ["amount", "contact_name", "source", "need"]
    values = {**FULL, "source": make.source().id}
    result = deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by, values=values)
    assert result.deal.amount == Decimal(11_300_000)
    assert result.deal.contact is not None
    assert result.deal.contact.name == "Анна Лебедева"
    assert result.deal.need == {"kind": "flat", "rooms": [2]}
    assert result.deal.need_text == "Квартира, 2-к"


def test_one_wrong_value_does_not_make_the_right_ones_missing(
    make: Factory, principal: Rights
) -> None:
    deal, by = make.deal(source=make.source()), principal("manager")
    values = {**FULL, "need_area_from": "-5"}
    with pytest.raises(ValidationErrors) as refused:
        deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by, values=values)
    assert fields(refused) == ["need_area_from"]
    assert "54,3" in refused.value.errors[0].message, "an area is no sum of money"
    db.session.expire_all()
    assert deal.amount is None


def test_an_empty_line_of_the_dialog_leaves_the_line_made_of_the_parts(
    make: Factory, principal: Rights
) -> None:
    deal, by = make.deal(source=make.source()), principal("manager")
    values = {**FULL, "need_text": ""}
    deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by, values=values)
    assert deal.need_text == "Квартира, 2-к"
    told = db.session.scalars(
        select(TimelineEvent).where(TimelineEvent.kind == EventKind.FIELDS)
    ).one()
    assert "need_text" not in {change["field"] for change in told.data["changes"]}


def test_a_missing_group_says_that_one_of_its_fields_will_do(
    make: Factory, principal: Rights
) -> None:
    deal = make.deal(source=make.source(), amount=Decimal(1_000_000))
    with pytest.raises(ValidationErrors, match="хотя бы одно") as refused:
        deal_moves.move_to_stage(deal.id, make.stage(NEED).id, principal("manager"))
    assert fields(refused) == ["need"]


def test_a_refused_move_writes_nothing(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    with pytest.raises(ValidationErrors):
        deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by, values={"amount": "5 000 000"})
    db.session.expire_all()
    assert deal.amount is None
    assert history(deal) == []
    assert db.session.scalars(select(BrowserEvent)).all() == []


def test_fields_are_demanded_from_their_stage_on(make: Factory, principal: Rights) -> None:
    deal = make.deal(source=make.source())
    make.stage(NEED).mandatory = False
    rule = db.session.scalars(select(RequiredField).where(RequiredField.field == "amount")).one()
    rule.from_stage_id = make.stage(DEPOSIT).id
    need = db.session.scalars(select(RequiredField).where(RequiredField.field == "need")).one()
    db.session.delete(need)
    db.session.commit()
    deal_moves.move_to_stage(deal.id, make.stage(SHOWING).id, principal("manager"))
    with pytest.raises(ValidationErrors) as refused:
        deal_moves.move_to_stage(deal.id, make.stage(DEPOSIT).id, principal("manager"))
    assert fields(refused) == ["amount"]


def test_an_empty_card_passes_where_fields_are_not_checked(
    make: Factory, principal: Rights
) -> None:
    deal = make.deal(contact=None)
    deal_moves.move_to_stage(deal.id, make.stage(NON_TARGET).id, principal("manager"))
    assert deal.stage.kind is StageType.NON_TARGET


def test_order_is_checked_before_fields(make: Factory, principal: Rights) -> None:
    deal = make.deal(contact=make.contact(""))
    with pytest.raises(Conflict, match="Потребность"):
        deal_moves.move_to_stage(deal.id, make.stage(SHOWING).id, principal("manager"))


# --- check 5: what closing asks ---------------------------------------------------


def test_refusal_asks_a_reason(make: Factory, full: Callable[..., Deal], principal: Rights) -> None:
    deal, by = full(), principal("manager")
    for wrong in (None, "", 999_999, "abc"):
        with pytest.raises(ValidationErrors) as refused:
            deal_moves.move_to_stage(deal.id, make.stage(LOST).id, by, loss_reason_id=wrong)
        assert fields(refused) == ["loss_reason_id"]
    deal_moves.move_to_stage(deal.id, make.stage(LOST).id, by, loss_reason_id=str(reason_id()))
    assert deal.loss_reason_id == reason_id()
    assert deal.closed_at is not None


def test_success_asks_amount_and_date_together_with_fields(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(stage=NEED, amount=None), principal("manager")
    tomorrow = (utc_now() + dt.timedelta(days=2)).date()
    with pytest.raises(ValidationErrors) as refused:
        deal_moves.move_to_stage(deal.id, make.stage(WON).id, by, won_on=tomorrow)
    assert fields(refused) == ["amount", "won_amount", "won_on"]
    assert deal_moves.plan_move(deal, make.stage(WON), by).asks == ["won"]
    values = {"amount": "11 300 000"}
    deal_moves.move_to_stage(
        deal.id, make.stage(WON).id, by, values=values, won_amount="11 250 000", won_on="2020-05-20"
    )
    assert (deal.won_amount, deal.won_on) == (Decimal(11_250_000), dt.date(2020, 5, 20))


# --- effects ----------------------------------------------------------------------


def test_a_move_leaves_its_traces(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(is_saved=False), principal("manager")
    entered = deal.stage_entered_at
    result = deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by)
    row = history(deal)[-1]
    assert row is result.history
    assert (row.from_stage_id, row.to_stage_id) == (make.stage(FIRST).id, make.stage(NEED).id)
    assert (row.actor_id, row.how, row.unchecked) == (by.id, MoveHow.MANUAL, False)
    assert deal.stage_entered_at == row.moved_at > entered
    assert deal.is_saved
    assert deal.processed_at is not None
    event = db.session.scalars(
        select(TimelineEvent).where(TimelineEvent.kind == EventKind.STAGE)
    ).one()
    assert (event.data["old"], event.data["new"]) == ("Первичный контакт", "Потребность")
    audited = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "move")).one()
    assert audited.after["stage_id"] == make.stage(NEED).id
    told = db.session.scalars(select(BrowserEvent).where(BrowserEvent.kind == "deal.changed")).all()
    assert told[-1].data == {
        "deal_id": deal.id,
        "pipeline_id": deal.pipeline_id,
        "stage_id": make.stage(NEED).id,
        "from_stage_id": make.stage(FIRST).id,
    }


def test_closing_closes_tasks_and_undo_brings_all_back(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(is_saved=False), principal("manager")
    open_task, done = make.task(deal), make.task(deal, done_at=utc_now(), result="дозвонился")
    tasks.refresh_next_task(deal.id)
    entered = deal.stage_entered_at
    moved = deal_moves.move_to_stage(deal.id, make.stage(LOST).id, by, loss_reason_id=reason_id())
    assert open_task.result == "сделка закрыта"
    assert done.result == "дозвонился"
    assert deal.next_task_due is None
    deal_moves.undo_move(moved.history.id, by)
    assert (open_task.done_at, open_task.result) == (None, None)
    assert done.done_at is not None
    assert deal.next_task_text == open_task.text
    assert (deal.stage_id, deal.stage_entered_at) == (make.stage(FIRST).id, entered)
    assert (deal.closed_at, deal.loss_reason_id, deal.is_saved) == (None, None, False)
    assert moved.history.undone
    assert history(deal)[-1].how == MoveHow.UNDO


def test_undo_restores_how_a_deal_was_won(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(stage=NEED), principal("manager")
    won = {"won_amount": "9 000 000", "won_on": "2020-05-20"}
    deal_moves.move_to_stage(deal.id, make.stage(WON).id, by, **won)
    closed = deal.closed_at
    moved = deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by)
    assert (deal.closed_at, deal.won_amount, deal.won_on) == (None, None, None)
    deal_moves.undo_move(moved.history.id, by)
    assert deal.closed_at == closed
    assert (deal.won_amount, deal.won_on) == (Decimal(9_000_000), dt.date(2020, 5, 20))


def test_the_archive_keeps_how_a_deal_ended(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(), principal("manager")
    deal_moves.move_to_stage(deal.id, make.stage(LOST).id, by, loss_reason_id=reason_id())
    closed = deal.closed_at
    deal_moves.move_to_stage(deal.id, make.stage(ARCHIVE).id, by)
    assert (deal.closed_at, deal.loss_reason_id) == (closed, reason_id())


def test_tasks_left_on_a_stage_without_tasks_are_warned_of(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    make.stage(NEED).tasks_allowed = False
    deal = full()
    task = make.task(deal)
    result = deal_moves.move_to_stage(deal.id, make.stage(NEED).id, principal("manager"))
    assert result.warnings
    assert task.done_at is None


# --- without checks ---------------------------------------------------------------


def test_heads_may_skip_the_checks_and_it_is_written(make: Factory, principal: Rights) -> None:
    deal = make.deal(contact=make.contact(""))
    with pytest.raises(Conflict):
        deal_moves.move_to_stage(deal.id, make.stage(DEPOSIT).id, principal("head"))
    with pytest.raises(Forbidden, match="только руководитель"):
        deal_moves.move_to_stage(
            deal.id, make.stage(DEPOSIT).id, principal("manager"), unchecked=True
        )
    result = deal_moves.move_to_stage(
        deal.id, make.stage(DEPOSIT).id, principal("head"), unchecked=True
    )
    assert result.history.unchecked
    plan = deal_moves.plan_move(deal, make.stage(WON), principal("head"))
    assert plan.can_uncheck
    assert not deal_moves.plan_move(deal, make.stage(WON), principal("manager")).can_uncheck


def test_without_checks_a_refusal_still_asks_its_reason(make: Factory, principal: Rights) -> None:
    deal = make.deal(contact=make.contact(""))
    with pytest.raises(ValidationErrors) as refused:
        deal_moves.move_to_stage(deal.id, make.stage(LOST).id, principal("head"), unchecked=True)
    assert fields(refused) == ["loss_reason_id"]


def test_rules_skip_order_and_fields_and_reach_hidden_stages(make: Factory) -> None:
    make.stage(LATER).available_to_manager = False
    deal = make.deal(contact=None, is_saved=False)
    result = deal_moves.move_to_stage(deal.id, make.stage(LATER).id, None, how=MoveHow.RULE)
    assert (result.history.how, result.history.actor_id) == (MoveHow.RULE, None)
    assert not deal.is_saved


# --- undo -------------------------------------------------------------------------


def test_undo_is_for_the_mover_in_ten_minutes_and_the_last_move(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(), principal("manager")
    first = deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by).history
    with pytest.raises(Forbidden):
        deal_moves.undo_move(first.id, principal("head"))
    with pytest.raises(NotFound):
        deal_moves.undo_move(first.id, principal("stranger"))
    with (
        time_machine.travel(utc_now() + dt.timedelta(minutes=11), tick=True),
        pytest.raises(Conflict, match="10 минут"),
    ):
        deal_moves.undo_move(first.id, by)
    second = deal_moves.move_to_stage(deal.id, make.stage(SHOWING).id, principal("head")).history
    with pytest.raises(Conflict, match="уже переместили"):
        deal_moves.undo_move(first.id, by)
    deal_moves.undo_move(second.id, principal("head"))
    with pytest.raises(Conflict):
        deal_moves.undo_move(second.id, principal("head"))
    with pytest.raises(NotFound):
        deal_moves.undo_move(999_999, by)


# --- another pipeline -------------------------------------------------------------


def test_another_pipeline_is_entered_at_or_before_its_first_mandatory_stage(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(stage=NEED), principal("manager")
    other = other_pipeline()
    with pytest.raises(Conflict, match="Потребность"):
        deal_moves.change_pipeline(deal.id, other.stages[SHOWING].id, by)
    with pytest.raises(Conflict, match="этап в работе"):
        deal_moves.change_pipeline(deal.id, other.stages[LOST].id, by)
    with pytest.raises(Conflict, match="той же воронке"):
        deal_moves.change_pipeline(deal.id, make.stage(SHOWING).id, by)
    result = deal_moves.change_pipeline(deal.id, other.stages[FIRST].id, by)
    assert deal.pipeline_id == other.id
    with pytest.raises(Conflict, match="Потребность"):
        deal_moves.move_to_stage(deal.id, other.stages[SHOWING].id, by)
    assert deal_moves.undo_move(result.history.id, by).pipeline_id == make.pipeline.id


def test_the_old_history_does_not_count_after_coming_back(
    make: Factory, full: Callable[..., Deal], principal: Rights
) -> None:
    deal, by = full(), principal("manager")
    other = other_pipeline()
    deal_moves.move_to_stage(deal.id, make.stage(NEED).id, by)
    deal_moves.change_pipeline(deal.id, other.stages[FIRST].id, by)
    deal_moves.change_pipeline(deal.id, make.stage(FIRST).id, by)
    with pytest.raises(Conflict, match="Потребность"):
        deal_moves.move_to_stage(deal.id, make.stage(SHOWING).id, by)


def test_a_switched_off_pipeline_takes_no_deals(
    full: Callable[..., Deal], principal: Rights
) -> None:
    other = other_pipeline()
    other.active = False
    db.session.commit()
    with pytest.raises(Conflict, match="отключена"):
        deal_moves.change_pipeline(full().id, other.stages[FIRST].id, principal("admin"))
