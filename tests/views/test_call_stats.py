"""The page of statistics of calls: who opens it, what it says, where it leads, its files."""

from __future__ import annotations

import csv
import datetime as dt
import html
import io
import re
from typing import Any

import pytest
import time_machine
from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import select, update

from crm.models import (
    Action,
    Department,
    Employee,
    ObjectKind,
    RoleScope,
    Scope,
    UserGrant,
    db,
)
from crm.security.grants import Grant
from tests.factories import Factory
from tests.reports.stat_rows import NOW, answered, missed, stats
from tests.views.telephony_rows import call

URL = "/calls/stats"


@pytest.fixture(autouse=True)
def frozen() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def table(client: Any, name: str, query: str = "") -> list[list[str]]:
    answer = client.get(f"{URL}/export?table={name}{query}")
    assert answer.status_code == 200, answer.get_data(as_text=True)[:300]
    text = answer.get_data(as_text=True)
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff")), delimiter=";"))


def grant(person: Employee, code: Grant, value: Any) -> None:
    db.session.add(UserGrant(user_id=person.id, code=code, allow=True, value=value))
    db.session.commit()


# --- who ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [URL, f"{URL}/export?table=line"])
def test_who_may_open_it(
    sign_in: Any, visitor: Any, people: dict[str, Employee], path: str
) -> None:
    for name in ("admin", "director", "head", "marketer"):
        assert sign_in(name).get(path).status_code == 200, name
    for name in ("manager", "stranger"):
        assert sign_in(name).get(path).status_code == 403, name
    assert visitor.get(path).status_code == 302
    role = db.session.scalars(select(Role).where(Role.name == "Контроль качества")).one()
    people["stranger"].roles = [role]
    db.session.commit()
    assert sign_in("stranger").get(path).status_code == 200


def test_a_marketer_is_told_why_he_sees_nothing(sign_in: Any, make: Factory) -> None:
    answered(make.deal())
    text = sign_in("marketer").get(URL).get_data(as_text=True)
    assert "Звонки вам не видны" in text
    # Nothing to see: the menu does not lead here, nor does signing in.
    assert f'href="{URL}"' not in text


def test_whom_the_list_is_closed_to_gets_no_links_to_it(sign_in: Any, make: Factory) -> None:
    answered(make.deal(source_id=make.source("Циан").id))
    role = select(Role.id).where(Role.name == "Маркетолог").scalar_subquery()
    reach = update(RoleScope).where(
        RoleScope.role_id == role,
        RoleScope.kind == ObjectKind.CALL,
        RoleScope.action == Action.VIEW,
    )
    db.session.execute(reach.values(scope=Scope.ALL))
    db.session.commit()
    text = sign_in("marketer").get(URL).get_data(as_text=True)
    assert "Manager Тестов" in text
    assert f'<a href="{URL}" class="on" aria-current="page">' in text
    assert "/calls?" not in text
    assert "/calls?" in sign_in("director").get(URL).get_data(as_text=True)


def test_the_menu_stays_on_the_calls(sign_in: Any) -> None:
    text = sign_in("head").get(URL).get_data(as_text=True)
    assert '<a href="/calls" class="on" aria-current="page">' in text
    assert f'href="{URL}"' in sign_in("head").get("/calls").get_data(as_text=True)
    assert f'href="{URL}"' not in sign_in("manager").get("/calls").get_data(as_text=True)


# --- what is counted ------------------------------------------------------------------------------


def test_excluded_sources(sign_in: Any, make: Factory) -> None:
    answered(source_id=make.source("Тестовый", exclude_from_stats=True).id)
    answered(source_id=make.source("Циан").id)
    answered()
    client = sign_in("director")
    assert [row[0] for row in table(client, "source")[1:]] == ["Циан", "Без источника"]
    names = {row[0] for row in table(client, "source", "&excluded=y")[1:]}
    assert names == {"Циан", "Без источника", "Тестовый"}


def test_a_line_is_named_by_its_source(sign_in: Any, make: Factory) -> None:
    cian, avito = make.source("Циан"), make.source("Авито")
    answered(line_number="78120000001", source_id=cian.id)
    call(direction="out", line_number="78120000001", started_at=NOW)
    for source in (cian, avito):
        answered(line_number="78120000002", source_id=source.id)
    answered(line_number=None)
    rows = {row[0]: row[1] for row in table(sign_in("director"), "line")[1:]}
    assert rows == {
        "78120000001": "Циан",
        "78120000002": "разные источники",
        "Линия не определена": "",
    }


