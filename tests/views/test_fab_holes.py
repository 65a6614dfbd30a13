"""Holes of Flask-AppBuilder 5.3: each is shown open in a stock application and closed in ours."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask_appbuilder.validators import Unique
from sqlalchemy import event, select

from crm.models import Contact, Deal, Tag, db
from crm.operations import records
from crm.security import sessions
from tests.views import fab_apps

Client = Any
MANAGER = "Менеджер"
ALL = ("can_list", "can_show", "can_add", "can_edit", "can_delete", "touch")
API = ("can_get", "can_post", "can_put", "can_delete", "can_info")
as_it_comes = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::sqlalchemy.exc.SAWarning",
    "ignore::UserWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(scope="module")
def probe_app(installed_app: Flask) -> Flask:
    return fab_apps.ours(installed_app)


@pytest.fixture
def probe(app: Flask, probe_app: Flask, sign_in: Callable[[str], Client]) -> Client:
    """Our probes, seen by the manager."""
    fab_apps.allow(MANAGER, "Probe", *ALL, *API)
    client = sign_in("manager")
    client.application = probe_app
    return client


@pytest.fixture
def stock(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Iterator[Flask]:
    """FAB as it comes; deal 1 is Olga's, deal 2 is somebody else's."""
    links = getattr(request, "param", 0)
    made = fab_apps.stock(monkeypatch, tmp_path, fab_apps.stock_people, links)
    with made.app_context():
        yield made
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def olga(stock: Flask) -> Client:
    client = stock.test_client()
    with client.session_transaction() as session:
        session.update({"_user_id": "1", "_fresh": True})
    return client


def reread(deal: Deal | int) -> Deal:
    db.session.expire_all()
    return db.session.get_one(Deal, deal if isinstance(deal, int) else deal.id)


# --- 1. actions ---


@as_it_comes
def test_stock_actions_reach_foreign_rows(olga: Client) -> None:
    answer = olga.post("/stock/deals/action_post", data={"action": "touch", "rowid": ["2"]})
    assert answer.text == "1"
    assert reread(2).comment == "touched"


def test_actions_stay_within_own_rows(probe: Client, make: Any) -> None:
    own, foreign = make.deal("manager"), make.deal("stranger")
    base = "/probe/deals"
    for ids in ([foreign.id], [own.id, foreign.id]):
        assert (
            probe.post(f"{base}/action_post", data={"action": "touch", "rowid": ids}).status_code
            == 404
        )
    assert probe.post(f"{base}/action/touch/{foreign.id}").status_code == 404
    assert probe.get(f"{base}/action/touch/{own.id}").status_code == 405
    assert reread(own).comment is None
    assert reread(foreign).comment is None
    assert probe.post(f"{base}/action/touch/{own.id}").text == "1"
    assert reread(own).comment == "touched"
    assert probe.post(f"{base}/action/nothing/{own.id}").status_code == 404


def test_actions_take_a_bounded_number_of_rows(probe: Client) -> None:
    data = {"action": "touch", "rowid": list(range(1, 600))}
    assert probe.post("/probe/deals/action_post", data=data).status_code == 400


# --- 2. related rows: REST, and the query string of a form ---


@as_it_comes
def test_stock_rest_takes_any_related_row(olga: Client) -> None:
    body = {"comment": "x", "contact": 2, "pipeline": 1, "stage": 1}
    assert olga.post("/api/v1/stock/", json=body).status_code == 201


def test_rest_refuses_invisible_related_rows(probe: Client, make: Any) -> None:
    own, foreign = make.deal("manager"), make.deal("stranger")
    body = {"comment": "new", "pipeline": own.pipeline_id, "stage": own.stage_id}
    refused = probe.post("/api/v1/probe/", json={**body, "contact": foreign.contact_id})
    assert refused.status_code == 422
    assert refused.json["errors"][0]["field"] == "contact"
    changed = probe.put(f"/api/v1/probe/{own.id}", json={"contact": foreign.contact_id})
    assert changed.status_code == 422
    assert probe.put(f"/api/v1/probe/{foreign.id}", json={"comment": "x"}).status_code == 404
    assert probe.delete(f"/api/v1/probe/{foreign.id}").status_code == 404
    assert reread(own).contact_id != foreign.contact_id
    assert probe.post("/api/v1/probe/", json={**body, "contact": own.contact_id}).status_code == 201


@as_it_comes
def test_stock_form_takes_any_related_row_from_the_address(olga: Client) -> None:
    data = {"comment": "taken", "pipeline": "1", "stage": "1"}
    olga.post("/stock/deals/add?_flt_0_contact=2", data=data)
    made = db.session.scalars(select(Deal).where(Deal.comment == "taken")).one()
    assert made.contact_id == 2


def test_form_ignores_the_address_and_refuses_invisible_rows(probe: Client, make: Any) -> None:
    own, foreign = make.deal("manager"), make.deal("stranger")
    data = {"comment": "made", "pipeline": str(own.pipeline_id), "stage": str(own.stage_id)}
    url = f"/probe/deals/add?_flt_0_contact={foreign.contact_id}"
    assert str(foreign.contact) not in probe.get(url).text or str(own.contact) == str(
        foreign.contact
    )
    assert probe.post(url, data=data).status_code == 302
    made = db.session.scalars(select(Deal).where(Deal.comment == "made")).one()
    assert made.contact_id is None
    refused = probe.post("/probe/deals/add", data={**data, "contact": str(foreign.contact_id)})
    assert "Такой записи нет, или она вам недоступна." in refused.text


# --- 3, 4. the search box ---


@as_it_comes
def test_stock_search_box_holds_everybodys_clients(olga: Client) -> None:
    assert "Client 2 of somebody" in olga.get("/stock/deals/list/").text


def test_search_box_neither_leaks_nor_grows(probe: Client, make: Any) -> None:
    make.deal("manager")
    before = probe.get("/probe/deals/list/").text
    db.session.add_all(Contact(name=f"Чужой клиент {number}") for number in range(300))
    db.session.commit()
    after = probe.get("/probe/deals/list/").text
    assert "Чужой клиент" not in after
    assert abs(len(after) - len(before)) < 200


# --- 5. download ---


@as_it_comes
def test_stock_serves_any_file_of_the_folder(olga: Client, tmp_path: Any) -> None:
    (tmp_path / "1_sep_secret.txt").write_text("somebody's passport")
    assert olga.get("/stock/deals/download/1_sep_secret.txt").status_code == 200


def test_there_is_no_download_route(probe: Client, probe_app: Flask) -> None:
    rules = [rule for rule in probe_app.url_map.iter_rules() if "download" in rule.endpoint]
    assert [rule for rule in rules if "Probe" in rule.endpoint] == []
    assert probe.get("/probe/deals/download/1_sep_secret.txt").status_code == 404


# --- 6, 7. order and size of a page ---


@as_it_comes
def test_stock_orders_by_any_attribute_and_trips_over_unknown_ones(olga: Client) -> None:
    assert (
        olga.get("/stock/deals/list/?_oc_StockDeal=need_text&_od_StockDeal=asc").status_code == 200
    )
    assert olga.get("/stock/deals/list/?_oc_StockDeal=nothing&_od_StockDeal=asc").status_code == 500
    assert olga.get("/stock/deals/list/?psize_StockDeal=abc").status_code == 500


@pytest.mark.parametrize(
    "query",
    [
        "_oc_DealProbe=comment&_od_DealProbe=asc",
        "_oc_DealProbe=nothing&_od_DealProbe=asc",
        "_oc_DealProbe=contact.name&_od_DealProbe=asc",
        "_oc_DealProbe=id&_od_DealProbe=sideways",
        "psize_DealProbe=abc",
        "psize_DealProbe=-5",
        "page_DealProbe=x",
        "page_DealProbe=-1",
        "_flt_0_nothing=1",
        "_flt_99_comment=1",
        "_flt_x_comment=1",
        "_flt_0_contact=abc",
        "_flt_0_comment=%00",
        "page_DealProbe=99999999999999999999",
    ],
)
def test_nonsense_in_the_address_is_ignored(
    probe: Client, make: Any, count_queries: Any, query: str
) -> None:
    make.deal("manager")
    with count_queries() as queries:
        assert probe.get(f"/probe/deals/list/?{query}").status_code == 200
    assert not any("ORDER BY deal.comment" in text for text in queries.statements)


def test_a_page_has_a_hundred_rows_at_most(probe: Client, make: Any) -> None:
    first = make.deal("manager")
    db.session.add_all(
        Deal(
            pipeline_id=first.pipeline_id,
            stage_id=first.stage_id,
            responsible_id=first.responsible_id,
            comment="many",
        )
        for _number in range(120)
    )
    db.session.commit()
    page = probe.get("/probe/deals/list/?psize_DealProbe=1000000").text
    assert page.count('name="rowid"') == 100
    answer = probe.get("/api/v1/probe/?q=(page_size:1000000)")
    assert len(answer.json["result"]) == 100


def test_rest_answers_400_to_a_filter_that_makes_no_sense(probe: Client) -> None:
    for q in (
        "(filters:!((col:contact,opr:eq,value:1)))",
        "(filters:!((col:id,opr:zz,value:1)))",
        "(((",
    ):
        assert probe.get(f"/api/v1/probe/?q={q}").status_code == 400


# --- 8. changes by GET ---


@as_it_comes
def test_stock_deletes_by_get(olga: Client) -> None:
    olga.get("/stock/deals/delete/1")
    db.session.expire_all()
    assert db.session.get(Deal, 1) is None


def test_nothing_changes_by_get(probe: Client, make: Any) -> None:
    own = make.deal("manager")
    assert probe.get(f"/probe/deals/delete/{own.id}").status_code == 405
    assert probe.get("/logout/").status_code == 405
    assert probe.get("/lang/en").status_code == 405
    assert reread(own).id == own.id


# --- 9. filters between threads ---


@as_it_comes
def test_stock_filters_are_one_object_for_all_requests(stock: Flask) -> None:
    view = next(v for v in stock.appbuilder.baseviews if type(v).__name__ == "StockDeal")
    with stock.test_request_context("/?_flt_0_comment=a"):
        view._filters.add_filter_index("comment", 0, "a")
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(_clear_elsewhere(stock, view)))
        thread.start()
        thread.join()
        assert seen == [1]
        assert view._filters.filters == []


def _clear_elsewhere(app: Flask, view: Any) -> int:
    """What another request does first; returns how many foreign filters it found."""
    with app.test_request_context("/"):
        found = len(view._filters.filters)
        view._filters.clear_filters()
        return found


def test_parallel_lists_never_mix_their_filters(committed: Flask, probe_app: Flask) -> None:
    fab_apps.allow("Администратор", "Probe", "can_list")
    clients = [_admin(probe_app) for _thread in range(4)]
    wrong: list[str] = []
    threads = [
        threading.Thread(target=_ask_often, args=(client, f"mark{number}", wrong))
        for number, client in enumerate(clients)
    ]
    _four_marked_deals()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def _admin(app: Flask) -> Client:
    from crm.models import Employee

    pk = db.session.scalars(select(Employee.id).where(Employee.username == "admin")).one()
    token = sessions.open_session(pk, hours=1)
    db.session.commit()
    client = app.test_client()
    with client.session_transaction() as session:
        session.update({"_user_id": f"{pk}.{token}", "_fresh": True})
    return client


def _four_marked_deals() -> None:
    from crm.models import Pipeline

    pipeline = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    stage = pipeline.stages[0]
    for number in range(4):
        db.session.add(Deal(pipeline_id=pipeline.id, stage_id=stage.id, comment=f"mark{number}"))
    db.session.commit()


def _ask_often(client: Client, mark: str, wrong: list[str]) -> None:
    others = {f"mark{number}" for number in range(4)} - {mark}
    for _request in range(80):
        # 2: «содержит»
        page = client.get(f"/probe/deals/list/?_flt_2_comment={mark}").text
        if mark not in page or any(f">{other}<" in page for other in others):
            wrong.append(mark)


# --- queries of a menu ---


@as_it_comes
@pytest.mark.parametrize("stock", [100], indirect=True)
def test_stock_asks_for_every_item_of_the_menu(olga: Client) -> None:
    statements: list[str] = []
    event.listen(
        db.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    olga.get("/stock/deals/list/")
    assert len(statements) > 100


def test_a_menu_of_a_hundred_items_costs_no_query_an_item(
    probe: Client, count_queries: Any
) -> None:
    with count_queries() as queries:
        assert probe.get("/probe/menu/").status_code == 200
    assert len(queries) <= 8


# --- errors ---


@pytest.fixture
def blind_to_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when two people save the same name at once: only the database notices."""
    monkeypatch.setattr(Unique, "__call__", lambda *_arguments: None)
    monkeypatch.delitem(records._validators, Tag, raising=False)


