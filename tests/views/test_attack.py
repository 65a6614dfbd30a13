"""Every route attacked: foreign ids, garbage of all kinds, forged requests, leaking answers.

The routes are read from the URL map, so that a new one is attacked without anybody's care.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.routing import IntegerConverter, Rule

from crm.models import (
    Appeal,
    Call,
    Comment,
    Contact,
    Deal,
    Listing,
    ListingPhoto,
    RecordingState,
    SavedView,
    Task,
    TimelineEvent,
    db,
)
from crm.operations import files
from crm.views.access import PUBLIC
from tests.factories import Factory
from tests.views import telephony_rows
from tests.views.test_url_map import access, routes

# Words and numbers of the stranger's rows: they stand in no answer to anybody else.
SECRET = "Зюзюкин"
SECRET_PHONE = "+79995550177"
PHONE_SHAPES = ("+79995550177", "999 555-01-77", "555-01-77")
# Parts of them, as somebody would look for them; the page may echo what was asked.
QUERIES = ("", "?q=Зюзю&since=0&doubles=1", "?q=5550177&phone=89995550177", "?q=5550177&show=all")
HUGE = str(2**70)
# More of them find more and take longer: a search for holes sets a hundred.
ROUNDS = int(os.environ.get("KVARTAL_ATTACK_ROUNDS") or 2)
WRITING = {"POST", "PUT", "PATCH", "DELETE"}
GARBAGE = [
    "'; DROP TABLE deal; --",
    "\x00",
    "\ud800",
    "-1",
    "0",
    HUGE,
    "9" * 5000,
    "1e309",
    "NaN",
    "٣",
    "0001-01-01",
    "9999-12-31",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00,1",
    "9999-12-31T23:59:59-14:00~1",
    "9999-12-31T23:59:59-14:00,1",
    "00010101T000000000000,1",
    "<script>alert(1)</script>",
    "../../../etc/passwd",
    "%",
    "{}",
    "я" * 3_000,
]
# What our pages read from addresses, forms and JSON; a wrong value of any is the caller's fault.
NAMES = """
    q page after before since order pipeline pipeline_id stage stage_id state responsible
    responsible_id department department_id source source_id contact contact_id listing
    listing_id owner owner_id phone phones name from to line employee direction result first
    group whose kind show channel only deal deal_id due_at due_date remind_at text amount
    won_amount won_on ids id rowid version price area_total rooms floor lat lon next doubles
    feed door search limit offset query shared action loss_reason_id need_kind need_rooms email
    comment login username password new_password address portal built_year active position color
    locale file_id size order_ids attributes phone_key created created_from created_to tag
    employee_id number contact_phone_id contact_name contact_phone confirmed field value values
    required statuses above_limit unchecked exclusive_until published_from internal_id photo_ids
    min_price deal_types kinds departments extensions credentials grants roles manager_id ids[]
    user actor object type at since_id
""".split()
_SQL = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE) .{0,200}\b(FROM|VALUES|SET)\b|sqlalche\.me|psycopg"
)


@dataclass
class World:
    """Rows of the stranger, by the argument of a route or the field that names them."""

    deal: Deal
    contact: Contact
    call: Call
    listing: Listing
    photo: ListingPhoto
    task: Task
    view: SavedView

    def pk(self, rule: str, name: str) -> int:
        """The stranger's row that stands for ``name`` in the address ``rule``."""
        named = {
            "deal_id": self.deal.id,
            "listing_id": self.listing.id,
            "photo_id": self.photo.id,
            "view_id": self.view.id,
        }
        if name in named:
            return named[name]
        by_path = {
            "/deals": self.deal.id,
            "/tasks": self.task.id,
            "/listings": self.listing.id,
            "/contacts": self.contact.id,
            "/calls": self.call.id,
        }
        return next((pk for part, pk in by_path.items() if part in rule), 1)