def test_a_hidden_source_is_not_named(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    other = people["stranger"].department_id
    hidden = make.source("Секретный", department_id=other, hide_from_other_departments=True)
    answered(make.deal("manager"), source_id=hidden.id)
    text = sign_in("head").get(URL).get_data(as_text=True)
    assert "Недоступен вам" in text
    assert "Секретный" not in text
    assert "Секретный" in sign_in("director").get(URL).get_data(as_text=True)


# --- narrowing ------------------------------------------------------------------------------------


def test_only_allowed_sources_and_departments(
    people: dict[str, Employee], make: Factory, sign_in: Any
) -> None:
    cian, avito = make.source("Циан"), make.source("Авито")
    answered(make.deal("manager"), source_id=cian.id)
    answered(make.deal("stranger"), source_id=cian.id)
    answered(make.deal("manager"), source_id=avito.id)
    missed(make.deal("manager"), source_id=cian.id)
    grant(people["director"], Grant.LIMIT_STATS_SOURCES, [cian.id])
    found = stats(people["director"])
    assert found.now.figures.incoming == 3
    assert [row.key for row in found.tables["source"]] == [cian.id]
    department = people["manager"].department_id
    grant(people["director"], Grant.LIMIT_STATS_DEPARTMENTS, [department])
    assert stats(people["director"]).now.figures.incoming == 2
    text = sign_in("director").get(URL).get_data(as_text=True)
    assert "не по всем источникам или отделам" in text
    foreign = db.session.get(Department, people["stranger"].department_id)
    offered = re.search(r'<select[^>]*name="department".*?</select>', text, re.S)
    assert foreign is not None
    assert offered is not None
    assert foreign.name not in offered[0]


def test_an_empty_list_shows_nothing(
    people: dict[str, Employee], make: Factory, sign_in: Any
) -> None:
    answered(make.deal(), source_id=make.source().id)
    grant(people["director"], Grant.LIMIT_STATS_SOURCES, [])
    assert stats(people["director"]).now.figures.total == 0
    assert table(sign_in("director"), "employee")[1:] == []


# --- the page -------------------------------------------------------------------------------------


def test_the_page_says_it_all(sign_in: Any, make: Factory) -> None:
    cian = make.source("Циан")
    answered(make.deal(), source_id=cian.id, talk=75)
    missed(make.deal(), source_id=cian.id)
    answered(started_at=NOW - dt.timedelta(days=40))
    text = html.unescape(sign_in("director").get(URL).get_data(as_text=True))
    for part in (
        "Статистика звонков", "Пропущены", "+100\u00a0%, было 1", "50\u00a0%",
        "1\u00a0мин 15\u00a0с",
        "Циан", "Manager Тестов", "+7 812 640-11-02", "Манго", "По сотрудникам", "Таблицей",
        "25\u00a0окт – 23\u00a0ноя в сравнении с 25\u00a0сен – 24\u00a0окт",
    ):  # fmt: skip
        assert part in text, part


def test_numbers_lead_to_the_list_with_the_same_filter(
    sign_in: Any, make: Factory, people: dict[str, Employee]
) -> None:
    cian = make.source("Циан")
    answered(make.deal(contact=make.contact("Анна Нужная")), source_id=cian.id)
    missed(make.deal(contact=make.contact("Борис Пропущенный")), source_id=cian.id)
    answered(make.deal("stranger", contact=make.contact("Вера Чужая")))
    client = sign_in("director")
    manager = people["manager"].id
    text = client.get(f"{URL}?period=7&employee={manager}").get_data(as_text=True)
    links = {html.unescape(link) for link in re.findall(r'href="(/calls\?[^"]+)"', text)}
    dates = f"employee={manager}&from=2026-11-17&to=2026-11-23"
    tail = "&".join(dates.split("&")[1:])
    answered_link = (
        f"/calls?employee={manager}&{tail}&source={cian.id}&direction=in&result=answered"
    )
    assert answered_link in links
    listed = client.get(answered_link).get_data(as_text=True)
    assert "Анна Нужная" in listed
    assert "Борис Пропущенный" not in listed
    assert "Вера Чужая" not in listed
    missed_link = answered_link.replace("answered", "missed")
    assert missed_link in links
    assert "Борис Пропущенный" in client.get(missed_link).get_data(as_text=True)


def test_the_filter_stays_in_the_address(sign_in: Any, make: Factory) -> None:
    answered(make.deal())
    text = sign_in("director").get(f"{URL}?period=7&direction=in").get_data(as_text=True)
    assert 'href="/calls/stats?direction=in&amp;period=today"' in text.replace(
        "period=today&amp;direction=in", "direction=in&amp;period=today"
    )
    assert "export?period=7&amp;direction=in&amp;table=employee" in text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("period=own&from=2025-01-01&to=2026-11-23", "Период длиннее 366 дней"),
        ("period=own&from=2026-11-23&to=2026-11-01", "заканчивается раньше, чем начинается"),
    ],
)
def test_an_impossible_period_is_refused_in_words(sign_in: Any, query: str, words: str) -> None:
    client = sign_in("director")
    answer = client.get(f"{URL}?{query}")
    assert answer.status_code == 200
    assert words in answer.get_data(as_text=True)
    file = client.get(f"{URL}/export?table=line&{query}")
    assert file.status_code == 422
    assert words in file.get_data(as_text=True)


