"""UIS / CoMagic: the texts of notices that an administrator types, and reading what they become.

The operator replaces `{{names}}` by JSON values and sends the text. Names of notices and
placeholders are those of the help pages of PlanFix on UIS and CallGear; a placeholder that the
operator does not know stays as it is (seen in a public vtiger integration with UIS).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from crm.integrations.inbound import InboundRequest, MalformedRequest, load_json
from crm.integrations.telephony.payload import Payload

# Variables of the text to type for each notice, `event` comes first by itself.
FIELDS: dict[str, tuple[str, ...]] = {
    "incoming": ("contact_id", "contact_full_name", "scenario_name"),
    "ringing": ("leg_id", "direction", "employee_id", "employee_full_name", "external_id"),
    "outgoing": ("employee_id", "employee_full_name", "employee_phone_number"),
    "answered": ("leg_ids", "direction", "employee_id", "employee_full_name", "external_id"),
    "talk_end": (
        "leg_ids",
        "direction",
        "employee_id",
        "employee_full_name",
        "talk_time_duration",
        "external_id",
    ),
    "call_end": (
        "direction",
        "employee_id",
        "employee_full_name",
        "talk_time_duration",
        "total_time_duration",
        "wait_time_duration",
        "external_id",
    ),
    "lost": ("wait_time_duration", "employee_ids", "scenario_name"),
    "record": ("employee_id", "file_link", "file_duration"),
}
# As the cabinet calls them.
CABINET_NAMES = {
    "incoming": "Входящий звонок",
    "ringing": "Ожидание ответа",
    "outgoing": "Исходящий звонок",
    "answered": "Начало разговора",
    "talk_end": "Завершение разговора",
    "call_end": "Завершение звонка",
    "lost": "Потерянный звонок",
    "record": "Записанный разговор",
}
# Other spellings seen in templates of people and in the cabinet of CallGear.
_SPELLINGS = {
    "входящий_звонок_на_виртуальный_номер": "incoming",
    "inbound_call_on_a_virtual_phone_number": "incoming",
    "waiting_for_answer": "ringing",
    "waiting_for_the_answer": "ringing",
    "outbound": "outgoing",
    "outbound_call": "outgoing",
    "talk_started": "answered",
    "talk_finished": "talk_end",
    "call_finished": "call_end",
    "lost_call": "lost",
    "recording_completed": "record",
    "call_recording_completed": "record",
    "record_call": "record",
}
_EVENTS = {
    **{name: name for name in FIELDS},
    **{name.casefold().replace(" ", "_"): event for event, name in CABINET_NAMES.items()},
    **_SPELLINGS,
}

_NOTHING = frozenset({"", "null", "none", "undefined"})
_WORD = re.compile(r"\w+")
_VARIABLE = re.compile(r"\{\{[^{}]*\}\}")
# What a hand does to a template, and how it is undone once the text is not JSON.
_REPAIRS = (
    (re.compile(r'"\{\{[^{}]*\}\}"|\{\{[^{}]*\}\}'), "null"),
    (re.compile(r'(?<=[:\[,])(\s*)""([^"\n]+?)""(?=\s*[,}\]])'), r'\1"\2"'),
    (re.compile(r":\s*(?=[,}])"), ":null"),
    (re.compile(r",\s*(?=[}\]])"), ""),
)


def template(event: str) -> str:
    """Text for the administrator: placeholders stand without quotes."""
    names = (
        "call_session_id",
        "virtual_phone_number",
        "contact_phone_number",
        *FIELDS[event],
        "notification_time",
        "notification_timestamp",
    )
    members = [f'"event":"{event}"', *(f'"{name}":{{{{{name}}}}}' for name in names)]
    return "{" + ",".join(members) + "}"


def values_of(request: InboundRequest) -> dict[str, Any]:
    """Members of the body and of the query under their own names; nested objects are opened.

    The body is JSON whatever type it declares, a form also passes. Raises `MalformedRequest`.
    """
    text = request.text().strip().removeprefix("\ufeff").lstrip()
    value: Any = {}
    if text.startswith(("{", "[")):
        value = _lenient(text)
    elif text:
        value = request.form()
    if not isinstance(value, Mapping):
        raise MalformedRequest("Ожидался объект JSON")
    if any("\x00" in part for pair in request.query.items() for part in pair):
        raise MalformedRequest("В адресе есть нулевой символ")
    return {**opened(request.query), **opened(value)}


def opened(value: Mapping[str, Any]) -> dict[str, Any]:
    """One level of members: the outer ones win, absent ones and bare placeholders are left out."""
    found: dict[str, Any] = {}
    levels = [value]
    for level in levels:
        for name, member in level.items():
            if isinstance(member, Mapping):
                levels.append(member)
            elif (plain := _plain(member)) not in (None, []):
                found.setdefault(name.strip().lower(), plain)
    return found


def event_of(values: Mapping[str, Any], tail: str) -> str | None:
    """Our name of the notice: told, else seen in the address, else in the operator's own names."""
    payload = Payload(values)
    told = (
        payload.text("event"),
        tail.strip("/").rsplit("/", 1)[-1],
        payload.text("notification_mnemonic"),
        payload.text("notification_name"),
    )
    names = ("_".join(_WORD.findall((text or "").casefold())) for text in told)
    event = next((_EVENTS[name] for name in names if name in _EVENTS), None)
    return event or _event_by_members(values)


def is_question(values: Mapping[str, Any]) -> bool:
    """Whether a scenario waits to be told where to send the call."""
    return "numa" in values and "event" not in values


def _event_by_members(values: Mapping[str, Any]) -> str | None:
    """Only what no other notice has; the rest is too alike to be guessed."""
    if "file_link" in values:
        return "record"
    whole = {"talk_time_duration", "total_time_duration"}
    return "call_end" if whole <= values.keys() else None


def _lenient(text: str) -> Any:
    try:
        return load_json(text)
    except MalformedRequest:
        for pattern, instead in _REPAIRS:
            text = pattern.sub(instead, text)
    return load_json(text)


def _plain(value: object) -> Any:
    """Text, or a list of texts and of objects with texts; what tells nothing is None."""
    if isinstance(value, list):
        return [item for one in value if (item := _item(one)) is not None]
    return _scalar(value)


def _item(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(name).lower(): _scalar(member) for name, member in value.items()}
    return _scalar(value)


def _scalar(value: object) -> str | None:
    if isinstance(value, float):
        return str(int(value)) if math.isfinite(value) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    return None if text.casefold() in _NOTHING or _VARIABLE.search(text) else text
