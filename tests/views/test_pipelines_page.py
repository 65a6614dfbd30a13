"""The editor of pipelines: what it shows, keeps and refuses."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from crm.models import MoveHow, Pipeline, RequiredField, Stage, StageStatus, db
from crm.operations import deal_moves

PATH = "/settings/pipelines"


def stage_form(stage: Stage, **changes: Any) -> dict[str, Any]:
    form = {
        "name": stage.name,
        "type": stage.type,
        "color": stage.color,
        "active": "y",
        "available_to_manager": "y",
        "tasks_allowed": "y",
    }
    return {**form, **changes}


def test_it_counts_deals_in_one_query_whatever_their_number(
    sign_in: Any, make: Any, count_queries: Any
) -> None:
    admin = sign_in("admin")
    for _number in range(3):
        make.deal("manager", 1)
    with count_queries() as few:
        page = admin.get(f"{PATH}/").text
    for _number in range(6):
        make.deal("manager", 2)
    with count_queries() as many:
        admin.get(f"{PATH}/")
    assert 'kv-num">3' in page
    assert len(many) <= len(few) <= 15


def test_a_stage_is_changed(sign_in: Any, make: Any) -> None:
    stage = make.stage(1)
    form = stage_form(stage, name="Запрос", mandatory="y", color="own", time_limit_days="14")
    form |= {"color-own": "#abcdef", "time_limit_target_id": str(make.stage(2).id)}
    answer = sign_in("admin").post(f"{PATH}/stages/{stage.id}", data=form)
    assert answer.status_code == 302
    db.session.refresh(stage)
    assert (stage.name, stage.color, stage.time_limit_days) == ("Запрос", "#abcdef", 14)
    assert stage.mandatory
    assert not stage.open_view


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": " "}, "Укажите название этапа."),
        (
            {"time_limit_days": "14", "time_limit_target_id": "own"},
            "Нельзя переводить этап в самого себя.",
        ),
        ({"time_limit_days": "скоро"}, "Укажите целое число."),
        ({"probability": "120"}, "Укажите вероятность от 0 до 100 %."),
        ({"color": "red"}, "Цвет задаётся как"),
        ({"type": "nothing"}, "Выберите тип этапа."),
    ],
)
def test_complaints_stand_beside_and_the_rest_stays_typed(
    sign_in: Any, make: Any, change: dict[str, str], complaint: str
) -> None:
    stage = make.stage(1)
    form = stage_form(stage, description="Клиент ищет", **change)
    if form.get("time_limit_target_id") == "own":
        form["time_limit_target_id"] = str(stage.id)
    page = sign_in("admin").post(f"{PATH}/stages/{stage.id}", data=form)
    assert page.status_code == 200
    assert complaint in page.text
    assert "kv-field-error" in page.text
    assert "Клиент ищет" in page.text
    db.session.refresh(stage)
    assert stage.description is None


def test_stages_are_reordered_by_a_list_of_all_of_them(sign_in: Any, make: Any) -> None:
    admin, pipeline = sign_in("admin"), make.pipeline
    ids = [stage.id for stage in pipeline.stages]
    wanted = [ids[1], ids[0], *ids[2:]]
    path = f"{PATH}/{pipeline.id}/order"
    assert admin.post(path, json={"ids": wanted}).status_code == 200
    db.session.expire_all()
    assert [stage.id for stage in pipeline.stages] == wanted
    assert admin.post(path, json={"ids": wanted[1:]}).status_code == 409
    for garbage in ({}, {"ids": "1"}, {"ids": [True]}, []):
        assert admin.post(path, json=garbage).status_code == 400
    assert sign_in("director").post(path, json={"ids": ids}).status_code == 403


def test_preset_tasks_are_saved_as_a_whole(sign_in: Any, make: Any) -> None:
    stage = make.stage(0)
    kept = stage.statuses[0]
    data = {
        "status-id": [str(kept.id), ""],
        "status-text": ["Перезвонить", "Выслать подборку"],
        "status-kind": ["call", "letter"],
        "status-delay": ["2", "0"],
    }
    admin = sign_in("admin")
    assert admin.post(f"{PATH}/stages/{stage.id}/statuses", data=data).status_code == 302
    db.session.expire_all()
    assert [(s.text, s.task_kind, s.delay_days) for s in stage.statuses] == [
        ("Перезвонить", "call", 2),
        ("Выслать подборку", "letter", 0),
    ]
    wrong = {**data, "status-delay": ["2", "много"]}
    page = admin.post(f"{PATH}/stages/{stage.id}/statuses", data=wrong)
    assert "Укажите число дней от 0 до 365." in page.text
    assert "Выслать подборку" in page.text


def test_required_fields_are_saved(sign_in: Any, make: Any) -> None:
    pipeline = make.pipeline
    data = {"required": ["amount", "payment"], "from-payment": str(make.stage(2).id)}
    assert sign_in("admin").post(f"{PATH}/{pipeline.id}/required", data=data).status_code == 302
    rows = db.session.scalars(select(RequiredField).where(RequiredField.pipeline_id == pipeline.id))
    assert {row.field: row.from_stage_id for row in rows} == {
        "amount": None,
        "payment": make.stage(2).id,
    }


def test_stages_and_pipelines_come_and_go(sign_in: Any, make: Any) -> None:
    admin, pipeline = sign_in("admin"), make.pipeline
    data = {"name": "Ипотека", "type": "in_work"}
    admin.post(f"{PATH}/{pipeline.id}/stages", data=data)
    added = db.session.scalars(select(Stage).where(Stage.name == "Ипотека")).one()
    admin.post(f"{PATH}/stages/{added.id}/delete")
    used = make.stage(1)
    deal = make.deal("manager", used)
    kept = admin.post(f"{PATH}/stages/{used.id}/delete", follow_redirects=True)
    assert "На этапе стоят сделки: 1" in kept.text
    deal_moves.move_to_stage(deal.id, make.stage(0).id, None, how=MoveHow.RULE)
    admin.post(f"{PATH}/stages/{used.id}/delete")
    db.session.expire_all()
    assert db.session.scalars(select(Stage).where(Stage.name == "Ипотека")).all() == []
    assert not db.session.get_one(Stage, used.id).active
    admin.post(f"{PATH}/add", data={"name": "Аренда", "side": "tenant"})
    made = db.session.scalars(select(Pipeline).where(Pipeline.name == "Аренда")).one()
    assert len(made.stages) == 10
    assert admin.get(f"{PATH}/?pipeline={made.id}").status_code == 200
    form = {"name": "Аренда жилья", "side": "tenant", "is_default": "y", "active": "y"}
    admin.post(f"{PATH}/{made.id}", data=form)
    db.session.expire_all()
    assert (made.name, made.is_default, pipeline.is_default) == ("Аренда жилья", True, False)
    admin.post(f"{PATH}/{made.id}/delete")
    db.session.expire_all()
    assert db.session.get(Pipeline, made.id) is not None
    refused = admin.post(f"{PATH}/add", data={"name": "", "side": "tenant"}, follow_redirects=True)
    assert "Укажите название воронки." in refused.text


def test_the_director_reads_and_cannot_write(sign_in: Any, make: Any) -> None:
    director = sign_in("director")
    page = director.get(f"{PATH}/").text
    assert "Сохранить этап" not in page
    assert "kv-handle" not in page
    before = db.session.scalars(select(StageStatus)).all()
    assert director.post(f"{PATH}/stages/{make.stage(0).id}/statuses", data={}).status_code == 403
    assert db.session.scalars(select(StageStatus)).all() == before
    assert sign_in("admin").get(f"{PATH}/?pipeline=99999").status_code == 404
