"""``/api/v1/deals``: rights on every route, moves with their questions, editing, tasks."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select

from crm.models import Comment, Contact, Deal, LossReason, Task, UserGrant, db
from crm.values.clock import utc_now
from tests.factories import Factory

SOON = (utc_now() + dt.timedelta(days=1)).isoformat()
ROUTES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "", {}),
    ("PATCH", "", {"amount": "1"}),
    ("GET", "/fields/amount", {}),
    ("POST", "/save", {}),
    ("POST", "/assign", {"responsible_id": 1}),
    ("POST", "/move", {"stage_id": 2}),
    ("POST", "/undo", {"history_id": 1}),
    ("POST", "/pipeline", {"stage_id": 2}),
    ("POST", "/comments", {"text": "x"}),
    ("POST", "/tasks", {"text": "x", "due_at": SOON}),
    ("POST", "/take", {}),
    ("DELETE", "", {}),
)


def ask(client: Any, method: str, address: str, body: dict[str, Any]) -> Any:
    return client.open(address, method=method, json=None if method == "GET" else body)


@pytest.mark.parametrize(("method", "tail", "body"), ROUTES)
def test_each_route_knows_its_people(
    make: Factory, sign_in: Any, visitor: Any, method: str, tail: str, body: dict[str, Any]
) -> None:
    address = f"/api/v1/deals/{make.deal('manager').id}{tail}"
    assert ask(visitor, method, address, body).status_code == 401
    assert ask(sign_in("marketer"), method, address, body).status_code == 403
    stranger = ask(sign_in("stranger"), method, address, body).status_code
    assert stranger in ((403, 404) if tail == "/take" else (404,))


def test_list_gives_visible_rows_only(make: Factory, sign_in: Any, visitor: Any) -> None:
    mine = make.deal("manager", amount=5)
    make.deal("stranger")
    answer = sign_in("manager").get("/api/v1/deals")
    assert answer.status_code == 200
    assert answer.json["ids"] == [mine.id]
    assert answer.json["result"][0]["client"]["name"] == "Анна Лебедева"
    assert sign_in("manager").get(f"/api/v1/deals/{mine.id}").json["result"]["id"] == mine.id
    assert visitor.get("/api/v1/deals/").status_code == 401
    assert sign_in("marketer").get("/api/v1/deals").status_code == 403


def test_list_masks_the_client(make: Factory, sign_in: Any, people: Any) -> None:
    make.deal(contact=make.contact("", "+79123456789"))
    db.session.add(UserGrant(user_id=people["manager"].id, code="only_staff_contacts", allow=True))
    db.session.commit()
    text = sign_in("manager").get("/api/v1/deals/").text
    assert "67-89" not in text
    assert "79123456789" not in text


# --- moves ------------------------------------------------------------------------------


def test_move_goes_and_comes_back(make: Factory, sign_in: Any) -> None:
    deal = make.deal(stage=1, source_id=make.source().id, amount=5_000_000, need={"kind": "flat"})
    client, address = sign_in("manager"), f"/api/v1/deals/{deal.id}"
    moved = client.post(f"{address}/move", json={"stage_id": make.stage(2).id})
    assert moved.status_code == 200, moved.text
    assert db.session.get(Deal, deal.id).stage_id == make.stage(2).id
    back = client.post(f"{address}/undo", json={"history_id": moved.json["history_id"]})
    assert back.json["stage_id"] == make.stage(1).id


def test_refused_move_names_the_mandatory_stage(make: Factory, sign_in: Any) -> None:
    deal = make.deal(stage=0)
    body, address = {"stage_id": make.stage(2).id}, f"/api/v1/deals/{deal.id}/move"
    answer = sign_in("manager").post(address, json=body)
    assert answer.status_code == 409
    assert "«Потребность»" in answer.json["message"]
    assert answer.json["may_skip"] is False
    assert sign_in("head").post(address, json=body).json["may_skip"] is True
    skipped = sign_in("head").post(address, json={**body, "unchecked": True})
    assert skipped.status_code == 200
    refused = sign_in("manager").post(address, json={**body, "unchecked": True})
    assert refused.status_code in (403, 409)


def test_move_asks_for_all_missing_fields_at_once(make: Factory, sign_in: Any) -> None:
    deal = make.deal(stage=0, contact=make.contact(""))
    client, address = sign_in("manager"), f"/api/v1/deals/{deal.id}/move"
    answer = client.post(address, json={"stage_id": make.stage(1).id})
    assert answer.status_code == 422
    asked = {field["code"]: field for field in answer.json["fields"]}
    assert {"contact_name", "source", "amount", "need_kind"} <= set(asked)
    assert asked["source"]["kind"] == "choice"
    values = {
        "contact_name": "Марат", "source": str(make.source().id), "amount": "8 900 000",
        "need_kind": "flat", "need_rooms": "1, 2",
    }  # fmt: skip
    done = client.post(address, json={"stage_id": make.stage(1).id, "values": values})
    assert done.status_code == 200, done.text
    fresh = db.session.get(Deal, deal.id)
    assert (fresh.stage_id, fresh.amount) == (make.stage(1).id, 8_900_000)


def test_closing_asks_for_reason_or_sum(make: Factory, sign_in: Any) -> None:
    deal = make.deal(
        stage=4, source_id=make.source().id, amount=7_000_000, need={"kind": "flat"},
    )  # fmt: skip
    client, address = sign_in("manager"), f"/api/v1/deals/{deal.id}/move"
    lost = client.post(address, json={"stage_id": make.stage(7).id})
    assert [field["code"] for field in lost.json["fields"]] == ["loss_reason_id"]
    assert len(lost.json["fields"][0]["options"]) > 3
    reason = db.session.scalars(select(LossReason)).first()
    body = {"stage_id": make.stage(7).id, "loss_reason_id": reason.id}
    assert client.post(address, json=body).status_code == 200


@pytest.mark.parametrize(
    "body", [None, [], {"stage_id": "x"}, {}, {"stage_id": 10**12}, {"stage_id": 1, "values": 3}]
)
def test_nonsense_is_refused_in_words(make: Factory, sign_in: Any, body: Any) -> None:
    deal = make.deal()
    answer = sign_in("manager").post(f"/api/v1/deals/{deal.id}/move", json=body)
    assert answer.status_code in (409, 422)
    assert answer.json["message"]


# --- fields -------------------------------------------------------------------------------


def test_editing_in_place(make: Factory, sign_in: Any) -> None:
    deal = make.deal(amount=1_000_000)
    client, address = sign_in("manager"), f"/api/v1/deals/{deal.id}"
    field = client.get(f"{address}/fields/amount").json
    assert field["fields"][0]["kind"] == "money"
    body = {"amount": "12 500 000", "version": field["version"]}
    changed = client.patch(address, json=body)
    assert changed.status_code == 200
    assert db.session.get(Deal, deal.id).amount == 12_500_000
    assert client.patch(address, json=body).status_code == 409, "the seen card is not the present"
    wrong = client.patch(address, json={"amount": "много"})
    assert wrong.status_code == 422
    assert wrong.json["errors"][0]["field"] == "amount"
    assert client.patch(address, json={"stage_id": 5}).status_code == 422


def test_field_of_a_foreign_open_deal_is_not_given(make: Factory, sign_in: Any) -> None:
    deal = make.deal("stranger", stage=6)
    assert sign_in("manager").get(f"/api/v1/deals/{deal.id}/fields/amount").status_code == 404
    answer = sign_in("manager").patch(f"/api/v1/deals/{deal.id}", json={"amount": "1"})
    assert answer.status_code == 403


def test_masked_value_is_not_given_to_the_editor(make: Factory, sign_in: Any, people: Any) -> None:
    deal = make.deal(contact=make.contact("Анна", "+79123456789"))
    db.session.add(UserGrant(user_id=people["manager"].id, code="only_staff_contacts", allow=True))
    db.session.commit()
    text = sign_in("manager").get(f"/api/v1/deals/{deal.id}/fields/contact_phone").text
    assert "3456789" not in text.replace("-", "").replace(" ", "")


# --- making, people, notes --------------------------------------------------------------------


def test_deal_is_made_with_its_client(make: Factory, sign_in: Any) -> None:
    body = {
        "pipeline_id": make.pipeline.id, "phone": "8 912 345-67-89",
        "source_id": make.source().id, "values": {"contact_name": "Пётр"},
    }  # fmt: skip
    made = sign_in("manager").post("/api/v1/deals", json=body)
    assert made.status_code == 201, made.text
    assert db.session.get(Deal, made.json["id"]).contact.name == "Пётр"
    again = sign_in("manager").post("/api/v1/deals", json=body)
    assert again.status_code == 422
    assert again.json["errors"][0]["field"] == "confirmed"
    broken = {**body, "phone": "8 913 345-67-89", "source_id": None}
    assert sign_in("manager").post("/api/v1/deals", json=broken).status_code == 422
    known = db.session.scalars(select(Contact)).all()
    assert len(known) == 1, "a refused deal leaves no client behind"


@pytest.mark.parametrize("page", ["9" * 30, "99999999999999999", "-1"])
def test_a_page_that_is_nowhere_breaks_nothing(make: Factory, sign_in: Any, page: str) -> None:
    make.deal()
    assert sign_in("manager").get(f"/api/v1/deals/?q=(page:{page})").status_code in (200, 400)


def test_a_deal_is_about_a_listing_that_the_person_sees(make: Factory, sign_in: Any) -> None:
    body = {"pipeline_id": make.pipeline.id, "source_id": make.source().id, "values": {}}
    body["values"] = {"contact_name": "Пётр"}
    for listing_id, code in ((99_999_999, 422), (make.listing("stranger").id, 201)):
        made = sign_in("manager").post("/api/v1/deals", json={**body, "listing_id": listing_id})
        assert made.status_code == code, made.text
    assert db.session.scalars(select(Deal.listing_id)).all() == [listing_id]


def test_take_and_assign(make: Factory, sign_in: Any, people: Any) -> None:
    department = people["manager"].department_id
    deal = make.deal(None, department_id=department, is_saved=False)
    address = f"/api/v1/deals/{deal.id}"
    assert sign_in("stranger").post(f"{address}/take", json={}).status_code in (403, 404)
    assert sign_in("manager").post(f"{address}/take", json={}).status_code == 200
    assert sign_in("teammate").post(f"{address}/take", json={}).status_code == 409
    body = {"responsible_id": people["teammate"].id}
    assert sign_in("head").post(f"{address}/assign", json=body).status_code == 200
    assert db.session.get(Deal, deal.id).responsible_id == people["teammate"].id


def test_save_asks_for_what_the_stage_demands(make: Factory, sign_in: Any) -> None:
    deal = make.deal(is_saved=False, contact=make.contact(""))
    client, address = sign_in("manager"), f"/api/v1/deals/{deal.id}/save"
    asked = client.post(address, json={})
    assert asked.status_code == 422
    assert {"contact_name", "source"} <= {field["code"] for field in asked.json["fields"]}
    values = {"contact_name": "Анна", "source": make.source().id}
    assert client.post(address, json={"values": values}).status_code == 200
    assert db.session.get(Deal, deal.id).is_saved


def test_comment_and_task(make: Factory, sign_in: Any) -> None:
    deal = make.deal()
    client, address = sign_in("manager"), f"/api/v1/deals/{deal.id}"
    assert client.post(f"{address}/comments", json={"text": " "}).status_code == 422
    assert client.post(f"{address}/comments", json={"text": "Звонил"}).status_code == 201
    assert db.session.scalars(select(Comment.text)).all() == ["Звонил"]
    assert client.post(f"{address}/tasks", json={"text": "Показ"}).status_code == 422
    body = {"text": "Показ", "kind": "showing", "due_at": "2100-11-23 12:00:00"}
    assert client.post(f"{address}/tasks", json=body).status_code == 201
    task = db.session.scalars(select(Task)).one()
    assert task.due_at == dt.datetime(2100, 11, 23, 9, tzinfo=dt.UTC), "the company's own time"


def test_only_administrators_delete(make: Factory, sign_in: Any) -> None:
    deal = make.deal()
    address = f"/api/v1/deals/{deal.id}"
    assert sign_in("manager").delete(address).status_code == 403
    assert sign_in("director").delete(address).status_code == 403
    assert sign_in("admin").delete(address).status_code == 200
    assert sign_in("manager").get(f"/deals/{deal.id}").status_code == 404


def test_changes_need_the_csrf_token(make: Factory, sign_in: Any) -> None:
    deal = make.deal()
    answer = sign_in("manager").post(
        f"/api/v1/deals/{deal.id}/comments", json={"text": "x"}, csrf=False
    )
    assert answer.status_code == 400
