"""The work of calling back: the list, its marks, the counter of the menu."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from crm.models import Call, CallState, Contact, Employee, Task, UserGrant, db
from crm.security.grants import Grant
from crm.values.clock import utc_now
from tests.factories import Factory
from tests.views.telephony_rows import call

URL = "/calls?result=missed"


def missed(deal: Any, ago: int = 60, due: int = 45, back: int | None = None, **values: Any) -> Call:
    """A call missed ``ago`` minutes before, due ``due`` minutes ago, answered ``back`` ago."""
    now = utc_now().replace(microsecond=0)

    def before(minutes: int | None) -> dt.datetime | None:
        return now - dt.timedelta(minutes=minutes) if minutes is not None else None

    defaults = {
        "state": CallState.MISSED,
        "talk": None,
        "employee_id": None,
        "started_at": before(ago),
        "ended_at": before(ago),
        "callback_due_at": before(due),
        "called_back_at": before(back),
        "reached_at": before(back),
    }
    return call(deal, **{**defaults, **values})


def page(client: Any, url: str = URL) -> str:
    text: str = client.get(url).get_data(as_text=True)
    return text


def lines(text: str) -> list[int]:
    """Ids of the calls that the lines stand for, in order."""
    return [int(pk) for pk in re.findall(r'<tr data-missed="(\d+)"', text)]


def counter(text: str) -> str:
    menu = text[text.index('id="nav"') :]
    found = re.search(r"<span>Звонки</span>(?:<b class=\"hot\">([^<]+)</b>)?</a>", menu)
    assert found is not None
    return found[1] or ""


# --- the list -------------------------------------------------------------------------------------


def test_one_line_a_client_those_who_wait_first_the_newest_of_them_on_top(
    sign_in: Any, make: Factory
) -> None:
    client_a, client_b = make.contact("Анна"), make.contact("Борис")
    deal_a, deal_b = make.deal(contact=client_a), make.deal(contact=client_b)
    missed(deal_a, ago=180, due=165)
    settled = missed(make.deal(), ago=10, due=5, back=1)
    last_a = missed(deal_a, ago=120, due=105)
    only_b = missed(deal_b, ago=30, due=-20)
    text = page(sign_in("manager"))
    assert lines(text) == [only_b.id, last_a.id, settled.id]
    assert "2 попыт" in text
    assert "просрочено 2\N{NO-BREAK SPACE}ч" in text, "by the first of his calls"
    assert "перезвонили через 9\N{NO-BREAK SPACE}мин" in text
    assert "Manager Тестов" in text


def test_a_client_is_a_line_of_his_own_only_once(sign_in: Any, make: Factory) -> None:
    deal = make.deal()
    missed(deal, ago=600, due=500, back=400)
    waiting = missed(deal, ago=30, due=15)
    assert lines(page(sign_in("manager"))) == [waiting.id], "the settled ones belong to the past"


def test_calls_without_a_number_are_lines_of_their_own(sign_in: Any) -> None:
    hidden = {"client_number": None, "client_key": None, "callback_due_at": None}
    made = [missed(None, ago=ago, **hidden).id for ago in (5, 6)]
    text = page(sign_in("director"))
    assert lines(text) == made
    assert "Номер скрыт" in text
    assert "data-call-again" not in text


def test_the_latest_call_leads_though_the_history_told_of_an_earlier_one_later(
    sign_in: Any, make: Factory
) -> None:
    deal = make.deal()
    latest = missed(deal, ago=20, due=5)
    missed(deal, ago=90, due=75)
    assert lines(page(sign_in("manager"))) == [latest.id]


def test_who_sees_what(sign_in: Any, make: Factory, people: dict[str, Employee]) -> None:
    own, foreign = missed(make.deal()), missed(make.deal("stranger"))
    nobodys = missed(make.deal(None, department_id=people["manager"].department_id))
    assert set(lines(page(sign_in("manager")))) == {own.id, nobodys.id}
    assert set(lines(page(sign_in("head")))) == {own.id, nobodys.id}
    assert lines(page(sign_in("stranger"))) == [foreign.id]
    assert set(lines(page(sign_in("director")))) == {own.id, foreign.id, nobodys.id}
    assert sign_in("marketer").get(URL).status_code == 403


def test_conditions_narrow_the_work(sign_in: Any, make: Factory) -> None:
    late, soon = missed(make.deal()), missed(make.deal("teammate"), due=-10)
    tried = missed(make.deal(), back=20, reached_at=None)
    reached = missed(make.deal(), back=20)
    client = sign_in("head")
    manager = make.people["manager"].id
    expected = {
        "&callback=late": {late.id},
        "&callback=waiting": {late.id, soon.id},
        "&callback=tried": {tried.id},
        "&callback=reached": {reached.id},
        f"&employee={manager}": {late.id, tried.id, reached.id},
        "&line=70000000000": set(),
    }
    for query, ids in expected.items():
        assert set(lines(page(client, URL + query))) == ids, query


def test_old_settled_ones_are_shown_when_their_days_are_asked_for(
    sign_in: Any, make: Factory
) -> None:
    old = missed(make.deal(), ago=60 * 24 * 60, back=60 * 24 * 59)
    waiting = missed(make.deal(), ago=60 * 24 * 60)
    client = sign_in("manager")
    assert lines(page(client)) == [waiting.id], "who waits is never forgotten"
    day = (old.started_at - dt.timedelta(days=1)).date()
    assert lines(page(client, f"{URL}&from={day}")) == [waiting.id, old.id]


def test_paging_goes_from_those_who_wait_to_the_settled(sign_in: Any, make: Factory) -> None:
    moment = utc_now() - dt.timedelta(hours=1)
    ids = [missed(make.deal(), started_at=moment).id for _ in range(60)]
    ids += [missed(make.deal(), started_at=moment, back=1).id for _ in range(60)]
    client, url, seen = sign_in("manager"), URL, []
    for _page in range(3):
        text = page(client, url)
        seen += lines(text)
        following = re.search(r'href="(/calls\?[^"]*part=[^"]+)"', text)
        url = following[1].replace("&amp;", "&") if following else ""
    assert sorted(seen) == sorted(ids)
    assert url == ""
    assert set(seen[:60]) == set(ids[:60])


def test_whoever_waits_for_nobody_can_be_taken(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    deal = make.deal(None, department_id=people["manager"].department_id)
    missed(deal)
    client = sign_in("manager")
    assert f'data-take-deal="{deal.id}"' in page(client)
    assert client.post(f"/api/v1/deals/{deal.id}/take", json={}).status_code == 200
    text = page(client)
    assert "data-take-deal" not in text
    assert "Manager Тестов" in text


@pytest.mark.parametrize("person", ["manager", "director"])
def test_the_list_costs_the_same_for_many(
    sign_in: Any, make: Factory, count_queries: Any, person: str
) -> None:
    client, counted = sign_in(person), []
    for rows in (2, 40):
        for number in range(rows):
            source = make.source(f"И{rows}{number}")
            missed(make.deal(source_id=source.id), source_id=source.id)
            missed(make.deal(), back=1)
        with count_queries() as queries:
            assert client.get(URL).status_code == 200
        counted.append(len(queries))
    assert counted[1] <= counted[0] <= 15


# --- the counter ----------------------------------------------------------------------------------


def test_the_menu_counts_clients_who_wait(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    client = sign_in("manager")
    assert counter(page(client, "/tasks")) == ""
    deal = make.deal()
    missed(deal)
    missed(deal, ago=30)
    missed(make.deal(), back=10)
    missed(make.deal("stranger"))
    assert counter(page(client, "/tasks")) == "1"
    assert counter(page(sign_in("director"), "/tasks")) == "2"


# --- marks ----------------------------------------------------------------------------------------


@pytest.fixture
def waiting(make: Factory) -> Call:
    """The second call of a client, with a task to call back."""
    deal = make.deal(contact=make.contact("Анна", "+79213334455"))
    first = missed(deal, ago=90)
    task = make.task(deal, text="Перезвонить: пропущенный звонок")
    second = missed(deal, ago=60)
    first.callback_task_id = second.callback_task_id = task.id
    db.session.commit()
    return second


def states(client: Any, call_id: int) -> tuple[bool, bool, bool]:
    db.session.expire_all()
    row = db.session.get(Call, call_id)
    task = db.session.get(Task, row.callback_task_id)
    all_back = all(c.called_back_at for c in db.session.query(Call))
    return all_back, bool(row.reached_at), bool(task and task.done_at)


def test_a_mark_settles_all_calls_of_the_client_and_can_be_undone(
    sign_in: Any, waiting: Call
) -> None:
    client = sign_in("manager")
    url = f"/api/v1/calls/{waiting.id}/called-back"
    assert f'data-called-back="{waiting.id}"' in page(client)
    assert client.post(url).status_code == 200
    assert states(client, waiting.id) == (True, True, True)
    assert client.post(url).status_code == 409, "somebody has done it already"
    assert "data-called-back" not in page(client)
    assert client.delete(url).status_code == 200
    assert states(client, waiting.id) == (False, False, False)
    assert client.delete(url).status_code == 409


def test_a_mark_is_undone_only_by_who_made_it_and_before_a_real_call(
    sign_in: Any, waiting: Call
) -> None:
    url = f"/api/v1/calls/{waiting.id}/called-back"
    sign_in("manager").post(url)
    assert sign_in("head").delete(url).status_code == 409
    db.session.expire_all()
    row = db.session.get(Call, waiting.id)
    row.called_back_at = utc_now() - dt.timedelta(minutes=1)
    db.session.commit()
    assert sign_in("manager").delete(url).status_code == 409


def test_who_may_mark(
    sign_in: Any, waiting: Call, visitor: Any, people: dict[str, Employee], make: Factory
) -> None:
    url = f"/api/v1/calls/{waiting.id}/called-back"
    assert sign_in("stranger").post(url).status_code == 404
    assert sign_in("marketer").post(url).status_code == 403
    assert visitor.post(url).status_code == 401
    nobodys = missed(make.deal(None, department_id=people["manager"].department_id))
    seen_only = f"/api/v1/calls/{nobodys.id}/called-back"
    client = sign_in("manager")
    assert client.post(seen_only).status_code == 403
    assert f'data-called-back="{nobodys.id}"' not in page(client)
    db.session.add(UserGrant(user_id=people["manager"].id, code=Grant.HEAR_ALL_RECORDS, allow=True))
    db.session.commit()
    assert sign_in("manager").post(seen_only).status_code == 403, "to hear is not to settle"
    assert sign_in("director").post(url).status_code == 200
    assert sign_in("director").post("/api/v1/calls/999999/called-back").status_code == 404
    done = call(make.deal())
    assert sign_in("manager").post(f"/api/v1/calls/{done.id}/called-back").status_code == 409


def test_a_call_of_a_stranger_without_a_deal_is_marked_by_the_director(sign_in: Any) -> None:
    made = missed(None)
    assert db.session.query(Contact).count() == 0
    text = page(sign_in("director"))
    assert f'data-called-back="{made.id}"' in text
    assert f"/deals/add?call={made.id}" in text
    assert sign_in("director").post(f"/api/v1/calls/{made.id}/called-back").status_code == 200
