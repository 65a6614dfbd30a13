"""Requests from the agency's own sites: JSON, forms, the snippet, server to server (site.md).

Our own interface: `POST /api/v1/intake/{key}`. The rim calls `authenticate` on the raw bytes,
stores the delivery under `delivery_key`, answers with `reply` or `refuse`; `parse` runs later.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode, urlsplit, urlunsplit

from werkzeug.urls import iri_to_uri

from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.leads import addresses, bodies, fields, tokens
from crm.integrations.leads.base import (
    IntakeSettings,
    LeadChannel,
    LeadRejected,
    LeadScenario,
    LeadSubmission,
    Outcome,
    OutcomeKind,
    SimulatedRequest,
    Trust,
    digest,
)

TIMESTAMP_HEADER = "X-Intake-Timestamp"
SIGNATURE_HEADER = "X-Intake-Signature"
IDEMPOTENCY_HEADER = "Idempotency-Key"
CLOCK_TOLERANCE = 300
# A form sent twice within this window is one delivery, see `delivery_key`.
DOUBLE_WINDOW = 600
# These change between two sendings of the same form.
_VOLATILE = frozenset({"token", "captcha_token", "screen", "tz_offset"})
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-_]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:\d+)?")


class SiteChannel(LeadChannel):
    """Own sites: the intake endpoint, the snippet and signed server-to-server calls."""

    slug = "site_form"
    title = "Сайт"
    docs = "docs/recipes/add-a-lead-channel.md"
    setup_steps = (
        "Создайте точку приёма и перечислите в ней домены сайта.",
        "Отправляйте формы методом POST на {intake_url} или вставьте на сайт тег скрипта.",
        "Для отправки с сервера задайте секрет и подписывайте каждый запрос.",
        "Отправьте пробную заявку и найдите её в разделе «Обращения».",
    )

    def authenticate(
        self, request: InboundRequest, settings: IntakeSettings, now: dt.datetime
    ) -> Trust:
        """Check size, signature and origin; raises LeadRejected 413, 401 or 403.

        A signature that was sent must be right even where none is demanded: otherwise an error
        in the sender's code would stay unseen.
        """
        if len(request.body) > bodies.MAX_BODY:
            raise LeadRejected(413, "too_large")
        origin = request.headers.get("Origin") or None
        if settings.secret and request.headers.get(SIGNATURE_HEADER):
            if not signature_valid(request, settings, now):
                raise LeadRejected(401, "bad_signature")
            return Trust(True, origin)
        if not origin_allowed(origin, settings):
            raise LeadRejected(403, "origin_not_allowed")
        if settings.require_signature:
            raise LeadRejected(401, "bad_signature")
        return Trust(False, origin)

    def parse(
        self, request: InboundRequest, settings: IntakeSettings, trust: Trust | None = None
    ) -> LeadSubmission:
        """Read the request; raises LeadRejected 413, 415, 422 and MalformedRequest."""
        signed = trust.signed if trust else signature_valid(request, settings, request.received_at)
        lead = fields.submission(
            self.slug,
            bodies.read(request),
            settings,
            request.received_at,
            signed=signed,
            page_fallback=bodies.clean(request.headers.get("Referer") or ""),
        )
        header = bodies.clean(request.headers.get(IDEMPOTENCY_HEADER) or "")[:255]
        agent = bodies.clean(request.headers.get("User-Agent") or "")
        lead = replace(
            lead,
            external_id=header or lead.external_id,
            ip=request.remote_addr,
            user_agent=bodies.shorten(agent, 500),
        )
        if lead.is_empty:
            raise LeadRejected(422, "empty", _EMPTY_FIELDS)
        return lead

    def delivery_key(self, request: InboundRequest, settings: IntakeSettings) -> str:
        """Unique key of a delivery: what the sender named it, else what it says and when.

        With the `Idempotency-Key` header or an external id every repeat is the same delivery for
        ever. Without them the key is a hash of the fields (order and volatile values left out)
        and of the ten-minute window of receipt: a double click is one delivery, the same words
        next week are another. Two doubles on both sides of a window's border get two keys; they
        are caught later by `LeadSubmission.double_key`. Servers that have proved themselves have
        names of their own: a stranger, who knows the public key alone, could otherwise use up the
        numbers of requests to come.
        """
        signed = signature_valid(request, settings, request.received_at)
        return ("signed:" if signed else "") + self._name_of(request, settings)

    def _name_of(self, request: InboundRequest, settings: IntakeSettings) -> str:
        header = request.headers.get(IDEMPOTENCY_HEADER)
        if header:
            return "idem:" + digest(header)
        window = int(request.received_at.timestamp()) // DOUBLE_WINDOW
        try:
            pairs = bodies.read(request).pairs
        except (MalformedRequest, LeadRejected):
            return "raw:" + digest(hashlib.sha256(request.body).hexdigest(), window)
        named = [(fields.canonical(label, settings), label, value) for label, value in pairs]
        told = next((value for name, _, value in named if name == "external_id" and value), "")
        if told:
            return "ext:" + digest(told)
        lasting = sorted((label, value) for name, label, value in named if name not in _VOLATILE)
        return "body:" + digest(json.dumps(lasting), window)

    def reply(
        self,
        request: InboundRequest,
        settings: IntakeSettings,
        trust: Trust,
        outcome: Outcome,
    ) -> Reply:
        """Answer an accepted request: 201, 200 or 202, or 303 to the page a plain form asked for.

        The id is told to signed senders only; a spam answer tells nothing to anybody.
        """
        target = None if trust.signed else redirect_target(request, settings)
        headers = cors_headers(request.headers.get("Origin"), settings)
        if target:
            return Reply(303, b"", headers=headers | {"Location": target})
        answer: dict[str, object] = {"ok": True}
        if outcome.kind is not OutcomeKind.SPAM:
            if trust.signed and outcome.id is not None:
                answer["id"] = outcome.id
            answer["duplicate"] = outcome.kind is OutcomeKind.DUPLICATE
        return json_reply(_STATUS[outcome.kind], answer, headers)

    def refuse(
        self, request: InboundRequest, settings: IntakeSettings | None, error: LeadRejected
    ) -> Reply:
        """Answer a refused request with its status and code."""
        answer: dict[str, object] = {"ok": False, "error": error.code}
        if error.fields:
            answer["fields"] = error.fields
        origin = request.headers.get("Origin")
        headers = cors_headers(origin, settings) if settings else {"Vary": "Origin"}
        return json_reply(error.status, answer, headers)

    def mask(self, request: InboundRequest, settings: IntakeSettings) -> str:
        """Return the fields with unknown and secret values masked; the size if unreadable."""
        try:
            return fields.masked(bodies.read(request).pairs, settings)
        except (MalformedRequest, LeadRejected) as error:
            return f"{error.message} ({len(request.body)} байт)"

    def simulate(
        self, scenario: LeadScenario, settings: IntakeSettings, now: dt.datetime
    ) -> SimulatedRequest:
        """Build a JSON request as a site's server would send it; signed if there is a secret."""
        told = {
            "name": scenario.name,
            "phone": scenario.phone,
            "email": scenario.email,
            "comment": scenario.comment,
            "deal_type": scenario.deal_type,
            "listing_id": scenario.listing_ref,
            "external_id": scenario.external_id,
            "page_url": _with_utm(scenario),
            "form_name": "Проверка приёма",
        }
        if settings.uses_snippet and settings.token_secret:
            # As if the page had been open for a minute: the time trap must let it pass.
            told["_t"] = tokens.issue(settings, now - dt.timedelta(minutes=1))
        known = {name: value for name, value in told.items() if value}
        body = json.dumps(known, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": bodies.JSON, **signature_headers(settings, now, body)}
        return SimulatedRequest("POST", settings.key, headers, body)


_STATUS = {OutcomeKind.CREATED: 201, OutcomeKind.DUPLICATE: 200, OutcomeKind.SPAM: 202}
_EMPTY_FIELDS = {
    "phone": "Укажите телефон",
    "email": "или почту",
    "name": "или имя",
    "comment": "или текст заявки",
}


def sign(secret: str, timestamp: int | str, body: bytes) -> str:
    """Return the value of the signature header: HMAC-SHA256 of `timestamp.body`."""
    message = f"{timestamp}.".encode("utf-8", "surrogateescape") + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def signature_headers(settings: IntakeSettings, now: dt.datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a signed call, or none for a point without a secret."""
    if not settings.secret:
        return {}
    timestamp = str(int(now.timestamp()))
    signature = sign(settings.secret, timestamp, body)
    return {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature}


def signature_valid(request: InboundRequest, settings: IntakeSettings, now: dt.datetime) -> bool:
    """Tell whether the body is signed with the point's secret within five minutes of `now`."""
    timestamp = request.headers.get(TIMESTAMP_HEADER) or ""
    given = request.headers.get(SIGNATURE_HEADER) or ""
    if not settings.secret or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        return False
    if abs(now.timestamp() - int(timestamp)) > CLOCK_TOLERANCE:
        return False
    expected = sign(settings.secret, timestamp, request.body)
    # Bytes, because compare_digest refuses text outside ASCII.
    return hmac.compare_digest(expected.encode(), given.strip().lower().encode("utf-8", "replace"))


def origin_allowed(origin: str | None, settings: IntakeSettings) -> bool:
    """Tell whether a browser's page may send here; requests without an origin are not browsers."""
    if not origin or not settings.allowed_domains:
        return True
    if not _ORIGIN.fullmatch(origin):
        return False
    return addresses.host_allowed(addresses.host(origin), settings.allowed_domains)


def cors_headers(origin: str | None, settings: IntakeSettings) -> dict[str, str]:
    """Return the CORS headers of any answer: the origin echoed when allowed, no credentials."""
    vary = {"Vary": "Origin"}
    readable = origin is not None and (origin == "null" or _ORIGIN.fullmatch(origin) is not None)
    if not origin or not readable or not origin_allowed(origin, settings):
        return vary
    return vary | {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": f"Content-Type, {IDEMPOTENCY_HEADER}",
        "Access-Control-Max-Age": "86400",
    }


def preflight(request: InboundRequest, settings: IntakeSettings) -> Reply:
    """Answer `OPTIONS`; a foreign origin gets no permission headers and the browser stops."""
    return Reply(204, b"", headers=cors_headers(request.headers.get("Origin"), settings))


def token_reply(request: InboundRequest, settings: IntakeSettings, now: dt.datetime) -> Reply:
    """Answer `GET …/token`, the time-trap token of the snippet; raises LeadRejected 403, 404."""
    origin = request.headers.get("Origin")
    if not settings.token_secret:
        raise LeadRejected(404, "not_found")
    if not origin_allowed(origin, settings):
        raise LeadRejected(403, "origin_not_allowed")
    headers = cors_headers(origin, settings) | {"Cache-Control": "no-store"}
    return json_reply(200, {"ok": True, "token": tokens.issue(settings, now)}, headers)


def not_found() -> Reply:
    """Answer for an unknown or inactive key."""
    return json_reply(404, {"ok": False, "error": "not_found"}, {"Vary": "Origin"})


def method_not_allowed() -> Reply:
    """Answer for `GET` and other methods."""
    answer = {"ok": False, "error": "method_not_allowed"}
    return json_reply(405, answer, {"Allow": "POST, OPTIONS"})


def malformed(request: InboundRequest, settings: IntakeSettings, error: MalformedRequest) -> Reply:
    """Answer 400 for a body that cannot be read, with the reason in Russian."""
    answer = {"ok": False, "error": "malformed", "message": error.message}
    return json_reply(400, answer, cors_headers(request.headers.get("Origin"), settings))


def too_many(request: InboundRequest, settings: IntakeSettings, retry_after: int) -> Reply:
    """Answer 429; `retry_after` in seconds."""
    headers = cors_headers(request.headers.get("Origin"), settings)
    headers["Retry-After"] = str(max(1, retry_after))
    return json_reply(429, {"ok": False, "error": "too_many"}, headers)


def unavailable(request: InboundRequest, settings: IntakeSettings | None = None) -> Reply:
    """Answer 503 for our own failure: the sender may repeat."""
    origin = request.headers.get("Origin")
    headers = cors_headers(origin, settings) if settings else {"Vary": "Origin"}
    answer = {"ok": False, "error": "unavailable"}
    return json_reply(503, answer, headers | {"Retry-After": "30"})


def json_reply(status: int, answer: Mapping[str, object], headers: Mapping[str, str]) -> Reply:
    """Return an answer with a JSON body."""
    body = json.dumps(answer, ensure_ascii=False).encode()
    return Reply(status, body, "application/json; charset=utf-8", dict(headers))


def redirect_target(request: InboundRequest, settings: IntakeSettings) -> str | None:
    """Return where a plain HTML form wants the visitor to go, if that host is allowed.

    Scripts ask for JSON and get JSON. With an empty list nothing is allowed: anybody could
    otherwise lead visitors anywhere through our address.
    """
    if bodies.media_type(request) not in (bodies.FORM, bodies.MULTIPART):
        return None
    if "application/json" in (request.headers.get("Accept") or ""):
        return None
    pairs = bodies.read(request).pairs
    told = (value for label, value in pairs if fields.canonical(label, settings) == "redirect")
    url = next(filter(None, told), "")
    target = addresses.safe_redirect(url, settings.allowed_domains) if url else None
    return iri_to_uri(target) if target else None


def _with_utm(scenario: LeadScenario) -> str:
    """Return the scenario's page with its UTM marks in the query, as a visitor's browser has it."""
    parts = urlsplit(scenario.page_url)
    values = (*scenario.utm.marks, scenario.utm.term)
    marks = {name: value for name, value in zip(fields.UTM_NAMES, values, strict=True) if value}
    query = "&".join(filter(None, (parts.query, urlencode(marks))))
    return urlunsplit(parts._replace(query=query))
