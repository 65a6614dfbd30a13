from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from crm.models import (
    Call,
    CallState,
    Employee,
    HistoryRun,
    RecordingState,
    StoredFile,
    TelephonyConnection,
    UserGrant,
    db,
)
from crm.operations import dialling, files
from crm.operations.errors import Conflict
from crm.reports import calls
from crm.security.grants import Grant
from crm.values.clock import utc_now
from tests.factories import Factory
from tests.views.telephony_rows import call, connection

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


NAMES = {"Анна Первая", "Борис Второй", "Вера Третья"}
FILTERS: list[tuple[str, set[str]]] = [
    ("result=missed", {"Анна Первая"}),
    ("result=answered", {"Борис Второй", "Вера Третья"}),
    ("result=busy", set()),
    ("result=no_answer", set()),
    ("result=live", set()),
    ("direction=out", {"Вера Третья"}),
    ("first=first", {"Борис Второй"}),
    ("first=repeat", {"Анна Первая", "Вера Третья"}),
    ("line=78126401105", {"Анна Первая"}),
    ("callback=late", {"Анна Первая"}),
    ("callback=waiting", {"Анна Первая"}),
    ("callback=reached", set()),
    ("callback=tried", set()),
    ("talk_from=2", {"Вера Третья"}),
    ("talk_from=0:30&talk_to=1:30", {"Борис Второй"}),
    ("talk_to=1", {"Анна Первая", "Борис Второй"}),
    ("recording=yes", {"Борис Второй"}),
    ("recording=no", {"Анна Первая", "Вера Третья"}),
    ("found=history", {"Вера Третья"}),
    ("transferred=yes", {"Вера Третья"}),
    ("period=today", NAMES),
    ("period=yesterday", set()),
    ("from=2100-01-01", set()),
    ("to=2000-01-01", set()),
    ("period=yesterday&from=2000-01-01", NAMES),
    ("result=missed&employee={manager}", {"Анна Первая"}),
    ("employee={manager}", {"Борис Второй", "Вера Третья"}),
    ("employee={stranger}", set()),
    ("department={department}", NAMES),
    ("department=999", set()),
    ("connection={connection}&source={source}", {"Борис Второй"}),
    ("connection=999", set()),
]
GARBAGE = (
    "employee=x&source=999999999999&from=nonsense&after=nonsense&before=%00&result=no&talk_from=a:b"
    "&talk_to=-1&talk_from=1:99&period=century&page=-5&callback=1&recording=&connection=%F0%9F%98%80"
)


@pytest.fixture
def three(make: Factory, people: dict[str, Employee]) -> dict[str, Any]:
    """A missed call, an answered one with a recording, an outgoing one found by the history."""
    now = utc_now()
    deals = {name: make.deal(contact=make.contact(name)) for name in sorted(NAMES)}
    call(
        deals["Анна Первая"],
        state=CallState.MISSED,
        line_number="78126401105",
        talk=None,
        employee_id=None,
        callback_due_at=now - dt.timedelta(minutes=12),
    )
    source = make.source("ЦИАН")
    recorded(deals["Борис Второй"], answered_at=now, is_first=True, source_id=source.id)
    row = connection()
    run = HistoryRun(connection_id=row.id, state="done", since=now, until=now)
    db.session.add(run)
    db.session.commit()
    call(
        deals["Вера Третья"],
        answered_at=now,
        direction="out",
        talk=150,
        transferred=True,
        history_run_id=run.id,
    )
    db.session.execute(Call.__table__.update().values(started_at=now))
    db.session.commit()
    return {
        "manager": people["manager"].id,
        "stranger": people["stranger"].id,
        "department": people["manager"].department_id,
        "connection": row.id,
        "source": source.id,
    }


def names_on(text: str) -> set[str]:
    return {name for name in NAMES if name in text}


@pytest.mark.parametrize(("query", "expected"), FILTERS)
def test_filters(sign_in: Any, three: dict[str, Any], query: str, expected: set[str]) -> None:
    answer = sign_in("manager").get(f"/calls?{query.format(**three)}")
    assert names_on(answer.get_data(as_text=True)) == expected


