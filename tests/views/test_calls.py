from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from crm.models import (
    Call,
    CallLeg,
    CallState,
    Employee,
    RecordingState,
    StoredFile,
    UserGrant,
    db,
)
from crm.operations import files
from crm.operations.errors import Conflict
from crm.security.grants import Grant
from crm.values.clock import utc_now
from crm.views import calls as view
from tests.factories import Factory
from tests.views.telephony_rows import call, ringing

SOUND = bytes(range(256)) * 40


def grant(person: Employee, code: Grant) -> None:
    db.session.add(UserGrant(user_id=person.id, code=code, allow=True))
    db.session.commit()


def recorded(deal: Any, **values: Any) -> Call:
    stored = files.store_bytes(SOUND, "audio/mpeg", kind="recordings")
    return call(deal, recording_state=RecordingState.STORED, recording_file_id=stored.id, **values)


# --- list -----------------------------------------------------------------------------------------


def test_list_shows_own_calls_only(sign_in: Any, make: Factory) -> None:
    call(make.deal(contact=make.contact("Анна Своя")))
    call(make.deal("stranger", contact=make.contact("Борис Чужой")))
    text = sign_in("manager").get("/calls").get_data(as_text=True)
    assert "Анна Своя" in text
    assert "Борис Чужой" not in text
    assert "Борис Чужой" in sign_in("director").get("/calls").get_data(as_text=True)


def test_who_may_not_open_the_list(sign_in: Any, visitor: Any) -> None:
    assert visitor.get("/calls").status_code == 302
    assert sign_in("marketer").get("/calls").status_code == 403


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("result=missed", {"Пропущенный"}),
        ("result=answered", {"Отвеченный", "Исходящий"}),
        ("direction=out", {"Исходящий"}),
        ("first=first", {"Отвеченный"}),
        ("line=78126401105", {"Пропущенный"}),
        ("from=2100-01-01", set()),
        ("to=2000-01-01", set()),
        ("employee=x&source=999999999999&from=nonsense&after=nonsense&result=no", None),
    ],
)
def test_filters(sign_in: Any, make: Factory, query: str, shown: set[str] | None) -> None:
    now = utc_now()
    names = {"Пропущенный", "Отвеченный", "Исходящий"}
    deals = {name: make.deal(contact=make.contact(name)) for name in names}
    call(deals["Пропущенный"], state=CallState.MISSED, line_number="78126401105", talk=None)
    call(deals["Отвеченный"], answered_at=now, is_first=True)
    call(deals["Исходящий"], answered_at=now, direction="out")
    text = sign_in("manager").get(f"/calls?{query}").get_data(as_text=True)
    assert {name for name in names if name in text} == (names if shown is None else shown)


def test_search_by_whole_number_and_its_tail(sign_in: Any, make: Factory) -> None:
    call(make.deal(contact=make.contact("Анна", "+79213334455")))
    call(make.deal(contact=make.contact("Борис", "+79210001122")))
    client = sign_in("manager")
    for typed in ("8 (921) 333-44-55", "4455"):
        text = client.get("/calls", query_string={"q": typed}).get_data(as_text=True)
        assert "Анна" in text
        assert "Борис" not in text


