"""Reading of JSON bodies: halves of a character, which no database keeps, are replaced."""

from __future__ import annotations

import json
from typing import Any

from flask.json.provider import DefaultJSONProvider


class PlainJson(DefaultJSONProvider):
    """Flask's JSON, whose texts can always be written as UTF-8."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """As Flask's; a lone surrogate becomes «?». Raises ValueError, RecursionError aside."""
        try:
            value = super().loads(s, **kwargs)
            if not _may_hold_halves(s):
                return value
            text = json.dumps(value, ensure_ascii=False)
            return super().loads(text.encode("utf-8", "replace"), **kwargs)
        except RecursionError as error:
            raise ValueError("nested too deep") from error


def _may_hold_halves(body: str | bytes) -> bool:
    if isinstance(body, bytes):
        return b"\\ud" in body.lower()
    return "\\ud" in body.lower() or not body.isascii()