@pytest.fixture
def world(make: Factory, people: dict[str, Any]) -> World:
    """Everything that a stranger may have, with secrets in every text."""
    owner = people["stranger"].id
    contact = make.contact(f"Ольга {SECRET}", SECRET_PHONE, responsible_id=owner, comment=SECRET)
    deal = make.deal(
        "stranger", contact=contact, need_text=SECRET, comment=SECRET, source=make.source("Циан")
    )
    task = make.task(deal, "stranger", text=SECRET)
    sound = files.store_bytes(b"ID3" + SECRET.encode(), "audio/mpeg")
    call = telephony_rows.call(
        deal, recording_state=RecordingState.STORED, recording_file_id=sound.id
    )
    # A listing is seen by all; of its owner others learn the first name only.
    listing = make.listing("stranger", title="Студия", owner_id=contact.id)
    picture = files.store_bytes(b"\xff\xd8\xff picture", "image/jpeg")
    photo = ListingPhoto(
        listing_id=listing.id, large_id=picture.id, medium_id=picture.id, thumb_id=picture.id
    )
    view = SavedView(user_id=owner, page="deals", name=SECRET, query=f"q={SECRET}")
    comment = Comment(deal_id=deal.id, author_id=owner, text=SECRET)
    db.session.add_all([photo, view, comment])
    db.session.flush()
    appeal = Appeal(
        channel="site_form", deal_id=deal.id, contact_id=contact.id, responsible_id=owner,
        department_id=people["stranger"].department_id, name=SECRET, phone=SECRET_PHONE,
        comment=SECRET,
    )  # fmt: skip
    event = TimelineEvent(deal_id=deal.id, kind="comment", comment_id=comment.id, actor_id=owner)
    db.session.add_all([appeal, event])
    db.session.commit()
    return World(deal, contact, call, listing, photo, task, view)


def filled(rule: Rule, world: World | None, other: str = "x") -> str:
    """The address with the stranger's ids (or ``other``) in its places."""
    parts = []
    for is_argument, part in rule._trace:
        if not is_argument:
            parts.append(part)
        elif isinstance(rule._converters[part], IntegerConverter):
            parts.append(str(world.pk(rule.rule, part)) if world else other)
        else:
            parts.append({"size": "large", "name": "calls", "kind": "contacts"}.get(part, "x"))
    return "".join(parts).removeprefix("|")


def body_of(response: Any) -> str:
    """The answer's text, whatever its bytes are."""
    return str(response.get_data().decode("utf-8", "replace"))


def leaks(response: Any) -> bool:
    """Whether an answer tells anything of the stranger."""
    text = body_of(response)
    return SECRET in text or any(shape in text for shape in PHONE_SHAPES)


def closed(app: Flask) -> Iterator[tuple[Rule, Any]]:
    """Routes that need a sign-in."""
    return ((rule, handler) for rule, handler in routes(app) if access(handler) != PUBLIC)


# --- foreign ids ------------------------------------------------------------------------


@pytest.mark.parametrize("person", ["marketer", "manager"])
def test_no_page_tells_of_a_strangers_rows(
    app: Flask, sign_in: Any, world: World, person: str
) -> None:
    client = sign_in(person)
    told, asked = [], 0
    for rule, _handler in closed(app):
        if "GET" not in (rule.methods or ()):
            continue
        asked += 1
        for query in QUERIES:
            if leaks(client.get(filled(rule, world) + query)):
                told.append(f"{rule.rule} {query}")
    assert asked > 60
    assert told == []


def _rows() -> set[tuple[Any, ...]]:
    """Every row of the agency's data as plain values; new ones hurt nobody."""
    db.session.expire_all()
    return {
        (model.__name__, *map(repr, row))
        for model in (Deal, Contact, Listing, ListingPhoto, Task, Comment, Appeal, Call, SavedView)
        for row in db.session.execute(select(*model.__table__.columns))
    }


