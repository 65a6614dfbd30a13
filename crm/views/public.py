"""Where machines knock: operators' webhooks and requests of sites.

Each door checks the sender on the raw bytes, stores one row and answers; the meaning is read
later. Nothing of a wrong sender is stored.
"""

from __future__ import annotations

import logging

from flask import Response, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import RequestEntityTooLarge

from crm.integrations.addresses import holder
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.leads import site
from crm.integrations.leads.base import (
    LeadRejected,
    LeadSubmission,
    Outcome,
    OutcomeKind,
    Trust,
)
from crm.integrations.telephony.base import KnownCaller, TelephonyOperator, WebhookRejected
from crm.models import db
from crm.operations import calls, doors, inbox, leads, rates
from crm.operations.doors import IntakeDoor
from crm.operations.rates import Limit
from crm.values import phones
from crm.values.clock import utc_now
from crm.views.access import public
from crm.views.base import CrmView, expose

log = logging.getLogger(__name__)
MAX_BODY = 256 * 1024
# The sender may repeat, or a person must look: the words are kept. An empty request holds none.
_KEPT_REFUSALS = frozenset({"too_many_fields", "unsupported_media_type"})


class TelephonyHooks(CrmView):
    """``/telephony/<operator>/<token>[/tail]``: events of telephony operators."""

    route_base = "/telephony"
    class_permission_name = "TelephonyHooks"
    machine_endpoint = True

    @expose("/<string:operator>/<string:token>", methods=["GET", "POST"])
    @expose("/<string:operator>/<string:token>/", methods=["GET", "POST"])
    @expose("/<string:operator>/<string:token>/<path:tail>", methods=["GET", "POST"])
    @public
    def receive(self, operator: str, token: str, tail: str = "") -> Response:  # noqa: ARG002
        """Verify, store, answer; 403 for anybody else, 413 over 256 KB, 503 to be asked again."""
        try:
            knock = _knock(tail, token)
        except RequestEntityTooLarge:
            return Response(status=413)
        try:
            return self._receive(token, knock)
        except SQLAlchemyError as error:
            return _own_failure(error, Reply(503, headers={"Retry-After": "30"}))

    def _receive(self, token: str, knock: InboundRequest) -> Response:
        translator = doors.telephony(token)
        if translator is None:
            return Response(status=403)
        try:
            translator.verify(knock)
        except WebhookRejected as error:
            log.warning("telephony %s refused: %s", translator.connection_id, error.message)
            return Response(status=403)
        inbox.accept(
            f"telephony:{translator.connection_id}",
            "telephony",
            translator.slug,
            knock,
            translator.delivery_key(knock),
            translator.mask(knock),
            translator.notes(knock),
        )
        return _answer(translator.reply(knock, _caller(translator, knock)))


class IntakeEndpoint(CrmView):
    """``/api/v1/intake/<key>``: requests of sites and services (site.md §2)."""

    route_base = "/api/v1/intake"
    class_permission_name = "IntakeEndpoint"
    machine_endpoint = True

    @expose("/<string:key>", methods=["GET", "POST", "OPTIONS"])
    @public
    def receive(self, key: str) -> Response:
        """Check, store, answer by the table of site.md §2; reading is refused."""
        if request.method == "OPTIONS":
            return _preflight(key)
        if request.method != "POST":
            return _answer(site.method_not_allowed())
        try:
            knock = _knock(key, "")
        except RequestEntityTooLarge:
            return _answer(site.json_reply(413, _failed("too_large"), {"Vary": "Origin"}))
        try:
            door = doors.intake(key)
            return _answer(site.not_found() if door is None else _take(door, knock))
        except SQLAlchemyError as error:
            return _own_failure(error, site.unavailable(knock))

    @expose("/<string:key>/token", methods=["GET"])
    @public
    def token(self, key: str) -> Response:
        """The mark of time that the site's script sends back with a form."""
        door = doors.intake(key)
        if door is None:
            return _answer(site.not_found())
        knock = _bare(key)
        try:
            return _answer(site.token_reply(knock, door.settings, knock.received_at))
        except LeadRejected as error:
            return _answer(door.channel.refuse(knock, door.settings, error))


# --- telephony --------------------------------------------------------------------------------


def _caller(translator: TelephonyOperator, knock: InboundRequest) -> KnownCaller | None:
    """Only operators that let the caller wait for it make us look up who calls."""
    number = translator.caller_question(knock)
    return calls.known_caller(translator.connection_id, number) if number else None


