"""Beeline «Облачная АТС»: its XSI events (XML) as `CallEvent`s.

The operator's own document is inside its cabinet; the meaning of the elements comes from code that
runs on the live service (github.com/antibaloo/bpm.ucre.ru) and from a captured event
(gist.github.com/benone/f28b5dba33f371e9c6f5b9f7fab9793f). What is marked [I] is general knowledge
of BroadWorks XSI.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from lxml import etree

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallKind, CallResult, Direction
from crm.integrations.telephony.payload import MAX_ID, MAX_NUMBER
from crm.values import phones

OPERATOR = "beeline"

TERMINATED = "SubscriptionTerminatedEvent"
# Kinds that say nothing about the state of a call.
NOISE = frozenset(
    {
        "CallHeldEvent",
        "CallRetrievedEvent",
        "CallSubscriptionEvent",
        "CallUpdatedEvent",
        "HookStatusEvent",
        TERMINATED,
    }
)
_RINGING = frozenset({"CallReceivedEvent", "CallOriginatedEvent"})
# The call went on to somebody else: a hint that closes the pop-up, nothing more [I].
_MOVED = frozenset({"CallForwardedEvent", "CallRedirectedEvent", "CallTransferredEvent"})
_KINDS = {
    **dict.fromkeys(_RINGING, CallKind.RINGING),
    **dict.fromkeys(_MOVED, CallKind.LEG_ENDED),
    "CallAnsweredEvent": CallKind.ANSWERED,
    "CallReleasedEvent": CallKind.LEG_ENDED,
}
_DIRECTIONS = {
    "terminator": Direction.IN,
    "originator": Direction.OUT,
    "click-to-dial": Direction.OUT,
    "CallReceivedEvent": Direction.IN,
    "CallOriginatedEvent": Direction.OUT,
}
_CAUSES = {
    "busy": CallResult.BUSY,
    "temporarily unavailable": CallResult.NO_ANSWER,
}
# Reasons of a redirection that let several employees ring for one call [I].
_GROUP_REASONS = ("hunt", "call-center", "group")

_LATEST_UNIX = 4102444800  # 2100-01-01
_LEAST_MILLISECONDS = 100_000_000_000


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the XML or JSON itself does not hold."""

    connection_id: int
    received_at: datetime
    fallback_id: str = ""
    raw: str = field(default="", repr=False)


def from_xml(text: str, origin: Origin) -> list[CallEvent] | None:
    """Translate one XSI event; None for a kind that nobody described. Raises `MalformedRequest`."""
    notice = _Notice(_root(text))
    if notice.kind in NOISE:
        return []
    if notice.kind not in _KINDS:
        return None
    return [] if notice.is_internal() else [_from_call(notice, origin)]


def ended_subscription(text: str) -> str | None:
    """Id of the subscription that has ended, "" when not told; None for any other event.

    Raises `MalformedRequest`.
    """
    notice = _Notice(_root(text))
    return (notice.own("subscriptionId") or "") if notice.kind == TERMINATED else None


class _Times(NamedTuple):
    start: datetime | None
    answer: datetime | None
    release: datetime | None


class _Notice:
    """An XSI event. Elements are found by local names: prefixes and nesting differ in life."""

    def __init__(self, root: etree._Element) -> None:
        data = root.find("{*}eventData")
        self._root = root
        self._call = root if data is None else data
        if (call := self._call.find(".//{*}call")) is not None:
            self._call = call
        is_event = etree.QName(root).localname == "Event"
        self.kind = (_type(data) or _type(root)) if is_event else ""

    def own(self, name: str) -> str | None:
        """Id among the direct children of Event."""
        return _identifier(name, self._root.findtext("{*}" + name))

    def identifier(self, name: str) -> str | None:
        """Id anywhere in the call."""
        return _identifier(name, self._call.findtext(".//{*}" + name))

    def words(self, *path: str) -> str:
        """Text of an element of the call in lower case, "" when absent."""
        found = self._call.findtext(".//{*}" + "//{*}".join(path))
        return (found or "").strip().lower()

    def times(self) -> _Times:
        names = ("startTime", "answerTime", "releaseTime")
        return _Times(*(moment(self._call.findtext(".//{*}" + name)) for name in names))

    def direction(self) -> Direction | None:
        return _DIRECTIONS.get(self.words("personality")) or _DIRECTIONS.get(self.kind)

    def client(self) -> str | None:
        return _number(self._call.findtext(".//{*}remoteParty//{*}address"))

    def line(self) -> str | None:
        """The last outside address of the redirections: the number that the client dialled."""
        found = (_number(node.text) for node in self._redirections("address"))
        outside = [number for number in found if number and not phones.is_internal(number)]
        return outside[-1] if outside else None

    def is_internal(self) -> bool:
        """A call between employees: `Group` is one customer's PBX, not a hunt group."""
        return self.words("remoteParty", "callType") == "group" or phones.is_internal(self.client())

    def may_ring_at_others(self) -> bool:
        """Whether a group or a menu distributes the call, so that one leg decides nothing."""
        if self._call.find(".//{*}acdCallInfo") is not None or self.words("huntGroupUserId"):
            return True
        reasons = [(node.text or "").lower() for node in self._redirections("reason")]
        kinds = [(node.text or "").strip().lower() for node in self._redirections("callType")]
        return "group" in kinds or any(mark in text for text in reasons for mark in _GROUP_REASONS)

    def _redirections(self, name: str) -> list[etree._Element]:
        return self._call.findall(".//{*}redirections//{*}" + name)


