"""Reading foreign requests: charsets, forms, JSON that could not be stored."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.integrations.inbound import MAX_BODY_BYTES, InboundRequest, MalformedRequest, load_json

FORM = "application/x-www-form-urlencoded"
PARTS = (
    '--b\r\nContent-Disposition: form-data; name="event"\r\n\r\nЗвонок\r\n'
    '--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nfile\r\n--b--\r\n'
).encode()


def request(body: bytes, content_type: str = FORM) -> InboundRequest:
    return InboundRequest(
        method="POST",
        path_tail="",
        query={},
        headers={"Content-Type": content_type},
        body=body,
        remote_addr="127.0.0.1",
        received_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


def test_header_names_ignore_case() -> None:
    assert request(b"").headers.get("CONTENT-type") == FORM
    assert request(b"").headers.get("absent") is None


def test_a_time_without_zone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="aware"):
        InboundRequest("GET", "", {}, {}, b"", "", datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("name=Анна+П".encode(), FORM),
        (b"name=%D0%90%D0%BD%D0%BD%D0%B0+%D0%9F", FORM),
        ("name=Анна+П".encode("cp1251"), FORM + "; charset=windows-1251"),
        (b"name=%C0%ED%ED%E0+%CF", FORM + '; charset="windows-1251"'),
    ],
)
def test_a_form_is_utf8_or_what_it_declares(body: bytes, content_type: str) -> None:
    assert request(body, content_type).form() == {"name": "Анна П"}


def test_empty_fields_stay_and_the_last_of_equal_names_wins() -> None:
    assert request(b"a=&b=1&b=2").form() == {"a": "", "b": "2"}


def test_fields_of_a_multipart_form_are_read_without_files() -> None:
    assert request(PARTS, "multipart/form-data; boundary=b").form() == {"event": "Звонок"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"name=%C0%ED", FORM),
        (b"name=\xc0\xed", FORM + "; charset=no-such-charset"),
        (b"name=a%00b", FORM),
        (b"a=1&" * 500, FORM),
        (b"x" * (MAX_BODY_BYTES + 1), FORM),
        (b"no parts", "multipart/form-data; boundary=b"),
        (b"", "multipart/form-data"),
        (PARTS.replace("Звонок".encode(), b"\xff"), "multipart/form-data; boundary=b"),
    ],
)
def test_an_unreadable_form_is_malformed(body: bytes, content_type: str) -> None:
    with pytest.raises(MalformedRequest):
        request(body, content_type).form()


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[Infinity]", '"\\ud800"', '"\\u0000"', '"a\x00"', "[" * 100_000, "9" * 5000],
)
def test_json_that_could_not_be_stored_is_malformed(text: str) -> None:
    with pytest.raises(MalformedRequest):
        load_json(text)


@given(st.binary(), st.sampled_from([FORM, "application/json", "multipart/form-data; boundary=b"]))
def test_any_bytes_are_read_or_malformed(body: bytes, content_type: str) -> None:
    inbound = request(body, content_type)
    for read in (inbound.form, inbound.json, inbound.text):
        with suppress(MalformedRequest):
            read()