@pytest.mark.parametrize("person", ["marketer", "manager"])
def test_nobody_changes_a_strangers_rows(
    app: Flask, sign_in: Any, world: World, person: str
) -> None:
    client, before = sign_in(person), _rows()
    body = {
        "responsible_id": 1, "stage_id": world.deal.stage_id, "contact_id": world.contact.id,
        "text": "x", "due_date": "2026-12-01", "name": "x", "state": "archive",
        "pipeline_id": world.deal.pipeline_id, "version": 1, "order": [world.photo.id],
        "deal_id": world.deal.id, "listing_id": world.listing.id, "position": 2, "action": "move",
        "ids": [world.deal.id, world.listing.id], "amount": "1", "shared": True,
        "owner_id": world.contact.id, "price": "1", "fields": {"amount": "1"}, "all": False,
    }  # fmt: skip
    changed, asked = [], 0
    for rule, _handler in closed(app):
        if "<int:" not in rule.rule and "bulk" not in rule.rule:
            continue
        # The marketer edits all listings.
        if person == "marketer" and "listings" in rule.rule:
            continue
        for method in WRITING & set(rule.methods or ()):
            for sent in ({"json": body}, {"data": {**body, "ids": str(world.deal.id)}}):
                asked += 1
                client.open(filled(rule, world), method=method, **sent)
        if not before <= _rows():
            changed.append(rule.rule)
            before = _rows()
    assert asked > 60
    assert changed == []


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("/api/v1/tasks", {"text": "x", "due_date": "2026-12-01", "deal_id": "deal"}),
        ("/api/v1/deals", {"contact_id": "contact", "pipeline_id": "pipeline"}),
        ("/api/v1/listings", {"owner_id": "contact", "deal_type": "sale", "kind": "flat"}),
        ("/api/v1/calls/dial", {"contact_phone_id": "phone", "deal_id": "deal"}),
    ],
)
def test_a_foreign_row_cannot_be_taken_along_in_a_body(
    sign_in: Any, world: World, address: str, body: dict[str, Any]
) -> None:
    ids = {
        "deal": world.deal.id,
        "contact": world.contact.id,
        "pipeline": world.deal.pipeline_id,
        "phone": world.contact.phones[0].id,
    }
    sent = {name: ids.get(value, value) for name, value in body.items()}
    answer = sign_in("manager").post(address, json=sent)
    assert 400 <= answer.status_code < 500, body_of(answer)
    assert not leaks(answer)


# --- garbage ----------------------------------------------------------------------------


def broken(response: Any) -> bool:
    """A crash, or an answer with SQL in it."""
    return response.status_code == 500 or bool(_SQL.search(body_of(response)))


def mixed(seed: str) -> dict[str, str]:
    """Each name with garbage of its own, the same in every run for the same ``seed``."""
    chance = random.Random(seed)
    return {name: chance.choice(GARBAGE) for name in NAMES}


def encoded(query: dict[str, str]) -> str:
    """As a browser would never send it."""
    return "&".join(
        f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in query.items()
    )


def queries(rule: Rule) -> Iterator[dict[str, str]]:
    for turn in range(ROUNDS):
        yield {name: value[:300] for name, value in mixed(f"{rule.rule} {turn}").items()}
    digits = dict.fromkeys(NAMES, "9" * 30)
    yield digits


@pytest.mark.parametrize("person", ["admin", "manager"])
def test_no_garbage_in_an_address_breaks_a_page(
    app: Flask, sign_in: Any, world: World, person: str
) -> None:
    client = sign_in(person)
    wrong = []
    for rule, _handler in routes(app):
        if "GET" not in (rule.methods or ()):
            continue
        address = filled(rule, world)
        for query in queries(rule):
            if broken(client.get(address, query_string=encoded(query))):
                wrong.append(f"{rule.rule} {query}"[:3000])
    assert wrong == []


@pytest.mark.parametrize("number", ["0", str(2**31), str(2**63), HUGE, "9" * 4400])
def test_no_number_in_a_path_breaks_a_page(app: Flask, sign_in: Any, number: str) -> None:
    client = sign_in("admin")
    wrong = []
    for rule, _handler in routes(app):
        if "<int:" not in rule.rule:
            continue
        for method in set(rule.methods or ()) - {"HEAD", "OPTIONS"}:
            if broken(client.open(filled(rule, None, number), method=method, json={})):
                wrong.append(f"{method} {rule.rule}")
    assert wrong == []


@pytest.mark.parametrize("text", ["%00", "%ff%fe", "%ed%a0%80", "a%00b", "x" * 3000, "%2e%2e"])
def test_no_text_in_a_path_breaks_a_page(app: Flask, sign_in: Any, visitor: Any, text: str) -> None:
    wrong, asked = [], 0
    for rule, handler in routes(app):
        places = [part for is_argument, part in rule._trace if is_argument]
        if not any(not isinstance(rule._converters[p], IntegerConverter) for p in places):
            continue
        client = visitor if access(handler) == PUBLIC else sign_in("admin")
        address = "".join(
            part
            if not is_argument
            else "1"
            if isinstance(rule._converters[part], IntegerConverter)
            else text
            for is_argument, part in rule._trace
        ).removeprefix("|")
        for method in set(rule.methods or ()) - {"HEAD", "OPTIONS"}:
            asked += 1
            if broken(client.open(address, method=method)):
                wrong.append(f"{method} {rule.rule}")
    assert asked > 15
    assert wrong == []


