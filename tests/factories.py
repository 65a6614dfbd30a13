"""Short ways to put rows into the database for a test."""

from __future__ import annotations

import itertools
from typing import Any

from crm.models import (
    Contact,
    ContactPhone,
    Deal,
    Employee,
    Listing,
    ListingState,
    Pipeline,
    Source,
    Stage,
    Task,
    db,
)
from crm.values import phones
from crm.values.clock import utc_now

_numbers = itertools.count(1000000)


class Factory:
    """Rows with sensible defaults; every argument can be given."""

    def __init__(self, people: dict[str, Employee], pipeline: Pipeline) -> None:
        self.people = people
        self.pipeline = pipeline

    def stage(self, index: int = 0) -> Stage:
        """Stage of the default pipeline by its place."""
        return self.pipeline.stages[index]

    def contact(
        self, name: str = "Анна Лебедева", phone: str | None = None, **values: Any
    ) -> Contact:
        number = phones.e164(phone or f"+7912{next(_numbers)}") or ""
        key = phones.match_key(number)
        contact = Contact(name=name, **values)
        contact.phones = [ContactPhone(number=number, key=key, key_reversed=key[::-1])]
        return self._store(contact)

    def source(self, name: str = "Авито", **values: Any) -> Source:
        return self._store(Source(name=name, **values))

    def deal(self, owner: str | None = "manager", stage: int | Stage = 0, **values: Any) -> Deal:
        """A saved deal of ``owner`` on a stage of the default pipeline."""
        person = self.people[owner] if owner else None
        target = self.stage(stage) if isinstance(stage, int) else stage
        values.setdefault("contact", self.contact())
        values.setdefault("department_id", person.department_id if person else None)
        return self._store(
            Deal(
                pipeline_id=target.pipeline_id,
                stage_id=target.id,
                responsible_id=person.id if person else None,
                stage_entered_at=utc_now(),
                **values,
            )
        )

    def task(self, deal: Deal | None = None, owner: str = "manager", **values: Any) -> Task:
        values.setdefault("due_at", utc_now())
        return self._store(
            Task(
                text=values.pop("text", "Позвонить клиенту"),
                deal_id=deal.id if deal else None,
                responsible_id=self.people[owner].id,
                **values,
            )
        )

    def listing(self, owner: str | None = "manager", **values: Any) -> Listing:
        values.setdefault("public_id", f"t-{next(_numbers)}")
        values.setdefault("state", ListingState.ACTIVE)
        values.setdefault("deal_type", "sale")
        values.setdefault("kind", "flat")
        person = self.people[owner] if owner else None
        return self._store(Listing(responsible_id=person.id if person else None, **values))

    def _store(self, row: Any) -> Any:
        db.session.add(row)
        db.session.commit()
        return row
