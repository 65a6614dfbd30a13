"""The list and the card of deals: rights, filters, paging, masks, export, bulk, budgets."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import insert, select

from crm.models import (
    Appeal,
    Call,
    Comment,
    Deal,
    SavedView,
    StageHistory,
    TelephonyConnection,
    TimelineEvent,
    UserGrant,
    db,
)
from crm.operations import search_index
from crm.reports import row_pages
from crm.values.clock import utc_now
from tests.factories import Factory
from tests.views.pages import shown

PAGES = ("/deals", "/deals/{deal}", "/deals/{deal}/feed", "/deals/{deal}/tab/tasks",
         "/deals/{deal}/tab/calls", "/deals/{deal}/tab/appeals", "/deals/add",
         "/deals/known?phone=%2B79120000000")  # fmt: skip


def many(make: Factory, count: int, owner: str = "manager", **values: Any) -> None:
    """Deals straight into the table, a minute apart, every third without an amount."""
    stage, person, start = make.stage(0), make.people[owner], utc_now()
    contact = make.contact()
    rows = [
        {
            "pipeline_id": stage.pipeline_id, "stage_id": stage.id, "contact_id": contact.id,
            "responsible_id": person.id, "department_id": person.department_id,
            "amount": None if n % 3 == 0 else 1_000_000 + n % 7,
            "next_task_due": None if n % 2 else start + dt.timedelta(minutes=n),
            "created_at": start - dt.timedelta(minutes=n),
            "stage_entered_at": start, "last_activity_at": start, **values,
        }
        for n in range(count)
    ]  # fmt: skip
    db.session.execute(insert(Deal), rows)
    db.session.commit()


# --- rights -----------------------------------------------------------------------------


@pytest.mark.parametrize("route", PAGES)
def test_visitors_and_marketers_stay_outside(
    make: Factory, sign_in: Any, visitor: Any, route: str
) -> None:
    address = route.format(deal=make.deal().id)
    assert visitor.get(address).status_code == 302
    assert sign_in("marketer").get(address).status_code == 403


@pytest.mark.parametrize("route", PAGES[1:6])
def test_a_strangers_deal_is_not_found(make: Factory, sign_in: Any, route: str) -> None:
    address = route.format(deal=make.deal("manager").id)
    assert sign_in("manager").get(address).status_code == 200
    assert sign_in("stranger").get(address).status_code == 404
    assert sign_in("teammate").get(address).status_code == 404


def test_open_deal_of_another_is_read_only(make: Factory, sign_in: Any) -> None:
    deal = make.deal("stranger", stage=6)
    page = sign_in("manager").get(f"/deals/{deal.id}")
    assert page.status_code == 200
    assert "data-edit=" not in page.text
    assert "data-comment" not in page.text
    assert "data-editable" not in page.text


def test_everybody_lists_his_own(make: Factory, sign_in: Any) -> None:
    mine, other = make.deal("manager"), make.deal("stranger")
    assert shown(sign_in("manager").get("/deals")) == {mine.id}
    assert shown(sign_in("stranger").get("/deals")) == {other.id}
    assert shown(sign_in("director").get("/deals")) == {mine.id, other.id}


# --- filters and pages -----------------------------------------------------------------------


def test_finished_deals_are_shown_when_asked_for(make: Factory, sign_in: Any) -> None:
    work, lost = make.deal(), make.deal(stage=7, closed_at=utc_now())
    client = sign_in("manager")
    assert shown(client.get("/deals")) == {work.id}
    assert shown(client.get("/deals?state=closed")) == {lost.id}
    assert shown(client.get("/deals?state=all")) == {work.id, lost.id}
    assert shown(client.get(f"/deals?stage={make.stage(7).id}")) == {lost.id}
    assert shown(client.get(f"/deals?pipeline={make.pipeline.id}")) == {work.id}


@pytest.mark.parametrize(
    "text", ["лебед", "Лебедева анна", "+7 912 345-67-89", "8 (912) 3456789", "6789"]
)
def test_search_by_name_and_phone(make: Factory, sign_in: Any, text: str) -> None:
    deal = make.deal(contact=make.contact("Анна Лебедева", "+79123456789"))
    other = make.deal(contact=make.contact("Марат Гареев", "+79211112233"))
    for row in (deal, other):
        search_index.reindex_contact(row.contact)
    db.session.commit()
    assert shown(sign_in("manager").get("/deals", query_string={"q": text})) == {deal.id}


def test_hidden_numbers_are_not_found_by_their_tail(
    make: Factory, sign_in: Any, people: Any
) -> None:
    deal = make.deal(contact=make.contact("", "+79123456789"))
    db.session.add(UserGrant(user_id=people["manager"].id, code="only_staff_contacts", allow=True))
    db.session.commit()
    client = sign_in("manager")
    assert shown(client.get("/deals?q=6789")) == set()
    assert shown(client.get("/deals?q=89123456789")) == {deal.id}


@pytest.mark.parametrize(
    "order", ["created", "-created", "amount", "-amount", "task", "-task", "number", "stage_time"]
)
def test_pages_show_every_deal_once_there_and_back(make: Factory, sign_in: Any, order: str) -> None:
    many(make, 60)
    client, seen, pages = sign_in("manager"), [], []
    address = f"/deals?order={order}"
    while address:
        page = client.get(address)
        pages.append(shown(page))
        seen += pages[-1]
        address = _link(page, "next")
    assert [len(part) for part in pages] == [25, 25, 10]
    assert len(set(seen)) == 60
    back = client.get(_link(page, "prev"))
    assert shown(back) == pages[1]
    assert shown(client.get(_link(back, "prev"))) == pages[0]


def _link(page: Any, rel: str) -> str:
    import html

    for part in page.text.split("<a ")[1:]:
        tag = part.split(">", 1)[0]
        if f'rel="{rel}"' in tag:
            return html.unescape(tag.split('href="')[1].split('"')[0])
    return ""


@pytest.mark.parametrize("key", ["x", "W251bGwsIDFd", "%00", "eyJhIjoxfQ", "WyIyMDIwIiwgMV0"])
@pytest.mark.parametrize("order", ["created", "amount"])
def test_broken_keys_do_no_harm(make: Factory, sign_in: Any, key: str, order: str) -> None:
    make.deal()
    page = sign_in("manager").get(f"/deals?order={order}&after={key}")
    assert page.status_code == 200


def test_count_stops_at_its_cap(make: Factory, sign_in: Any, monkeypatch: Any) -> None:
    assert row_pages.COUNT_CAP == 10_000
    monkeypatch.setattr(row_pages, "COUNT_CAP", 40)
    many(make, 41)
    assert "из 40+" in sign_in("manager").get("/deals").text


# --- budgets --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manager", "head", "director"])
def test_list_asks_a_fixed_number_of_times(
    make: Factory, sign_in: Any, count_queries: Any, name: str
) -> None:
    client, counts = sign_in(name), []
    for more in (20, 1000):
        many(make, more)
        with count_queries() as queries:
            page = client.get("/deals?source=1&responsible=" + str(make.people["manager"].id))
            page = client.get("/deals")
        counts.append(len(queries) / 2)
        assert page.status_code == 200
    assert counts[0] == counts[1]
    assert counts[1] <= 15, "\n".join(queries.statements)
    assert len(page.data) <= 200_000


def _busy_deal(make: Factory, events: int) -> Deal:
    """A deal with a feed of comments, calls, requests, moves and tasks."""
    deal, now = make.deal(amount=5_000_000, source_id=make.source().id), utc_now()
    person = make.people["manager"]
    line = TelephonyConnection(name="Манго", operator="mango", token="t" * 20)
    db.session.add(line)
    db.session.flush()
    calls = [
        Call(connection_id=line.id, provider_call_id=str(n), direction="in", state="ended",
             deal_id=deal.id, employee_id=person.id, talk=60 + n, recording_state="stored")
        for n in range(10)
    ]  # fmt: skip
    requests = [Appeal(channel="site_form", deal_id=deal.id, comment=f"Хочу {n}") for n in range(5)]
    notes = [Comment(deal_id=deal.id, author_id=person.id, text=f"Слово {n}") for n in range(5)]
    db.session.add_all([*calls, *requests, *notes])
    db.session.add(StageHistory(deal_id=deal.id, to_stage_id=deal.stage_id))
    db.session.flush()
    kinds: list[dict[str, Any]] = [
        *({"kind": "call", "call_id": call.id} for call in calls),
        *({"kind": "request", "appeal_id": row.id} for row in requests),
        *({"kind": "comment", "comment_id": row.id} for row in notes),
        {"kind": "stage", "data": {"old": "А", "new": "Б", "how": "manual"}},
        {"kind": "fields", "data": {"changes": [{"field": "amount", "old": "1", "new": "2"}]}},
        {"kind": "responsible", "data": {"old": "А", "new": "Б"}},
        {"kind": "task_set", "data": {"text": "Позвонить"}},
        {"kind": "task_done", "data": {"text": "Позвонить", "result": "Договорились"}},
    ]
    blank = {"deal_id": deal.id, "actor_id": person.id, "call_id": None, "appeal_id": None,
             "comment_id": None, "data": {}}  # fmt: skip
    rows = [
        {**blank, **kinds[n % len(kinds)], "occurred_at": now - dt.timedelta(minutes=n)}
        for n in range(events)
    ]
    db.session.execute(insert(TimelineEvent), rows)
    for n in range(3):
        make.task(deal, text=f"Задача {n}")
    db.session.commit()
    return deal


@pytest.mark.parametrize("name", ["manager", "head", "director"])
def test_card_asks_a_fixed_number_of_times(
    make: Factory, sign_in: Any, count_queries: Any, name: str
) -> None:
    deal = _busy_deal(make, 5000)
    client = sign_in(name)
    with count_queries() as queries:
        page = client.get(f"/deals/{deal.id}")
    assert page.status_code == 200
    assert len(queries) <= 20, "\n".join(queries.statements)
    assert len(page.data) <= 200_000


# --- card -----------------------------------------------------------------------------------


def test_feed_goes_on_to_its_end(make: Factory, sign_in: Any) -> None:
    deal = _busy_deal(make, 95)
    client, key, lines = sign_in("manager"), "", 0
    while True:
        page = client.get(f"/deals/{deal.id}/feed", query_string={"after": key}).text
        lines += page.count('class="kv-ev')
        if 'data-feed-more="' not in page:
            break
        key = page.split('data-feed-more="')[1].split('"')[0]
    assert lines == 95


def test_recordings_are_for_those_who_may_hear_them(
    make: Factory, sign_in: Any, people: Any
) -> None:
    deal = _busy_deal(make, 40)
    db.session.execute(Call.__table__.update().values(employee_id=people["teammate"].id))
    db.session.commit()
    assert "/recording" not in sign_in("manager").get(f"/deals/{deal.id}").text
    assert "/recording" in sign_in("head").get(f"/deals/{deal.id}").text


def test_card_masks_what_permission_16_hides(make: Factory, sign_in: Any, people: Any) -> None:
    deal = make.deal(contact=make.contact("Анна Лебедева", "+79123456789"))
    for code in ("only_staff_contacts", "forbid_click_to_call"):
        db.session.add(UserGrant(user_id=people["manager"].id, code=code, allow=True))
    db.session.commit()
    text = sign_in("manager").get(f"/deals/{deal.id}").text
    assert "345-67-89" not in text
    assert "79123456789" not in text
    assert "***" in text
    assert "data-call=" not in text
    assert "data-call=" in sign_in("head").get(f"/deals/{deal.id}").text


def test_card_of_unprocessed_deal_offers_to_save_it(make: Factory, sign_in: Any) -> None:
    department = make.people["manager"].department_id
    deal = make.deal(None, department_id=department, is_saved=False, channel="call")
    page = sign_in("manager").get(f"/deals/{deal.id}").text
    assert "Незаведённая сделка" in page
    assert "data-take" in page
    assert "data-save" not in page, "what may only be taken is not saved yet"
    assert "data-save" in sign_in("head").get(f"/deals/{deal.id}").text


def test_archived_and_deleted_deals(make: Factory, sign_in: Any) -> None:
    archived = make.deal(stage=9)
    assert "Архив" in sign_in("manager").get(f"/deals/{archived.id}").text
    gone = make.deal(deleted_at=utc_now())
    assert sign_in("admin").get(f"/deals/{gone.id}").status_code == 404


# --- export ---------------------------------------------------------------------------------


def test_export_is_for_those_with_the_scope(make: Factory, sign_in: Any) -> None:
    deal = make.deal(contact=make.contact("=cmd|' /C calc'!A0"), need_text="+2-к")
    make.deal("stranger", contact=make.contact("Чужой"))
    assert sign_in("manager").get("/deals/export").status_code == 403
    text = sign_in("head").get("/deals/export").text
    assert f"{deal.id};'=cmd" in text
    assert "'+2-к" in text
    assert "Чужой" not in text
    assert "Чужой" in sign_in("director").get("/deals/export").text


def test_export_masks_phones(make: Factory, sign_in: Any, people: Any) -> None:
    make.deal(contact=make.contact("Анна", "+79123456789"))
    db.session.add(UserGrant(user_id=people["director"].id, code="only_staff_contacts", allow=True))
    db.session.commit()
    text = sign_in("director").get("/deals/export").text
    assert "67-89" not in text
    assert "Анна" in text


# --- bulk -----------------------------------------------------------------------------------


def test_bulk_reports_each_refusal(make: Factory, sign_in: Any, people: Any) -> None:
    mine, other = make.deal("manager"), make.deal("stranger")
    body = {"ids": [mine.id, other.id], "action": "assign", "responsible_id": people["teammate"].id}
    answer = sign_in("head").post("/deals/bulk", json=body).json
    assert answer["done"] == 1
    assert [row["id"] for row in answer["failed"]] == [other.id]
    db.session.expire_all()
    assert db.session.get(Deal, mine.id).responsible_id == people["teammate"].id
    assert db.session.get(Deal, other.id).responsible_id == people["stranger"].id


@pytest.mark.parametrize(
    "body",
    [
        {}, {"ids": []}, {"ids": ["1"]}, {"ids": [True]}, {"ids": "1", "action": "assign"},
        {"ids": list(range(1, 202)), "action": "task"}, {"ids": [1], "action": "drop"},
        {"ids": [1], "action": "assign"}, {"ids": [1], "action": "move", "stage_id": "x"},
    ],
)  # fmt: skip
def test_bulk_refuses_nonsense(make: Factory, sign_in: Any, body: dict[str, Any]) -> None:
    assert sign_in("head").post("/deals/bulk", json=body).status_code == 422


def test_bulk_task_on_all_found(make: Factory, sign_in: Any) -> None:
    many(make, 30)
    due = (utc_now() + dt.timedelta(days=1)).isoformat()
    body = {"all": True, "action": "task", "text": "Обзвон", "kind": "call", "due_at": due}
    answer = sign_in("manager").post("/deals/bulk", json=body).json
    assert answer == {"done": 30, "failed": []}


def test_bulk_is_not_for_visitors_and_marketers(sign_in: Any, visitor: Any) -> None:
    assert visitor.post("/deals/bulk", json={"ids": [1]}).status_code == 401
    assert sign_in("marketer").post("/deals/bulk", json={"ids": [1]}).status_code == 403


# --- saved views ----------------------------------------------------------------------------


def test_saved_view_lives_and_dies(sign_in: Any, people: Any) -> None:
    client = sign_in("manager")
    body = {"name": " Мои  горячие ", "query": "mine=1&overdue=1", "shared": False}
    made = client.post("/deals/views", json=body)
    assert made.status_code == 200
    assert made.json["name"] == "Мои горячие"
    assert "mine=1&amp;overdue=1" in client.get("/board").text
    assert "Мои горячие" not in sign_in("head").get("/deals").text
    client = sign_in("manager")
    view = f"/deals/views/{made.json['id']}"
    assert client.patch(view, json={"name": "Утро", "shared": True}).status_code == 200
    assert "Утро" in sign_in("head").get("/deals").text
    assert sign_in("head").delete(view).status_code == 403
    assert sign_in("manager").delete(view).status_code == 200
    assert db.session.scalars(select(SavedView)).all() == []


@pytest.mark.parametrize("name", ["", "   ", "я" * 81])
def test_saved_view_needs_a_name(sign_in: Any, name: str) -> None:
    answer = sign_in("manager").post("/deals/views", json={"name": name, "query": ""})
    assert answer.status_code == 422


# --- new deal -------------------------------------------------------------------------------


def _form(make: Factory, **values: Any) -> dict[str, Any]:
    source = make.source()
    return {
        "pipeline_id": make.pipeline.id, "source": source.id, "contact_name": "Пётр Ёлкин",
        "contact_phone": "8 912 345-67-89", "amount": "9700000", "need_rooms": "1", **values,
    }  # fmt: skip


def test_deal_is_made_by_the_form(make: Factory, sign_in: Any, people: Any) -> None:
    client = sign_in("manager")
    answer = client.post("/deals/add", data=_form(make))
    assert answer.status_code == 302
    deal = db.session.scalars(select(Deal)).one()
    assert answer.location.endswith(f"/deals/{deal.id}")
    assert deal.contact.name == "Пётр Ёлкин"
    assert deal.contact.phones[0].number == "+79123456789"
    assert deal.responsible_id == people["manager"].id
    assert deal.is_saved


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"source": ""}, "Выберите источник"),
        ({"contact_phone": "12"}, "Номер не распознан"),
        ({"amount": "много"}, "Укажите число"),
        ({"pipeline_id": "x"}, "Выберите воронку"),
        ({"contact_name": "", "contact_phone": ""}, "Имя клиента"),
    ],
)
def test_refused_form_keeps_what_was_typed(
    make: Factory, sign_in: Any, values: dict[str, Any], said: str
) -> None:
    page = sign_in("manager").post("/deals/add", data=_form(make, comment="важно", **values))
    assert page.status_code == 200
    assert said in page.text
    assert "важно" in page.text
    assert db.session.scalars(select(Deal)).all() == []


def test_second_open_deal_of_a_client_asks_first(make: Factory, sign_in: Any) -> None:
    make.deal(contact=make.contact("Пётр", "+79123456789"))
    client, form = sign_in("manager"), _form(make)
    page = client.post("/deals/add", data=form)
    assert "уже есть открытая сделка" in page.text
    assert client.post("/deals/add", data={**form, "confirmed": "y"}).status_code == 302


def test_known_client_of_another_shows_only_who_holds_him(make: Factory, sign_in: Any) -> None:
    make.deal("stranger", contact=make.contact("Тайный Клиент", "+79123456789"))
    address = "/deals/known?phone=89123456789"
    text = sign_in("manager").get(address).text
    assert "Клиент закреплён" in text
    assert "Stranger Тестов" in text
    assert "Тайный" not in text
    assert "Тайный Клиент" in sign_in("director").get(address).text


def test_a_deal_for_a_known_client_begins_with_him(sign_in: Any, make: Factory) -> None:
    contact = make.contact("Пётр Сомов", responsible_id=make.people["manager"].id)
    source = make.source("Рекомендация")
    manager, path = sign_in("manager"), f"/deals/add?contact={contact.id}"
    page = manager.get(path).text
    assert "Пётр Сомов" in page
    assert 'name="contact_phone"' not in page
    data = {"pipeline_id": str(make.pipeline.id), "source": str(source.id)}
    assert manager.post(path, data=data).status_code == 302
    deal = db.session.scalars(select(Deal).where(Deal.contact_id == contact.id)).one()
    assert deal.responsible_id == make.people["manager"].id


def test_a_client_out_of_sight_cannot_be_taken_for_a_deal(sign_in: Any, make: Factory) -> None:
    contact = make.contact("Чужой", responsible_id=make.people["stranger"].id)
    manager = sign_in("manager")
    assert manager.get(f"/deals/add?contact={contact.id}").status_code == 404
    assert manager.post(f"/deals/add?contact={contact.id}", data={}).status_code == 404
    assert manager.get("/deals/add?contact=x").status_code == 404
