"""The agency's own sites: fields, charsets, limits, signature, origins, answers, tokens."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.leads import fields, site, tokens
from crm.integrations.leads.base import (
    IntakeSettings,
    LeadRejected,
    LeadScenario,
    LeadSubmission,
    Outcome,
    OutcomeKind,
    Trust,
    Utm,
)
from crm.integrations.leads.site import SiteChannel
from tests.integrations.leads.conformance import NOW, LeadChannelConformance

ROOT = Path(__file__).parents[3]
SAMPLES = Path(os.environ.get("KVARTAL_SAMPLES", ROOT.parent / "shared" / "samples")) / "leads"
FORM = "application/x-www-form-urlencoded"
CHANNEL = SiteChannel()
POINT = IntakeSettings(id=3, key="p" * 32, token_secret="tokens")
GUARDED = replace(POINT, allowed_domains=("example.org", "*.example.org", "квартал.рф"))
SIGNED = Trust(signed=True)
BROWSER = Trust(origin="https://example.org")
CREATED = Outcome(OutcomeKind.CREATED, 123)


def post(
    body: bytes | Mapping[str, object],
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    at: dt.datetime = NOW,
) -> InboundRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    told = {"Content-Type": content_type, **(headers or {})}
    return InboundRequest("POST", POINT.key, {}, told, raw, "203.0.113.5", at)


def form(data: Mapping[str, str], headers: Mapping[str, str] | None = None) -> InboundRequest:
    return post(urlencode(data).encode(), FORM, headers)


def parse(
    body: bytes | Mapping[str, object],
    content_type: str = "application/json",
    point: IntakeSettings = POINT,
    trust: Trust = BROWSER,
    **headers: str,
) -> LeadSubmission:
    return CHANNEL.parse(post(body, content_type, headers), point, trust)


def multipart(*parts: tuple[str, bytes]) -> bytes:
    joined = b"".join(
        b"--cut\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + text + b"\r\n"
        for head, text in parts
    )
    return joined + b"--cut--\r\n"


class TestConformance(LeadChannelConformance):
    channel = CHANNEL


# Fields


@pytest.mark.parametrize(
    ("label", "attribute"),
    [
        *((label, "name") for label in ("name", "FIO", "Full Name", "ФИО", "your-name", "Имя")),
        *((label, "comment") for label in ("Message", "comments[]", "Сообщение", "textarea")),
        *((label, "listing_ref") for label in ("listing_id", "object", "externalid", "Лот")),
        *((label, "external_id") for label in ("external_id", "lead_id", "tranid", "request-id")),
        *((label, "form_name") for label in ("form", "form_name", "formid")),
    ],
)
def test_labels_of_sites_are_understood(label: str, attribute: str) -> None:
    lead = parse({label: "Значение", "phone": "89162041735"})

    assert getattr(lead, attribute) == "Значение"
    assert not lead.extra


@pytest.mark.parametrize("label", ["phone", "Tel", "phone_number", "Телефон", "номер", "phones[]"])
def test_a_phone_is_normalised_under_any_label(label: str) -> None:
    assert [phone.e164 for phone in parse({label: "8 (916) 204-17-35"}).phones] == ["+79162041735"]


def test_several_phones_are_taken_from_one_field_and_from_several() -> None:
    lead = parse({"phone": "89162041735; +7 495 123-45-67", "tel": "8 916 204 17 35"})

    assert [phone.e164 for phone in lead.phones] == ["+79162041735", "+74951234567"]


def test_a_local_number_gets_the_city_code_of_the_point() -> None:
    lead = parse({"phone": "123-45-68"}, point=replace(POINT, city_code="343"))

    assert lead.phones[0].e164 == "+73431234568"


def test_a_phone_sent_as_a_json_number_keeps_its_digits() -> None:
    assert parse({"phone": 79162041735}).phones[0].e164 == "+79162041735"


def test_parts_of_a_name_are_joined_in_russian_order() -> None:
    assert parse({"first_name": "Анна", "last_name": "Ли", "patronymic": "Вановна"}).name == (
        "Ли Анна Вановна"
    )
    assert parse({"Имя": "Анна", "Фамилия": "Ли"}).name == "Ли Анна"


def test_a_whole_name_wins_over_parts_and_the_parts_stay() -> None:
    lead = parse({"name": "Анна Ли", "last_name": "Иванова"})

    assert lead.name == "Анна Ли"
    assert "Иванова" in lead.full_comment


def test_a_good_email_is_lowered_and_a_bad_one_becomes_words() -> None:
    assert parse({"e-mail": "Anna@Example.ORG"}).email == "anna@example.org"
    bad = parse({"E-mail": "anna@localhost"})
    assert bad.email == ""
    assert bad.full_comment == "E-mail: anna@localhost"


def test_unknown_and_nested_fields_become_words() -> None:
    lead = parse(
        {
            "comment": "Здравствуйте",
            "Бюджет": 12500000,
            "flat": {"rooms": 2, "floors": [3, 4], "plans": [{"id": 7}]},
            "ипотека": True,
            "empty": None,
        }
    )

    assert lead.extra == {
        "Бюджет": "12500000",
        "flat.rooms": "2",
        "flat.floors": "3; 4",
        "flat.plans.0.id": "7",
        "ипотека": "true",
    }
    assert lead.full_comment.startswith("Здравствуйте\nБюджет: 12500000\n")


def test_aliases_of_the_point_win_over_the_common_ones() -> None:
    point = replace(POINT, aliases={"contact.phone": "phone", "Имя": "comment"})
    lead = parse({"contact": {"phone": "89162041735"}, "имя": "Позвоните"}, point=point)

    assert lead.phones[0].e164 == "+79162041735"
    assert (lead.name, lead.comment) == ("", "Позвоните")


def test_our_own_spelling_wins_over_an_alias_and_nothing_is_lost() -> None:
    lead = parse({"fio": "Второй", "name": "Первый"})

    assert lead.name == "Первый"
    assert lead.extra == {"fio": "Второй"}


def test_deal_types_outside_the_list_become_words() -> None:
    assert parse({"action": "BUY", "name": "А"}).deal_type == "buy"
    odd = parse({"action": "dance", "name": "А"})
    assert (odd.deal_type, odd.extra) == ("", {"deal_type": "dance"})


@pytest.mark.parametrize("value", ["1", "true", "Yes", "on", "Да"])
def test_consent_is_understood(value: str) -> None:
    assert parse({"Согласие на обработку": value, "name": "А"}).consent is True


def test_consent_refused_absent_or_unclear() -> None:
    assert parse({"agree": "0", "name": "А"}).consent is False
    assert parse({"name": "А"}).consent is None
    unclear = parse({"policy": "редакция 3", "name": "А"})
    assert (unclear.consent, unclear.extra) == (False, {"policy": "редакция 3"})


def test_responsible_and_source_are_taken_only_where_the_point_allows_it() -> None:
    body = {"name": "А", "manager": "Head@Example.org", "source_id": "17"}
    refused = parse(body)
    taken = parse(body, point=replace(POINT, allow_responsible=True, allow_source=True))

    assert (refused.responsible_email, refused.source_id) == ("", None)
    assert refused.extra == {"manager": "Head@Example.org", "source_id": "17"}
    assert (taken.responsible_email, taken.source_id) == ("head@example.org", 17)


@pytest.mark.parametrize(
    "value", ["2026-11-20T12:00:00+03:00", "2026-11-20T09:00:00", "1795165200"]
)
def test_a_signed_sender_may_date_a_request(value: str) -> None:
    lead = parse({"name": "А", "created_at": value}, trust=SIGNED)

    assert lead.created_at == dt.datetime(2026, 11, 20, 9, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "value",
    ["2026-08-01", "2027-01-01", "вчера", "9" * 30, "999999999999", "0001-01-01T00:00+14:00"],
)
def test_a_date_too_old_future_or_unreadable_becomes_words(value: str) -> None:
    lead = parse({"name": "А", "date": value}, trust=SIGNED)

    assert lead.created_at is None
    assert value in lead.full_comment
    assert lead.truncated


def test_a_browser_may_not_date_a_request() -> None:
    lead = parse({"name": "А", "date": "2026-11-20"})

    assert (lead.created_at, lead.extra) == (None, {"date": "2026-11-20"})


def test_the_honeypot_is_seen_and_not_kept() -> None:
    assert parse({"name": "А", "website": "http://spam.example"}).honeypot_filled
    assert not parse({"name": "А", "website": ""}).honeypot_filled
    renamed = replace(POINT, honeypot="second_phone")
    assert parse({"name": "А", "second-phone": "1"}, point=renamed).honeypot_filled


def test_service_values_do_not_make_a_request() -> None:
    body = {"page_url": "https://example.org", "utm_source": "ya", "_t": "x", "screen": "1280"}

    with pytest.raises(LeadRejected) as caught:
        parse(body)

    assert (caught.value.status, caught.value.code) == (422, "empty")
    assert caught.value.fields


def test_secret_fields_are_not_kept() -> None:
    lead = parse({"name": "А", "csrf_token": "abcdef", "Password": "qwerty", "COOKIES": "a=1"})

    assert "abcdef" not in f"{lead.full_comment} {lead.raw}"
    assert "qwerty" not in f"{lead.full_comment} {lead.raw}"
    assert len(lead.truncated) == 3


def test_characters_no_database_takes_are_cleaned() -> None:
    lead = parse(b'{"name": "A\\u0000\\ud83d", "comment": "1\\r\\n2\\u0007"}')

    assert lead.name == "A\ufffd"
    assert lead.comment == "1\n2"


# Page and marks


@pytest.mark.parametrize("page", ["javascript:alert(1)", "/flats/17", "file:///etc/passwd", "дом"])
def test_only_web_addresses_are_pages(page: str) -> None:
    lead = parse({"name": "А", "page": page})

    assert lead.page_url == ""
    assert lead.extra == {"page_url": page}


def test_the_page_is_the_referer_header_when_no_field_names_it() -> None:
    lead = parse({"name": "А"}, Referer="https://example.org/a?utm_source=vk&yclid=77")

    assert lead.page_url == "https://example.org/a?utm_source=vk&yclid=77"
    assert (lead.utm.source, lead.click_ids) == ("vk", {"yclid": "77"})


def test_marks_come_from_the_form_then_the_page_then_the_referrer_as_a_whole() -> None:
    body = {
        "name": "А",
        "utm_source": "yandex",
        "page_url": "https://example.org/?utm_source=vk&utm_medium=social",
        "referrer": "https://ya.ru/?utm_source=ref",
    }
    assert parse(body).utm == Utm("yandex")
    del body["utm_source"]
    assert parse(body).utm == Utm("vk", "social")
    body["page_url"] = "https://example.org/"
    assert parse(body).utm == Utm("ref")


def test_marks_of_a_page_are_decoded() -> None:
    page = "https://example.org/?utm_campaign=%D0%B2%D0%B5%D1%81%D0%BD%D0%B0+2026&utm_term=a%2Bb"

    assert parse({"name": "А", "page": page}).utm == Utm(campaign="весна 2026", term="a+b")


def test_utm_names_are_exact() -> None:
    lead = parse({"name": "А", "UTM-Source": "x"})

    assert not lead.utm
    assert lead.extra == {"UTM-Source": "x"}


def test_first_touch_and_client_ids_are_kept() -> None:
    lead = parse(
        {
            "name": "А",
            "first_utm_source": "vk",
            "_ym_uid": "1699",
            "clientId": "12.34",
            "gclid": "g",
        }
    )

    assert lead.first_utm == Utm("vk")
    assert lead.click_ids == {"ym_client_id": "1699", "ga_client_id": "12.34", "gclid": "g"}


# Bodies


def test_a_form_in_windows_1251_is_read_when_it_says_so() -> None:
    body = urlencode({"имя": "Пётр", "phone": "89162041735"}, encoding="cp1251").encode()

    assert parse(body, f"{FORM}; charset=windows-1251").name == "Пётр"
    with pytest.raises(MalformedRequest):
        parse(body, FORM)


def test_raw_bytes_in_a_form_are_read_too() -> None:
    assert parse("name=Пётр+Ильин".encode(), FORM).name == "Пётр Ильин"


def test_a_multipart_form_keeps_its_fields_and_refuses_files() -> None:
    body = multipart(
        ('name="name"', "Пётр".encode()),
        ('name="phone"', b"89162041735"),
        ('name="plan"; filename="plan.pdf"', b"%PDF"),
        ('name="empty"; filename=""', b""),
    )
    lead = parse(body, "multipart/form-data; boundary=cut")

    assert (lead.name, lead.phones[0].e164) == ("Пётр", "+79162041735")
    assert lead.truncated == ("файл «plan.pdf» не принят",)


def test_a_multipart_part_may_declare_windows_1251() -> None:
    head = 'name="name"\r\nContent-Type: text/plain; charset=windows-1251'
    body = multipart((head, "Пётр".encode("cp1251")))

    assert parse(body, "multipart/form-data; boundary=cut").name == "Пётр"


def test_a_body_without_a_type_is_guessed() -> None:
    assert parse(b' {"name": "A"}', "").name == "A"
    assert parse(b"name=A", "").name == "A"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"name": "' + b"x" * (256 * 1024) + b'"}', 413),
        (json.dumps({f"f{n}": "1" for n in range(101)}).encode(), 413),
    ],
)
def test_too_much_is_refused(body: bytes, status: int) -> None:
    with pytest.raises(LeadRejected) as caught:
        parse(body)

    assert caught.value.status == status


def test_too_many_multipart_parts_are_refused() -> None:
    body = multipart(*((f'name="f{number}"', b"1") for number in range(101)))

    with pytest.raises(LeadRejected) as caught:
        parse(body, "multipart/form-data; boundary=cut")

    assert caught.value.status == 413


def test_a_hundred_fields_are_taken() -> None:
    assert len(parse({f"f{number}": "1" for number in range(100)}).extra) == 100


def test_long_values_are_cut_with_a_mark() -> None:
    lead = parse({"comment": "я" * 10_001, "name": "ю" * 300, "utm_source": "s" * 256})

    assert len(lead.comment) == 10_000
    assert lead.comment.endswith("…")
    assert len(lead.name) == len(lead.utm.source) == 255
    assert len(lead.truncated) == 3


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"nul", b'{"a": {"b": ' * 9 + b"1" + b"}}" * 9])
def test_json_must_be_a_shallow_object(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(body)


def test_other_media_types_are_refused() -> None:
    with pytest.raises(LeadRejected) as caught:
        parse(b"<a/>", "text/xml")

    assert caught.value.status == 415


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=60), max_size=8))
def test_any_form_of_text_is_read_and_nothing_readable_is_lost(data: dict[str, str]) -> None:
    request = post(json.dumps({"comment": "слова", **data}).encode())

    lead = CHANNEL.parse(request, POINT, BROWSER)

    f"{lead.full_comment}{lead.raw}{lead.name}".encode()
    assert "\x00" not in f"{lead.full_comment}{lead.raw}{lead.name}{lead.external_id}"


@pytest.mark.parametrize("name", ["tilda_form_urlencoded.txt", "tilda_test_request.txt"])
def test_real_forms_are_read(name: str) -> None:
    if not SAMPLES.is_dir():
        pytest.skip("the samples are not on this machine")
    body = (SAMPLES / name).read_bytes()

    lead = parse(body, FORM)

    if name.startswith("tilda_form"):
        assert lead.phones[0].e164 == "+79991112233"
        assert lead.external_id
        assert "tildauid" not in f"{lead.full_comment}{lead.raw}"
    else:
        assert lead.extra == {"test": "test"}


# Signature and origin

VECTOR_BODY = (
    '{"name":"Иван Петров","phone":"+7 (903) 123-45-67","comment":"2-комнатная",'
    '"page_url":"https://example.ru/flat/17?utm_source=yandex"}'
).encode()
VECTOR = "sha256=fbd8defc20d56de88c0aae60d9150e7bc429f73c7b3d6e784cfdc35794966f57"
VECTOR_TIME = dt.datetime.fromtimestamp(1700000000, dt.UTC)
VECTOR_POINT = replace(GUARDED, secret="site-form-secret-42", require_signature=True)


def signed(signature: str = VECTOR, timestamp: str = "1700000000", **more: str) -> InboundRequest:
    headers = {"X-Intake-Timestamp": timestamp, "X-Intake-Signature": signature, **more}
    return post(VECTOR_BODY, headers=headers, at=VECTOR_TIME)


def test_the_published_signature_is_accepted() -> None:
    assert site.sign("site-form-secret-42", 1700000000, VECTOR_BODY) == VECTOR
    assert CHANNEL.authenticate(signed(), VECTOR_POINT, VECTOR_TIME) == Trust(True, None)


def test_a_signature_is_accepted_from_any_origin() -> None:
    trust = CHANNEL.authenticate(signed(Origin="https://other.example"), VECTOR_POINT, VECTOR_TIME)

    assert trust.signed


@pytest.mark.parametrize("seconds", [-300, 300])
def test_the_signature_lives_five_minutes(seconds: int) -> None:
    inside = VECTOR_TIME + dt.timedelta(seconds=seconds)
    outside = VECTOR_TIME + dt.timedelta(seconds=seconds * 1.01)

    assert CHANNEL.authenticate(signed(), VECTOR_POINT, inside).signed
    with pytest.raises(LeadRejected):
        CHANNEL.authenticate(signed(), VECTOR_POINT, outside)


@pytest.mark.parametrize(
    ("signature", "timestamp"),
    [
        (VECTOR[:-1] + "8", "1700000000"),
        (VECTOR.removeprefix("sha256="), "1700000000"),
        ("sha256=ж", "1700000000"),
        (VECTOR, "1700000001"),
        (VECTOR, ""),
        (VECTOR, "сейчас"),
        (VECTOR, "9" * 400),
        ("", ""),
    ],
)
def test_a_wrong_signature_is_refused(signature: str, timestamp: str) -> None:
    with pytest.raises(LeadRejected) as caught:
        CHANNEL.authenticate(signed(signature, timestamp), VECTOR_POINT, VECTOR_TIME)

    assert (caught.value.status, caught.value.code) == (401, "bad_signature")


def test_a_wrong_signature_is_refused_even_where_none_is_demanded() -> None:
    lax = replace(VECTOR_POINT, require_signature=False)

    with pytest.raises(LeadRejected):
        CHANNEL.authenticate(signed("sha256=0"), lax, VECTOR_TIME)
    assert not CHANNEL.authenticate(post({"name": "А"}), lax, NOW).signed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://example.org", True),
        ("https://example.org:8443", True),
        ("https://a.b.example.org", True),
        ("https://xn--80aaahi2bij.xn--p1ai", False),
        ("https://www.xn--80aae6ahnh.xn--p1ai", False),
        ("https://badexample.org", False),
        ("https://example.org.evil.com", False),
        ("null", False),
        ("https://example.org\r\nX: 1", False),
        ("ftp://example.org", False),
    ],
)
def test_origins_are_compared_by_host(origin: str, allowed: bool) -> None:
    headers = site.cors_headers(origin, GUARDED)

    assert headers["Vary"] == "Origin"
    assert (headers.get("Access-Control-Allow-Origin") == origin) is allowed
    assert "Access-Control-Allow-Credentials" not in headers
    request = post({"name": "А"}, headers={"Origin": origin})
    if allowed:
        assert CHANNEL.authenticate(request, GUARDED, NOW) == Trust(False, origin)
    else:
        with pytest.raises(LeadRejected) as caught:
            CHANNEL.authenticate(request, GUARDED, NOW)
        assert (caught.value.status, caught.value.code) == (403, "origin_not_allowed")


def test_a_cyrillic_domain_is_compared_in_punycode() -> None:
    origin = "https://" + "квартал.рф".encode("idna").decode()

    assert site.cors_headers(origin, GUARDED)["Access-Control-Allow-Origin"] == origin


def test_a_star_means_subdomains_only() -> None:
    stars = replace(POINT, allowed_domains=("*.example.org",))

    assert site.origin_allowed("https://a.example.org", stars)
    assert not site.origin_allowed("https://example.org", stars)


@pytest.mark.parametrize("origin", ["https://anything.example", "null"])
def test_an_empty_list_allows_any_origin_without_a_star(origin: str) -> None:
    assert site.cors_headers(origin, POINT)["Access-Control-Allow-Origin"] == origin


def test_a_request_without_origin_is_not_a_browser() -> None:
    assert CHANNEL.authenticate(post({"name": "А"}), GUARDED, NOW) == Trust()


def test_preflight_answers_with_the_methods() -> None:
    request = post(b"", headers={"Origin": "https://example.org"})
    reply = site.preflight(request, GUARDED)

    assert reply.status == 204
    assert reply.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    assert reply.headers["Access-Control-Allow-Headers"] == "Content-Type, Idempotency-Key"
    assert reply.headers["Access-Control-Max-Age"] == "86400"


# Delivery key and doubles


def key(request: InboundRequest) -> str:
    return CHANNEL.delivery_key(request, POINT)


def test_the_header_names_the_delivery_above_all() -> None:
    first = post({"name": "А"}, headers={"Idempotency-Key": "k1"})
    other_body = post({"name": "Б", "external_id": "7"}, headers={"idempotency-key": "k1"})

    assert key(first) == key(other_body)
    assert CHANNEL.parse(other_body, POINT).external_id == "k1"


def test_an_external_id_names_the_delivery_for_ever() -> None:
    later = NOW + dt.timedelta(days=40)

    assert key(post({"lead_id": "7", "name": "А"})) == key(post({"leadid": "7"}, at=later))
    assert key(post({"lead_id": "7"})) != key(post({"lead_id": "8"}))


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "7"}])
def test_a_stranger_cannot_use_up_the_numbers_of_a_server(headers: dict[str, str]) -> None:
    point = replace(POINT, secret="site-form-secret-42")
    strange = post({"external_id": "7", "name": "Спам"}, headers=headers)
    proof = site.signature_headers(point, NOW, strange.body)
    server = replace(strange, headers={**strange.headers, **proof})
    forged = replace(
        strange, headers={**strange.headers, **proof, "X-Intake-Signature": "sha256=0"}
    )
    keys = [CHANNEL.delivery_key(request, point) for request in (strange, server, forged)]
    assert keys[0] == keys[2] != keys[1]
    assert len(keys[1]) <= 128


def test_the_same_form_is_one_delivery_within_its_window_only() -> None:
    first = form({"name": "А", "phone": "1", "_t": "one", "screen": "1280"})
    second = form({"phone": "1", "name": "А", "_t": "two"})

    assert key(first) == key(second)
    assert key(first) != key(replace(second, received_at=NOW + dt.timedelta(minutes=10)))


def test_doubles_share_contact_point_and_words() -> None:
    first = parse({"phone": "8 916 204-17-35", "comment": "Хочу  квартиру"})
    second = parse({"tel": "+79162041735", "message": "хочу квартиру"})

    assert first.double_key(3) == second.double_key(3) is not None
    assert first.double_key(3) != first.double_key(4)
    assert parse({"comment": "Хочу квартиру"}).double_key(3) is None


# Answers


def answer(reply: Reply) -> dict[str, object]:
    return dict(json.loads(reply.body))


@pytest.mark.parametrize(
    ("kind", "trust", "status", "expected"),
    [
        (OutcomeKind.CREATED, SIGNED, 201, {"ok": True, "id": 123, "duplicate": False}),
        (OutcomeKind.DUPLICATE, SIGNED, 200, {"ok": True, "id": 123, "duplicate": True}),
        (OutcomeKind.SPAM, SIGNED, 202, {"ok": True}),
        (OutcomeKind.CREATED, BROWSER, 201, {"ok": True, "duplicate": False}),
        (OutcomeKind.DUPLICATE, BROWSER, 200, {"ok": True, "duplicate": True}),
        (OutcomeKind.SPAM, BROWSER, 202, {"ok": True}),
    ],
)
def test_answers_follow_the_table(
    kind: OutcomeKind, trust: Trust, status: int, expected: dict[str, object]
) -> None:
    request = post({"name": "А"}, headers={"Origin": "https://example.org"})
    reply = CHANNEL.reply(request, GUARDED, trust, Outcome(kind, 123))

    assert (reply.status, answer(reply)) == (status, expected)
    assert reply.headers["Access-Control-Allow-Origin"] == "https://example.org"


def test_refusals_follow_the_table() -> None:
    request = post({"name": "А"})
    empty = CHANNEL.refuse(request, POINT, LeadRejected(422, "empty", {"phone": "Укажите"}))

    assert (empty.status, answer(empty)["error"]) == (422, "empty")
    assert answer(empty)["fields"] == {"phone": "Укажите"}
    assert (site.not_found().status, answer(site.not_found())["error"]) == (404, "not_found")
    assert site.method_not_allowed().headers["Allow"] == "POST, OPTIONS"
    assert site.too_many(request, POINT, 60).headers["Retry-After"] == "60"
    assert site.too_many(request, POINT, 60).status == 429
    assert site.unavailable(request).status == 503
    assert site.malformed(request, POINT, MalformedRequest("плохо")).status == 400


def redirected(url: str, point: IntakeSettings = GUARDED) -> Reply:
    return CHANNEL.reply(form({"name": "А", "redirect": url}), point, BROWSER, CREATED)


def test_a_plain_form_is_sent_back_to_an_allowed_page() -> None:
    reply = redirected("https://example.org/спасибо?a=1")

    assert reply.status == 303
    assert reply.headers["Location"].startswith("https://example.org/%D1%81")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.com/",
        "//evil.com",
        "/local",
        "javascript:alert(1)",
        "https://example.org@evil.com/",
        "https://evil.com\\@example.org/",
        "https://example.org\r\nSet-Cookie: a=1",
        "https://[",
    ],
)
def test_nobody_is_led_to_a_foreign_page(url: str) -> None:
    assert redirected(url).status == 201


def test_without_a_list_or_from_a_script_there_is_no_redirect() -> None:
    body = {"name": "А", "redirect": "https://example.org/"}
    script = form(body, {"Accept": "application/json"})

    assert redirected("https://example.org/", POINT).status == 201
    assert CHANNEL.reply(script, GUARDED, BROWSER, CREATED).status == 201
    assert CHANNEL.reply(post(body), GUARDED, BROWSER, CREATED).status == 201


# Tokens of the time trap


def test_a_token_tells_its_age() -> None:
    token = tokens.issue(POINT, NOW)

    assert tokens.age(token, POINT, NOW + dt.timedelta(seconds=90)) == 90


@pytest.mark.parametrize("token", ["", "AAAA", "ж", "=", "A" * 32, "!" * 32, "A" * 5000])
def test_a_strange_token_has_no_age(token: str) -> None:
    assert tokens.age(token, POINT, NOW) is None


def test_a_token_of_another_point_or_with_a_changed_time_has_no_age() -> None:
    token = tokens.issue(POINT, NOW)

    assert tokens.age(token, replace(POINT, key="other"), NOW) is None
    assert tokens.age(token, replace(POINT, token_secret="other"), NOW) is None
    assert tokens.age("B" + token[1:], POINT, NOW) is None


def test_a_point_without_a_token_secret_has_no_tokens() -> None:
    bare = replace(POINT, token_secret="")

    assert tokens.age(tokens.issue(POINT, NOW), bare, NOW) is None
    with pytest.raises(ValueError, match="token secret"):
        tokens.issue(bare, NOW)
    with pytest.raises(LeadRejected) as caught:
        site.token_reply(post(b""), bare, NOW)
    assert caught.value.status == 404


def test_the_token_endpoint_serves_allowed_pages_only() -> None:
    request = post(b"", headers={"Origin": "https://example.org"})
    reply = site.token_reply(request, GUARDED, NOW)

    assert tokens.age(str(answer(reply)["token"]), GUARDED, NOW) == 0
    assert reply.headers["Cache-Control"] == "no-store"
    with pytest.raises(LeadRejected):
        site.token_reply(post(b"", headers={"Origin": "https://evil.com"}), GUARDED, NOW)


def test_a_simulated_request_carries_marks_in_its_page() -> None:
    simulated = CHANNEL.simulate(LeadScenario(utm=Utm("vk", "", "лето")), POINT, NOW)
    page = json.loads(simulated.body)["page_url"]

    assert page.endswith("?utm_source=vk&utm_campaign=%D0%BB%D0%B5%D1%82%D0%BE")
    assert "X-Intake-Signature" not in simulated.headers


def test_every_alias_leads_to_one_field() -> None:
    spelled = [
        fields.label_key(alias)
        for name, aliases in fields._ALIASES.items()
        for alias in (name, *aliases)
    ]
    twice = {label for label in spelled if spelled.count(label) > 1}

    assert twice == {"externalid"}


def test_the_snippet_is_small_and_asks_nobody_else() -> None:
    script = (ROOT / "static" / "intake.js").read_text(encoding="utf-8")

    assert len(script.encode()) < 5000
    assert script.count("https://") == 1, "only the example in its head"
    for newer in ("=>", "const ", "let ", "`", "async function"):
        assert newer not in script
