"""The page «Задачи»: groups, whose, doing in place, rights, budget."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import insert, select

from crm.models import Task, db
from crm.reports.company import company_zone, local_today
from crm.values.clock import day_bounds, utc_now
from tests.factories import Factory


def listed(page: Any) -> set[int]:
    return {int(part.split('"', 1)[0]) for part in page.text.split('data-task="')[1:]}


@pytest.mark.parametrize("route", ["/tasks", "/tasks/add"])
def test_visitors_and_marketers_stay_outside(sign_in: Any, visitor: Any, route: str) -> None:
    assert visitor.get(route).status_code == 302
    assert sign_in("marketer").get(route).status_code == 403


def test_groups(make: Factory, sign_in: Any) -> None:
    now = utc_now()
    _start, end = day_bounds(local_today(), company_zone())
    overdue = make.task(due_at=now - dt.timedelta(days=2))
    ahead = make.task(due_at=end + dt.timedelta(hours=1))
    today = make.task(due_at=end - dt.timedelta(seconds=1))
    done = make.task(due_at=now, done_at=now, result="Договорились")
    make.task(owner="stranger", due_at=end - dt.timedelta(seconds=1))
    client = sign_in("manager")
    assert listed(client.get("/tasks")) == {today.id}
    assert listed(client.get("/tasks?group=overdue")) == {overdue.id}
    assert listed(client.get("/tasks?group=upcoming")) == {ahead.id}
    assert listed(client.get("/tasks?group=done")) == {done.id}
    assert listed(client.get("/tasks?group=nonsense&kind=x")) == {today.id}


def test_heads_see_the_tasks_of_their_people(make: Factory, sign_in: Any) -> None:
    mine, theirs = make.task(owner="head"), make.task(owner="manager")
    make.task(owner="stranger")
    address = "/tasks?group=overdue"
    assert listed(sign_in("head").get(address)) == {mine.id}
    assert listed(sign_in("head").get(f"{address}&whose=team")) == {theirs.id}
    assert listed(sign_in("manager").get(f"{address}&whose=team")) == {theirs.id}


def test_done_reopened_moved_deleted(make: Factory, sign_in: Any) -> None:
    deal = make.deal()
    client = sign_in("manager")
    client.post(
        "/api/v1/tasks", json={"text": "Показ", "due_date": "2100-01-05", "deal_id": deal.id}
    )
    task = db.session.scalars(select(Task)).one()
    address = f"/api/v1/tasks/{task.id}"
    assert client.post(f"{address}/done", json={"result": "Был"}).json["done"] is True
    assert client.post(f"{address}/done", json={"result": "Был"}).status_code == 409
    assert client.post(f"{address}/reopen", json={}).json["done"] is False
    moved = client.post(f"{address}/reschedule", json={"due_at": "2100-02-01 10:00:00"})
    assert moved.status_code == 200
    assert client.post(f"{address}/reschedule", json={"due_at": "x"}).status_code == 422
    assert client.delete(address).status_code == 200
    assert db.session.scalars(select(Task)).all() == []


@pytest.mark.parametrize(
    ("method", "tail"),
    [("POST", "/done"), ("POST", "/reopen"), ("POST", "/reschedule"), ("DELETE", "")],
)
def test_other_peoples_tasks_are_out_of_reach(
    make: Factory, sign_in: Any, visitor: Any, method: str, tail: str
) -> None:
    address = f"/api/v1/tasks/{make.task(make.deal('manager')).id}{tail}"
    body = {"due_at": "2100-02-01 10:00:00"}
    assert visitor.open(address, method=method, json=body).status_code == 401
    assert sign_in("marketer").open(address, method=method, json=body).status_code == 403
    assert sign_in("stranger").open(address, method=method, json=body).status_code == 404


def test_task_is_set_by_the_form(make: Factory, sign_in: Any) -> None:
    client = sign_in("manager")
    form = {"text": "Позвонить в банк", "kind": "call", "due_at": "2100-01-05 10:00:00"}
    assert client.post("/tasks/add", data=form).status_code == 302
    assert db.session.scalars(select(Task.text)).all() == ["Позвонить в банк"]
    refused = client.post("/tasks/add", data={**form, "due_at": "", "text": "Не забыть"})
    assert "Укажите срок" in refused.text
    assert "Не забыть" in refused.text


@pytest.mark.parametrize("name", ["manager", "director"])
def test_page_asks_a_fixed_number_of_times(
    make: Factory, sign_in: Any, count_queries: Any, name: str
) -> None:
    deal, client, counts = make.deal(), sign_in(name), []
    for more in (10, 500):
        rows = [
            {"deal_id": deal.id, "text": f"№ {n}", "kind": "call",
             "responsible_id": make.people[name].id,
             "due_at": utc_now() - dt.timedelta(minutes=n)}
            for n in range(more)
        ]  # fmt: skip
        db.session.execute(insert(Task), rows)
        db.session.commit()
        with count_queries() as queries:
            page = client.get("/tasks?group=overdue")
        counts.append(len(queries))
    assert page.status_code == 200
    assert len(listed(page)) == 50
    assert counts[0] == counts[1]
    assert counts[1] <= 15
