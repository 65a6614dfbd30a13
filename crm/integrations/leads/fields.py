"""From pairs of label and value to one `LeadSubmission`: aliases, limits, UTM (site.md §2).

Other channels that receive free-form fields use it too. Nothing is dropped in silence: a value
that does not fit its field goes to `extra` under its own label.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from crm.integrations.leads import addresses
from crm.integrations.leads.base import DEAL_TYPES, IntakeSettings, LeadSubmission, Utm
from crm.integrations.leads.bodies import MAX_VALUE, Body, Pair, cut_note, shorten
from crm.values import phones
from crm.values.phones import Phone

UTM_NAMES = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
FIRST_UTM_NAMES = tuple(f"first_{name}" for name in UTM_NAMES)
CLICK_IDS = ("yclid", "gclid", "ym_client_id", "ga_client_id", "roistat")
MAX_PHONES = 10
MAX_AGE = dt.timedelta(days=90)
MAX_CLOCK_SKEW = dt.timedelta(minutes=5)

_ALIASES: dict[str, tuple[str, ...]] = {
    "name": ("fio", "fullname", "фио", "yourname", "username", "clientname", "contact"),
    # «имя» stands alone as often as beside «фамилия», so it is always taken as a part of a name.
    "first_name": ("имя",),
    "last_name": ("фамилия",),
    "patronymic": ("отчество",),
    "phone": (
        *("tel", "telephone", "phonenumber", "mobile"),
        *("телефон", "номер", "yourphone", "phones"),
    ),
    "email": ("mail", "почта", "youremail"),
    "comment": (
        *("message", "text", "comments", "textarea", "question"),
        *("сообщение", "комментарий", "yourmessage"),
    ),
    "deal_type": ("action",),
    "listing_id": ("object", "objectid", "externalid", "лот", "idobject"),
    "page_url": ("url", "page", "href", "страница"),
    "referrer": ("ref", "referer"),
    "form_name": ("form", "formid"),
    "ym_client_id": ("ymuid",),
    "client_id": (),
    "yclid": (),
    "gclid": (),
    "ga_client_id": (),
    "roistat": (),
    "external_id": ("leadid", "requestid", "orderid", "tranid", "idempotencykey"),
    "consent": ("agree", "policy", "agreement"),
    "policy_version": (),
    "responsible_email": ("manager", "user"),
    "source_id": (),
    "created_at": ("date", "time"),
    "redirect": (),
    "captcha_token": ("smarttoken",),
    "screen": (),
    "tz_offset": (),
}
_LIMITS = {
    **dict.fromkeys(("name", "email", "listing_id", "form_name", "external_id"), 255),
    **dict.fromkeys(("policy_version", "responsible_email", *CLICK_IDS), 255),
    **dict.fromkeys((*UTM_NAMES, *FIRST_UTM_NAMES), 255),
    **dict.fromkeys(("page_url", "referrer", "redirect"), 2000),
    "comment": MAX_VALUE,
}
_TRUE = frozenset({"1", "true", "yes", "on", "да"})
_FALSE = frozenset({"0", "false", "no", "off", "нет", ""})
_SECRET_LABEL = re.compile(r"^_t$|token$|passw|secret|csrf|card_?num|cvv|cvc|cookie", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s_\-\[\]]+")
_EMAIL = re.compile(r"[^\s@,;<>]+@[^\s@,;<>]+\.[^\s@,;<>.]+")
_MASK = "***"


def label_key(label: str) -> str:
    """Return a label as aliases compare it: lower case, no spaces, `_`, `-`, `[`, `]`."""
    return _SEPARATORS.sub("", label.lower())


_CANONICAL = {
    label_key(alias): name for name, aliases in _ALIASES.items() for alias in (name, *aliases)
}
# One spelling serves two fields: `external_id` to the letter is ours, `externalid` the listing's.
_CANONICAL["externalid"] = "listing_id"
_EXACT = {name: name for name in (*_ALIASES, *UTM_NAMES, *FIRST_UTM_NAMES)} | {"_t": "token"}


@dataclass(slots=True)
class _Draft:
    """Fields sorted by their canonical names, and what is left over."""

    settings: IntakeSettings
    notes: list[str]
    known: dict[str, list[Pair]] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    honeypot: bool = False

    def add(self, label: str, value: str) -> None:
        """Sort one field in; empty values say nothing and are left out."""
        if self._is_trap(label):
            self.honeypot = self.honeypot or bool(value)
            return
        name = canonical(label, self.settings)
        if name and (value or name == "consent"):
            self.known.setdefault(name, []).append((label, value))
        elif value and _SECRET_LABEL.search(label):
            self.notes.append(f"{shorten(label, 60)}: служебное или секретное поле не сохранено")
        elif value:
            self.leave(label, value)

    def _is_trap(self, label: str) -> bool:
        trap = label_key(self.settings.honeypot)
        return bool(trap) and label_key(label) == trap

    def leave(self, label: str, value: str) -> None:
        """Keep a value under its own label, beside others of the same label."""
        told = self.extra.get(label)
        if told is None:
            self.extra[label] = value
        elif value not in told.split("; "):
            self.extra[label] = f"{told}; {value}"

    def take(self, name: str) -> str:
        """Return the field's value, cut to its limit; further different values go to `extra`."""
        values = self.known.pop(name, [])
        # Our own spelling beats an alias, whatever the order.
        values.sort(key=lambda pair: pair[0] != name)
        for label, value in values[1:]:
            if value != values[0][1]:
                self.leave(label, value)
        return self._limited(name, values[0][1]) if values else ""

    def take_all(self, name: str) -> list[str]:
        """Return all different values of a field."""
        return list(dict.fromkeys(value for _, value in self.known.pop(name, [])))

    def take_if(self, name: str, allowed: bool) -> str:
        """Return the value when the point allows this field; otherwise it stays readable."""
        if allowed:
            return self.take(name)
        for label, value in self.known.pop(name, []):
            self.leave(label, value)
        return ""

    def _limited(self, name: str, value: str) -> str:
        limit = _LIMITS.get(name, MAX_VALUE)
        if len(value) > limit:
            self.notes.append(cut_note(name, len(value), limit))
        return shorten(value, limit)


