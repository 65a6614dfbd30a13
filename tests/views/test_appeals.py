from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from crm.models import Appeal, Company, Deal, Employee, db
from crm.reports import appeals
from crm.values.clock import utc_now
from tests.factories import Factory


def waiting(make: Factory, name: str, owner: str | None = None, **values: Any) -> Deal:
    """An unprocessed deal with the appeal that made it."""
    head = make.people["manager"]
    minutes = values.pop("minutes", 5)
    at = utc_now() - dt.timedelta(minutes=minutes)
    values = {
        "department_id": head.department_id,
        "channel": "site_form",
        "first_appeal_at": at,
        "created_at": at,
        **values,
    }
    deal = make.deal(owner, contact=make.contact(name), is_saved=False, **values)
    appeal(deal, received_at=at)
    return deal


def appeal(deal: Deal | None, **values: Any) -> Appeal:
    row = Appeal(
        channel="site_form",
        contact_id=deal.contact_id if deal else None,
        deal_id=deal.id if deal else None,
        department_id=deal.department_id if deal else None,
        responsible_id=deal.responsible_id if deal else None,
        source_why="Метки совпали с источником",
        created_deal=deal is not None,
        **values,
    )
    db.session.add(row)
    db.session.commit()
    return row


def test_waiting_deals_are_shown_oldest_first(sign_in: Any, make: Factory) -> None:
    waiting(make, "Свежая", minutes=1)
    waiting(make, "Старая", minutes=500)
    make.deal(contact=make.contact("Заведённая"))
    text = sign_in("manager").get("/appeals").get_data(as_text=True)
    assert text.index("Старая") < text.index("Свежая")
    assert "Заведённая" not in text
    assert "Метки совпали с источником" in text


def test_strangers_see_nothing_of_it(sign_in: Any, make: Factory, visitor: Any) -> None:
    waiting(make, "Анна")
    for show in ("waiting", "all", "spam"):
        page = sign_in("stranger").get(f"/appeals?show={show}").get_data(as_text=True)
        assert "Анна" not in page
    assert sign_in("marketer").get("/appeals").status_code == 403
    assert visitor.get("/appeals").status_code == 302


@pytest.mark.parametrize(
    ("minutes", "channel", "tone"),
    [
        (1, "site_form", "ok"), (8, "site_form", "warn"), (15, "site_form", "bad"),
        (29, "call", "ok"), (31, "call", "warn"), (61, "call", "bad"),
    ],
)  # fmt: skip
def test_age_is_coloured_after_the_limits(app: Any, minutes: int, channel: str, tone: str) -> None:
    agency = db.session.query(Company).first() or Company(name="Агентство")
    agency.request_limit_minutes, agency.call_limit_minutes = 15, 60
    db.session.add(agency)
    db.session.commit()
    assert appeals.tone(dt.timedelta(minutes=minutes), channel) == tone


def test_filters(sign_in: Any, make: Factory, people: dict[str, Employee]) -> None:
    source = make.source("ЦИАН")
    waiting(make, "Первая", "manager", source_id=source.id)
    waiting(make, "Вторая", channel="call")
    client, mine = sign_in("manager"), people["manager"].id
    cases = {
        f"source={source.id}": "Первая",
        f"responsible={mine}": "Первая",
        "responsible=nobody": "Вторая",
        "channel=call": "Вторая",
    }
    for query, shown in cases.items():
        text = client.get(f"/appeals?{query}").get_data(as_text=True)
        assert [name for name in ("Первая", "Вторая") if name in text] == [shown], query
    odd = client.get("/appeals?source=x&department=-1&channel=zzz&after=1&show=no")
    assert odd.status_code == 200
    assert "Первая" in odd.get_data(as_text=True)


def test_taking_a_deal_opens_it(sign_in: Any, make: Factory) -> None:
    deal = waiting(make, "Анна")
    answer = sign_in("manager").post(f"/appeals/take/{deal.id}", data={"next": "/appeals"})
    assert answer.headers["Location"] == f"/deals/{deal.id}"
    db.session.expire_all()
    assert db.session.get(Deal, deal.id).responsible_id == make.people["manager"].id
    second = sign_in("teammate").post(f"/appeals/take/{deal.id}", data={"next": "/appeals"})
    assert second.headers["Location"] == "/appeals"


def test_spam_and_back(sign_in: Any, make: Factory) -> None:
    deal = waiting(make, "Спамер Иван", "manager")
    row = db.session.query(Appeal).filter_by(deal_id=deal.id).one()
    client = sign_in("manager")
    client.post(f"/appeals/{row.id}/spam", data={"next": "/appeals"})
    assert "Спамер Иван" not in client.get("/appeals").get_data(as_text=True)
    assert "отмечено вручную" in client.get("/appeals?show=spam").get_data(as_text=True)
    client.post(f"/appeals/{row.id}/not-spam")
    assert "Спамер Иван" in client.get("/appeals").get_data(as_text=True)


def test_foreign_appeals_cannot_be_touched(sign_in: Any, make: Factory, visitor: Any) -> None:
    deal = waiting(make, "Анна", "manager")
    row = db.session.query(Appeal).filter_by(deal_id=deal.id).one()
    for url in (f"/appeals/{row.id}/spam", f"/appeals/take/{deal.id}"):
        assert sign_in("marketer").post(url).status_code == 403
        assert visitor.post(url).status_code == 302
        assert sign_in("stranger").post(url).status_code == 302
    db.session.expire_all()
    assert not db.session.get(Appeal, row.id).is_spam
    assert db.session.get(Deal, deal.id).responsible_id == make.people["manager"].id


def test_answer_stays_on_this_site(sign_in: Any, make: Factory) -> None:
    deal = waiting(make, "Анна", "manager")
    row = db.session.query(Appeal).filter_by(deal_id=deal.id).one()
    answer = sign_in("manager").post(
        f"/appeals/{row.id}/spam", data={"next": "https://evil.example/"}
    )
    assert answer.headers["Location"] == "/appeals"


@pytest.mark.parametrize("show", ["waiting", "all"])
def test_lists_cost_the_same_for_many(
    sign_in: Any, make: Factory, count_queries: Any, show: str
) -> None:
    client, counted = sign_in("manager"), []
    for rows in (2, 45):
        for number in range(rows):
            source = make.source(f"Источник {rows} {number}")
            waiting(make, "Анна", "manager", source_id=source.id)
        with count_queries() as queries:
            client.get(f"/appeals?show={show}")
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 15
