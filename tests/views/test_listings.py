"""Screens of listings: who sees and does what, forms, photos, budgets."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from crm.models import (
    Deal,
    Employee,
    Feed,
    FeedRun,
    FeedRunItem,
    Listing,
    ListingPhoto,
    RoleScope,
    RunState,
    Scope,
    UserGrant,
    db,
)
from crm.operations import photos, search_index
from crm.security.grants import Grant
from crm.security.principal import load_principal
from crm.values.clock import utc_now
from tests.factories import Factory

FLAT = {
    "area_total": Decimal("54.3"), "rooms": 2, "floor": 5, "floors_total": 9,
    "price": Decimal(11_300_000), "locality": "Пушкин", "address": "Оранжерейная ул., 42",
}  # fmt: skip
FORM = {
    "deal_type": "sale", "kind": "flat", "locality": "Пушкин", "address": "Оранжерейная ул., 42",
    "price": "11300000", "rooms": "2", "area_total": "54,3", "floor": "5", "floors_total": "9",
}  # fmt: skip


def picture(size: tuple[int, int] = (640, 480), color: str = "#88aacc") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "JPEG")
    return out.getvalue()


def give(person: Employee, grant: Grant) -> None:
    db.session.add(UserGrant(user_id=person.id, code=grant, allow=True))
    db.session.commit()


def upload(client: Any, listing: Listing, data: bytes, name: str = "photo.jpg") -> Any:
    """The body is made here: the test client would leave its temporary file open."""
    head = f'Content-Disposition: form-data; name="photo"; filename="{name}"\r\n\r\n'
    return client.post(
        f"/api/v1/listings/{listing.id}/photos",
        data=b"--limit\r\n" + head.encode() + data + b"\r\n--limit--\r\n",
        content_type="multipart/form-data; boundary=limit",
    )


@pytest.fixture
def flat(make: Factory) -> Listing:
    listing = make.listing(
        "manager", owner_id=make.contact("Наталья Петрова", "+79031234567").id, **FLAT
    )
    search_index.reindex_listing(listing)
    db.session.commit()
    return listing


# --- who gets what ----------------------------------------------------------------------------

PAGES = ("/listings", "/listings?view=cards", "/listings/{id}", "/listings/add")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", ["director", "head", "manager", "stranger", "marketer"])
def test_staff_open_the_pages(page: str, name: str, sign_in: Any, flat: Listing) -> None:
    answer = sign_in(name).get(page.format(id=flat.id))
    assert answer.status_code == 200


@pytest.mark.parametrize("page", [*PAGES, "/listings/{id}/edit", "/listings/export"])
def test_a_visitor_is_asked_to_sign_in(page: str, visitor: Any, flat: Listing) -> None:
    answer = visitor.get(page.format(id=flat.id))
    assert answer.status_code == 302
    assert "/login/" in answer.headers["Location"]


def test_a_visitor_gets_nothing_from_the_api(visitor: Any, flat: Listing) -> None:
    for path in ("", f"/{flat.id}", f"/{flat.id}/photos"):
        assert visitor.get(f"/api/v1/listings{path}").status_code == 401
    assert visitor.post(f"/api/v1/listings/{flat.id}/state", json={}).status_code == 401


@pytest.mark.parametrize(
    ("name", "code"),
    [("director", 200), ("head", 200), ("manager", 200), ("marketer", 200), ("stranger", 403)],
)
def test_only_those_who_may_edit_get_the_form(
    name: str, code: int, sign_in: Any, flat: Listing
) -> None:
    assert sign_in(name).get(f"/listings/{flat.id}/edit").status_code == code


def test_a_stranger_changes_nothing(sign_in: Any, flat: Listing) -> None:
    client, api = sign_in("stranger"), f"/api/v1/listings/{flat.id}"
    photo = photos.add_photo(flat.id, load_principal(flat.responsible), picture())
    before = (flat.price, flat.state, flat.responsible_id)
    answers = [
        client.post(f"/listings/{flat.id}/edit", data={**FORM, "price": "1"}),
        client.post(f"/listings/{flat.id}/state/archive"),
        client.patch(api, json={"price": "1"}),
        client.post(f"{api}/state", json={"state": "archive"}),
        client.post(f"{api}/transfer", json={"responsible_id": 1}),
        upload(client, flat, picture()),
        client.put(f"{api}/photos/order", json={"ids": [photo.id]}),
        client.patch(f"{api}/photos/{photo.id}", json={"kind": "plan"}),
        client.delete(f"{api}/photos/{photo.id}"),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)
    bulk = client.post(
        "/listings/bulk", json={"ids": [flat.id], "action": "state", "state": "archive"}
    )
    assert bulk.get_json()["done"] == 0
    db.session.refresh(flat)
    assert (flat.price, flat.state, flat.responsible_id) == before
    assert db.session.get(ListingPhoto, photo.id) is not None


def test_a_listing_out_of_sight_does_not_exist(
    sign_in: Any, people: dict[str, Employee], flat: Listing
) -> None:
    photo = photos.add_photo(flat.id, load_principal(people["manager"]), picture())
    role = people["stranger"].roles[0]
    scope = select(RoleScope).where(RoleScope.role_id == role.id, RoleScope.kind == "listing")
    for row in db.session.scalars(scope):
        row.scope = Scope.OWN
    db.session.commit()
    client = sign_in("stranger")
    paths = (
        f"/listings/{flat.id}", f"/listings/{flat.id}/feed", f"/listings/{flat.id}/edit",
        f"/listings/photo/{photo.id}/thumb", f"/api/v1/listings/{flat.id}",
        f"/api/v1/listings/{flat.id}/photos",
    )  # fmt: skip
    assert [client.get(path).status_code for path in paths] == [404] * len(paths)
    assert "Оранжерейная" not in client.get("/listings").get_data(as_text=True)
    assert client.get("/api/v1/listings").get_json()["count"] == 0
    assert client.post(f"/listings/{flat.id}/copy").status_code == 404


# --- the owner's contacts ------------------------------------------------------------------------


def test_the_owner_is_shown_to_the_responsible(sign_in: Any, flat: Listing) -> None:
    page = sign_in("manager").get(f"/listings/{flat.id}").get_data(as_text=True)
    assert "Наталья Петрова" in page
    assert "903" in page
    assert "123-45-67" in page


def test_the_owner_is_hidden_from_a_stranger(sign_in: Any, flat: Listing) -> None:
    page = sign_in("stranger").get(f"/listings/{flat.id}").get_data(as_text=True)
    assert "Наталья" in page
    assert "Петрова" not in page
    assert "контакт скрыт" in page
    assert "123-45" not in page
    assert "data-call" not in page


@pytest.mark.parametrize("name", ["director", "manager"])
def test_permission_16_masks_the_owner(
    name: str, sign_in: Any, people: dict[str, Employee], flat: Listing
) -> None:
    give(people[name], Grant.ONLY_STAFF_CONTACTS)
    page = sign_in(name).get(f"/listings/{flat.id}").get_data(as_text=True)
    assert "123-45-67" not in page
    assert "9031234567" not in page


def test_permission_2_masks_owners_of_others_only(
    sign_in: Any, people: dict[str, Employee], flat: Listing, make: Factory
) -> None:
    give(people["director"], Grant.HIDE_OWNER_CONTACTS)
    own = make.listing(
        "director", owner_id=make.contact("Игорь Кравцов", "+79037654321").id, **FLAT
    )
    client = sign_in("director")
    assert "123-45-67" not in client.get(f"/listings/{flat.id}").get_data(as_text=True)
    assert "765-43-21" in client.get(f"/listings/{own.id}").get_data(as_text=True)


def test_a_contact_out_of_sight_cannot_be_made_an_owner(
    sign_in: Any, make: Factory, people: dict[str, Employee], flat: Listing
) -> None:
    secret = make.contact("Чужой Клиент", responsible_id=people["stranger"].id)
    client = sign_in("manager")
    page = client.post("/listings/add", data={**FORM, "owner_id": str(secret.id)})
    assert "недоступен" in page.get_data(as_text=True)
    api = client.patch(f"/api/v1/listings/{flat.id}", json={"owner_id": secret.id})
    assert api.status_code == 422
    created = client.post("/api/v1/listings", json={**FORM, "owner_id": secret.id})
    assert created.status_code == 422


def test_a_flat_number_is_shown_only_to_editors(sign_in: Any, make: Factory) -> None:
    listing = make.listing("manager", flat_number="317", **FLAT)
    assert "317" in sign_in("manager").get(f"/listings/{listing.id}").get_data(as_text=True)
    assert "317" not in sign_in("stranger").get(f"/listings/{listing.id}").get_data(as_text=True)
    assert "317" not in sign_in("stranger").get(f"/api/v1/listings/{listing.id}").get_data(
        as_text=True
    )


def test_a_listing_is_told_in_english_too(sign_in: Any, flat: Listing) -> None:
    english = sign_in("manager")
    with english.session_transaction() as session:
        session["locale"] = "en"
    form = english.get(f"/listings/{flat.id}/edit").text
    for text in ("Total area", "Cadastral number", "Price and terms", ">Brick<"):
        assert text in form
    assert "Кадастровый номер" not in form
    card = english.get(f"/listings/{flat.id}").text
    assert "Total area" in card
    assert "Общая площадь" not in card
    assert ">Sale<" in english.get("/listings").text


def test_only_visible_deals_are_linked(sign_in: Any, make: Factory, flat: Listing) -> None:
    mine: Deal = make.deal("manager", listing_id=flat.id)
    other: Deal = make.deal("stranger", listing_id=flat.id)
    page = sign_in("manager").get(f"/listings/{flat.id}").get_data(as_text=True)
    assert f'href="/deals/{mine.id}"' in page
    assert f'href="/deals/{other.id}"' not in page


# --- the list ------------------------------------------------------------------------------------


def test_a_line_says_what_it_is(sign_in: Any, flat: Listing) -> None:
    page = sign_in("manager").get("/listings").get_data(as_text=True)
    assert "2-к квартира, 54,3\xa0м², 5/9\xa0эт." in page
    assert "11\xa0300\xa0000\xa0₽" in page
    assert "208\xa0103\xa0₽/м²" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True), ("deal_type=sale&kind=flat&rooms=2", True), ("rooms=1,3", False),
        ("price_from=11000000&price_to=11500000", True), ("price_to=11 000 000", False),
        ("area_from=54,3", True), ("area_to=54", False), ("place=пушкин", True),
        ("place=Колпино", False), ("state=active", True), ("state=draft", False),
        ("state=all", True),
        ("mine=1", True), ("responsible=0", False), ("no_photos=1", True), ("refused=1", False),
        ("q=оранж", True), ("q=Марата", False), ("q=%25", False), ("rooms=x&price_from=abc", True),
    ],
)  # fmt: skip
def test_filters_narrow(query: str, found: bool, sign_in: Any, flat: Listing) -> None:
    page = sign_in("manager").get(f"/listings?{query}").get_data(as_text=True)
    assert (f'href="/listings/{flat.id}"' in page) is found


@pytest.mark.parametrize("order", ["new", "-new", "price", "-price", "area", "-area"])
def test_paging_shows_every_listing_once(order: str, sign_in: Any, make: Factory) -> None:
    rows = [
        make.listing(price=Decimal(1000 * (n % 7)) if n % 5 else None, area_total=n % 4 or None)
        for n in range(60)
    ]
    client, url, seen = sign_in("manager"), f"/listings?order={order}", []
    for _ in range(3):
        page = client.get(url).get_data(as_text=True)
        seen.append([r.id for r in rows if f'href="/listings/{r.id}"' in page])
        if 'rel="next"' in page:
            url = (
                page.split('rel="next"')[0]
                .rsplit('href="', 1)[1]
                .split('"')[0]
                .replace("&amp;", "&")
            )
    assert sorted(pk for part in seen for pk in part) == sorted(r.id for r in rows)
    back = page.split('rel="prev"')[0].rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&")
    shown = client.get(back).get_data(as_text=True)
    assert [r.id for r in rows if f'href="/listings/{r.id}"' in shown] == seen[1]


@pytest.mark.parametrize("garbage", ["x", "~", "1~", "nan~5", "1e999~5", "~99999999999", "9~5~3"])
def test_a_foreign_page_key_is_not_an_error(garbage: str, sign_in: Any, flat: Listing) -> None:
    for order in ("new", "price"):
        answer = sign_in("manager").get(f"/listings?order={order}&after={garbage}")
        assert answer.status_code == 200


def test_refused_listings_are_marked(sign_in: Any, make: Factory, flat: Listing) -> None:
    good = make.listing("manager", **FLAT)
    feed = Feed(name="Яндекс", token="t" * 40, portal="yandex", filters={}, built_at=utc_now())
    db.session.add(feed)
    db.session.flush()
    run = FeedRun(feed_id=feed.id, state=RunState.DONE)
    db.session.add(run)
    db.session.flush()
    db.session.add(
        FeedRunItem(
            run_id=run.id, position=1, listing_id=flat.id, outcome="refused", reasons=["Нет этажа"]
        )
    )
    db.session.commit()
    client = sign_in("manager")
    page = client.get("/listings").get_data(as_text=True)
    assert "Яндекс: Нет этажа" in page
    assert "принят" in page
    narrowed = client.get("/listings?refused=1").get_data(as_text=True)
    assert f'href="/listings/{flat.id}"' in narrowed
    assert f'href="/listings/{good.id}"' not in narrowed


@pytest.mark.parametrize("name", ["director", "manager"])
def test_the_list_costs_the_same_whatever_the_rows(
    name: str, sign_in: Any, make: Factory, count_queries: Any
) -> None:
    client = sign_in(name)
    make.listing("manager", **FLAT)
    client.get("/listings")
    with count_queries() as few:
        client.get("/listings")
    for _ in range(50):
        make.listing("teammate", **FLAT)
    with count_queries() as many:
        answer = client.get("/listings")
    assert len(many) <= 15, "\n".join(many.statements)
    assert len(many) <= len(few) + 1
    assert len(answer.data) < 200_000


def test_the_card_is_within_its_budget(
    sign_in: Any, make: Factory, flat: Listing, count_queries: Any, people: dict[str, Employee]
) -> None:
    by = load_principal(people["manager"])
    for _ in range(4):
        photos.add_photo(flat.id, by, picture())
    for _ in range(5):
        make.deal("manager", listing_id=flat.id)
    db.session.add(Feed(name="Яндекс", token="t" * 40, portal="yandex", filters={}))
    db.session.commit()
    client = sign_in("manager")
    client.get(f"/listings/{flat.id}")
    db.session.expire_all()
    with count_queries() as queries:
        answer = client.get(f"/listings/{flat.id}")
    assert answer.status_code == 200
    assert len(queries) <= 20, "\n".join(queries.statements)


def test_export_gives_what_the_person_may_take(sign_in: Any, flat: Listing) -> None:
    flat.address = "=HYPERLINK(1)"
    flat.locality = None
    db.session.commit()
    text = sign_in("director").get("/listings/export").get_data(as_text=True)
    assert f"{flat.id};" in text
    assert "'=HYPERLINK" in text
    assert sign_in("manager").get("/listings/export").status_code == 403


def test_bulk_reports_what_was_not_done(
    sign_in: Any, make: Factory, flat: Listing, people: dict[str, Employee]
) -> None:
    other = make.listing("stranger", **FLAT)
    body = {
        "ids": [flat.id, other.id],
        "action": "transfer",
        "responsible_id": people["teammate"].id,
    }
    answer = sign_in("head").post("/listings/bulk", json=body).get_json()
    assert answer["done"] == 1
    assert [item["id"] for item in answer["failed"]] == [other.id]
    db.session.refresh(flat)
    assert flat.responsible_id == people["teammate"].id


TOO_MANY = {"ids": list(range(1, 300)), "action": "state", "state": "active"}


@pytest.mark.parametrize(
    "body",
    [{}, {"ids": []}, {"ids": ["1"]}, {"ids": [True], "action": "state"}, TOO_MANY, []],
)
def test_bad_bulk_is_refused(body: Any, sign_in: Any) -> None:
    assert sign_in("director").post("/listings/bulk", json=body).status_code == 422


@pytest.mark.parametrize(
    ("grant", "body"),
    [
        (Grant.FORBID_ARCHIVE_LISTING, {"action": "state", "state": "archive"}),
        (Grant.FORBID_TRANSFER_LISTING, {"action": "transfer", "responsible_id": 3}),
    ],
)
def test_prohibitions_hold_in_bulk(
    grant: Grant, body: dict[str, Any], sign_in: Any, people: dict[str, Employee], flat: Listing
) -> None:
    give(people["manager"], grant)
    if "responsible_id" in body:
        body = {**body, "responsible_id": people["teammate"].id}
    client = sign_in("manager")
    answer = client.post("/listings/bulk", json={"ids": [flat.id], **body}).get_json()
    assert (answer["done"], len(answer["failed"])) == (0, 1)


def test_a_forbidden_copy_has_no_button(
    sign_in: Any, people: dict[str, Employee], flat: Listing
) -> None:
    client = sign_in("teammate")
    assert f"/listings/{flat.id}/copy" in client.get(f"/listings/{flat.id}").get_data(as_text=True)
    give(people["teammate"], Grant.FORBID_COPY_FOREIGN)
    assert "/copy" not in client.get(f"/listings/{flat.id}").get_data(as_text=True)
    assert client.post(f"/listings/{flat.id}/copy").status_code == 403


# --- the form ------------------------------------------------------------------------------------


def test_a_listing_is_made_by_the_form(sign_in: Any, people: dict[str, Employee]) -> None:
    client = sign_in("manager")
    answer = client.post("/listings/add", data={**FORM, "lift": "1", "metro": "Сокол 7 мин пешком"})
    made = db.session.scalars(select(Listing)).one()
    assert answer.headers["Location"].startswith(f"/listings/{made.id}")
    assert (made.price, made.area_total, made.rooms) == (11_300_000, Decimal("54.3"), 2)
    assert made.attributes["lift"] is True
    assert made.responsible_id == people["manager"].id


def test_refused_input_stays_with_errors_beside_fields(sign_in: Any) -> None:
    data = {**FORM, "area_total": "много", "floor": "12", "description": "Тихий <двор>"}
    answer = sign_in("manager").post("/listings/add", data=data)
    page = answer.get_data(as_text=True)
    assert db.session.scalar(select(Listing.id)) is None
    assert "Укажите число, например 54,3." in page
    assert 'id="f-area_total-error"' in page
    assert 'value="много"' in page
    assert "Тихий &lt;двор&gt;" in page


def test_the_form_shows_fields_of_the_kind(sign_in: Any) -> None:
    client = sign_in("manager")
    land = client.get("/listings/add?kind=land").get_data(as_text=True)
    assert _hidden(land, "rooms")
    assert not _hidden(land, "land_area_m2")
    rent = client.get("/listings/add?kind=flat&deal_type=rent_long").get_data(as_text=True)
    assert not _hidden(rent, "pets")
    assert _hidden(rent, "sale_kind")


def _hidden(page: str, name: str) -> bool:
    spot = page.split(f'name="{name}"', maxsplit=1)[0].rsplit('class="kv-spot', 1)[1]
    return " hidden>" in spot.split("<div", 1)[0] + spot[:200]


def test_the_form_gives_back_what_is_stored(sign_in: Any, flat: Listing) -> None:
    client = sign_in("manager")
    sent = {**FORM, "window_views": ["yard", "sunny"], "lift": "0", "exclusive_until": "2027-03-01"}
    assert client.post(f"/listings/{flat.id}/edit", data=sent).status_code == 302
    db.session.expire_all()
    before = (flat.attributes, flat.exclusive_until, flat.price, flat.area_total)
    page = client.get(f"/listings/{flat.id}/edit").get_data(as_text=True)
    assert 'value="2027-03-01"' in page
    assert 'value="54,3"' in page
    assert page.count('" checked') + page.count(" checked>") >= 2
    again = client.post(f"/listings/{flat.id}/edit", data=sent)
    assert again.status_code == 302
    db.session.expire_all()
    assert (flat.attributes["window_views"], flat.exclusive_until) == (["yard", "sunny"], before[1])
    assert flat.attributes["lift"] is False


def test_an_old_form_does_not_overwrite(sign_in: Any, flat: Listing) -> None:
    client = sign_in("manager")
    old = flat.version
    client.patch(f"/api/v1/listings/{flat.id}", json={"price": "12000000"})
    page = client.post(
        f"/listings/{flat.id}/edit", data={**FORM, "price": "1", "version": str(old)}
    ).get_data(as_text=True)
    assert "изменил другой сотрудник" in page
    db.session.expire_all()
    assert flat.price == 12_000_000


def test_doubles_are_pointed_out_with_links(sign_in: Any, make: Factory) -> None:
    first = make.listing("stranger", cadastral_number="78:42:0018001:2214", **FLAT)
    client = sign_in("manager")
    answer = client.post("/listings/add", data={**FORM, "cadastral_number": "78:42:0018001:2214"})
    assert answer.headers["Location"].endswith("?doubles=1")
    page = client.get(answer.headers["Location"]).get_data(as_text=True)
    assert "Возможно, такой объект уже есть" in page
    assert f'href="/listings/{first.id}"' in page


def test_the_portals_refusals_lead_to_marked_fields(sign_in: Any, flat: Listing) -> None:
    feed = Feed(name="Яндекс", token="t" * 40, portal="yandex", filters={})
    db.session.add(feed)
    flat.floor = None
    db.session.commit()
    client = sign_in("manager")
    card = client.get(f"/listings/{flat.id}").get_data(as_text=True)
    assert "не примет: " in card
    assert "не указан этаж" in card
    assert f"/listings/{flat.id}/edit?feed={feed.id}#f-" in card
    form = client.get(f"/listings/{flat.id}/edit?feed={feed.id}").get_data(as_text=True)
    spot = form.split('name="floor"')[0].rsplit('class="kv-spot', 1)[1]
    assert "kv-remarked" in spot
    stranger = sign_in("stranger").get(f"/listings/{flat.id}").get_data(as_text=True)
    assert "/edit?feed=" not in stranger


def test_a_state_that_cannot_be_is_explained(sign_in: Any, make: Factory) -> None:
    draft = make.listing("manager", state="draft")
    client = sign_in("manager")
    client.post(f"/listings/{draft.id}/state/active")
    page = client.get(f"/listings/{draft.id}").get_data(as_text=True)
    assert "Укажите цену" in page
    db.session.refresh(draft)
    assert draft.state == "draft"


def test_get_changes_nothing(sign_in: Any, flat: Listing) -> None:
    client = sign_in("manager")
    assert client.get(f"/listings/{flat.id}/state/archive").status_code == 405
    assert client.get(f"/listings/{flat.id}/copy").status_code == 405


def test_a_form_without_the_token_is_refused(sign_in: Any, flat: Listing) -> None:
    client = sign_in("manager")
    assert client.post(f"/listings/{flat.id}/state/archive", csrf=False).status_code == 400
    assert client.delete(f"/api/v1/listings/{flat.id}/photos/1", csrf=False).status_code == 400


# --- photos --------------------------------------------------------------------------------------

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SVG, "SVG"),
        (b"\x00\x01garbage" * 50, "не фотография"),
        (b"", "пуст"),
        (picture()[:300], "повреждена"),
        (b"\xff\xd8\xff" + bytes(26 * 1024 * 1024), "МБ"),
    ],
    ids=["svg", "garbage", "empty", "cut", "huge"],
)
def test_what_is_no_photo_is_refused_in_words(
    data: bytes, words: str, sign_in: Any, flat: Listing
) -> None:
    answer = upload(sign_in("manager"), flat, data)
    assert answer.status_code == 422
    assert words in answer.get_json()["message"]
    assert db.session.scalar(select(ListingPhoto.id)) is None


def test_photos_are_uploaded_ordered_and_deleted(sign_in: Any, flat: Listing) -> None:
    client, api = sign_in("manager"), f"/api/v1/listings/{flat.id}/photos"
    first, second = (
        upload(client, flat, picture(color=c)).get_json()["photo"] for c in ("red", "blue")
    )
    assert client.put(f"{api}/order", json={"ids": [second["id"], first["id"]]}).status_code == 200
    assert (
        client.patch(f"{api}/{first['id']}", json={"kind": "plan"}).get_json()["photo"]["kind"]
        == "plan"
    )
    listed = client.get(api).get_json()["photos"]
    assert [photo["id"] for photo in listed] == [second["id"], first["id"]]
    assert client.delete(f"{api}/{second['id']}").status_code == 200
    assert [p["id"] for p in client.get(api).get_json()["photos"]] == [first["id"]]


@pytest.mark.parametrize("body", [{"ids": "1"}, {"ids": [True]}, {"ids": ["1"]}, {}])
def test_an_order_that_is_no_order_is_refused(body: Any, sign_in: Any, flat: Listing) -> None:
    answer = sign_in("manager").put(f"/api/v1/listings/{flat.id}/photos/order", json=body)
    assert answer.status_code == 422


def test_a_photo_answers_only_under_its_listing(
    sign_in: Any, make: Factory, flat: Listing, people: dict[str, Employee]
) -> None:
    other = make.listing("teammate", **FLAT)
    photo = photos.add_photo(other.id, load_principal(people["teammate"]), picture())
    client = sign_in("manager")
    path = f"/api/v1/listings/{flat.id}/photos/{photo.id}"
    assert client.delete(path).status_code == 404
    assert client.patch(path, json={"kind": "plan"}).status_code == 404


def test_pictures_are_private_and_revalidated(
    sign_in: Any, visitor: Any, flat: Listing, people: dict[str, Employee]
) -> None:
    photo = photos.add_photo(flat.id, load_principal(people["manager"]), picture())
    client, path = sign_in("stranger"), f"/listings/photo/{photo.id}/thumb"
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.content_type == "image/jpeg"
    assert "private" in answer.headers["Cache-Control"]
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert visitor.get(path).status_code == 302
    assert client.get(f"/listings/photo/{photo.id}/original").status_code == 404
    assert client.get("/listings/photo/999999/thumb").status_code == 404


# --- the API -------------------------------------------------------------------------------------


def test_the_api_makes_and_changes_through_operations(sign_in: Any) -> None:
    client = sign_in("manager")
    made = client.post("/api/v1/listings", json={**FORM, "rooms": 2, "lift": True})
    assert made.status_code == 201
    body = made.get_json()
    path = f"/api/v1/listings/{body['id']}"
    assert (
        client.patch(path, json={"price": 10_900_000, "version": body["version"]}).status_code
        == 200
    )
    assert client.patch(path, json={"price": 1, "version": body["version"]}).status_code == 409
    shown = client.get(path).get_json()["result"]
    assert shown["fields"]["lift"] is True
    assert Decimal(str(shown["price"])) == 10_900_000
    assert "owner" not in shown
    bad = client.post("/api/v1/listings", json={"deal_type": "sale", "kind": "castle"})
    assert bad.status_code == 422
    assert {error["field"] for error in bad.get_json()["errors"]} >= {"kind"}


def test_the_api_lists_and_filters(sign_in: Any, flat: Listing, make: Factory) -> None:
    make.listing("manager", **{**FLAT, "price": Decimal(1)})
    client = sign_in("stranger")
    query = "(filters:!((col:price,opr:gt,value:1000)),order_column:price,order_direction:desc)"
    answer = client.get(f"/api/v1/listings?q={query}")
    assert [row["id"] for row in answer.get_json()["result"]] == [flat.id]
    assert client.get("/api/v1/listings?q=(order_column:description)").status_code in (200, 400)
