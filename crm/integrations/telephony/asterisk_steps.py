"""Asterisk: events of AMI and of ARI as steps of a call, whichever interface told them.

Sources: https://docs.asterisk.org/ (AMI_Events, per version), `rest-api/api-docs/events.json` of
github.com/asterisk/asterisk. AMI names a call by `Linkedid`; ARI names channels only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.payload import MAX_ID, Payload
from crm.values import phones

T = TypeVar("T")
AMI = "ami"
ARI = "ari"
# Our own mark: the connection stands.
CONNECTED = "CrmConnected"
# Our click-to-call: the action's id in AMI, the channel's variable in both.
ACTION_PREFIX = "crm:"
REQUEST_VARIABLE = "CRM_CALL"
LINE_VARIABLES = frozenset({"FROM_DID", "CRM_DID"})
FILE_VARIABLES = frozenset({"MIXMONITOR_FILENAME", "CRM_REC"})
VARIABLES = LINE_VARIABLES | FILE_VARIABLES | {REQUEST_VARIABLE}
USER_EVENT = "crmcall"
ARI_FILE = "ari:"

_LATEST_UNIX = 4102444800
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DOWN = frozenset({"0", "down"})
# Documented events that say nothing about who calls whom.
_AMI_NOISE = frozenset(
    """
    agentcomplete agentdump agentlogin agentlogoff agents bridgecreate bridgedestroy bridgemerge
    cdr cel challengesent channeltalkingstart channeltalkingstop confbridgeend confbridgejoin
    confbridgeleave confbridgestart contactstatus coreshowchannel coreshowchannelscomplete
    devicestatechange dialstate dtmfbegin dtmfend extensionstatus fullybooted hanguphandlerrun
    hanguprequest hold localbridge localoptimizationbegin localoptimizationend messagewaiting
    mixmonitorstart mixmonitorstop musiconholdstart musiconholdstop newaccountcode newcallerid
    newconnectedline newexten newstate parkedcall parkedcallgiveup parkedcalltimeout peerstatus
    pickup presencestatechange queuecallerabandon queuecallerjoin queuecallerleave
    queuememberadded queuememberpause queuememberremoved queuememberstatus registry reload rename
    rtcpreceived rtcpsent shutdown softhanguprequest successfulauth unhold unparkedcall
    """.split()
) | {CONNECTED.lower()}
_ARI_NOISE = frozenset(
    """
    applicationmovefailed applicationregistered applicationreplaced bridgecreated bridgedestroyed
    bridgemerged channelcallerid channelconnectedline channeldialplan channeldtmfreceived
    channelhanguprequest channelhold channelstatechange channeltalkingfinished
    channeltalkingstarted channelunhold contactstatuschange devicestatechanged endpointstatechange
    peerstatuschange playbackcontinuing playbackfinished playbackstarted recordingfailed
    recordingstarted stasisend stasisstart textmessagereceived
    """.split()
) | {CONNECTED.lower()}
_DIAL_GOES_ON = frozenset({"RINGING", "PROGRESS", "PROCEEDING"})


class Undocumented(LookupError):
    """No document that we know describes such an event."""


class Kind(Enum):
    """What a step does to a call."""

    CREATED = "created"
    DIALLED = "dialled"
    DIAL_OVER = "dial over"
    BRIDGED = "bridged"
    UNBRIDGED = "unbridged"
    VARIABLE = "variable"
    TRANSFERRED = "transferred"
    HUNG_UP = "hung up"
    RECORDED = "recorded"
    ORDERED = "ordered"
    LISTED = "listed"


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One leg as an event shows it; `linked` is AMI's id of the whole call."""

    id: str
    name: str
    linked: str = ""
    number: str | None = None
    connected: str | None = None
    exten: str = ""
    context: str = ""
    is_down: bool = False

    @property
    def outgoing(self) -> bool:
        """Whether the PBX itself makes it; `chan_sip` shows its incoming ones as down, too."""
        return self.is_down and self.number is None and self.exten in ("", "s")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one event tells, whichever interface told it.

    `status` is a dial status, a hang-up cause or a reason; `target` a dial string or a bridge.
    """

    kind: Kind
    channel: Channel | None = None
    peer: Channel | None = None
    at: datetime | None = None
    status: str = ""
    target: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    request: str | None = None


def request_id(text: str) -> str | None:
    """Our id of an ordered call, when the text can be one."""
    return text if _REQUEST_ID.fullmatch(text) else None


# --- reading ----------------------------------------------------------------------------------


def read(protocol: str, event: object) -> Step | None:
    """The step of an event, None for documented noise.

    Raises `MalformedRequest` for what is no event, `Undocumented` for what nobody described.
    """
    if not isinstance(event, Mapping):
        raise MalformedRequest("Нет объекта event")
    return _ami(_Fields(event)) if protocol == AMI else _ari(Payload(event))


class _Fields:
    """Fields of an AMI packet: case of names differs between versions, names may repeat."""

    def __init__(self, event: Mapping[Any, Any]) -> None:
        self._values = {str(name).lower(): value for name, value in event.items()}

    def text(self, name: str) -> str:
        """First value of the name, "" when absent."""
        value = self._values.get(name.lower())
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, bool) or not isinstance(value, str | int):
            return ""
        return str(value).strip()

    def channel(self, prefix: str = "") -> Channel | None:
        """The leg whose fields begin with ``prefix`` (`Dest`, `Transferee`).

        A called leg without an id of its call belongs to the caller's.
        """
        uid = self.text(f"{prefix}Uniqueid")
        name = self.text(f"{prefix}Channel")
        if not uid:
            return None
        return Channel(
            id=_id(uid),
            name=name[:MAX_ID],
            linked=_id(self.text(f"{prefix}Linkedid") or self.text("Linkedid")),
            number=phones.digits(self.text(f"{prefix}CallerIDNum")),
            connected=phones.digits(self.text(f"{prefix}ConnectedLineNum")),
            exten=self.text(f"{prefix}Exten")[:MAX_ID],
            context=self.text(f"{prefix}Context")[:MAX_ID],
            is_down=self.text(f"{prefix}ChannelState") in _DOWN,
        )

    @property
    def at(self) -> datetime | None:
        """`Timestamp`, there when `timestampevents=yes` in manager.conf."""
        whole = self.text("Timestamp").partition(".")[0]
        if not whole.isdecimal() or len(whole) > 10 or not 0 < int(whole) < _LATEST_UNIX:
            return None
        return datetime.fromtimestamp(int(whole), UTC)


def _reader(
    readers: Mapping[str, Callable[[T], Step | None]], name: str
) -> Callable[[T], Step | None]:
    try:
        return readers[name]
    except KeyError:
        raise Undocumented(name) from None


def _id(text: str) -> str:
    """Raises `MalformedRequest` when longer than an id can be."""
    if len(text) > MAX_ID:
        raise MalformedRequest(f"Идентификатор длиннее {MAX_ID} знаков")
    return text


def _ami(fields: _Fields) -> Step | None:
    name = fields.text("Event").lower()
    if not name:
        raise MalformedRequest("Нет поля Event")
    if name in _AMI_NOISE:
        return None
    return _reader(_AMI_READERS, name)(fields)


def _ami_one(kind: Kind, status: str = "", target: str = "") -> Callable[[_Fields], Step | None]:
    """A reader of an event about one channel; the names say where its facts are."""

    def reader(fields: _Fields) -> Step | None:
        channel = fields.channel()
        if channel is None:
            raise MalformedRequest("Нет поля Uniqueid")
        return Step(
            kind=kind,
            channel=channel,
            at=fields.at,
            status=fields.text(status) if status else "",
            target=_id(fields.text(target)) if target else "",
        )

    return reader


def _ami_dial(kind: Kind, status: str = "") -> Callable[[_Fields], Step | None]:
    """A reader of an event about a caller and a called leg; `Dest…` may be all that is there."""

    def reader(fields: _Fields) -> Step | None:
        peer = fields.channel("Dest") or _interface(fields)
        if peer is None:
            raise MalformedRequest("Нет поля DestUniqueid")
        return Step(
            kind=kind,
            channel=fields.channel(),
            peer=peer,
            at=fields.at,
            status=fields.text("DialStatus") or status,
            target=fields.text("DialString")[:MAX_ID],
        )

    return reader


def _interface(fields: _Fields) -> Channel | None:
    """An agent of a queue, in versions that name no channel of him."""
    name = fields.text("Interface") or fields.text("Member")
    linked = fields.text("Linkedid") or fields.text("Uniqueid")
    if not name or not linked:
        return None
    return Channel(id=_id(f"{linked}/{name}"), name=name[:MAX_ID], linked=_id(linked))


def _ami_variable(fields: _Fields) -> Step | None:
    name = fields.text("Variable").lstrip("_")
    channel = fields.channel()
    if name not in VARIABLES or channel is None:
        return None
    return _variables(channel, fields.at, [(name, fields.text("Value"))])


def _ami_user_event(fields: _Fields) -> Step | None:
    channel = fields.channel()
    if fields.text("UserEvent").lower() != USER_EVENT or channel is None:
        return None
    told = [("CRM_DID", fields.text("DID")), ("CRM_REC", fields.text("Rec"))]
    return _variables(channel, fields.at, told)


def _variables(channel: Channel, at: datetime | None, told: Iterable[tuple[str, str]]) -> Step:
    kept = tuple((name, value[:1000]) for name, value in told if value)
    return Step(kind=Kind.VARIABLE, channel=channel, at=at, variables=kept)


def _ami_transfer(*prefixes: str) -> Callable[[_Fields], Step | None]:
    """A reader of a transfer: who transfers, then who is transferred."""

    def reader(fields: _Fields) -> Step | None:
        giver, given = (fields.channel(prefix) for prefix in prefixes)
        if giver is None:
            raise MalformedRequest("Нет канала, который переводит звонок")
        return Step(kind=Kind.TRANSFERRED, channel=giver, peer=given, at=fields.at)

    return reader


def _ami_ordered(fields: _Fields) -> Step | None:
    """`OriginateResponse` of our own order; those of others are not ours to tell."""
    action = fields.text("ActionID")
    if not action.startswith(ACTION_PREFIX):
        return None
    request = request_id(action.removeprefix(ACTION_PREFIX))
    uid = fields.text("Uniqueid").strip("<>").removesuffix("null")
    failed = fields.text("Response").lower() != "success"
    return Step(
        kind=Kind.ORDERED,
        channel=Channel(id=_id(uid), name=fields.text("Channel")[:MAX_ID], linked=uid),
        at=fields.at,
        status=fields.text("Reason") or "0" if failed else "",
        request=request,
    )


_AMI_READERS: dict[str, Callable[[_Fields], Step | None]] = {
    "newchannel": _ami_one(Kind.CREATED),
    "bridgeenter": _ami_one(Kind.BRIDGED, target="BridgeUniqueid"),
    "bridgeleave": _ami_one(Kind.UNBRIDGED, target="BridgeUniqueid"),
    "hangup": _ami_one(Kind.HUNG_UP, status="Cause"),
    "dialbegin": _ami_dial(Kind.DIALLED),
    "dialend": _ami_dial(Kind.DIAL_OVER),
    "agentcalled": _ami_dial(Kind.DIALLED),
    "agentconnect": _ami_dial(Kind.DIAL_OVER, "ANSWER"),
    "agentringnoanswer": _ami_dial(Kind.DIAL_OVER, "NOANSWER"),
    "varset": _ami_variable,
    "userevent": _ami_user_event,
    "blindtransfer": _ami_transfer("Transferer", "Transferee"),
    "attendedtransfer": _ami_transfer("OrigTransferer", "Transferee"),
    "originateresponse": _ami_ordered,
}
# What the listener needs to hear; everything else is dropped before it is read.
AMI_EVENTS = frozenset(_AMI_READERS)


def listed_by_ami(event: Mapping[str, Any]) -> Step | None:
    """A row of `CoreShowChannels`: a channel that is there now."""
    fields = _Fields(event)
    try:
        channel = fields.channel()
        bridge = _id(fields.text("BridgeId"))
    except MalformedRequest:
        return None
    return Step(kind=Kind.LISTED, channel=channel, target=bridge) if channel is not None else None


# --- ARI --------------------------------------------------------------------------------------


def _ari(event: Payload) -> Step | None:
    name = (event.text("type") or "").lower()
    if not name:
        raise MalformedRequest("Нет поля type")
    if name in _ARI_NOISE:
        return None
    return _reader(_ARI_READERS, name)(event)


def _ari_channel(event: Payload, name: str) -> Channel | None:
    uid = event.identifier(f"{name}.id")
    if uid is None:
        return None
    return Channel(
        id=uid,
        name=(event.text(f"{name}.name") or "")[:MAX_ID],
        number=phones.digits(event.text(f"{name}.caller.number")),
        connected=phones.digits(event.text(f"{name}.connected.number")),
        exten=(event.text(f"{name}.dialplan.exten") or "")[:MAX_ID],
        context=(event.text(f"{name}.dialplan.context") or "")[:MAX_ID],
        is_down=(event.text(f"{name}.state") or "").lower() in _DOWN,
    )


def _ari_at(event: Payload) -> datetime | None:
    try:
        moment = datetime.fromisoformat(event.text("timestamp") or "")
    except ValueError:
        return None
    if moment.tzinfo is None or not 1971 < moment.year < 2100:
        return None
    return moment.astimezone(UTC)


def _ari_one(kind: Kind, status: str = "", target: str = "") -> Callable[[Payload], Step | None]:
    def reader(event: Payload) -> Step | None:
        channel = _ari_channel(event, "channel")
        if channel is None:
            raise MalformedRequest("Нет поля channel.id")
        return Step(
            kind=kind,
            channel=channel,
            at=_ari_at(event),
            status=(event.text(status) or "") if status else "",
            target=(event.identifier(target) or "") if target else "",
        )

    return reader


def _ari_dial(event: Payload) -> Step | None:
    status = (event.text("dialstatus") or "").upper()
    peer = _ari_channel(event, "peer")
    if peer is None:
        raise MalformedRequest("Нет поля peer.id")
    if status in _DIAL_GOES_ON:
        return None
    return Step(
        kind=Kind.DIAL_OVER if status else Kind.DIALLED,
        channel=_ari_channel(event, "caller"),
        peer=peer,
        at=_ari_at(event),
        status=status,
        target=(event.text("dialstring") or "")[:MAX_ID],
    )


def _ari_variable(event: Payload) -> Step | None:
    name = (event.text("variable") or "").lstrip("_")
    channel = _ari_channel(event, "channel")
    if name not in VARIABLES or channel is None:
        return None
    return _variables(channel, _ari_at(event), [(name, event.text("value") or "")])


def _ari_user_event(event: Payload) -> Step | None:
    channel = _ari_channel(event, "channel")
    if (event.text("eventname") or "").lower() != USER_EVENT or channel is None:
        return None
    told = [("CRM_DID", event.text("userevent.DID")), ("CRM_REC", event.text("userevent.Rec"))]
    return _variables(channel, _ari_at(event), [(name, value or "") for name, value in told])


def _ari_transfer(giver: str) -> Callable[[Payload], Step | None]:
    def reader(event: Payload) -> Step | None:
        channel = _ari_channel(event, giver)
        if channel is None:
            raise MalformedRequest("Нет канала, который переводит звонок")
        given = _ari_channel(event, "transferee")
        return Step(kind=Kind.TRANSFERRED, channel=channel, peer=given, at=_ari_at(event))

    return reader


def _ari_recorded(event: Payload) -> Step | None:
    """`RecordingFinished`: `target_uri` is `channel:<id>` or `bridge:<id>`."""
    name = event.text("recording.name")
    what, _, target = (event.text("recording.target_uri") or "").partition(":")
    if name is None:
        raise MalformedRequest("Нет поля recording.name")
    channel = Channel(id=_id(target), name="") if what == "channel" and target else None
    return Step(
        kind=Kind.RECORDED,
        channel=channel,
        at=_ari_at(event),
        target=_id(target) if what == "bridge" else "",
        variables=(("name", ARI_FILE + name[:1000]),),
    )


_ARI_READERS: dict[str, Callable[[Payload], Step | None]] = {
    "channelcreated": _ari_one(Kind.CREATED),
    "channelenteredbridge": _ari_one(Kind.BRIDGED, target="bridge.id"),
    "channelleftbridge": _ari_one(Kind.UNBRIDGED, target="bridge.id"),
    "channeldestroyed": _ari_one(Kind.HUNG_UP, status="cause"),
    "dial": _ari_dial,
    "channelvarset": _ari_variable,
    "channeluserevent": _ari_user_event,
    "bridgeblindtransfer": _ari_transfer("channel"),
    "bridgeattendedtransfer": _ari_transfer("transferer_first_leg"),
    "recordingfinished": _ari_recorded,
}


def listed_by_ari(channels: Iterable[Any], bridges: Iterable[Any]) -> Iterator[Step]:
    """Rows of `GET /channels` and `GET /bridges`: channels that are there now."""
    for row in channels:
        channel = _ari_channel(Payload({"channel": row}), "channel")
        if channel is not None:
            yield Step(kind=Kind.LISTED, channel=channel)
    for row in bridges:
        bridge = Payload({"bridge": row})
        for uid in bridge.texts("bridge.channels"):
            target = bridge.identifier("bridge.id") or ""
            yield Step(kind=Kind.LISTED, channel=Channel(id=uid, name=""), target=target)