def test_a_leap_year_is_not_too_long(sign_in: Any, make: Factory) -> None:
    answered(make.deal())
    query = "period=own&from=2025-11-23&to=2026-11-23"
    text = sign_in("director").get(f"{URL}?{query}").get_data(as_text=True)
    assert "Период длиннее" not in text
    assert "не больше чем за 90 дней" in text


def test_empty_states(sign_in: Any, make: Factory) -> None:
    client = sign_in("director")
    assert "Звонков за этот период нет" in client.get(URL).get_data(as_text=True)
    answered(make.deal())
    text = client.get(f"{URL}?direction=out").get_data(as_text=True)
    assert "По этим условиям звонков нет" in text


@pytest.mark.parametrize(
    "query",
    [
        "period=x&from=y&to=z&employee=a&source=%00&line=%00&connection=-1&department=9e9",
        "period=own&from=0001-01-01&to=0001-01-02",
        "period=own&from=9999-12-31",
        "period=own&from=1900-01-01&to=1900-01-02",
        "employee=99999999999999&first=maybe&direction=internal&excluded=maybe",
        "period=own&from=2200-12-30&to=2200-12-31",
    ],
)
def test_garbage_in_the_address(sign_in: Any, make: Factory, query: str) -> None:
    answered(make.deal())
    client = sign_in("director")
    assert client.get(f"{URL}?{query}").status_code == 200
    assert client.get(f"{URL}/export?table=source&{query}").status_code == 200
    assert client.get(f"{URL}/export?table=nonsense&{query}").status_code == 404


@pytest.mark.parametrize("person", ["director", "head"])
def test_it_costs_the_same_for_many(
    sign_in: Any, make: Factory, count_queries: Any, person: str
) -> None:
    client, counted = sign_in(person), []
    for rows in (2, 60):
        for number in range(rows):
            source = make.source(f"И{rows}-{number}")
            answered(make.deal(), source_id=source.id, line_number=f"7812{rows:03}{number:04}")
        query = f"?employee={make.people['manager'].id}&source={source.id}&line=1"
        for url in (URL, URL + query, f"{URL}/export?table=line"):
            with count_queries() as queries:
                assert client.get(url).status_code == 200
            counted.append(len(queries))
    assert counted[:3] == counted[3:]
    assert max(counted) <= 12
    text = client.get(URL).get_data(as_text=True)
    assert "Показаны 50 строк" in text
    assert len(table(client, "line")) == 63


# --- the file -------------------------------------------------------------------------------------


def test_the_file(sign_in: Any, make: Factory) -> None:
    source = make.source("=СУММ(A1)")
    answered(make.deal(), 15, source_id=source.id, talk=75)
    missed(source_id=source.id)
    answer = sign_in("director").get(f"{URL}/export?table=source&period=7")
    disposition = answer.headers["Content-Disposition"]
    assert disposition == 'attachment; filename="zvonki-source-2026-11-17-2026-11-23.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    heads, row = table(sign_in("director"), "source")
    assert heads[:5] == ["Источник", "Входящие", "Приняты", "Пропущены", "Доля пропущенных, %"]
    assert row == ["'=СУММ(A1)", "2", "1", "1", "50,0", "0", "0", "15,0", "75,0", "75", "0"]