def test_masked_person_cannot_find_a_number_out(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    call(make.deal(contact=make.contact("Анна", "+79213334455")))
    grant(people["manager"], Grant.ONLY_STAFF_CONTACTS)
    client = sign_in("manager")
    assert "333-44" not in client.get("/calls").get_data(as_text=True)
    assert "Анна" not in client.get("/calls?q=4455").get_data(as_text=True)
    assert "Анна" in client.get("/calls?q=89213334455").get_data(as_text=True)


def test_paging_shows_every_call_once(sign_in: Any, make: Factory) -> None:
    deal = make.deal()
    moment = utc_now() - dt.timedelta(days=1)
    # Many calls of one moment: the id must decide.
    ids = {call(deal, started_at=moment, line_number=f"7812{i:07d}").id for i in range(110)}
    client, url, seen = sign_in("manager"), "/calls", 0
    for _page in range(3):
        text = client.get(url).get_data(as_text=True)
        seen += text.count('class="kv-title"')
        following = re.search(r'href="(/calls\?after=[^"]+)"', text)
        url = following[1] if following else ""
    assert seen == len(ids)
    assert url == ""


def test_missed_calls_are_marked(sign_in: Any, make: Factory) -> None:
    call(make.deal(), state=CallState.MISSED, talk=None)
    assert "kv-call-missed" in sign_in("manager").get("/calls").get_data(as_text=True)


@pytest.mark.parametrize("person", ["manager", "director"])
def test_list_costs_the_same_for_many(
    sign_in: Any, make: Factory, count_queries: Any, person: str
) -> None:
    client, counted = sign_in(person), []
    for rows in (2, 45):
        for _ in range(rows):
            recorded(make.deal(source_id=make.source(f"И{rows}{_}").id), source_id=None)
        with count_queries() as queries:
            assert client.get("/calls").status_code == 200
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 15


# --- recordings -----------------------------------------------------------------------------------


def test_recording_is_streamed_whole_and_in_parts(sign_in: Any, make: Factory) -> None:
    made, client = recorded(make.deal()), sign_in("manager")
    whole = client.get(f"/calls/{made.id}/recording")
    assert whole.data == SOUND
    assert whole.headers["Content-Type"] == "audio/mpeg"
    assert whole.headers["Cache-Control"] == "no-store"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Disposition"].startswith("inline")
    part = client.get(f"/calls/{made.id}/recording", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.data) == (206, SOUND[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(SOUND)}"
    tail = client.get(f"/calls/{made.id}/recording", headers={"Range": "bytes=-10"})
    assert tail.data == SOUND[-10:]
    beyond = client.get(f"/calls/{made.id}/recording", headers={"Range": "bytes=99999-"})
    assert beyond.status_code == 416
    saved = client.get(f"/calls/{made.id}/recording?download=1")
    assert saved.headers["Content-Disposition"].startswith("attachment")


def test_recording_that_is_no_sound_is_never_shown(sign_in: Any, make: Factory) -> None:
    stored = files.store_bytes(b"<script>", "text/html", kind="recordings")
    made = call(make.deal(), recording_state=RecordingState.STORED, recording_file_id=stored.id)
    answer = sign_in("manager").get(f"/calls/{made.id}/recording")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_who_may_hear(
    sign_in: Any, make: Factory, visitor: Any, people: dict[str, Employee]
) -> None:
    url = f"/calls/{recorded(make.deal()).id}/recording"
    assert sign_in("head").get(url).status_code == 200
    for name in ("teammate", "stranger"):
        assert sign_in(name).get(url).status_code == 404
    assert sign_in("marketer").get(url).status_code == 403
    assert visitor.get(url).status_code == 302
    grant(people["stranger"], Grant.HEAR_ALL_RECORDS)
    assert sign_in("stranger").get(url).status_code == 200


def test_lost_file_is_not_found(sign_in: Any, make: Factory) -> None:
    made = recorded(make.deal())

    stored = db.session.get(StoredFile, made.recording_file_id)
    stored.key = "recordings/gone.mp3"
    db.session.commit()
    assert sign_in("manager").get(f"/calls/{made.id}/recording").status_code == 404


# --- dialling -------------------------------------------------------------------------------------


def test_dialling_passes_on_what_was_asked(
    sign_in: Any, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    deal = make.deal()
    asked: dict[str, Any] = {}

    def place(by: Any, **wanted: Any) -> Call:
        asked.update(wanted, by=by.id)
        return call(deal)

    monkeypatch.setattr(view.recordings, "click_to_call", place)
    phone_id = deal.contact.phones[0].id
    answer = sign_in("manager").post(
        "/api/v1/calls/dial", json={"contact_phone_id": phone_id, "deal_id": deal.id}
    )
    assert answer.status_code == 202
    assert answer.json["call_id"] > 0
    assert asked == {
        "contact_phone_id": phone_id,
        "number": None,
        "deal_id": deal.id,
        "by": deal.responsible_id,
    }


@pytest.mark.parametrize(
    "body",
    ["text", [], {"contact_phone_id": "x"}, {"number": 5}, {"number": "1" * 50}, {"deal_id": True}],
)
def test_dialling_nonsense(sign_in: Any, body: Any) -> None:
    assert sign_in("manager").post("/api/v1/calls/dial", json=body).status_code == 422


def test_dialling_may_be_forbidden(
    sign_in: Any, make: Factory, people: dict[str, Employee], visitor: Any
) -> None:
    deal = make.deal()
    body = {"contact_phone_id": deal.contact.phones[0].id}
    grant(people["manager"], Grant.FORBID_CLICK_TO_CALL)
    assert sign_in("manager").post("/api/v1/calls/dial", json=body).status_code == 403
    assert sign_in("marketer").post("/api/v1/calls/dial", json=body).status_code == 403
    assert visitor.post("/api/v1/calls/dial", json=body).status_code == 401


def test_refusal_of_the_operator_is_told(
    sign_in: Any, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_wanted: Any) -> Call:
        raise Conflict("Оператор не принял звонок")

    monkeypatch.setattr(view.recordings, "click_to_call", refuse)
    answer = sign_in("manager").post("/api/v1/calls/dial", json={"number": "+79213334455"})
    assert (answer.status_code, answer.json["message"]) == (409, "Оператор не принял звонок")


# --- pop-up ---------------------------------------------------------------------------------------


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
    assert sign_in("stranger").get(url).status_code == 404
    assert sign_in("marketer").get(url).status_code == 404
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
    assert sign_in("manager").get(f"/calls/{over.id}/popup").status_code == 404


def test_forgotten_call_does_not_ring_for_ever(sign_in: Any, make: Factory) -> None:
    old = ringing(make.deal(), started_at=utc_now() - dt.timedelta(hours=5))
    assert sign_in("manager").get(f"/calls/{old.id}/popup").status_code == 404


def test_popup_costs_few_queries(sign_in: Any, make: Factory, count_queries: Any) -> None:
    listing = make.listing()
    live = ringing(make.deal(listing_id=listing.id))
    client = sign_in("manager")
    with count_queries() as queries:
        assert client.get(f"/calls/{live.id}/popup").status_code == 200
    assert len(queries) <= 12
