"""Screens of feeds and imports: rights, forms, builds, held runs, reports."""

from __future__ import annotations

import io
from typing import Any

import pytest
from sqlalchemy import select

from crm.models import (
    Company,
    Department,
    Employee,
    Feed,
    FeedRun,
    FeedRunItem,
    ImportFeed,
    Listing,
    RunState,
    db,
)
from crm.operations import imports, publishing
from crm.values.clock import utc_now
from tests.factories import Factory

OFFER = """<offer internal-id="{id}"><type>продажа</type><property-type>жилая</property-type>
<category>квартира</category><creation-date>2026-11-01T10:00:00+03:00</creation-date>
<location><country>Россия</country><locality-name>Пушкин</locality-name>
<address>Оранжерейная ул., {id}</address></location>
<sales-agent><phone>+78120000000</phone><category>агентство</category></sales-agent>
<price><value>{price}</value><currency>RUB</currency></price>
<area><value>54.3</value><unit>кв. м</unit></area><rooms>2</rooms><floor>5</floor>
<floors-total>9</floors-total></offer>"""
GOOD = "".join(OFFER.format(id=n, price=9_000_000 + n) for n in (1, 2))
BAD = '<offer internal-id="3"><type>обмен</type></offer>'
YRL = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<realty-feed xmlns="http://webmaster.yandex.ru/schemas/feed/realty/2010-06">'
    "<generation-date>2026-11-01T10:00:00+03:00</generation-date>{}</realty-feed>"
)
FEED_FORM = {"name": "Яндекс, продажа", "portal": "yandex", "active": "y", "deal_types": ["sale"]}


@pytest.fixture
def feed(people: dict[str, Employee]) -> Feed:
    company = db.session.scalars(select(Company)).one()
    company.name, company.ogrn_name = "Невский", "ООО «Невский»"
    company.phone = "+78120000000"
    row = Feed(name="Яндекс", token="s" * 43, portal="yandex", filters={}, active=True)
    db.session.add(row)
    db.session.commit()
    return row


@pytest.fixture
def incoming(people: dict[str, Employee]) -> ImportFeed:
    row = ImportFeed(
        name="Прежняя CRM",
        portal="yandex",
        state_for_new="draft",
        active=True,
        address={"url": "https://crm.example.ru/feed.xml?key=sesame-42"},
        responsible_id=people["manager"].id,
    )
    db.session.add(row)
    db.session.commit()
    return row


def a_run(**values: Any) -> FeedRun:
    run = FeedRun(**{"state": RunState.DONE, "finished_at": utc_now(), **values})
    db.session.add(run)
    db.session.commit()
    return run


def file_form(content: str, **values: str) -> dict[str, Any]:
    return {**values, "file": (io.BytesIO(content.encode()), "feed.xml")}


def an_import(client: Any, content: str, name: str = "Файл") -> FeedRun:
    """A new import by the form, tried at once."""
    data = file_form(content, name=name, portal="yandex", state_for_new="draft", active="y")
    answer = client.post("/imports/add", data=data, content_type="multipart/form-data")
    assert answer.status_code == 302, answer.get_data(as_text=True)
    run_id = int(answer.headers["Location"].rsplit("/", 1)[1])
    imports.run_import(run_id)
    run: FeedRun | None = db.session.get(FeedRun, run_id)
    assert run is not None
    return run


# --- who gets what ----------------------------------------------------------------------------

READING = (
    "/feeds", "/feeds/{feed}", "/feeds/run/{run}", "/feeds/add", "/feeds/{feed}/edit",
    "/imports", "/imports/{incoming}", "/imports/run/{taken}", "/imports/add",
    "/imports/{incoming}/edit", "/api/v1/runs/{taken}",
)  # fmt: skip
CHANGING = (
    "/feeds/add", "/feeds/{feed}/edit", "/feeds/{feed}/build", "/feeds/{feed}/token",
    "/feeds/{feed}/delete", "/feeds/run/{run}/confirm", "/imports/add",
    "/imports/{incoming}/edit", "/imports/{incoming}/start", "/imports/run/{taken}/again",
    "/imports/run/{taken}/confirm", "/imports/run/{taken}/dismiss",
)  # fmt: skip


@pytest.fixture
def ids(feed: Feed, incoming: ImportFeed) -> dict[str, int]:
    run, taken = a_run(feed_id=feed.id), a_run(import_feed_id=incoming.id)
    return {"feed": feed.id, "incoming": incoming.id, "run": run.id, "taken": taken.id}