# --- intake -----------------------------------------------------------------------------------


def _preflight(key: str) -> Response:
    """What a browser asks before it sends another site's request."""
    door = doors.intake(key)
    if door is None:
        return _answer(site.not_found())
    return _answer(site.preflight(_bare(key), door.settings))


def _take(door: IntakeDoor, knock: InboundRequest) -> Reply:
    channel, settings = door.channel, door.settings
    try:
        trust = channel.authenticate(knock, settings, knock.received_at)
    except LeadRejected as error:
        return channel.refuse(knock, settings, error)
    wait = rates.hit(_limits(door, knock, trust))
    if wait is not None:
        return site.too_many(knock, settings, wait)
    try:
        lead = channel.parse(knock, settings, trust)
    except MalformedRequest as error:
        # Kept as it came: a form in a wrong charset may hold a client.
        _store(door, knock, trust)
        return site.malformed(knock, settings, error)
    except LeadRejected as error:
        if error.code in _KEPT_REFUSALS:
            _store(door, knock, trust)
        return channel.refuse(knock, settings, error)
    wait = rates.hit(_phone_limits(door, lead, trust))
    if wait is not None:
        return site.too_many(knock, settings, wait)
    return _accept(door, knock, trust, lead)


def _accept(door: IntakeDoor, knock: InboundRequest, trust: Trust, lead: LeadSubmission) -> Reply:
    accepted = _store(door, knock, trust)
    reasons = leads.spam_reasons(lead, trust, door.settings, knock.received_at, door.own_numbers)
    if reasons:
        kind = OutcomeKind.SPAM
    else:
        kind = OutcomeKind.CREATED if accepted.is_new else OutcomeKind.DUPLICATE
    outcome = Outcome(kind, accepted.delivery_id)
    return door.channel.reply(knock, door.settings, trust, outcome)


def _store(door: IntakeDoor, knock: InboundRequest, trust: Trust) -> inbox.Accepted:
    return inbox.accept(
        f"intake:{door.point_id}",
        "intake",
        door.channel.slug,
        knock,
        door.channel.delivery_key(knock, door.settings),
        door.channel.mask(knock, door.settings),
        {"signed": trust.signed, "origin": trust.origin},
    )


def _limits(door: IntakeDoor, knock: InboundRequest, trust: Trust) -> list[Limit]:
    """By the point, and by the address unless it is a server that has proved itself."""
    spam = door.settings.spam
    limits = [Limit(f"point:{door.point_id}", spam.per_key_minute, 60)]
    if not trust.signed:
        address = f"address:{door.point_id}:{holder(knock.remote_addr)}"
        limits.append(Limit(address, spam.per_ip_10_minutes, 600))
    return limits


def _phone_limits(door: IntakeDoor, lead: LeadSubmission, trust: Trust) -> list[Limit]:
    most = door.settings.spam.per_phone_hour
    keys = [phones.match_key(phone.e164 or phone.raw) for phone in lead.phones[:1]]
    return [
        Limit(f"phone:{door.point_id}:{key}", most, 3600)
        for key in keys
        if key and not trust.signed
    ]


# --- both -------------------------------------------------------------------------------------


def _knock(tail: str, token: str) -> InboundRequest:
    """The request with its raw body; raises RequestEntityTooLarge before reading too much."""
    request.max_content_length = MAX_BODY
    return _framed(request.get_data(cache=False, parse_form_data=False), tail, token)


def _bare(tail: str) -> InboundRequest:
    """A request whose body means nothing."""
    return _framed(b"", tail, "")


def _framed(body: bytes, tail: str, token: str) -> InboundRequest:
    return InboundRequest(
        method=request.method,
        path_tail=tail,
        query=request.args.to_dict(),
        headers=dict(request.headers.items()),
        body=body,
        remote_addr=request.remote_addr or "",
        received_at=utc_now(),
        token=token,
    )


def _answer(reply: Reply) -> Response:
    response = Response(reply.body, status=reply.status, content_type=reply.content_type)
    for name, value in reply.headers.items():
        response.headers[name] = value
    return response


def _own_failure(error: SQLAlchemyError, reply: Reply) -> Response:
    """The database did not take it: the sender is asked to repeat."""
    db.session.rollback()
    log.error("an inbound request could not be stored: %s", type(error).__name__)
    return _answer(reply)


def _failed(code: str) -> dict[str, object]:
    return {"ok": False, "error": code}