def test_garbage_in_the_address_narrows_nothing(sign_in: Any, three: dict[str, Any]) -> None:
    client = sign_in("director")
    answer = client.get(f"/calls?{GARBAGE}")
    assert names_on(answer.get_data(as_text=True)) == NAMES
    assert client.get(f"/calls?{GARBAGE}&result=missed&part=x&after=1,2").status_code == 200
    assert client.get(f"/calls/export?{GARBAGE}").status_code == 200


def test_chips_say_what_is_narrowed_and_take_it_away(sign_in: Any, three: dict[str, Any]) -> None:
    query = "employee={manager}&source={source}&talk_from=0:30&first=first&recording=yes&period=7"
    client = sign_in("manager")
    text = client.get(f"/calls?{query.format(**three)}").get_data(as_text=True)
    for label in (
        "Сотрудник: Manager Тестов", "Источник: ЦИАН", "Разговор от 0:30 мин", "Первый звонок",
        "С записью", "7 дней",
    ):  # fmt: skip
        assert label in text
    without = re.search(r'href="([^"]+)" aria-label="Убрать: Разговор от 0:30 мин"', text)
    assert without is not None
    left = without[1].replace("&amp;", "&")
    assert "talk_from" not in left
    assert "recording=yes" in left
    assert names_on(client.get(left).get_data(as_text=True)) == {"Борис Второй"}


def test_segments_count_within_the_filter(sign_in: Any, three: dict[str, Any]) -> None:
    client = sign_in("manager")
    assert client.get("/calls/counts").json == {
        "all": "3", "in": "2", "out": "1", "missed": None, "live": None, "here": None,
    }  # fmt: skip
    assert client.get("/calls/counts?talk_from=2&result=no_answer").json["all"] == "1"
    assert client.get("/calls/counts?result=answered").json["here"] == "2"
    assert sign_in("stranger").get("/calls/counts").json["all"] is None
    assert sign_in("marketer").get("/calls/counts").status_code == 403
    # Those who wait are told with the page itself.
    text = client.get("/calls?first=repeat").get_data(as_text=True)
    assert re.search(r">Пропущенные<small>1</small>", text)