def _root(text: str) -> etree._Element:
    """Parse without DTD, entities and network. Raises `MalformedRequest`."""
    if "<!DOCTYPE" in text:
        raise MalformedRequest("XML с объявлением DTD не принимается")
    # The text is decoded already: an encoding named inside it must not count again.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(text.lstrip("\ufeff \t\r\n").encode("utf-8"), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError) as error:
        raise MalformedRequest("Текст не является правильным XML") from error


def _type(node: etree._Element | None) -> str:
    """Value of the attribute `type` without its prefix."""
    if node is None:
        return ""
    values = [value for name, value in node.attrib.items() if etree.QName(name).localname == "type"]
    return str(values[0]).strip().rpartition(":")[2] if values else ""


def _from_call(notice: _Notice, origin: Origin) -> CallEvent:
    call_id, employee = notice.identifier("extTrackingId"), notice.own("targetId")
    if call_id is None:
        raise MalformedRequest("Нет обязательного поля «extTrackingId»")
    direction, times = notice.direction(), notice.times()
    values: dict[str, Any] = {"kind": _KINDS[notice.kind]}
    if notice.kind == "CallReleasedEvent":
        values = _release(notice, direction, times)
        values |= _recording(notice, times, call_id, employee)
    return event(
        origin,
        provider_call_id=call_id,
        event_id=notice.own("eventID") or origin.fallback_id,
        occurred_at=_occurred(notice.kind, times),
        leg_id=notice.identifier("callId"),
        sequence=_integer(notice.own("sequenceNumber")),
        direction=direction,
        client_number=notice.client(),
        line_number=notice.line() if direction is Direction.IN else None,
        employee_key=employee,
        extension=_extension(employee),
        started_at=times.start,
        answered_at=None if notice.kind in _RINGING else times.answer,
        transferred=notice.kind in _MOVED,
        **values,
    )


def _occurred(kind: str, times: _Times) -> datetime | None:
    if kind in _RINGING:
        return times.start
    return times.answer if kind == "CallAnsweredEvent" else times.release


def _release(notice: _Notice, direction: Direction | None, times: _Times) -> dict[str, Any]:
    """What the end of a leg tells of the call.

    An unanswered leg ends the call only where nobody else can ring: the caller's own leg, or a
    call that no group distributes. An event without any times does not tell who answered.
    """
    over = {
        "kind": CallKind.ENDED,
        "ended_at": times.release,
        "duration_total": _seconds(times.start, times.release),
    }
    if times.answer is not None:
        talk = _seconds(times.answer, times.release)
        return {**over, "talk": talk, "result": CallResult.ANSWERED}
    unanswered = {**over, "talk": 0, "result": _unanswered(notice, direction)}
    told = times.start is not None or times.release is not None
    if told and direction is Direction.OUT:
        return unanswered
    if told and direction is Direction.IN and not notice.may_ring_at_others():
        return {**unanswered, "kind": CallKind.MISSED}
    return {"kind": CallKind.LEG_ENDED}


def _unanswered(notice: _Notice, direction: Direction | None) -> CallResult:
    """An empty cause is a normal end: an employee who hung up first gave up."""
    cause = notice.words("internalReleaseCause")
    if cause:
        return _CAUSES.get(cause, CallResult.FAILED)
    gave_up = direction is Direction.OUT and notice.words("releasingParty") == "localrelease"
    return CallResult.CANCELLED if gave_up else CallResult.NO_ANSWER


def _recording(
    notice: _Notice, times: _Times, call_id: str, employee: str | None
) -> dict[str, Any]:
    """Nothing announces a file: every answered leg is asked for one, unless it says it failed."""
    failed = notice.words("recordingState") == "failed"
    if times.answer is None or employee is None or failed:
        return {}
    return {"recording_ref": f"{call_id}/{employee}"}


def _extension(employee: str | None) -> str | None:
    """Internal number, where the operator's key of the employee begins with it."""
    local = (employee or "").partition("@")[0]
    return local if local.isdecimal() and phones.is_internal(local) else None


def moment(text: str | None) -> datetime | None:
    """Milliseconds since the epoch or ISO text with an offset as aware UTC; None for others."""
    value = (text or "").strip()
    if value.isdecimal() and len(value) <= MAX_NUMBER:
        number = int(value)
        seconds = number / 1000 if number >= _LEAST_MILLISECONDS else float(number)
        return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < _LATEST_UNIX else None
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None


def event(origin: Origin, *, occurred_at: datetime | None, **values: Any) -> CallEvent:
    return CallEvent(
        operator=OPERATOR,
        connection_id=origin.connection_id,
        occurred_at=occurred_at or origin.received_at,
        occurred_at_is_receipt=occurred_at is None,
        raw=origin.raw,
        **values,
    )


def _identifier(name: str, text: str | None) -> str | None:
    value = (text or "").strip()
    if len(value) > MAX_ID:
        raise MalformedRequest(f"Поле «{name}» длиннее {MAX_ID} знаков")
    return value or None


def _number(text: str | None) -> str | None:
    found = phones.digits(text)
    return found if found is not None and len(found) <= MAX_NUMBER else None


def _integer(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) <= MAX_NUMBER else None


def _seconds(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None:
        return None
    return max(0, int((end - start).total_seconds()))
