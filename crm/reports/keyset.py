"""Paging by the last row shown: page 1000 costs what page 1 costs."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the moment and the id of its last row."""

    at: dt.datetime
    id: int

    def __str__(self) -> str:
        return f"{self.at.astimezone(dt.UTC):%Y%m%dT%H%M%S%f},{self.id}"


def read_place(text: str) -> Place | None:
    """The place written by ``str(place)``; None for anything else."""
    moment, _, number = text.partition(",")
    if not number.isdecimal() or len(number) > 12:  # noqa: PLR2004 no id is longer
        return None
    try:
        at = dt.datetime.strptime(moment, "%Y%m%dT%H%M%S%f").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return Place(at, int(number))


def after(moment: Any, number: Any, place: Place) -> ColumnElement[bool]:
    """Rows older than ``place`` in the order (moment, id), the newest first."""
    return and_(
        moment <= place.at, or_(moment < place.at, and_(moment == place.at, number < place.id))
    )


def before(moment: Any, number: Any, place: Place) -> ColumnElement[bool]:
    """Rows younger than ``place`` in the order (moment, id), the oldest first."""
    return and_(
        moment >= place.at, or_(moment > place.at, and_(moment == place.at, number > place.id))
    )