@as_it_comes
def test_stock_shows_sql_and_loses_what_was_typed(olga: Client, blind_to_doubles: None) -> None:
    typed = {"name": "Контекст", "color": "#123456"}
    olga.post("/stock/tags/add", data=typed)
    answer = olga.post("/stock/tags/add", data=typed, follow_redirects=True)
    assert "IntegrityError" in answer.text or "UNIQUE constraint" in answer.text
    assert 'value="#123456"' not in answer.text


def test_a_refused_form_keeps_what_was_typed_and_shows_no_sql(
    sign_in: Callable[[str], Client], blind_to_doubles: None
) -> None:
    admin, typed = sign_in("admin"), {"name": "Контекст", "color": "#123456", "active": "y"}
    assert admin.post("/settings/tags/add", data=typed).status_code == 302
    page = admin.post("/settings/tags/add", data=typed).text
    assert "Такая запись уже есть." in page
    assert 'value="#123456"' in page
    assert 'value="Контекст"' in page
    assert not any(word in page for word in ("IntegrityError", "INSERT", "UNIQUE", "sqlalchemy"))


# --- CSRF ---


@as_it_comes
def test_stock_rest_takes_a_cookie_without_a_token(olga: Client, stock: Flask) -> None:
    from flask_appbuilder.api import BaseApi

    assert BaseApi.csrf_exempt is True
    assert olga.put("/api/v1/stock/1", json={"comment": "forged"}).status_code == 200


def test_a_cookie_alone_changes_nothing(probe: Client, make: Any) -> None:
    own = make.deal("manager")
    forged = probe.put(f"/api/v1/probe/{own.id}", json={"comment": "forged"}, csrf=False)
    assert forged.status_code == 400
    posted = probe.post(f"/probe/deals/action/touch/{own.id}", csrf=False)
    assert posted.status_code == 400
    assert reread(own).comment is None
