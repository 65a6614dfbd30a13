"""Tables as text that spreadsheets of Russian offices open well."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

# The mark at the beginning lets Excel read Cyrillic.
MARK = "\ufeff"
# A cell that begins so is a formula for a spreadsheet; some read the wide signs of Asia alike.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def line(values: Iterable[Any]) -> str:
    """One row, with its end; texts that a spreadsheet would compute are disarmed."""
    buffer = io.StringIO()
    shown = ["" if value is None else _safe(value) for value in values]
    csv.writer(buffer, delimiter=";").writerow(shown)
    return buffer.getvalue()


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