def canonical(label: str, settings: IntakeSettings) -> str | None:
    """Return our name of a field, the point's own aliases first; None when we have no name."""
    key = label_key(label)
    own = {label_key(alias): name for alias, name in settings.aliases.items()}
    if key in own:
        return own[key]
    if label in _EXACT:
        return _EXACT[label]
    return "consent" if key.startswith("соглас") else _CANONICAL.get(key)


def submission(
    channel: str,
    body: Body,
    settings: IntakeSettings,
    received_at: dt.datetime,
    *,
    signed: bool = False,
    page_fallback: str = "",
) -> LeadSubmission:
    """Build the submission of a body; `signed` opens the fields that only a server may set.

    `page_fallback` is the page when no field names one (the `Referer` header of a browser).
    """
    draft = _Draft(settings, list(body.notes))
    for label, value in body.pairs:
        draft.add(label, value)
    if page_fallback and not draft.known.get("page_url"):
        draft.known["page_url"] = [("page_url", page_fallback)]
    result = LeadSubmission(
        channel=channel,
        external_id=draft.take("external_id"),
        name=_name(draft),
        phones=_phones(draft),
        email=_email(draft, "email", allowed=True),
        comment=_comment(draft),
        deal_type=_deal_type(draft),
        listing_ref=draft.take("listing_id"),
        page_url=_address(draft, "page_url"),
        referrer=_address(draft, "referrer"),
        form_name=_form_name(draft),
        first_utm=_utm({name: draft.take(f"first_{name}") for name in UTM_NAMES}),
        consent=_consent(draft),
        policy_version=draft.take("policy_version"),
        responsible_email=_email(draft, "responsible_email", allowed=settings.allow_responsible),
        source_id=_source_id(draft),
        created_at=_created_at(draft, received_at, signed),
        client={name: value for name in ("screen", "tz_offset") if (value := draft.take(name))},
        token=draft.take("token"),
        captcha_token=draft.take("captcha_token"),
        honeypot_filled=draft.honeypot,
        redirect=draft.take("redirect"),
        raw=masked(body.pairs, settings),
    )
    result = with_marks(result, *_told_marks(draft))
    return replace(result, extra=draft.extra, truncated=tuple(draft.notes))


def with_marks(
    lead: LeadSubmission, told: Mapping[str, str], clicks: Mapping[str, str]
) -> LeadSubmission:
    """Set UTM and click ids: those told by the form, else of the page, else of the referrer.

    UTM marks are taken from one place as a whole: a mix of two visits would describe neither.
    """
    places = (told, *(query_marks(url) for url in (lead.page_url, lead.referrer)))
    marks = next((found for found in places if any(found.values())), {})
    in_page = addresses.query_values(lead.page_url, CLICK_IDS)
    return replace(lead, utm=_utm(marks), click_ids=in_page | dict(clicks))


def query_marks(url: str) -> dict[str, str]:
    """Return the UTM marks of an address, decoded, each at most 255 characters."""
    found = addresses.query_values(url, UTM_NAMES)
    return {name: shorten(value, 255) for name, value in found.items()}


