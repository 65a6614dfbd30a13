"""What the parts of the loader share: chance, the present moment, and what was made."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import insert

from crm.models import Model, db
from crm.values.clock import utc_now

CHUNK = 1_000
SEED = 20261124


@dataclass(slots=True)
class Person:
    """An employee as the story needs him."""

    id: int
    login: str
    department_id: int | None
    extension: str | None


@dataclass(slots=True)
class Track:
    """A pipeline's stages by what they mean to the story."""

    pipeline_id: int
    working: list[Any]
    success: Any
    refusal: Any
    non_target: Any
    archive: Any
    deferred: Any | None


@dataclass
class World:
    """State of one load. ``scale`` 1.0 makes the whole agency."""

    scale: float = 1.0
    rnd: random.Random = field(default_factory=lambda: random.Random(SEED))
    now: dt.datetime = field(default_factory=lambda: utc_now().replace(microsecond=0))
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Europe/Moscow"))
    made: dict[str, list[int]] = field(default_factory=dict)
    people: list[Person] = field(default_factory=list)
    sellers: list[Person] = field(default_factory=list)
    departments: dict[str, int] = field(default_factory=dict)
    buyers: Track | None = None
    owners: Track | None = None
    sources: list[Any] = field(default_factory=list)
    loss_reasons: list[int] = field(default_factory=list)
    connection_id: int = 0
    intake_id: int = 0
    recordings: list[tuple[int, int]] = field(default_factory=list)
    line: str = "78120000100"
    phone_serial: int = 0

    def count(self, full: int) -> int:
        """``full`` at scale 1.0, at least one."""
        return max(1, round(full * self.scale))

    def insert(self, model: type[Model], rows: Sequence[dict[str, Any]]) -> list[int]:
        """Bulk insert; ids in the order of ``rows``, remembered for removal."""
        ids: list[int] = []
        for start in range(0, len(rows), CHUNK):
            statement = insert(model).returning(model.id, sort_by_parameter_order=True)
            ids += db.session.scalars(statement, list(rows[start : start + CHUNK]))
        self.remember(model, ids)
        return ids

    def add(self, *objects: Model) -> None:
        """Store objects one by one (few rows, with relations)."""
        for obj in objects:
            db.session.add(obj)
            db.session.flush()
            self.remember(type(obj), [obj.id])

    def remember(self, model: type[Model], ids: Sequence[int]) -> None:
        """Note that these rows are the demo's."""
        self.made.setdefault(model.__tablename__, []).extend(ids)

    def working_moment(self, days_ago: float) -> dt.datetime:
        """A moment of a working day about ``days_ago`` days before now, in UTC."""
        day = (self.now - dt.timedelta(days=days_ago)).astimezone(self.zone)
        if day.weekday() == 6:
            day -= dt.timedelta(days=self.rnd.randint(1, 6))
        local = day.replace(
            hour=self.rnd.randint(9, 19),
            minute=self.rnd.randrange(60),
            second=self.rnd.randrange(60),
            microsecond=0,
        )
        moment = local.astimezone(dt.UTC)
        late = self.now - dt.timedelta(minutes=self.rnd.randint(5, 90))
        return min(moment, late)

    def daytime(self, moment: dt.datetime) -> dt.datetime:
        """The moment, or an hour of the same day at which people work."""
        local = moment.astimezone(self.zone).replace(microsecond=0)
        if not 9 <= local.hour < 20:
            local = local.replace(hour=self.rnd.randint(9, 19))
        return local.astimezone(dt.UTC)

    def seller_of(self, kind: str) -> Person:
        """Who works with such property: «country», «new_flat», anything else."""
        login = {"country": "manager4", "new_flat": "manager3"}.get(kind)
        rest = [person for person in self.sellers if person.login not in ("manager3", "manager4")]
        known = [person for person in self.sellers if person.login == login]
        return self.rnd.choice(known or rest)

    def phone(self) -> str:
        """A number nobody else in the demo has; the zeros after its code say that it is invented."""
        self.phone_serial += 1
        return f"+7{self.rnd.choice((911, 921, 931, 952, 981))}{self.phone_serial:07d}"


def ranges(ids: Sequence[int]) -> list[list[int]]:
    """Inclusive ranges of sorted ids: thousands of rows in a few pairs."""
    packed: list[list[int]] = []
    for number in sorted(set(ids)):
        if packed and packed[-1][1] == number - 1:
            packed[-1][1] = number
        else:
            packed.append([number, number])
    return packed
