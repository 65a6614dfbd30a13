"""The board: who sees what, filters, pages of columns, a fixed number of queries."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import insert

from crm.models import Deal, Stage, db
from crm.reports import board
from crm.values.clock import utc_now
from tests.factories import Factory
from tests.views.pages import shown

ROUTES = ("/board", "/board/{pipeline}", "/board/{pipeline}/totals",
          "/board/{pipeline}/stage/{stage}", "/board/card/{deal}")  # fmt: skip


def addresses(make: Factory, deal: Deal) -> list[str]:
    return [
        route.format(pipeline=make.pipeline.id, stage=make.stage(0).id, deal=deal.id)
        for route in ROUTES
    ]


def many(make: Factory, owner: str, count: int) -> None:
    """Deals spread over the stages, straight into the table."""
    stages, person, start = make.pipeline.stages[:8], make.people[owner], utc_now()
    contact = make.contact()
    rows = [
        {
            "pipeline_id": make.pipeline.id, "stage_id": stages[n % len(stages)].id,
            "contact_id": contact.id, "responsible_id": person.id,
            "department_id": person.department_id, "amount": 1_000_000 + n,
            "stage_entered_at": start - dt.timedelta(minutes=n), "created_at": start,
            "last_activity_at": start,
        }
        for n in range(count)
    ]  # fmt: skip
    db.session.execute(insert(Deal), rows)
    db.session.commit()


@pytest.mark.parametrize("route", range(len(ROUTES)))
def test_visitors_and_marketers_stay_outside(
    make: Factory, sign_in: Any, visitor: Any, route: int
) -> None:
    address = addresses(make, make.deal())[route]
    assert visitor.get(address).status_code == 302
    assert sign_in("marketer").get(address).status_code == 403


@pytest.mark.parametrize("name", ["manager", "head", "director", "admin"])
def test_those_whose_deal_it_is_see_its_card(make: Factory, sign_in: Any, name: str) -> None:
    deal = make.deal("manager", need_text="2-к, Приморский", amount=12_500_000)
    client = sign_in(name)
    page = client.get("/board")
    assert page.status_code == 200
    assert shown(page) == {deal.id}
    assert "Анна Лебедева" in page.text
    assert "12,5\u00a0млн\u00a0₽" in page.text
    assert shown(client.get(f"/board/card/{deal.id}")) == {deal.id}


@pytest.mark.parametrize("name", ["stranger", "teammate"])
def test_strangers_see_nothing_of_it(make: Factory, sign_in: Any, name: str) -> None:
    deal = make.deal("manager", amount=5_000_000)
    client = sign_in(name)
    assert shown(client.get("/board")) == set()
    assert client.get(f"/board/card/{deal.id}").status_code == 204
    totals = client.get(f"/board/{make.pipeline.id}/totals").json["stages"]
    assert {total["count"] for total in totals} == {"0"}
    column = client.get(f"/board/{make.pipeline.id}/stage/{make.stage(0).id}")
    assert shown(column) == set()


def test_stage_closed_to_managers_is_neither_shown_nor_read(make: Factory, sign_in: Any) -> None:
    hidden: Stage = make.stage(4)
    hidden.available_to_manager = False
    db.session.commit()
    deal = make.deal("manager", stage=4)
    page = sign_in("manager").get("/board")
    assert f'data-column="{hidden.id}"' not in page.text
    assert deal.id not in shown(page)
    column = f"/board/{make.pipeline.id}/stage/{hidden.id}"
    assert sign_in("manager").get(column).status_code == 404
    assert shown(sign_in("head").get("/board")) == {deal.id}


def test_deals_open_to_all_are_the_section_of_common_ones(make: Factory, sign_in: Any) -> None:
    deal = make.deal("stranger", stage=6)
    assert make.stage(6).open_view
    client = sign_in("manager")
    assert shown(client.get("/board")) == set()
    page = client.get("/board?common=1")
    assert shown(page) == {deal.id}
    assert "kv-locked" in page.text, "an open deal may be read, not moved"


def test_undistributed_deal_can_be_taken_from_its_card(make: Factory, sign_in: Any) -> None:
    department = make.people["manager"].department_id
    deal = make.deal(None, department_id=department, is_saved=False)
    page = sign_in("manager").get("/board")
    assert shown(page) == {deal.id}
    assert "data-take" in page.text
    assert shown(sign_in("stranger").get("/board")) == set()


def test_archive_is_not_a_column(make: Factory, sign_in: Any) -> None:
    archive = make.pipeline.stages[-1]
    assert f'data-column="{archive.id}"' not in sign_in("director").get("/board").text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"plain", "late", "new", "bare"}),
        ("no_task=1", {"bare", "new"}),
        ("overdue=1", {"late"}),
        ("unprocessed=1", {"new"}),
        ("mine=1", {"plain", "late", "bare"}),
        ("responsible=0", {"new"}),
        ("source={source}", {"plain"}),
        ("stage={stage}", {"bare"}),
        ("created_from=2020-01-01&created_to=2020-12-31", {"plain"}),
        ("q={number}", {"late"}),
        ("department={department}", {"plain", "late", "new", "bare"}),
        ("source=none&stage=x&created_from=y", {"plain", "late", "new", "bare"}),
    ],
)
def test_filters(make: Factory, sign_in: Any, query: str, found: set[str]) -> None:
    source, now = make.source(), utc_now()
    department = make.people["manager"].department_id
    soon, past = now + dt.timedelta(days=1), now - dt.timedelta(days=1)
    old = dt.datetime(2020, 6, 1, tzinfo=dt.UTC)
    deals = {
        "plain": make.deal(source_id=source.id, created_at=old, next_task_due=soon),
        "late": make.deal(next_task_due=past),
        "new": make.deal(None, department_id=department, is_saved=False),
        "bare": make.deal(stage=1),
    }
    asked = query.format(
        source=source.id, stage=make.stage(1).id, number=deals["late"].id, department=department
    )
    page = sign_in("manager").get(f"/board?{asked}")
    assert shown(page) == {deals[name].id for name in found}


def test_figures_are_those_of_the_shown_cards(make: Factory, sign_in: Any) -> None:
    for amount in (1_000_000, 2_500_000):
        make.deal(amount=amount)
    make.deal("stranger", amount=9_000_000)
    first = sign_in("manager").get(f"/board/{make.pipeline.id}/totals").json["stages"][0]
    assert (first["count"], first["amount"]) == ("2", "3\u00a0500\u00a0000\u00a0₽")


def test_columns_go_on_by_key_and_repeat_nothing(make: Factory, sign_in: Any) -> None:
    many(make, "manager", 8 * 60)
    stage, client = make.stage(0), sign_in("manager")
    first = {
        deal_id for deal_id in shown(client.get("/board"))
        if db.session.get(Deal, deal_id).stage_id == stage.id
    }  # fmt: skip
    assert len(first) == board.PAGE
    key = client.get(f"/board/{make.pipeline.id}/stage/{stage.id}").headers["X-After"]
    seen, pages = set(first), 0
    while key:
        page = client.get(
            f"/board/{make.pipeline.id}/stage/{stage.id}", query_string={"after": key}
        )
        assert not shown(page) & seen
        seen |= shown(page)
        key, pages = page.headers.get("X-After", ""), pages + 1
    assert (len(seen), pages) == (60, 2)


@pytest.mark.parametrize("key", ["", "x", "2020-01-01,5", "2020-01-01T00:00:00+00:00,x", ",,"])
def test_broken_page_key_is_the_first_page(make: Factory, sign_in: Any, key: str) -> None:
    deal = make.deal()
    address = f"/board/{make.pipeline.id}/stage/{make.stage(0).id}"
    assert shown(sign_in("manager").get(address, query_string={"after": key})) == {deal.id}


def test_phones_are_masked_for_those_who_see_only_staff(
    make: Factory, sign_in: Any, people: Any
) -> None:
    from crm.models import UserGrant

    db.session.add(UserGrant(user_id=people["manager"].id, code="only_staff_contacts", allow=True))
    make.deal(contact=make.contact(name="", phone="+79123456789"))
    text = sign_in("manager").get("/board").text
    assert "345-67-89" not in text
    assert "79123456789" not in text
    assert "***" in text
    assert "345-67-89" in sign_in("head").get("/board").text


@pytest.mark.parametrize("name", ["manager", "director", "head"])
def test_board_asks_the_database_a_fixed_number_of_times(
    make: Factory, sign_in: Any, count_queries: Any, name: str
) -> None:
    client, counts = sign_in(name), []
    for more in (4, 200):
        many(make, "manager", more)
        with count_queries() as queries:
            assert client.get("/board").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[1] <= 12, "\n".join(queries.statements)


def test_empty_board_teaches(make: Factory, sign_in: Any) -> None:
    page = sign_in("manager").get("/board").text
    assert "Создать сделку" in page
    assert "Перетащите сюда карточку" in page


def test_unknown_pipeline_is_not_found(make: Factory, sign_in: Any) -> None:
    client = sign_in("director")
    assert client.get("/board/999999").status_code == 404
    assert client.get("/board/999999/totals").status_code == 404