def masked(pairs: Sequence[Pair], settings: IntakeSettings) -> str:
    """Return the fields as JSON text with secret values and values of unknown fields masked."""
    shown = [[label, _shown(label, value, settings)] for label, value in pairs]
    return json.dumps(shown, ensure_ascii=False)


def _shown(label: str, value: str, settings: IntakeSettings) -> str:
    unknown = canonical(label, settings) is None
    return _MASK if value and (unknown or _SECRET_LABEL.search(label)) else value


def _told_marks(draft: _Draft) -> tuple[dict[str, str], dict[str, str]]:
    told = {name: draft.take(name) for name in UTM_NAMES}
    clicks = {name: value for name in CLICK_IDS if (value := draft.take(name))}
    client_id = draft.take("client_id")
    if client_id:
        # Google writes «number.number», Metrica one long number; sites call both «client id».
        clicks.setdefault("ga_client_id" if "." in client_id else "ym_client_id", client_id)
    return told, clicks


def _utm(marks: Mapping[str, str]) -> Utm:
    return Utm(*(marks.get(name, "") for name in UTM_NAMES))


def _name(draft: _Draft) -> str:
    parts = [draft.take(part) for part in ("last_name", "first_name", "patronymic")]
    joined = shorten(" ".join(filter(None, parts)), _LIMITS["name"])
    whole = draft.take("name")
    if whole and joined and whole != joined:
        draft.leave("Имя по частям", joined)
    return whole or joined


def _phones(draft: _Draft) -> tuple[Phone, ...]:
    found: dict[str, Phone] = {}
    for value in draft.take_all("phone"):
        for phone in phones.parse_many(value, draft.settings.city_code):
            found.setdefault(phone.e164 or phone.raw, phone)
    for phone in list(found.values())[MAX_PHONES:]:
        draft.leave("phone", phone.raw)
    return tuple(found.values())[:MAX_PHONES]


def _email(draft: _Draft, name: str, *, allowed: bool) -> str:
    pairs = list(draft.known.get(name, ()))
    value = draft.take_if(name, allowed)
    if not value or _EMAIL.fullmatch(value):
        return value.lower()
    draft.leave(pairs[0][0], value)
    return ""


def _comment(draft: _Draft) -> str:
    draft.known["comment"] = [("comment", "\n".join(draft.take_all("comment")))]
    return draft.take("comment")


def _deal_type(draft: _Draft) -> str:
    value = draft.take("deal_type")
    kind = value.lower()
    if kind and kind not in DEAL_TYPES:
        draft.leave("deal_type", value)
    return kind if kind in DEAL_TYPES else ""


def _address(draft: _Draft, name: str) -> str:
    """Return an http(s) address; anything else (a path, `javascript:`) is only words."""
    value = draft.take(name)
    parts = addresses.split(value) if value else None
    if parts is None or "." not in (parts.hostname or "") or re.search(r"\s", value):
        if value:
            draft.leave(name, value)
        return ""
    return value if "://" in value[:8] else parts.geturl()


def _form_name(draft: _Draft) -> str:
    # A name says more than an id; the id stays readable.
    draft.known.get("form_name", []).sort(key=lambda pair: label_key(pair[0]) == "formid")
    return draft.take("form_name")


def _consent(draft: _Draft) -> bool | None:
    given = draft.known.pop("consent", None)
    if given is None:
        return None
    for label, value in given:
        if value.lower() not in _TRUE | _FALSE:
            draft.leave(label, value)
    return any(value.lower() in _TRUE for _, value in given)


def _source_id(draft: _Draft) -> int | None:
    value = draft.take_if("source_id", draft.settings.allow_source)
    # Eighteen digits fit any integer column.
    if re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    if value:
        draft.leave("source_id", value)
    return None


def _created_at(draft: _Draft, received_at: dt.datetime, signed: bool) -> dt.datetime | None:
    value = draft.take_if("created_at", signed)
    moment = _moment(value) if value else None
    if moment and received_at - MAX_AGE <= moment <= received_at + MAX_CLOCK_SKEW:
        return moment
    if value:
        draft.leave("created_at", value)
        draft.notes.append("created_at: не принято, нужен ISO 8601 или unix, не старше 90 дней")
    return None


def _moment(value: str) -> dt.datetime | None:
    """Read ISO 8601 (no zone means UTC) or unix seconds."""
    try:
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value):
            return dt.datetime.fromtimestamp(float(value), dt.UTC)
        moment = dt.datetime.fromisoformat(value)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None