def test_counting_stops_at_the_cap(
    sign_in: Any, three: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CAP", 1)
    found = sign_in("manager").get("/calls/counts?result=answered").json
    assert (found["all"], found["in"], found["out"], found["here"]) == ("1+", "1+", "1", "1+")


def test_the_connection_is_asked_for_when_there_are_two(
    sign_in: Any, three: dict[str, Any]
) -> None:
    client = sign_in("manager")
    assert 'name="connection"' not in client.get("/calls").get_data(as_text=True)
    db.session.add(TelephonyConnection(name="Билайн", operator="beeline", token="b" * 40))
    db.session.commit()
    assert 'name="connection"' in client.get("/calls").get_data(as_text=True)


def test_rows_say_what_came_of_a_missed_call(sign_in: Any, make: Factory) -> None:
    now = utc_now().replace(microsecond=0)
    ended = now - dt.timedelta(hours=1)

    def missed(due: int, back: int | None = None, reached: bool = False) -> None:
        moment = ended + dt.timedelta(minutes=back) if back is not None else None
        call(
            make.deal(),
            state=CallState.MISSED,
            talk=None,
            employee_id=None,
            ended_at=ended,
            callback_due_at=now - dt.timedelta(minutes=due),
            called_back_at=moment,
            reached_at=moment if reached else None,
        )

    missed(12)
    missed(-5)
    missed(40, back=4, reached=True)
    missed(40, back=7)
    text = sign_in("manager").get("/calls").get_data(as_text=True)
    for words in (
        "не перезвонили, просрочено 12 мин", "ещё не перезвонили", "перезвонили через 4 мин",
        "звонили через 7 мин, не дозвонились",
    ):  # fmt: skip
        assert re.sub(r"(\d) мин", "\\1\N{NO-BREAK SPACE}мин", words) in text


def test_marks_of_a_call(sign_in: Any, three: dict[str, Any], make: Factory) -> None:
    call(make.deal(), recording_state=RecordingState.EXPIRED)
    text = sign_in("manager").get("/calls").get_data(as_text=True)
    for words in ("переведён", "найден сверкой", "первый", "Запись удалена по сроку хранения"):
        assert words in text


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


def test_an_owners_number_is_not_found_out_digit_by_digit(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    call(make.deal(contact=make.contact("Анна", "+79213334455", is_owner=True)))
    call(make.deal(contact=make.contact("Борис", "+79210004455")))
    grant(people["manager"], Grant.HIDE_OWNER_CONTACTS)
    client = sign_in("manager")
    text = client.get("/calls?q=4455").get_data(as_text=True)
    assert "Борис" in text
    assert "Анна" not in text
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
        url = following[1].replace("&amp;", "&") if following else ""
    assert seen == len(ids)
    assert url == ""
    back = re.search(r'href="(/calls\?before=[^"]+)"', text)
    assert back is not None
    previous = client.get(back[1].replace("&amp;", "&")).get_data(as_text=True)
    assert previous.count('class="kv-title"') == 50
    assert "51–100" in previous


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


# --- export ---------------------------------------------------------------------------------------


def table(answer: Any) -> list[list[str]]:
    return [line.split(";") for line in answer.get_data(as_text=True).splitlines()]


def test_export_has_a_line_a_call_with_the_same_filter(sign_in: Any, three: dict[str, Any]) -> None:
    answer = sign_in("director").get("/calls/export?direction=out")
    head, line = table(answer)
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="zvonki-')
    assert head[0] == "\ufeffДата"
    row = dict(zip(head, line, strict=True))
    assert (row["Направление"], row["Результат"]) == ("Исходящий", "Состоялся разговор")
    assert (row["Клиент"], row["Разговор, с"], row["Подключение"]) == (
        "Вера Третья",
        "150",
        "Манго",
    )
    assert (row["Обращение"], row["Перезвонили"]) == ("", "")
    assert row["Телефон"].startswith("+7 912"), "a number is no formula"


def test_export_is_for_those_with_the_scope_and_within_it(
    sign_in: Any, make: Factory, visitor: Any, people: dict[str, Employee]
) -> None:
    call(make.deal(contact=make.contact("Анна Своя")))
    call(make.deal("stranger", contact=make.contact("Борис Чужой")))
    call(make.deal(None, department_id=None, contact=make.contact("Вера Ничья")))
    everything = sign_in("director").get("/calls/export").get_data(as_text=True)
    assert all(name in everything for name in ("Анна Своя", "Борис Чужой", "Вера Ничья"))
    own = sign_in("head").get("/calls/export").get_data(as_text=True)
    assert "Анна Своя" in own
    assert "Борис Чужой" not in own
    assert "Вера Ничья" not in own, "seen, but not his department's to take out"
    for name in ("manager", "marketer"):
        assert sign_in(name).get("/calls/export").status_code == 403
    assert "/calls/export" not in sign_in("manager").get("/calls").get_data(as_text=True)
    assert "/calls/export" in sign_in("head").get("/calls").get_data(as_text=True)
    assert visitor.get("/calls/export").status_code == 302


def test_export_masks_numbers_and_disarms_formulas(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    call(make.deal(contact=make.contact("=HYPERLINK(1)", "+79213334455")))
    grant(people["director"], Grant.ONLY_STAFF_CONTACTS)
    text = sign_in("director").get("/calls/export").get_data(as_text=True)
    assert "333-44" not in text
    assert "9213334455" not in text
    assert "'=HYPERLINK(1)" in text


def test_export_of_many_reads_them_in_chunks(
    sign_in: Any, make: Factory, count_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "EXPORT_CHUNK", 10)
    deal, moment = make.deal(), utc_now()
    for _ in range(25):
        call(deal, started_at=moment)
    client = sign_in("director")
    with count_queries() as queries:
        lines = table(client.get("/calls/export"))
    assert len(lines) == 26
    assert len(queries) <= 14


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

    monkeypatch.setattr(dialling, "click_to_call", place)
    phone_id = deal.contact.phones[0].id
    answer = sign_in("manager").post(
        "/api/v1/calls/dial", json={"contact_phone_id": phone_id, "deal_id": deal.id}
    )
    assert answer.status_code == 202
    assert answer.json["call_id"] > 0
    assert asked == {
        "contact_phone_id": phone_id,
        "number": None,
        "call_id": None,
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

    monkeypatch.setattr(dialling, "click_to_call", refuse)
    answer = sign_in("manager").post("/api/v1/calls/dial", json={"number": "+79213334455"})
    assert (answer.status_code, answer.json["message"]) == (409, "Оператор не принял звонок")
