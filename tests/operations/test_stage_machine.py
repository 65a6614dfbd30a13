"""Random pipelines, people and moves: what must hold after every step."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable

from flask import Flask
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from crm.models import (
    Deal,
    LossReason,
    MoveHow,
    Pipeline,
    RequiredField,
    Stage,
    StageHistory,
    StageType,
    Task,
    db,
)
from crm.operations import deal_fields, deal_moves, tasks
from crm.operations.errors import OperationError
from crm.security.principal import Principal
from crm.values.clock import utc_now
from tests.factories import Factory

NAMES = itertools.count()
STAGE = st.tuples(
    st.sampled_from([StageType.IN_WORK, StageType.IN_WORK, *StageType]),
    st.booleans(),  # mandatory
    st.booleans(),  # skip_required
    st.integers(0, 9).map(bool),  # available to managers, as a rule
    st.booleans(),  # tasks allowed
)
PERSON = st.sampled_from(["manager", "head", None])
PLACE = st.integers(0, 7)


class StageMachine(RuleBasedStateMachine):
    """One deal of the manager's in a pipeline of random stages."""

    make: Factory
    rights: dict[str | None, Principal | None]
    reason_id: int

    @initialize(stages=st.lists(STAGE, min_size=2, max_size=7), demanded=st.integers(0, 6))
    def begin(self, stages: list[tuple[StageType, bool, bool, bool, bool]], demanded: int) -> None:
        pipeline = Pipeline(name=f"Воронка {next(NAMES)}")
        pipeline.stages = [Stage(name="Начало", type=StageType.IN_WORK, position=0)]
        for place, (kind, mandatory, skip, available, tasked) in enumerate(stages, 1):
            options = {"mandatory": mandatory, "skip_required": skip, "tasks_allowed": tasked}
            stage = Stage(name=f"Этап {place}", type=kind, position=place, **options)
            stage.available_to_manager = available
            pipeline.stages.append(stage)
        db.session.add(pipeline)
        db.session.commit()
        self.stages = list(pipeline.stages)
        since = self.stages[min(demanded, len(stages))]
        field = RequiredField(pipeline_id=pipeline.id, field="amount", from_stage_id=since.id)
        db.session.add(field)
        self.since = since.position
        self.deal = self.make.deal(stage=self.stages[0])
        db.session.add(StageHistory(deal_id=self.deal.id, to_stage_id=self.stages[0].id))
        db.session.commit()

    @rule(
        place=PLACE,
        who=PERSON,
        how=st.sampled_from(
            [MoveHow.MANUAL, MoveHow.MANUAL, MoveHow.MANUAL, MoveHow.API, MoveHow.RULE]
        ),
        unchecked=st.integers(0, 5).map(lambda n: n == 0),
        closing=st.integers(0, 3).map(bool),
        amount=st.sampled_from([{"amount": "100"}, {"amount": "100"}, {}, {"amount": "x"}]),
    )
    def move(
        self,
        place: int,
        who: str | None,
        how: MoveHow,
        unchecked: bool,
        closing: bool,
        amount: dict[str, str],
    ) -> None:
        target = self.stages[place % len(self.stages)]
        left, by = self.deal.stage, self.rights[who]
        given = {"loss_reason_id": self.reason_id, "won_amount": "5", "won_on": "2020-01-01"}
        skipped = self.skipped(target)
        try:
            result = deal_moves.move_to_stage(
                self.deal.id,
                target.id,
                by,
                values=amount,
                unchecked=unchecked,
                how=how,
                **(given if closing else {}),
            )
        except OperationError:
            db.session.refresh(self.deal)
            assert self.deal.stage_id == left.id
            return
        self.check_passed(left, target, result.history, skipped)

    def skipped(self, target: Stage) -> bool:
        seen = {row.to_stage_id for row in self.history() if not row.undone}
        must = {s.id for s in self.stages if s.mandatory and s.kind.is_open}
        before = {s.id for s in self.stages if s.position < target.position}
        return bool((must & before) - seen - {self.deal.stage_id})

    def check_passed(
        self, left: Stage, target: Stage, history: StageHistory, skipped: bool
    ) -> None:
        assert self.deal.stage_id == target.id
        if history.actor_id == self.make.people["manager"].id:
            assert target.available_to_manager
            assert not history.unchecked
        if history.unchecked or history.how == MoveHow.RULE:
            return
        back = left.kind.is_open and target.kind.is_open and target.position < left.position
        assert not skipped or back or target.kind not in (StageType.IN_WORK, StageType.SUCCESS)
        if not target.skip_required and target.position >= self.since:
            assert deal_fields.is_filled(self.deal, "amount")
        if target.kind is StageType.REFUSAL:
            assert self.deal.loss_reason_id == self.reason_id
        if target.kind is StageType.SUCCESS:
            assert self.deal.won_amount == 5
            assert self.deal.won_on is not None

    @rule(who=st.sampled_from(["manager", "head"]))
    def undo(self, who: str) -> None:
        rows = self.history()
        latest, before = rows[-1], self.deal.stage_id
        try:
            deal_moves.undo_move(latest.id, self.rights[who])
        except OperationError:
            db.session.refresh(self.deal)
            assert self.deal.stage_id == before
            return
        assert latest.actor_id == self.rights[who].id
        assert self.deal.stage_id == latest.from_stage_id

    @rule(hours=st.integers(1, 100))
    def set_task(self, hours: int) -> None:
        due = utc_now() + dt.timedelta(hours=hours)
        try:
            tasks.set_task(by=self.rights["head"], deal_id=self.deal.id, text="Звонок", due_at=due)
        except OperationError:
            assert not self.deal.stage.tasks_allowed

    @rule(
        pick=st.integers(0, 5),
        act=st.sampled_from([tasks.complete_task, tasks.reopen, tasks.delete_task]),
    )
    def touch_task(self, pick: int, act: Callable[[int, Principal], object]) -> None:
        ids = db.session.scalars(select(Task.id).where(Task.deal_id == self.deal.id)).all()
        if not ids:
            return
        try:
            act(ids[pick % len(ids)], self.rights["head"])
        except OperationError:
            return

    def history(self) -> list[StageHistory]:
        query = select(StageHistory).where(StageHistory.deal_id == self.deal.id)
        return list(db.session.scalars(query.order_by(StageHistory.id)))

    @invariant()
    def history_is_continuous(self) -> None:
        rows = self.history()
        assert rows[0].from_stage_id is None
        for earlier, later in itertools.pairwise(rows):
            assert later.from_stage_id == earlier.to_stage_id
            assert later.to_stage_id != later.from_stage_id
        assert rows[-1].to_stage_id == self.deal.stage_id

    @invariant()
    def closed_exactly_on_closing_stages(self) -> None:
        closed = db.session.scalar(select(Deal.closed_at).where(Deal.id == self.deal.id))
        assert (closed is None) == self.deal.stage.kind.is_open
        assert closed == self.deal.closed_at

    @invariant()
    def the_nearest_task_is_the_deals(self) -> None:
        nearest = db.session.execute(
            select(Task.due_at, Task.text)
            .where(Task.deal_id == self.deal.id, Task.done_at.is_(None))
            .order_by(Task.due_at)
        ).first()
        assert (self.deal.next_task_due, self.deal.next_task_text) == (nearest or (None, None))
        if self.deal.closed_at is not None and not self.deal.stage.tasks_allowed:
            assert nearest is None


def test_stage_machine(app: Flask, make: Factory, principal: Callable[[str], Principal]) -> None:
    StageMachine.make = make
    StageMachine.rights = {"manager": principal("manager"), "head": principal("head"), None: None}
    StageMachine.reason_id = db.session.scalars(select(LossReason.id)).first()
    run_state_machine_as_test(
        StageMachine,
        settings=settings(
            max_examples=50,
            stateful_step_count=15,
            deadline=None,
            # Shrinking replays the database for minutes; the steps printed are few anyway.
            phases=(Phase.explicit, Phase.generate),
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
