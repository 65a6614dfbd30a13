"""Tables for spreadsheets: what a client writes is never computed."""

from __future__ import annotations

import csv
import io

import pytest

from crm.views import csv_text


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_a_formula_is_disarmed(sign: str) -> None:
    [row] = csv.reader(io.StringIO(csv_text.line([f"{sign}cmd|x", "a;=b", 'q"'])), delimiter=";")
    assert row == [f"'{sign}cmd|x", "a;=b", 'q"']


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    assert csv_text.line([-5, 1.5, None, ""]) == "-5;1.5;;\r\n"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("+7 912 345-67-89", "+7 912 345-67-89"),
        ("+7 812 640-11-02 доб. 104", "+7 812 640-11-02 доб. 104"),
        ("+7 903 ***-**-67", "+7 903 ***-**-67"),
        ("+79123456789", "'+79123456789"),
        ("+7 912 345-67-89+cmd", "'+7 912 345-67-89+cmd"),
        ("+1+1", "'+1+1"),
        ("+7 1-A1", "'+7 1-A1"),
    ],
)
def test_a_number_as_people_write_it_needs_no_apostrophe(text: str, cell: str) -> None:
    assert csv_text.line([text, 1]) == f"{cell};1\r\n"
