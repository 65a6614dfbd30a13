"""Asterisk on the agency's own server: FreePBX, Issabel, MikoPBX and plain Asterisk 16-22.

Sources: https://docs.asterisk.org/ (AMI actions and events, ARI), `rest-api/api-docs` of
github.com/asterisk/asterisk. Names of files and variables of FreePBX are common knowledge.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from threading import Event
from typing import Any
from urllib.parse import urlencode

from crm.integrations.http_protocol import HttpClient
from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.telephony import asterisk_cdr, asterisk_simulation
from crm.integrations.telephony.asterisk_api import AsteriskApi, listed_names
from crm.integrations.telephony.asterisk_calls import Calls
from crm.integrations.telephony.asterisk_dialplan import Dialplan
from crm.integrations.telephony.asterisk_events import Known, Origin, translate
from crm.integrations.telephony.asterisk_steps import (
    AMI,
    AMI_EVENTS,
    ARI,
    CONNECTED,
    Step,
    Undocumented,
    listed_by_ami,
    listed_by_ari,
    read,
)
from crm.integrations.telephony.asterisk_stream import Ami, Ari, Packet, WireError
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    Capability,
    KnownCaller,
    SimulatedRequest,
)
from crm.integrations.telephony.payload import MAX_NUMBER, Payload
from crm.values import phones

log = logging.getLogger(__name__)
ROUTE = "route"
_HEARD = AMI_EVENTS | {"coreshowchannel", "coreshowchannelscomplete"}
_EXTENSION = re.compile(r"[0-9]{2,6}")
_MAX_FIELD = 2_000
_JSON = {"Content-Type": "application/json"}


class Asterisk(AsteriskApi):
    """The agency's own Asterisk. Remembers the calls that go on between two connections."""

    slug = "asterisk"
    title = "Asterisk (своя АТС)"

    def __init__(
        self,
        connection_id: int,
        credentials: Mapping[str, str],
        http: HttpClient,
        *,
        webhook_token: str = "",
    ) -> None:
        super().__init__(connection_id, credentials, http, webhook_token=webhook_token)
        self._plan = Dialplan(
            listed_names(self.credential("trunks")),
            listed_names(self.credential("trunk_contexts")),
            self.credential("extension_digits"),
        )
        self._calls = Calls(self._plan)

    # Inbound

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """One event with what the listener knew of its call by then, else at its word."""
        tail = request.path_tail.strip("/")
        if tail == ROUTE:
            return []
        if tail not in ("", AMI, ARI):
            return [self.unknown_event(request)]
        body = request.json()
        told = Payload(body)
        protocol = told.text("protocol") or tail
        if protocol not in (AMI, ARI):
            raise MalformedRequest("Не сказано, чьё это событие: ami или ari")
        try:
            step = read(protocol, body.get("event"))
        except Undocumented:
            return [self.unknown_event(request)]
        known = self._known(step, body.get("call"), request.received_at)
        if step is None or known is None:
            return []
        return translate(step, known, self._origin(request))

    def caller_question(self, request: InboundRequest) -> str | None:
        """The dialplan asks whom to ring: `route?phone=…`."""
        if request.path_tail.strip("/") != ROUTE:
            return None
        number = phones.digits(request.query.get("phone"))
        return number if number and len(number) <= MAX_NUMBER else None

    def delivery_key(self, request: InboundRequest) -> str:
        """Of the event alone: what was known of the call may differ between two listeners."""
        try:
            body = request.json()
        except MalformedRequest:
            return super().delivery_key(request)
        if not isinstance(body, Mapping) or not isinstance(body.get("event"), Mapping):
            return super().delivery_key(request)
        text = json.dumps([body.get("protocol"), body["event"]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:
        """Internal number of the responsible manager for the dialplan, nothing when not known."""
        extension = (caller.responsible_extension if caller else None) or ""
        is_route = request.path_tail.strip("/") == ROUTE
        return Reply(
            body=extension.encode() if is_route and _EXTENSION.fullmatch(extension) else b""
        )

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """What a listener would store of the call, sent as a webhook."""
        calls, at = Calls(self._plan), scenario.started_at
        found: list[SimulatedRequest] = []
        trunk = next(iter(listed_names(self.credential("trunks"))), "line")
        for moment, event in asterisk_simulation.events(scenario, self.protocol, trunk):
            step = read(self.protocol, event)
            known = calls.follow(step, moment) if step is not None else None
            if known is None:
                continue
            body = _body(self.protocol, event, known)
            pause = moment - at
            at = moment
            found.append(
                SimulatedRequest(path_tail=self.protocol, headers=_JSON, body=body, delay=pause)
            )
        return found

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """Calls of the journal that the PBX keeps in a file, when the settings name it."""
        if Capability.HISTORY not in self.capabilities:
            raise self.unsupported("история звонков, пока не вписан адрес журнала")
        for mine in asterisk_cdr.calls(self._journal_rows(since), since, until):
            raw = "\n".join(map(repr, mine))
            yield from asterisk_cdr.events(mine, self._plan, self._place(datetime.now(UTC), raw))

    def probe(self) -> str:
        """The PBX lets us in, and its journal of calls can be read."""
        message = super().probe()
        if Capability.HISTORY not in self.capabilities:
            return message
        self._journal_rows(datetime.now(UTC))
        return f"{message}. Журнал звонков читается"

    # The connection kept open

    def stream(self, stop: Event) -> Iterator[InboundRequest]:
        """Events of AMI or ARI; the first one says that the connection stands."""
        self.require_credentials()
        events = self._ami_stream(stop) if self.protocol == AMI else self._ari_stream(stop)
        with self.wire_errors(), closing(events):
            yield from events

    def _ami_stream(self, stop: Event) -> Generator[InboundRequest]:
        with Ami(self.wire(), _HEARD) as ami:
            ami.login(self.credential("username"), self.credential("password"), events=True)
            rows = ami.rows("CoreShowChannels")
            yield self._request({"Event": CONNECTED})
            if rows is not None:
                yield from self._caught_up(filter(None, map(listed_by_ami, rows)))
            for packet in ami.events(stop):
                yield from self._told(packet)

    def _ari_stream(self, stop: Event) -> Generator[InboundRequest]:
        query = urlencode({"app": self.credential("ari_app"), "subscribeAll": "true"})
        target = f"{self.ari_path}/events?{query}"
        with Ari(self.wire(), target, self.basic()) as ari:
            yield self._request({"type": CONNECTED})
            channels, bridges = self.ari_list("channels"), self.ari_list("bridges")
            yield from self._caught_up(listed_by_ari(channels, bridges))
            for event in ari.events(stop):
                if event.get("type") == "ApplicationReplaced":
                    message = "К ARI подключилась другая программа с тем же именем приложения"
                    raise WireError(message, permanent=False)
                yield from self._told(event)

    def _told(self, event: Mapping[str, Any]) -> Iterator[InboundRequest]:
        """The event as a request when it moves a call with somebody outside."""
        try:
            step = read(self.protocol, event)
        except Undocumented:
            return  # an interface tells much more than what moves calls
        except MalformedRequest as error:
            log.warning("asterisk %s: an event left out: %s", self.connection_id, error.message)
            return
        known = self._calls.follow(step, datetime.now(UTC)) if step is not None else None
        if known is not None:
            yield self._request(event, known)

    def _caught_up(self, steps: Iterable[Step]) -> Iterator[InboundRequest]:
        """Calls that have begun or ended while nobody listened."""
        now = datetime.now(UTC)
        self._calls.begin_list()
        for step in steps:
            self._calls.follow(step, now)
        for known in self._calls.end_list(now):
            over: Packet = {"type": "ChannelDestroyed", "channel": {"id": known.id}}
            if self.protocol == AMI:
                over = {"Event": "Hangup", "Uniqueid": known.id, "Linkedid": known.id}
            yield self._request(over, known)

    def _request(self, event: Mapping[str, Any], known: Known | None = None) -> InboundRequest:
        return InboundRequest(
            method="STREAM",
            path_tail=self.protocol,
            query={},
            headers=_JSON,
            body=_body(self.protocol, event, known),
            remote_addr=self.credential("host"),
            received_at=datetime.now(UTC),
        )

    # Details

    def _journal_rows(self, since: datetime) -> list[asterisk_cdr.Row]:
        try:
            return asterisk_cdr.rows(self.journal(since), self.zone)
        except MalformedRequest as error:
            raise self.failure(error.message, permanent=True) from error

    def _known(self, step: Step | None, told: object, at: datetime) -> Known | None:
        if step is None:
            return None
        if isinstance(told, Mapping):
            return Known.from_json(Payload(told))
        return Calls(self._plan, alone=True).follow(step, at)

    def _origin(self, request: InboundRequest) -> Origin:
        return self._place(request.received_at, self.mask(request))

    def _place(self, at: datetime, raw: str) -> Origin:
        return Origin(
            connection_id=self.connection_id,
            received_at=at,
            raw=self.redacted(raw),
            zone=self.zone,
            with_files=bool(self.credential("recordings_url")),
        )


def _body(protocol: str, event: Mapping[str, Any], known: Known | None) -> bytes:
    """The event as it came, cut to what can be stored, and what is known of its call."""
    value: dict[str, Any] = {"protocol": protocol, "event": _cut(event)}
    if known is not None:
        value["call"] = known.to_json()
    text = json.dumps(value, ensure_ascii=False, sort_keys=True).replace("\\u0000", "")
    return text.encode("utf-8", "replace")


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_MAX_FIELD]
    if isinstance(value, Mapping):
        return {str(name)[:100]: _cut(item) for name, item in list(value.items())[:200]}
    return [_cut(item) for item in value[:100]] if isinstance(value, list) else value
