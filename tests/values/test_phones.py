"""Numbers as people, sites and operators write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.values import phones
from crm.values.phones import PhoneFlag

NATIONAL = st.from_regex(r"[3489][0-9]{9}", fullmatch=True).filter(phones.e164)
FORMATS = (
    "+7{n}",
    "8{n}",
    "7{n}",
    "{n}",
    "+7 ({a}) {b}-{c}-{d}",
    "8 ({a}) {b}-{c}-{d}",
    "8-{a}-{b}-{c}-{d}",
    "+7 {a} {b} {c} {d}",
    "+7\u00a0{a}\u00a0{b}-{c}-{d}",
    " 8 {a}.{b}.{c}.{d} ",
    "tel:+7{n}",
    "sip:7{n}@sip.example.ru",
    "sip:7{n}@sip.example.ru:5060;transport=udp",
    "8 ({a}) {b}-{c}-{d} доб. 123",
    "+7{n},123",
    "00 7 {n}",
)


def written(pattern: str, national: str) -> str:
    return pattern.format(
        n=national, a=national[:3], b=national[3:6], c=national[6:8], d=national[8:]
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("8 (903) 123-45-67", "+79031234567"),
        ("+7 903 1234567", "+79031234567"),
        ("7-903-123-45-67", "+79031234567"),
        ("9031234567", "+79031234567"),
        ("+8 903 123-45-67", "+79031234567"),
        ("8 800 555-35-35", "+78005553535"),
        ("+375 29 123-45-67", "+375291234567"),
        ("375 29 123-45-67", "+375291234567"),
        ("00 49 30 1234567", "+49301234567"),
        ("8~10 49 30 1234567", "+49301234567"),
        ("+7 701 123 45 67", "+77011234567"),
        ("+84 91 234 56 78", "+84912345678"),
        ("９０３ １２３ ４５ ６７", "+79031234567"),
    ],
)
def test_it_reads_every_way_of_writing(raw: str, expected: str) -> None:
    phone = phones.parse(raw)
    assert phone is not None
    assert (phone.e164, phone.raw, phone.flag) == (expected, raw, None)


@pytest.mark.parametrize("raw", [None, "", "   ", "\t\n"])
def test_nothing_written_is_no_phone(raw: str | None) -> None:
    assert phones.parse(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        "101",
        "12",
        "нет телефона",
        "+71234567890",
        "89999999999",
        "1111111",
        "0123456789",
        "+70001234567",
    ],
)
def test_invented_numbers_are_kept_and_flagged_suspicious(raw: str) -> None:
    phone = phones.parse(raw)
    assert phone is not None
    assert (phone.e164, phone.raw, phone.flag) == (None, raw, PhoneFlag.SUSPICIOUS)


@pytest.mark.parametrize(
    "raw", ["123-45-67", "5031234567", "+7 903 123-45-6", "+1234567", "9" + "12" * 9]
)
def test_unreadable_numbers_are_kept_and_flagged_unrecognised(raw: str) -> None:
    phone = phones.parse(raw)
    assert phone is not None
    assert (phone.e164, phone.raw, phone.flag) == (None, raw, PhoneFlag.UNRECOGNISED)


@pytest.mark.parametrize(
    ("raw", "code", "expected"),
    [
        ("123-45-67", "495", "+74951234567"),
        ("123-45-67", "+7 495", "+74951234567"),
        ("123-45-67", "8 (495)", "+74951234567"),
        ("38-12-45", "8442", "+78442381245"),
        ("123-45-67", "8442", None),
    ],
)
def test_city_code_completes_a_local_number(raw: str, code: str, expected: str | None) -> None:
    phone = phones.parse(raw, code)
    assert phone is not None
    assert phone.e164 == expected


@pytest.mark.parametrize(
    "raw", ["8 903 123-45-67 доб. 12", "89031234567 ext 12", "+79031234567#12", "89031234567,12"]
)
def test_extension_is_kept_apart(raw: str) -> None:
    phone = phones.parse(raw)
    assert phone is not None
    assert (phone.e164, phone.extension) == ("+79031234567", "12")


def test_list_of_numbers_is_split_and_an_extension_stays_with_its_number() -> None:
    found = phones.parse_many("8 903 123-45-67,101; +7 495 765-43-21 / 8(812)2345678, 9161234567\n")
    assert [(phone.e164, phone.extension) for phone in found] == [
        ("+79031234567", "101"),
        ("+74957654321", None),
        ("+78122345678", None),
        ("+79161234567", None),
    ]
    assert phones.parse_many(None) == []


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("sip:79031234567@sip.example.ru", "79031234567"),
        ("tel:+79031234567", "79031234567"),
        ("89031234567", "79031234567"),
        ("9031234567", "79031234567"),
        ("79031234567...101", "79031234567"),
        ("+375291234567", "375291234567"),
        ("101", "101"),
        ("sip:user1@vpbx400000001.mangosip.ru", None),
        ("anonymous", None),
        ("", None),
        (None, None),
    ],
)
def test_digits_follow_the_rules_of_telephony(raw: str | None, expected: str | None) -> None:
    assert phones.digits(raw) == expected


def test_five_digits_or_fewer_are_internal() -> None:
    assert phones.is_internal("101")
    assert phones.is_internal("12345")
    assert not phones.is_internal("123456")
    assert not phones.is_internal(None)
    assert not phones.is_internal("")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("8 (903) 123-45-67", "9031234567"),
        ("+79031234567", "9031234567"),
        ("+7 903", "903"),
        ("8 (903", "903"),
        ("123-45", "12345"),
        ("tel:+79031234567", "9031234567"),
        ("00 49 30 1234567", "49301234567"),
        ("ул. Ленина 12", None),
        ("Иван", None),
        ("", None),
    ],
)
def test_search_digits_of_a_typed_text(typed: str, expected: str | None) -> None:
    assert phones.search_digits(typed) == expected


@pytest.mark.parametrize(
    ("value", "shown", "hidden"),
    [
        ("79123456789", "+7 912 345-67-89", "+7 912 ***-**-89"),
        ("8 (903) 123-45-67", "+7 903 123-45-67", "+7 903 ***-**-67"),
        ("+79031234567 доб. 12", "+7 903 123-45-67 доб. 12", "+7 903 ***-**-67"),
        ("+375291234567", "+375 29 123-45-67", "+375 29 ***-**-67"),
        ("101", "101", "101"),
        ("123-45-67", "123-45-67", "***"),
        ("Иван 555", "Иван 555", "***"),
        ("", "", ""),
        (None, "", ""),
    ],
)
def test_numbers_are_shown_and_hidden(value: str | None, shown: str, hidden: str) -> None:
    assert phones.pretty(value) == shown
    assert phones.masked(value) == hidden


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Здравствуйте! Мой номер 8 903 123-45-67, звоните", "+79031234567"),
        ("пишите на +7(495)1234567", "+74951234567"),
        ("9031234567 или 9161234567", "+79031234567"),
        ("сколько: 4 500 123 45 67 руб., тел 8-916-123-45-67", "+79161234567"),
        ("4501234567 ₽", None),
        ("₽ 4501234567", None),
        ("площадь 4501234567 м²", None),
        ("бюджет 9 031 234 567 тыс", None),
        ("кадастр 123456789012345", None),
        ("89999999999", None),
        ("", None),
        (None, None),
    ],
)
def test_number_in_free_text(text: str | None, expected: str | None) -> None:
    assert phones.in_text(text) == expected


def test_long_runs_do_not_slow_the_search_down() -> None:
    started = time.process_time()
    assert phones.in_text("8" + " " * 200_000) is None
    assert phones.in_text("9 " * 100_000) is None
    assert time.process_time() - started < 5


@given(NATIONAL, st.sampled_from(FORMATS))
def test_every_format_of_one_number_has_the_same_key(national: str, pattern: str) -> None:
    raw = written(pattern, national)
    assert phones.match_key(raw) == national
    assert phones.e164(raw) == "+7" + national


@given(NATIONAL)
def test_reading_is_idempotent(national: str) -> None:
    number = phones.digits(national)
    assert number is not None
    assert phones.digits(number) == number
    known = phones.e164(number)
    assert known is not None
    assert phones.e164(known) == known
    assert phones.e164(phones.pretty(known)) == known
    assert phones.search_digits(phones.pretty(known)) == phones.match_key(known)


@given(st.text(max_size=60))
def test_a_key_of_a_key_is_the_same_key(text: str) -> None:
    key = phones.match_key(text)
    assert phones.match_key(key) == key


@given(st.sampled_from(["375291234567", "49301234567", "12125550123", "84912345678", "4930123456"]))
def test_a_foreign_number_has_one_key_however_it_came(number: str) -> None:
    key = phones.match_key("+" + number)
    assert phones.match_key(number) == key
    assert phones.match_key("+" + number[:2] + " " + number[2:]) == key
    assert phones.match_key(phones.digits("+" + number) or "") == key


@given(st.one_of(st.text(), st.text(alphabet="+0789 ()-.,;/#@:добsiptel\n", max_size=40)))
def test_no_text_breaks_it(text: str) -> None:
    for phone in (phones.parse(text), *phones.parse_many(text, "495")):
        assert phone is None or (phone.e164 is None) == (phone.flag is not None)
    for function in (phones.digits, phones.e164, phones.search_digits, phones.in_text):
        function(text)
    assert isinstance(phones.pretty(text), str)
    assert isinstance(phones.masked(text), str)


@given(NATIONAL, st.sampled_from(FORMATS))
def test_a_masked_number_never_shows_its_middle(national: str, pattern: str) -> None:
    assert national[3:8] not in phones.masked(written(pattern, national)).replace("-", "")
