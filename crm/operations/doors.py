"""Doors that machines knock at, found by their secret or public key and remembered for seconds.

The rim asks before every delivery: with the memory its only query is the insert.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from flask import current_app
from sqlalchemy import select

from crm.integrations.leads import registry
from crm.integrations.leads.base import IntakeSettings, LeadChannel
from crm.integrations.leads.site import SiteChannel
from crm.integrations.telephony.base import TelephonyOperator
from crm.models import Company, IntakePoint, db
from crm.operations import connections, own_numbers

T = TypeVar("T")
# A changed secret or a closed door takes effect within this time.
SECONDS = 5.0
_MOST = 500


@dataclass(frozen=True, slots=True)
class IntakeDoor:
    """An intake point as the rim needs it; ``own_numbers`` are match keys."""

    point_id: int
    channel: LeadChannel
    settings: IntakeSettings
    own_numbers: frozenset[str]


def telephony(token: str) -> TelephonyOperator | None:
    """The operator behind a secret address, None for a wrong or closed one."""
    return _remembered(f"telephony:{token}", lambda: _telephony(token))


def intake(key: str) -> IntakeDoor | None:
    """The intake point behind a public key, None for an unknown or closed one."""
    return _remembered(f"intake:{key}", lambda: _intake(key))


def channel_of(slug: str) -> LeadChannel:
    """Translator of a channel; a service that posts forms like a site is read as a site."""
    try:
        return registry.get(slug)
    except registry.UnknownChannel:
        return registry.get(SiteChannel.slug)


def settings_of(point: IntakePoint) -> IntakeSettings:
    """An intake point as its channel needs it (1 query)."""
    kept = point.secrets or {}
    return IntakeSettings(
        id=point.id,
        key=point.key,
        secret=str(kept.get("secret") or ""),
        require_signature=point.require_signature,
        allowed_domains=tuple(filter(None, re.split(r"[\s,;]+", point.allowed_domains or ""))),
        aliases=point.aliases or {},
        honeypot=point.honeypot,
        uses_snippet=point.uses_snippet,
        token_secret=str(kept.get("token_secret") or ""),
        allow_responsible=point.allow_responsible,
        allow_source=point.allow_source,
        city_code=db.session.scalar(select(Company.city_code).order_by(Company.id).limit(1)),
    )


def _telephony(token: str) -> TelephonyOperator | None:
    connection = connections.by_token(token)
    return connections.build(connection) if connection else None


def _intake(key: str) -> IntakeDoor | None:
    query = select(IntakePoint).where(IntakePoint.key == key, IntakePoint.active)
    point: IntakePoint | None = db.session.scalars(query).one_or_none()
    if point is None:
        return None
    return IntakeDoor(point.id, channel_of(point.channel), settings_of(point), own_numbers.known())


def _remembered(name: str, find: Callable[[], T | None]) -> T | None:
    """Only what exists is remembered: guesses of strangers must not fill the memory."""
    known: dict[str, tuple[float, Any]] = current_app.extensions.setdefault("doors", {})
    kept = known.get(name)
    if kept is not None and kept[0] > time.monotonic():
        return cast("T", kept[1])
    known.pop(name, None)
    found = find()
    # Tests change settings and look at once.
    if found is not None and not current_app.testing:
        if len(known) >= _MOST:
            known.clear()
        known[name] = (time.monotonic() + SECONDS, found)
    return found
