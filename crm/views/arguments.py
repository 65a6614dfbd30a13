"""Reading of filters from the address: what cannot be read narrows nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from urllib.parse import urlencode

from flask import request
from werkzeug.datastructures import MultiDict
from werkzeug.routing import IntegerConverter, Map, UnicodeConverter
from werkzeug.urls import iri_to_uri

from crm.reports.keyset import Place, read_place

_LARGEST_ID = 2**31 - 1


class RowNumber(IntegerConverter):
    """``<int:…>`` in a path: a number that no column holds is no address of ours (404)."""

    regex = r"\d{1,10}"

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map, max=_LARGEST_ID)


class Text(UnicodeConverter):
    """``<string:…>`` in a path: with a zero character, which no database takes, it is 404."""

    def __init__(self, url_map: Map, **limits: int) -> None:
        super().__init__(url_map, **limits)
        self.regex = self.regex.replace("[^/]", "[^/\\x00]")


def number(name: str) -> int | None:
    """An id."""
    text = request.args.get(name, "")
    if not text.isdecimal() or not 0 < int(text[:12]) <= _LARGEST_ID:
        return None
    return int(text)


def choice(name: str, allowed: Collection[str], default: str = "") -> str:
    """One of the allowed words."""
    text = request.args.get(name, "")
    return text if text in allowed else default


def text(name: str, length: int = 100) -> str:
    """A text without signs that a database refuses."""
    return request.args.get(name, "").replace("\x00", "").strip()[:length]


def day(name: str) -> dt.date | None:
    """A calendar day, ``2026-11-23``."""
    try:
        return dt.date.fromisoformat(request.args.get(name, "")[:10])
    except ValueError:
        return None


def place(name: str = "after") -> Place | None:
    """Where the page before ended."""
    return read_place(request.args.get(name, "")[:60])


def link(**changes: str | int | None) -> str:
    """The same page with some arguments changed (None takes one away); paging starts anew."""
    arguments = MultiDict(request.args)
    arguments.pop("after", None)
    for name, value in changes.items():
        arguments.poplist(name)
        if value not in (None, ""):
            arguments[name] = str(value)
    query = urlencode(list(arguments.items(multi=True)))
    return iri_to_uri(request.path) + (f"?{query}" if query else "")