@pytest.mark.parametrize("path", READING)
@pytest.mark.parametrize(
    ("name", "code"),
    [("director", 200), ("marketer", 200), ("head", 403), ("manager", 403), ("stranger", 403)],
)
def test_who_reads(path: str, name: str, code: int, sign_in: Any, ids: dict[str, int]) -> None:
    assert sign_in(name).get(path.format(**ids)).status_code == code


@pytest.mark.parametrize("path", READING)
def test_a_visitor_reads_nothing(path: str, visitor: Any, ids: dict[str, int]) -> None:
    answer = visitor.get(path.format(**ids))
    assert answer.status_code == (401 if path.startswith("/api") else 302)


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize("name", ["head", "manager", "stranger"])
def test_who_changes_nothing(path: str, name: str, sign_in: Any, ids: dict[str, int]) -> None:
    before = _everything()
    assert sign_in(name).post(path.format(**ids), data=FEED_FORM).status_code == 403
    assert _everything() == before


@pytest.mark.parametrize("path", CHANGING)
def test_a_visitor_changes_nothing(path: str, visitor: Any, ids: dict[str, int]) -> None:
    before = _everything()
    assert visitor.post(path.format(**ids), data=FEED_FORM).status_code == 302
    assert _everything() == before


def _everything() -> list[Any]:
    feeds = db.session.execute(select(Feed.id, Feed.name, Feed.token, Feed.filters)).all()
    runs = db.session.execute(select(FeedRun.id, FeedRun.state)).all()
    return [feeds, runs, db.session.execute(select(ImportFeed.id, ImportFeed.name)).all()]


def test_pages_of_the_other_family_are_not_found(sign_in: Any, ids: dict[str, int]) -> None:
    client = sign_in("marketer")
    assert client.get(f"/feeds/run/{ids['taken']}").status_code == 404
    assert client.get(f"/imports/run/{ids['run']}").status_code == 404
    assert client.get("/feeds/999").status_code == 404
    assert client.get("/imports/999").status_code == 404


# --- feeds ---------------------------------------------------------------------------------------


def test_a_feed_is_made_and_changed(sign_in: Any) -> None:
    client = sign_in("marketer")
    department = db.session.scalars(select(Department)).first()
    assert department is not None
    answer = client.post(
        "/feeds/add",
        data={
            **FEED_FORM, "kinds": ["flat", "room"], "departments": [str(department.id)],
            "min_price": "1 000 000", "phone": "8 812 222-22-22",
        },
    )  # fmt: skip
    made = db.session.scalars(select(Feed)).one()
    assert answer.headers["Location"] == f"/feeds/{made.id}"
    assert made.filters == {
        "deal_types": ["sale"], "kinds": ["flat", "room"], "departments": [department.id],
        "min_price": "1000000",
    }  # fmt: skip
    assert made.phone == "+78122222222"
    assert len(made.token) >= 40
    page = client.get(f"/feeds/{made.id}").get_data(as_text=True)
    assert f"/feeds/{made.token}.xml" in page
    assert "1\xa0000\xa0000\xa0₽" in page
    client.post(f"/feeds/{made.id}/edit", data={"name": "Другой", "portal": "yandex"})
    db.session.refresh(made)
    assert (made.name, made.active, made.filters, made.phone) == ("Другой", False, {}, None)


def test_a_refused_feed_keeps_what_was_typed(sign_in: Any, feed: Feed) -> None:
    data = {**FEED_FORM, "name": feed.name, "phone": "звоните", "min_price": "много"}
    page = sign_in("marketer").post("/feeds/add", data=data).get_data(as_text=True)
    assert "Такое название уже есть." in page
    assert "Номер не распознан" in page
    assert "Укажите число больше нуля." in page
    assert 'value="звоните"' in page
    assert page.count('value="sale" checked') == 1
    assert len(db.session.scalars(select(Feed)).all()) == 1


def test_a_new_address_ends_the_old_one(sign_in: Any, feed: Feed) -> None:
    old = feed.token
    sign_in("marketer").post(f"/feeds/{feed.id}/token")
    db.session.refresh(feed)
    assert feed.token != old
    assert len(feed.token) >= 40


