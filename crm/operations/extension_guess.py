"""Whose an operator's internal number seems to be: by mail, number elsewhere, mobile, name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import func, select

from crm.integrations.telephony.base import Extension
from crm.models import Employee, TelephonyExtension, db
from crm.values import phones


class Guess:
    """What is known of all active employees (2 queries); a doubtful sign names nobody."""

    def __init__(self, connection_id: int) -> None:
        people = list(db.session.scalars(select(Employee).where(Employee.active)))
        elsewhere = select(
            func.coalesce(TelephonyExtension.number, TelephonyExtension.key),
            TelephonyExtension.employee_id,
        ).where(
            TelephonyExtension.connection_id != connection_id,
            TelephonyExtension.employee_id.in_([person.id for person in people]),
        )
        self._by_number = _single((row[0], row[1]) for row in db.session.execute(elsewhere))
        self._by_mail = _single(((p.email or "").strip().lower(), p.id) for p in people)
        self._by_phone = _single((phones.match_key(p.phone or ""), p.id) for p in people)
        self._by_name = _single((_name(f"{p.last_name} {p.first_name}"), p.id) for p in people)

    def owner(self, item: Extension) -> int | None:
        """The employee that the first telling sign points to."""
        signs = (
            self._by_mail.get((item.email or "").strip().lower()),
            self._by_number.get(item.number),
            self._by_phone.get(phones.match_key(item.number)),
            self._named(item.name),
        )
        return next((owner for owner in signs if owner is not None), None)

    def _named(self, name: str) -> int | None:
        """Name and surname in any order; a patronymic or a position may stand beside them."""
        words = set(_name(name).split())
        found = [pk for known, pk in self._by_name.items() if set(known.split()) <= words]
        return found[0] if len(found) == 1 else None


def _single(pairs: Iterable[tuple[str | None, int | None]]) -> dict[str, int]:
    """Only what belongs to exactly one person tells whose it is."""
    owners: dict[str, set[int]] = {}
    for sign, owner in pairs:
        if sign and owner is not None:
            owners.setdefault(sign, set()).add(owner)
    return {sign: next(iter(ids)) for sign, ids in owners.items() if len(ids) == 1}


def _name(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold().replace("ё", "е")))
