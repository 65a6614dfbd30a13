"""Tables as text that spreadsheets of Russian offices open well."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

# The mark at the beginning lets Excel read Cyrillic.
MARK = "\ufeff"
# A cell that begins so is a formula for a spreadsheet; some read the wide signs of Asia alike.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

# A telephone number as people write it. Its gaps make it no sum, and an apostrophe before it would
# go into every phone book the file is taken to.
_PHONE = re.compile(r"\+\d{1,3}[ \u00a0]\d[\d \u00a0*-]{4,22}\d(?: доб\. \d{1,8})?")


def line(values: Iterable[Any]) -> str:
    """One row, with its end; texts that a spreadsheet would compute are disarmed."""
    buffer = io.StringIO()
    shown = ["" if value is None else _safe(value) for value in values]
    csv.writer(buffer, delimiter=";").writerow(shown)
    return buffer.getvalue()


def _safe(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _PHONE.fullmatch(value):
        return value
    return f"'{value}"
