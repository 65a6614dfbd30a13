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
