"""Set S (20 000 deals) or any size, made by bulk inserts; the same for every benchmark."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import insert, select

from crm.models import (
    Contact,
    ContactPhone,
    Deal,
    Department,
    Employee,
    Pipeline,
    SearchToken,
    Source,
    Stage,
    StageHistory,
    Task,
    TimelineEvent,
    db,
)

FIRST = [
    "Анна",
    "Ольга",
    "Мария",
    "Елена",
    "Иван",
    "Пётр",
    "Сергей",
    "Тимур",
    "Юлия",
    "Виктор",
    "Марат",
    "Светлана",
]
LAST = [
    "Лебедева",
    "Мартынова",
    "Сафин",
    "Кравцов",
    "Панин",
    "Гареев",
    "Юрьева",
    "Дорохов",
    "Алексеев",
    "Самойлова",
]
CHUNK = 5_000
DAY = dt.timedelta(days=1)


def fill(deals: int = 20_000, employees: int = 40, seed: int = 7) -> None:
    """Put ``deals`` deals of ``employees`` managers with contacts, tasks and history."""
    rnd = random.Random(seed)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    people = _people(employees)
    stages = list(
        db.session.execute(select(Stage.id, Stage.pipeline_id, Stage.type).order_by(Stage.position))
    )
    sources = _sources()
    contacts = max(1, deals * 2 // 3)
    _bulk(Contact, _contacts(contacts, rnd, now))
    _bulk(ContactPhone, _phones(contacts))
    _bulk(SearchToken, _tokens(contacts))
    rows = list(_deals(deals, contacts, people, stages, sources, rnd, now))
    _bulk(Deal, iter(rows))
    _bulk(StageHistory, (_birth(row) for row in rows))
    _bulk(Task, _tasks(rows, rnd, now))
    _bulk(TimelineEvent, _events(rows))
    db.session.commit()


def _people(count: int) -> list[tuple[int, int]]:
    role = db.session.scalars(select(Role).where(Role.name == "Менеджер")).one()
    departments = list(db.session.scalars(select(Department).limit(3)))
    made = []
    for index in range(count):
        person = Employee(
            username=f"bench{index}",
            first_name=FIRST[index % len(FIRST)],
            last_name=LAST[index % len(LAST)],
            email=f"bench{index}@example.ru",
            active=True,
            department=departments[index % len(departments)],
            roles=[role],
        )
        db.session.add(person)
        made.append(person)
    db.session.commit()
    return [(person.id, person.department_id or 0) for person in made]


def _sources() -> list[int]:
    names = ("Авито", "ЦИАН", "ДомКлик", "Сайт", "Яндекс Недвижимость")
    made = [Source(name=f"{name} (замер)") for name in names]
    db.session.add_all(made)
    db.session.commit()
    return [source.id for source in made]


def _bulk(model: Any, rows: Iterator[dict[str, Any]]) -> None:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == CHUNK:
            db.session.execute(insert(model), batch)
            batch = []
    if batch:
        db.session.execute(insert(model), batch)


def _contacts(count: int, rnd: random.Random, now: dt.datetime) -> Iterator[dict[str, Any]]:
    for index in range(1, count + 1):
        yield {
            "id": index,
            "name": _name(index),
            "created_at": now - DAY * rnd.random() * 365,
            "updated_at": now,
        }


def _name(index: int) -> str:
    return f"{FIRST[index % len(FIRST)]} {LAST[index // 7 % len(LAST)]}{index % 97}"


def _phones(count: int) -> Iterator[dict[str, Any]]:
    for index in range(1, count + 1):
        key = f"9{index:09d}"
        yield {"contact_id": index, "number": f"+7{key}", "key": key, "key_reversed": key[::-1]}


def _tokens(count: int) -> Iterator[dict[str, Any]]:
    for index in range(1, count + 1):
        for word in _name(index).casefold().split():
            yield {"token": word.replace("ё", "е"), "kind": "contact", "object_id": index}


def _deals(
    count: int,
    contacts: int,
    people: list[tuple[int, int]],
    stages: list[Any],
    sources: list[int],
    rnd: random.Random,
    now: dt.datetime,
) -> Iterator[dict[str, Any]]:
    weights = [6, 6, 5, 2, 2, 8, 8, 20, 10, 5][: len(stages)]
    for index in range(1, count + 1):
        stage = rnd.choices(stages, weights)[0]
        created = now - DAY * rnd.random() * 365
        person, department = rnd.choice(people)
        yield {
            "id": index,
            "pipeline_id": stage.pipeline_id,
            "stage_id": stage.id,
            "contact_id": rnd.randint(1, contacts),
            "responsible_id": person,
            "department_id": department,
            "source_id": rnd.choice(sources),
            "channel": "call",
            "amount": rnd.randrange(30, 400) * 100_000,
            "need": {},
            "need_text": "2-к, от 55 м², Приморский",
            "is_saved": rnd.random() > 0.002,
            "stage_entered_at": created,
            "last_activity_at": created,
            "closed_at": None if stage.type == "in_work" else created,
            "created_at": created,
            "updated_at": created,
            "version": 1,
        }


def _birth(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "deal_id": row["id"],
        "to_stage_id": row["stage_id"],
        "moved_at": row["stage_entered_at"],
        "how": "import",
    }


def _tasks(
    rows: list[dict[str, Any]], rnd: random.Random, now: dt.datetime
) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row["closed_at"] is None and rnd.random() < 0.8:
            yield {
                "deal_id": row["id"],
                "text": "Позвонить клиенту",
                "kind": "call",
                "due_at": now + DAY * (rnd.random() * 10 - 2),
                "responsible_id": row["responsible_id"],
                "created_at": now,
                "updated_at": now,
            }


def _events(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {
            "deal_id": row["id"],
            "kind": "created",
            "occurred_at": row["created_at"],
            "data": {},
        }


def default_pipeline() -> int:
    """Id of the pipeline that the deals are in."""
    return db.session.scalars(select(Pipeline.id).where(Pipeline.is_default)).one()