def test_a_build_without_a_queue_happens_at_once(sign_in: Any, make: Factory, feed: Feed) -> None:
    listing = make.listing("manager", kind="flat", locality="Пушкин", address="Садовая, 1")
    answer = sign_in("marketer").post(f"/feeds/{feed.id}/build")
    run = db.session.scalars(select(FeedRun)).one()
    assert answer.headers["Location"] == f"/feeds/run/{run.id}"
    assert run.actor_id == make.people["marketer"].id
    page = sign_in("marketer").get(answer.headers["Location"]).get_data(as_text=True)
    assert "Не указана цена" in page
    assert f"/listings/{listing.id}/edit?feed={feed.id}" in page


def test_a_held_build_asks(sign_in: Any, make: Factory, feed: Feed) -> None:
    feed.offers = 10
    db.session.commit()
    run = publishing.build_feed(feed.id)
    assert run.state == RunState.HELD
    client = sign_in("marketer")
    for path in ("/feeds", f"/feeds/run/{run.id}"):
        assert "Публиковать всё равно" in client.get(path).get_data(as_text=True)
    client.post(f"/feeds/run/{run.id}/confirm")
    db.session.expire_all()
    assert db.session.get(FeedRun, run.id).state == RunState.DONE
    client.post(f"/feeds/run/{run.id}/confirm")
    assert "решение уже принято" in client.get(f"/feeds/run/{run.id}").get_data(as_text=True)


def test_a_feed_is_deleted_with_its_history(sign_in: Any, feed: Feed, ids: dict[str, int]) -> None:
    sign_in("marketer").post(f"/feeds/{feed.id}/delete")
    assert db.session.scalar(select(Feed.id)) is None
    assert db.session.scalar(select(FeedRun.id).where(FeedRun.id == ids["run"])) is None


def test_the_report_is_paged_and_filtered(
    sign_in: Any, make: Factory, feed: Feed, count_queries: Any
) -> None:
    listing = make.listing("stranger")
    run = a_run(feed_id=feed.id, total=120, refused=120)
    db.session.add_all(
        FeedRunItem(
            run_id=run.id, position=n, internal_id=f"kv-{n}", listing_id=listing.id,
            outcome="refused", reasons=["Не указан этаж"],
        )
        for n in range(1, 121)
    )  # fmt: skip
    db.session.commit()
    client, seen = sign_in("marketer"), 0
    url = f"/feeds/run/{run.id}"
    while url:
        with count_queries() as queries:
            page = client.get(url).get_data(as_text=True)
        assert len(queries) <= 15, "\n".join(queries.statements)
        seen += page.count('<td class="kv-title">')
        tail = page.split('rel="next"')[0] if 'rel="next"' in page else ""
        url = tail.rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&") if tail else ""
    assert seen == 120
    found = client.get(f"/feeds/run/{run.id}?q=kv-77&outcome=refused").get_data(as_text=True)
    assert found.count('<td class="kv-title">') == 1
    for garbage in ("outcome=x", "after=x", "q=%00", "after=99999999999999"):
        assert client.get(f"/feeds/run/{run.id}?{garbage}").status_code == 200


# --- imports -------------------------------------------------------------------------------------


def test_an_import_is_tried_before_it_is_run(sign_in: Any) -> None:
    client = sign_in("marketer")
    run = an_import(client, YRL.format(GOOD + BAD))
    assert (run.dry_run, run.total, run.created, run.refused) == (True, 3, 2, 1)
    assert db.session.scalar(select(Listing.id)) is None
    report = client.get(f"/imports/run/{run.id}").get_data(as_text=True)
    assert "в базу ничего не записано" in report
    assert "Загрузить объекты" in report
    answer = client.post(f"/imports/run/{run.id}/again")
    real = int(answer.headers["Location"].rsplit("/", 1)[1])
    imports.run_import(real)
    assert len(db.session.scalars(select(Listing)).all()) == 2
    again = client.post(f"/imports/run/{real}/again")
    repeated = imports.run_import(int(again.headers["Location"].rsplit("/", 1)[1]))
    assert (repeated.created, repeated.unchanged) == (0, 2)
    history = client.get("/imports").get_data(as_text=True)
    assert "Файл" in history


