"""Settings of pipelines and stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from crm.models import Deal, Pipeline, RequiredField, Stage, StageType, Task, db
from crm.operations import deal_moves, deals, pipelines, records
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.operations.pipelines import StageRemoval
from crm.security.principal import Principal
from tests.factories import Factory

Rights = Callable[[str], Principal]


@pytest.fixture
def admin(principal: Rights) -> Principal:
    return principal("admin")


def fields(error: pytest.ExceptionInfo[ValidationErrors]) -> list[str]:
    return [complaint.field for complaint in error.value.errors]


def names(pipeline_id: int) -> list[str]:
    query = select(Stage.name).where(Stage.pipeline_id == pipeline_id).order_by(Stage.position)
    return list(db.session.scalars(query))


def test_managers_change_no_settings(make: Factory, principal: Rights) -> None:
    by = principal("manager")
    for act in (
        lambda: pipelines.create_pipeline("Своя", by),
        lambda: pipelines.add_stage(make.pipeline.id, by, name="Свой"),
        lambda: pipelines.update_stage(make.stage(0).id, by, name="Свой"),
        lambda: pipelines.delete_stage(make.stage(0).id, by),
        lambda: pipelines.reorder_stages(make.pipeline.id, [], by),
        lambda: pipelines.save_statuses(make.stage(0).id, [], by),
        lambda: pipelines.save_required_fields(make.pipeline.id, [], by),
    ):
        with pytest.raises(Forbidden):
            act()


def test_a_new_pipeline_gets_stages_and_one_is_the_default(make: Factory, admin: Principal) -> None:
    rent = pipelines.create_pipeline(" Аренда ", admin, side="tenant")
    assert (rent.name, len(rent.stages)) == ("Аренда", 10)
    rent.is_default = True
    records.update(rent, admin)
    assert not make.pipeline.is_default
    rent.is_default = False
    with pytest.raises(ValidationErrors) as refused:
        records.update(rent, admin)
    assert fields(refused) == ["is_default"]
    for wrong in ("", "аренда"):
        with pytest.raises(ValidationErrors) as refused:
            pipelines.create_pipeline(wrong, admin)
        assert fields(refused) == ["name"]


def test_used_and_default_pipelines_stay(make: Factory, admin: Principal) -> None:
    with pytest.raises(Conflict, match="Основную"):
        records.delete(make.pipeline, admin)
    rent = pipelines.create_pipeline("Аренда", admin)
    deal = make.deal(stage=rent.stages[0])
    with pytest.raises(Conflict, match="есть сделки"):
        records.delete(rent, admin)
    db.session.delete(deal)
    db.session.commit()
    records.delete(rent, admin)
    assert db.session.scalars(select(Pipeline.id)).all() == [make.pipeline.id]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"name": " "}, "name"),
        ({"color": "red"}, "color"),
        ({"type": "dance"}, "type"),
        ({"probability": 101}, "probability"),
        ({"wip_color_threshold": 0}, "wip_color_threshold"),
        ({"time_limit_days": 14}, "time_limit_target_id"),
        ({"time_limit_target_id": 1}, "time_limit_days"),
    ],
)
def test_options_are_checked(
    make: Factory, admin: Principal, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationErrors) as refused:
        pipelines.update_stage(make.stage(0).id, admin, **options)
    assert fields(refused) == [field]
    with pytest.raises(ValidationErrors) as refused:
        pipelines.update_stage(make.stage(0).id, admin, pipeline_id=5)
    assert fields(refused) == ["pipeline_id"]


def test_full_access_implies_viewing(make: Factory, admin: Principal) -> None:
    stage = pipelines.update_stage(make.stage(2).id, admin, open_full=True)
    assert stage.open_view


def test_the_last_stage_in_work_stays(make: Factory, admin: Principal) -> None:
    for stage in make.pipeline.stages[1:]:
        if stage.kind is StageType.IN_WORK:
            pipelines.update_stage(stage.id, admin, active=False)
    for options, field in (({"active": False}, "active"), ({"type": "archive"}, "type")):
        with pytest.raises(ValidationErrors) as refused:
            pipelines.update_stage(make.stage(0).id, admin, **options)
        assert fields(refused) == [field]
    with pytest.raises(Conflict):
        pipelines.delete_stage(make.stage(0).id, admin)


def test_a_stage_is_not_put_away_from_under_its_deals(make: Factory, admin: Principal) -> None:
    stage = make.stage(2)
    deal = make.deal(stage=2)
    with pytest.raises(Conflict, match="На этапе стоят сделки: 1"):
        pipelines.delete_stage(stage.id, admin)
    with pytest.raises(ValidationErrors) as refused:
        pipelines.update_stage(stage.id, admin, active=False)
    assert fields(refused) == ["active"]
    db.session.expire_all()
    assert stage.active
    deals.delete_deal(deal.id, admin)
    pipelines.update_stage(stage.id, admin, active=False)
    deals.restore_deal(deal.id, admin)
    pipelines.update_stage(stage.id, admin, name="Прежний показ")
    lost = make.stage(7)
    make.deal(stage=7)
    pipelines.update_stage(lost.id, admin, active=False)


def test_limits_stay_in_the_pipeline_and_make_no_circle(make: Factory, admin: Principal) -> None:
    def limit(stage: Stage, target: Stage) -> None:
        pipelines.update_stage(stage.id, admin, time_limit_days=14, time_limit_target_id=target.id)

    first, second, third = make.pipeline.stages[:3]
    other = pipelines.create_pipeline("Аренда", admin)
    with pytest.raises(ValidationErrors, match="Нельзя переводить этап в самого себя"):
        limit(first, first)
    with pytest.raises(ValidationErrors, match="в той же воронке"):
        limit(first, other.stages[0])
    limit(first, second)
    limit(second, third)
    with pytest.raises(ValidationErrors, match="круг"):
        limit(third, first)
    assert third.time_limit_target_id is None


def test_a_change_of_type_is_followed_by_the_deals(make: Factory, admin: Principal) -> None:
    deal = make.deal(stage=2)
    task = make.task(deal)
    pipelines.update_stage(make.stage(2).id, admin, type=StageType.REFUSAL)
    db.session.expire_all()
    assert deal.closed_at is not None
    assert (task.result, deal.next_task_due) == ("сделка закрыта", None)
    pipelines.update_stage(make.stage(2).id, admin, type=StageType.IN_WORK)
    db.session.expire_all()
    assert deal.closed_at is None


def test_stages_are_added_at_their_place_and_put_in_order(make: Factory, admin: Principal) -> None:
    pk = make.pipeline.id
    added = pipelines.add_stage(pk, admin, name="Ипотека", color="#123456")
    assert names(pk)[5] == "Ипотека"
    assert added.tasks_allowed
    lost = pipelines.add_stage(pk, admin, name="Спам", type=StageType.NON_TARGET)
    assert names(pk)[-1] == "Спам"
    assert (lost.skip_required, lost.tasks_allowed) == (True, False)
    ids = [stage.id for stage in make.pipeline.stages]
    pipelines.reorder_stages(pk, ids[::-1], admin)
    assert [stage.id for stage in make.pipeline.stages] == ids[::-1]
    for wrong in (ids[1:], [*ids, 999_999], [ids[0]] * len(ids)):
        with pytest.raises(Conflict):
            pipelines.reorder_stages(pk, wrong, admin)
    with pytest.raises(NotFound):
        pipelines.reorder_stages(999_999, [], admin)


def test_a_stage_with_a_past_is_put_away_and_an_unused_one_deleted(
    make: Factory, admin: Principal
) -> None:
    used = make.stage(2)
    deal = make.deal(stage=2)
    deal_moves.move_to_stage(deal.id, make.stage(0).id, admin, unchecked=True)
    assert pipelines.delete_stage(used.id, admin) is StageRemoval.ARCHIVED
    assert not used.active
    with pytest.raises(Conflict):
        records.delete(used, admin)
    gone = make.stage(3).name
    assert pipelines.delete_stage(make.stage(3).id, admin) is StageRemoval.DELETED
    assert gone not in names(make.pipeline.id)


def test_preset_tasks_are_saved_as_a_list(make: Factory, admin: Principal) -> None:
    stage = make.stage(0)
    kept, used = stage.statuses
    db.session.add(Task(text="x", status_id=used.id, due_at=stage.created_at))
    db.session.commit()
    items = [
        {"text": "Новая", "task_kind": "meeting", "delay_days": 3},
        {"id": kept.id, "text": "Набрать", "task_kind": "call", "active": False},
    ]
    pipelines.save_statuses(stage.id, items, admin)
    shown = [(s.text, s.position) for s in stage.statuses if s.id != used.id]
    assert shown == [("Новая", 0), ("Набрать", 1)]
    assert not used.active
    assert not kept.active
    with pytest.raises(ValidationErrors) as refused:
        pipelines.save_statuses(stage.id, [{"text": ""}, {"text": "а", "delay_days": -1}], admin)
    assert fields(refused) == ["0.text", "1.delay_days"]


def test_required_fields_are_saved_as_a_list(make: Factory, admin: Principal) -> None:
    pk = make.pipeline.id
    rows = [
        {"field": "need", "from_stage_id": None},
        {"field": "payment", "from_stage_id": make.stage(3).id},
    ]
    pipelines.save_required_fields(pk, rows, admin)
    stored = {row.field: row.from_stage_id for row in db.session.scalars(select(RequiredField))}
    assert stored == {"need": None, "payment": make.stage(3).id}
    other = pipelines.create_pipeline("Аренда", admin)
    wrong = [
        {"field": "castle"},
        {"field": "need", "from_stage_id": other.stages[0].id},
        {"field": "amount"},
        {"field": "amount"},
    ]
    with pytest.raises(ValidationErrors) as refused:
        pipelines.save_required_fields(pk, wrong, admin)
    assert fields(refused) == ["0.field", "1.from_stage_id", "3.field"]
    assert db.session.scalar(select(Deal.id)) is None
