"""Which known protocol the requests of an undescribed PBX look like.

Works on the shape of a request: its values stay unread, but for the few that name an event. The
signs are those by which the operators' own documents and public integrations can be told apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from crm.integrations.inbound import InboundRequest, MalformedRequest

FORM = "form"
JSON = "json"
UNKNOWN = "generic"

_MAX_FIELDS = 100
_NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z_.-]{0,31}", re.ASCII)
# Fields whose values name an event and nobody's data.
_TELLING = ("cmd", "event", "webhook.action")


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A request without its data; header names are lower-case, nested fields go through dots.

    `kind` is `form` (an address with a query too), `json` or "" for anything else.
    """

    method: str
    path_tail: str
    content_type: str
    kind: str
    headers: frozenset[str]
    fields: frozenset[str]
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A likely family: `family` is the name of a protocol, `why` a Russian sentence for people."""

    family: str
    title: str
    is_certain: bool
    why: str


@dataclass(frozen=True)
class _Family:
    name: str
    title: str
    # What was seen, in Russian; all of `signs` make it certain, `enough` of them likely.
    seen: str
    signs: Callable[[Sketch], tuple[bool, ...]]
    enough: int

    def guess(self, sketch: Sketch) -> Guess | None:
        signs = self.signs(sketch)
        found = sum(signs)
        if found < self.enough:
            return None
        certain = found == len(signs)
        how = "Узнали" if certain else "Похоже, но не наверняка"
        return Guess(
            family=self.name,
            title=self.title,
            is_certain=certain,
            why=f"{how}: {self.title}. Признак — {self.seen}.",
        )


_UNRECOGNISED = Guess(
    family=UNKNOWN,
    title="Неизвестный протокол",
    is_certain=False,
    why=(
        "Запросы не похожи ни на один известный протокол. Попросите у оператора описание API или"
        " настройте АТС на общий протокол CRM."
    ),
)


def sketch(request: InboundRequest) -> Sketch:
    """Shape of a request; what cannot be read has no fields. Never raises."""
    kind, fields = _fields(request)
    names = islice(dict.fromkeys(name for name, _ in _flat(fields)), _MAX_FIELDS)
    return Sketch(
        method=request.method[:8],
        path_tail=request.path_tail[:255],
        content_type=request.content_type[:100],
        kind=kind,
        headers=frozenset(name.lower() for name in request.headers),
        fields=frozenset(names),
        words={name: word for name, word in _flat(fields) if name in _TELLING and _is_word(word)},
    )


def as_json(sketched: Sketch) -> dict[str, Any]:
    """The sketch as JSON values."""
    return {
        "method": sketched.method,
        "path_tail": sketched.path_tail,
        "content_type": sketched.content_type,
        "kind": sketched.kind,
        "headers": sorted(sketched.headers),
        "fields": sorted(sketched.fields),
        "words": dict(sketched.words),
    }


def from_json(value: Mapping[str, Any]) -> Sketch:
    """The sketch that `as_json` has written."""
    return Sketch(
        method=str(value.get("method", "")),
        path_tail=str(value.get("path_tail", "")),
        content_type=str(value.get("content_type", "")),
        kind=str(value.get("kind", "")),
        headers=frozenset(value.get("headers", ())),
        fields=frozenset(value.get("fields", ())),
        words=dict(value.get("words", {})),
    )


def recognise(request: Sketch) -> Guess:
    """The family one request looks like."""
    guesses = [guess for family in _FAMILIES if (guess := family.guess(request)) is not None]
    return min(guesses, key=lambda guess: not guess.is_certain, default=_UNRECOGNISED)


def overall(requests: Iterable[Sketch]) -> Guess:
    """The family that most of the recognised requests look like; certain ones come first."""
    counted = Counter(recognise(request) for request in requests)
    known = {guess: count for guess, count in counted.items() if guess != _UNRECOGNISED}
    return max(known, key=lambda guess: (guess.is_certain, known[guess]), default=_UNRECOGNISED)


def _fields(request: InboundRequest) -> tuple[str, Mapping[str, Any]]:
    body = request.body.strip()
    try:
        if body.startswith(b"{"):
            return JSON, request.json()
        if "form" in request.content_type or (body and not body.startswith((b"<", b"["))):
            return FORM, request.form()
    except MalformedRequest:
        return "", {}
    return (FORM, request.query) if request.query else ("", {})


def _flat(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields with the members of objects among them; names that may be data are left out."""
    for name, value in fields.items():
        if not _NAME.fullmatch(name):
            continue
        yield name, value
        for inner, member in value.items() if isinstance(value, Mapping) else ():
            if _NAME.fullmatch(inner):
                yield f"{name}.{inner}", member


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _word(request: Sketch, name: str, pattern: str) -> bool:
    return re.fullmatch(pattern, request.words.get(name, "")) is not None


def _has(request: Sketch, *names: str, kind: str) -> bool:
    return request.kind == kind and request.fields.issuperset(names)


def _itoolabs(request: Sketch) -> tuple[bool, ...]:
    named = _has(request, "cmd", "crm_token", kind=FORM)
    return named, named and _word(request, "cmd", "event|history|contact")


def _gravitel(request: Sketch) -> tuple[bool, ...]:
    last = request.path_tail.rstrip("/").rpartition("/")[2]
    staged = request.kind == JSON and bool(request.fields & {"stage", "provision"})
    return last in ("event", "history", "client"), staged, "x-api-key" in request.headers


def _rostelecom(request: Sketch) -> tuple[bool, ...]:
    return "x-client-id" in request.headers, "x-client-sign" in request.headers


def _telphin(request: Sketch) -> tuple[bool, ...]:
    return (_has(request, "EventType", "CallFlow", kind=FORM),)


def _moizvonki(request: Sketch) -> tuple[bool, ...]:
    named = _has(request, "webhook.action", "event", kind=JSON)
    return (named and _word(request, "webhook.action", r"call\..+"),)


def _mango(request: Sketch) -> tuple[bool, ...]:
    named = _has(request, "vpbx_api_key", kind=FORM)
    return named, named and {"sign", "json"} <= request.fields


def _zadarma(request: Sketch) -> tuple[bool, ...]:
    return (_word(request, "event", "NOTIFY_.+"),)


def _general(request: Sketch) -> tuple[bool, ...]:
    named = {"event", "call_id", "direction", "client"} <= request.fields
    return (named and _word(request, "event", "ringing|answered|ended|recording"),)


_FAMILIES = (
    _Family(
        "itoolabs",
        "ITooLabs (так работают МегаФон и прежний API Гравител)",
        "форма с полями cmd и crm_token",
        _itoolabs,
        1,
    ),
    _Family(
        "gravitel",
        "Гравител",
        "адрес на /event, /history или /client, поле stage или provision, заголовок X-API-KEY",
        _gravitel,
        2,
    ),
    _Family(
        "rostelecom",
        "Ростелеком",
        "заголовки X-Client-ID и X-Client-Sign",
        _rostelecom,
        1,
    ),
    _Family("telphin", "Телфин (RingMe)", "форма с полями EventType и CallFlow", _telphin, 1),
    _Family("moizvonki", "Мои звонки", "JSON с webhook.action и event", _moizvonki, 1),
    _Family("mango", "MANGO", "форма с полями vpbx_api_key, sign и json", _mango, 1),
    _Family("zadarma", "Zadarma или Novofon", "поле event со словом NOTIFY_…", _zadarma, 1),
    _Family(
        UNKNOWN,
        "Общий протокол CRM",
        "поля event, call_id, direction и client",
        _general,
        1,
    ),
)