def test_the_report_says_why(sign_in: Any) -> None:
    client = sign_in("marketer")
    run = an_import(client, YRL.format(GOOD + BAD))
    reasons = db.session.scalars(
        select(FeedRunItem.reasons).where(FeedRunItem.outcome == "refused")
    ).one()
    page = client.get(f"/imports/run/{run.id}").get_data(as_text=True)
    assert reasons
    assert reasons[0].split("«")[0].strip() in page
    created = client.get(f"/imports/run/{run.id}?outcome=created").get_data(as_text=True)
    assert created.count('<td class="kv-title">') == 2


@pytest.mark.parametrize(
    "content",
    [
        "", "совсем не XML", "<html><body>Вход</body></html>",
        '<!DOCTYPE x [<!ENTITY a "b">]><realty-feed>&a;</realty-feed>',
    ],
)  # fmt: skip
def test_garbage_fails_in_words(content: str, sign_in: Any) -> None:
    client = sign_in("marketer")
    run = an_import(client, content)
    assert run.state == RunState.FAILED
    page = client.get(f"/imports/run/{run.id}").get_data(as_text=True)
    assert "Не удалось" in page
    assert run.error
    assert "Traceback" not in page
    assert db.session.scalar(select(Listing.id)) is None


def test_an_import_needs_a_file_or_an_address(sign_in: Any) -> None:
    data = {"name": "Пустая", "portal": "yandex", "state_for_new": "draft"}
    page = sign_in("marketer").post("/imports/add", data=data).get_data(as_text=True)
    assert "Выберите файл или укажите адрес." in page
    assert 'value="Пустая"' in page
    assert db.session.scalar(select(ImportFeed.id)) is None


def test_the_secret_address_never_comes_back(sign_in: Any, incoming: ImportFeed) -> None:
    client = sign_in("marketer")
    for path in (f"/imports/{incoming.id}", f"/imports/{incoming.id}/edit", "/imports"):
        assert "sesame" not in client.get(path).get_data(as_text=True)
    form = {"name": "Новое имя", "portal": "yandex", "state_for_new": "draft", "address": ""}
    client.post(f"/imports/{incoming.id}/edit", data=form)
    db.session.refresh(incoming)
    assert incoming.name == "Новое имя"
    assert incoming.address == {"url": "https://crm.example.ru/feed.xml?key=sesame-42"}


def test_a_bad_address_is_refused(sign_in: Any) -> None:
    data = {"name": "Файл", "portal": "yandex", "state_for_new": "draft", "address": "file:///etc"}
    page = sign_in("marketer").post("/imports/add", data=data).get_data(as_text=True)
    assert "Адрес должен начинаться с http" in page
    assert db.session.scalar(select(ImportFeed.id)) is None


def test_progress_is_polled(sign_in: Any, ids: dict[str, int]) -> None:
    body = sign_in("marketer").get(f"/api/v1/runs/{ids['taken']}").get_json()
    assert (body["id"], body["state"]) == (ids["taken"], "done")
    assert sign_in("marketer").get(f"/api/v1/runs/{ids['run']}").status_code == 404


@pytest.mark.parametrize("act", ["confirm", "dismiss"])
def test_a_held_import_is_decided_by_a_person(act: str, sign_in: Any, incoming: ImportFeed) -> None:
    held = a_run(
        import_feed_id=incoming.id, state=RunState.HELD, error="В файле нет 5 из 9 объектов."
    )
    client = sign_in("marketer")
    page = client.get(f"/imports/run/{held.id}").get_data(as_text=True)
    assert "В файле нет 5 из 9 объектов." in page
    client.post(f"/imports/run/{held.id}/{act}")
    db.session.refresh(held)
    assert held.state == RunState.DONE


@pytest.mark.parametrize("path", ["/feeds", "/imports"])
def test_lists_cost_the_same_whatever_the_rows(
    path: str, sign_in: Any, ids: dict[str, int], count_queries: Any
) -> None:
    client = sign_in("director")
    for n in range(20):
        db.session.add(Feed(name=f"Фид {n}", token=f"{n:0>43}", portal="yandex", filters={}))
        db.session.add(ImportFeed(name=f"Загрузка {n}", portal="yandex"))
    db.session.flush()
    for row in db.session.scalars(select(Feed)):
        db.session.add(FeedRun(feed_id=row.id, state=RunState.DONE))
    db.session.commit()
    client.get(path)
    with count_queries() as queries:
        assert client.get(path).status_code == 200
    assert len(queries) <= 15, "\n".join(queries.statements)