def test_no_garbage_breaks_the_doors_of_people(app: Flask, visitor: Any) -> None:
    """Pages for visitors, as a visitor: the others have only seen who is signed in."""
    limiter = app.extensions["appbuilder"].sm.limiter
    wrong = []
    for rule, handler in routes(app):
        if access(handler) != PUBLIC or getattr(owner_of(handler), "machine_endpoint", False):
            continue
        for method in sorted(WRITING & set(rule.methods or ())):
            for body in bodies(rule):
                limiter.reset()
                if broken(visitor.open(filled(rule, None), method=method, **body)):
                    wrong.append(f"{method} {rule.rule} {str(body)[:300]}")
    assert wrong == []


ODD = (None, True, -1, 2**70, 1.5, [], {}, [[[]]], {"a": {"b": []}}, [None], [2**70], "1", 1)
MALFORMED = (
    {"data": b"{" * 100_000, "content_type": "application/json"},
    {"data": b"[]", "content_type": "application/json"},
    {"data": b"\xff\xfe\x00", "content_type": "application/json"},
    {"data": b"x", "content_type": "multipart/form-data; boundary=q"},
    {"data": b"a=%FF%00&b", "content_type": "application/x-www-form-urlencoded"},
)


def bodies(rule: Rule) -> Iterator[dict[str, Any]]:
    for turn in range(ROUNDS):
        texts = mixed(f"{rule.rule} {turn}")
        chance = random.Random(f"{rule.rule} {turn}")
        yield {"json": texts}
        yield {"json": {name: chance.choice(ODD) for name in NAMES}}
        yield {
            "data": {name: text.encode("utf-8", "surrogatepass") for name, text in texts.items()}
        }
    yield from MALFORMED


@pytest.mark.parametrize("person", ["admin", "manager"])
def test_no_garbage_in_a_body_breaks_a_page(
    app: Flask, sign_in: Any, world: World, person: str
) -> None:
    wrong = []
    for rule, _handler in routes(app):
        client = None
        for method in sorted(WRITING & set(rule.methods or ())):
            for body in bodies(rule):
                # Signing out, switching off oneself and the like end a session.
                client = client or sign_in(person)
                answer = client.open(filled(rule, world), method=method, **body)
                if broken(answer):
                    wrong.append(f"{method} {rule.rule} {str(body)[:3000]}")
                if answer.status_code in (302, 401):
                    client = None
    assert wrong == []


# --- forged requests, headers -----------------------------------------------------------


def test_nothing_is_written_without_the_token(app: Flask, sign_in: Any, world: World) -> None:
    client, before = sign_in("admin"), _rows()
    passed = []
    for rule, handler in routes(app):
        if getattr(owner_of(handler), "machine_endpoint", False):
            continue
        for method in WRITING & set(rule.methods or ()):
            code = client.open(filled(rule, world), method=method, json={}, csrf=False).status_code
            if code != 400:
                passed.append(f"{code} {method} {rule.rule}")
    assert passed == []
    assert before <= _rows()


def owner_of(handler: Any) -> Any:
    from tests.views.test_url_map import owner

    return owner(handler)


def test_every_answer_carries_the_headers(app: Flask, sign_in: Any, visitor: Any) -> None:
    wrong = []
    for client in (sign_in("admin"), visitor):
        for rule, _handler in routes(app):
            for method in set(rule.methods or ()) - {"HEAD", "OPTIONS"}:
                headers = client.open(filled(rule, None, "7"), method=method).headers
                policy = headers.get("Content-Security-Policy", "")
                script = policy.partition("script-src")[2].partition(";")[0].strip()
                if script != "'self'" or headers.get("X-Content-Type-Options") != "nosniff":
                    wrong.append(f"{method} {rule.rule}")
                if "no-store" not in headers.get("Cache-Control", ""):
                    wrong.append(f"kept: {method} {rule.rule}")
    assert wrong == []
