"""The card that pops up while a telephone rings or is dialled."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from crm.models import CallLeg, CallState, Employee, UserGrant, db
from crm.security.grants import Grant
from crm.values.clock import utc_now
from tests.factories import Factory
from tests.views.telephony_rows import call, ringing


def grant(person: Employee, code: Grant) -> None:
    db.session.add(UserGrant(user_id=person.id, code=code, allow=True))
    db.session.commit()


def shown(client: Any, call_id: int, query: str = "") -> str:
    text: str = client.get(f"/calls/{call_id}/popup{query}").get_data(as_text=True)
    return text


# --- somebody calls -------------------------------------------------------------------------------


def test_popup_says_who_calls(sign_in: Any, make: Factory) -> None:
    source = make.source("ДомКлик")
    deal = make.deal(contact=make.contact("Ольга Мартынова", "+79215540813"))
    for _ in range(3):
        call(deal)
    live = ringing(deal, source_id=source.id, line_number="78126401105")
    text = sign_in("manager").get(f"/calls/{live.id}/popup").get_data(as_text=True)
    for part in (
        "Входящий звонок", "+7 921 554-08-13", "Ольга Мартынова", "повторный, 4‑й",
        f"/deals/{deal.id}", deal.stage.name, "(вы)", "ДомКлик", "+7 812 640-11-05",
    ):  # fmt: skip
        assert part in text


def test_popup_of_an_unknown_number(sign_in: Any) -> None:
    live = ringing(None, is_first=True)
    text = sign_in("director").get(f"/calls/{live.id}/popup").get_data(as_text=True)
    assert "первый звонок" in text
    assert "пока никто" in text


def test_popup_is_for_those_who_may_see_the_call(
    sign_in: Any, make: Factory, visitor: Any, people: dict[str, Employee]
) -> None:
    live = ringing(make.deal())
    url = f"/calls/{live.id}/popup"
    assert sign_in("manager").get(url).status_code == 200
    assert sign_in("head").get(url).status_code == 200
    assert sign_in("stranger").get(url).status_code == 204
    assert sign_in("marketer").get(url).status_code == 204
    assert visitor.get(url).status_code == 302
    # His phone rings: he sees who calls, but not the foreign deal.
    db.session.add(CallLeg(call_id=live.id, leg_id="1", employee_id=people["stranger"].id))
    db.session.commit()
    text = sign_in("stranger").get(url).get_data(as_text=True)
    assert "Клиент закреплён: Manager Тестов" in text
    assert "/deals/" not in text


def test_number_is_shown_to_the_masked_while_it_rings(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    live = ringing(make.deal(contact=make.contact("Анна", "+79215540813")))
    grant(people["manager"], Grant.ONLY_STAFF_CONTACTS)
    client = sign_in("manager")
    assert "554-08-13" in client.get(f"/calls/{live.id}/popup").get_data(as_text=True)
    live.state, live.answered_at = CallState.ANSWERED, utc_now()
    live.employee_id = people["manager"].id
    db.session.commit()
    text = client.get(f"/calls/{live.id}/popup").get_data(as_text=True)
    assert "554-08-13" not in text
    assert "Вы на связи" in text


@pytest.mark.parametrize("state", [CallState.ENDED, CallState.MISSED])
def test_popup_goes_with_the_call(sign_in: Any, make: Factory, state: str) -> None:
    over = ringing(make.deal(), state=state)
    assert sign_in("manager").get(f"/calls/{over.id}/popup").status_code == 204


def test_forgotten_call_does_not_ring_for_ever(sign_in: Any, make: Factory) -> None:
    old = ringing(make.deal(), started_at=utc_now() - dt.timedelta(hours=5))
    assert sign_in("manager").get(f"/calls/{old.id}/popup").status_code == 204


def test_popup_costs_few_queries(sign_in: Any, make: Factory, count_queries: Any) -> None:
    listing = make.listing()
    live = ringing(make.deal(listing_id=listing.id))
    client = sign_in("manager")
    with count_queries() as queries:
        assert client.get(f"/calls/{live.id}/popup").status_code == 200
    assert len(queries) <= 12


def test_a_ringing_of_which_nothing_was_heard_for_a_minute_does_not_pop_up(
    sign_in: Any, make: Factory
) -> None:
    live = ringing(make.deal())
    client = sign_in("manager")
    assert client.get(f"/calls/{live.id}/popup?new=1").status_code == 200
    live.updated_at = utc_now() - dt.timedelta(seconds=61)
    db.session.commit()
    assert client.get(f"/calls/{live.id}/popup?new=1").status_code == 204
    assert client.get(f"/calls/{live.id}/popup").status_code == 200, "what is shown already stays"


def test_a_call_without_a_deal_offers_to_make_one(sign_in: Any, people: dict[str, Any]) -> None:
    live = ringing(None)
    for name in ("manager", "marketer"):
        db.session.add(CallLeg(call_id=live.id, leg_id=name, employee_id=people[name].id))
    db.session.commit()
    assert f"/deals/add?call={live.id}" in shown(sign_in("manager"), live.id)
    assert "/deals/add" not in shown(sign_in("marketer"), live.id), "he makes no deals"


def test_a_client_of_another_is_named_by_his_contact_too(
    sign_in: Any, make: Factory, people: dict[str, Any]
) -> None:
    contact = make.contact("Анна", "+79215540813", responsible_id=people["stranger"].id)
    live = ringing(None, contact_id=contact.id)
    db.session.add(CallLeg(call_id=live.id, leg_id="1", employee_id=people["manager"].id))
    db.session.commit()
    text = shown(sign_in("manager"), live.id)
    assert "Клиент закреплён: Stranger Тестов" in text
    assert "/deals/add" not in text


def test_who_has_answered_is_said_in_words(
    sign_in: Any, visitor: Any, people: dict[str, Any]
) -> None:
    woman, man, both = people["teammate"], people["manager"], people["head"]
    for person, first, last in (
        (woman, "Ольга", "Соколова"), (man, "Илья", "Поляков"), (both, "Саша", "Ткаченко"),
    ):  # fmt: skip
        person.first_name, person.last_name = first, last
    db.session.commit()
    client = sign_in("stranger")
    said = [client.get(f"/calls/taken-by/{p.id}").json["text"] for p in (woman, man, both)]
    assert said == ["Ответила Ольга Соколова", "Ответил Илья Поляков", "На связи Саша Ткаченко"]
    assert client.get("/calls/taken-by/999999").status_code == 404
    assert visitor.get(f"/calls/taken-by/{woman.id}").status_code == 302


def test_a_call_that_another_has_taken_says_so(
    sign_in: Any, make: Factory, people: dict[str, Any]
) -> None:
    people["teammate"].first_name, people["teammate"].last_name = "Ольга", "Соколова"
    live = ringing(
        make.deal(),
        state=CallState.ANSWERED,
        answered_at=utc_now(),
        employee_id=people["teammate"].id,
    )
    text = shown(sign_in("manager"), live.id)
    assert "Ответила Ольга Соколова" in text
    assert 'data-state="taken"' in text


# --- one calls oneself ----------------------------------------------------------------------------


def test_an_outgoing_call_is_shown_step_by_step_to_who_makes_it(
    sign_in: Any, make: Factory
) -> None:
    deal = make.deal(contact=make.contact("Анна", "+79215540813"))
    live = ringing(
        deal, direction="out", state=CallState.NEW, employee_id=deal.responsible_id, source_id=None
    )
    client = sign_in("manager")
    text = shown(client, live.id)
    for part in ("Исходящий звонок", "Звоним вам", "+7 921 554-08-13", f"/deals/{deal.id}"):
        assert part in text
    live.state = CallState.RINGING
    db.session.commit()
    assert "Звоним клиенту" in shown(client, live.id)
    live.state, live.answered_at = CallState.ANSWERED, utc_now()
    db.session.commit()
    assert "Вы на связи" in shown(client, live.id)
    assert sign_in("head").get(f"/calls/{live.id}/popup").status_code == 204, "his own only"


def test_an_outgoing_call_of_which_nobody_tells_does_not_stay_for_ever(
    sign_in: Any, make: Factory
) -> None:
    deal = make.deal()
    values = {"direction": "out", "employee_id": deal.responsible_id}
    old = utc_now() - dt.timedelta(minutes=4)
    silent = ringing(deal, **values, updated_at=old)
    talking = ringing(
        deal, **values, updated_at=old, state=CallState.ANSWERED, answered_at=utc_now()
    )
    client = sign_in("manager")
    assert client.get(f"/calls/{silent.id}/popup").status_code == 204
    assert client.get(f"/calls/{talking.id}/popup").status_code == 200


def test_an_outgoing_number_is_masked_from_the_first_moment(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    deal = make.deal(contact=make.contact("Анна", "+79215540813"))
    live = ringing(deal, direction="out", employee_id=people["manager"].id)
    grant(people["manager"], Grant.ONLY_STAFF_CONTACTS)
    assert "554-08-13" not in shown(sign_in("manager"), live.id)


# --- how far a call has come ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "state", "reason"),
    [
        ({"state": CallState.NEW}, "ordered", ""),
        ({"state": CallState.RINGING}, "calling", ""),
        ({"state": CallState.ANSWERED, "answered_at": utc_now()}, "talking", ""),
        ({"state": CallState.ENDED, "talk": 75, "result": "answered"}, "over", ""),
        ({"state": CallState.ENDED, "result": "busy"}, "over", "Занято"),
        ({"state": CallState.ENDED, "result": None}, "over", "Никто не ответил"),
    ],
)
def test_the_button_is_told_how_the_call_goes(
    sign_in: Any, people: dict[str, Any], values: dict[str, Any], state: str, reason: str
) -> None:
    made = ringing(None, direction="out", employee_id=people["manager"].id, **values)
    answer = sign_in("manager").get(f"/api/v1/calls/{made.id}/state").json
    assert (answer["state"], answer["reason"]) == (state, reason)
    assert sign_in("stranger").get(f"/api/v1/calls/{made.id}/state").status_code == 404
