from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from crm.models import Appeal, DeliveryState, Employee, InboundDelivery, UserGrant, db
from crm.security.grants import Grant
from crm.values.clock import utc_now
from tests.factories import Factory
from tests.views.telephony_rows import call

_keys = itertools.count()


def delivery(**values: Any) -> InboundDelivery:
    row = InboundDelivery(
        **{
            "door": "intake:1",
            "family": "intake",
            "adapter": "site",
            "dedup_key": f"key-{next(_keys)}",
            "body": b"secret=open-sesame&phone=79213334455",
            "body_masked": "secret=•••&phone=79213334455",
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            "state": DeliveryState.DONE,
            **values,
        }
    )
    db.session.add(row)
    db.session.commit()
    return row


def test_list_and_its_filters(sign_in: Any) -> None:
    delivery(verdict="обращение № 1")
    delivery(state=DeliveryState.FAILED, error="Нет поля json", door="telephony:7")
    delivery(received_at=utc_now() - dt.timedelta(days=40), verdict="давняя")
    client = sign_in("admin")
    text = client.get("/settings/deliveries").get_data(as_text=True)
    for part in ("обращение № 1", "Нет поля json", "давняя"):
        assert part in text
    today = utc_now().date() - dt.timedelta(days=2)
    cases = {
        "state=failed": {"Нет поля json"},
        "door=telephony:7": {"Нет поля json"},
        "q=поля": {"Нет поля json"},
        f"from={today}": {"Нет поля json", "обращение № 1"},
        f"to={today}": {"давняя"},
        "q=%25": set(),
    }
    for query, wanted in cases.items():
        text = client.get(f"/settings/deliveries?{query}").get_data(as_text=True)
        shown = {part for part in ("обращение № 1", "Нет поля json", "давняя") if part in text}
        assert shown == wanted, query


def test_card_shows_the_masked_body_only(sign_in: Any) -> None:
    row = delivery()
    text = sign_in("admin").get(f"/settings/deliveries/{row.id}").get_data(as_text=True)
    assert "secret=•••" in text
    assert "open-sesame" not in text
    assert "application/x-www-form-urlencoded" in text


def test_card_leads_to_what_was_made(sign_in: Any, make: Factory) -> None:
    deal = make.deal()
    made = call(deal)
    db.session.add(Appeal(channel="call", call_id=made.id, deal_id=deal.id))
    row = delivery(
        door="telephony:1", family="telephony", adapter="mango", verdict=f"звонок № {made.id}"
    )
    text = sign_in("admin").get(f"/settings/deliveries/{row.id}").get_data(as_text=True)
    assert f"/deals/{deal.id}" in text


def test_body_is_hidden_from_the_masked(sign_in: Any, people: dict[str, Employee]) -> None:
    from flask_appbuilder.security.sqla.models import Permission, PermissionView, ViewMenu

    person = people["manager"]
    wanted = (Permission.name.in_(["can_show", "can_list"]), ViewMenu.name == "Deliveries")
    rows = db.session.query(PermissionView).join(Permission).join(ViewMenu).filter(*wanted)
    person.roles[0].permissions += list(rows)
    db.session.add(UserGrant(user_id=person.id, code=Grant.ONLY_STAFF_CONTACTS, allow=True))
    db.session.commit()
    row = delivery()
    answer = sign_in("manager").get(f"/settings/deliveries/{row.id}")
    assert answer.status_code == 200
    assert "79213334455" not in answer.get_data(as_text=True)
    for name, found in (("manager", False), ("admin", True)):
        page = sign_in(name).get("/settings/deliveries?q=3334455").get_data(as_text=True)
        assert (f"/settings/deliveries/{row.id}" in page) is found, "digit by digit"


def test_replay_one_and_many(sign_in: Any) -> None:
    failed = delivery(state=DeliveryState.FAILED, attempts=8, error="x")
    others = [delivery(state=DeliveryState.FAILED) for _ in range(2)]
    waiting = delivery(state=DeliveryState.NEW)
    client = sign_in("admin")
    client.post(f"/settings/deliveries/{failed.id}/replay")
    answer = client.post(
        "/settings/deliveries/replay",
        data={"rowid": [str(row.id) for row in (*others, waiting)] + ["x", "9" * 30]},
        follow_redirects=True,
    )
    assert "поставлено доставок: 2" in answer.get_data(as_text=True)
    db.session.expire_all()
    states = [db.session.get(InboundDelivery, row.id).state for row in (failed, *others, waiting)]
    assert states == [DeliveryState.RETRY] * 3 + [DeliveryState.NEW]


@pytest.mark.parametrize(
    ("asked", "led"),
    [
        ("/settings/telephony/edit/1?step=lines", "/settings/telephony/edit/1?step=lines"),
        ("https://evil.example/", None),
        ("", None),
    ],
)
def test_a_replay_leads_back_to_where_it_was_ordered(
    sign_in: Any, asked: str, led: str | None
) -> None:
    row = delivery(state=DeliveryState.FAILED)
    path = f"/settings/deliveries/{row.id}"
    answer = sign_in("admin").post(f"{path}/replay", data={"next": asked})
    assert answer.location == (led or path)


@pytest.mark.parametrize("person", ["manager", "director", "marketer"])
def test_only_administrators_by_default(sign_in: Any, person: str, visitor: Any) -> None:
    row = delivery(state=DeliveryState.FAILED)
    client = sign_in(person)
    for url in ("/settings/deliveries", f"/settings/deliveries/{row.id}"):
        assert client.get(url).status_code == 403
        assert visitor.get(url).status_code == 302
    for url in (f"/settings/deliveries/{row.id}/replay", "/settings/deliveries/replay"):
        assert client.post(url).status_code == 403
        assert visitor.post(url).status_code == 302
    db.session.expire_all()
    assert db.session.get(InboundDelivery, row.id).state == DeliveryState.FAILED


def test_missing_delivery(sign_in: Any) -> None:
    assert sign_in("admin").get("/settings/deliveries/999999").status_code == 404


def test_list_costs_the_same_for_many(sign_in: Any, count_queries: Any) -> None:
    client, counted = sign_in("admin"), []
    for rows in (2, 60):
        for _ in range(rows):
            delivery()
        with count_queries() as queries:
            client.get("/settings/deliveries")
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 15
