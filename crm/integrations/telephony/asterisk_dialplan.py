"""Asterisk: who is who among the channels of one PBX."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from crm.integrations.telephony.asterisk_steps import Channel
from crm.values import phones

_SUFFIX = re.compile(r"(?:-[0-9a-fA-F]+)?(?:;[12])?$")
_DEVICE = re.compile(r"(\d+)(?:[-_][A-Za-z]\w*)?")
_DIALLED = re.compile(r"(?<![\d.])\+?(\d{5,15})(?![\d.])")
_DIGITS = re.compile(r"(\d)\s*(?:[-–]|\.\.)\s*(\d)")
# Technologies whose telephones are named by their numbers, not by a port.
_NAMED_BY_NUMBER = frozenset({"pjsip", "sip", "iax2", "sccp", "local"})
# Technologies whose channels are no telephone and no line.
_INNER = frozenset(
    "announcer asyncgoto bridge cbann cbrec confbridgerecorder message mixmonitor multicastrtp "
    "parked recorder snoop surrogate unicastrtp".split()
)


class Role(Enum):
    """Whose a channel is."""

    CLIENT = "client"
    EMPLOYEE = "employee"
    LOCAL = "local"
    NOBODY = "nobody"


class Dialplan:
    """How this PBX names things: its trunks, the contexts of their calls, its extensions.

    Without a list of trunks every channel that is no extension's is a trunk's. A context may end
    with `*`.
    """

    def __init__(self, trunks: Iterable[str], contexts: Iterable[str], digits: str) -> None:
        self._trunks = frozenset(name.lower() for name in trunks)
        names = [name.lower() for name in contexts]
        self._contexts = frozenset(name for name in names if not name.endswith("*"))
        self._prefixes = tuple(name[:-1] for name in names if len(name) > 1 and name[-1] == "*")
        found = _DIGITS.fullmatch(digits.strip())
        self._shortest, self._longest = (int(found[1]), int(found[2])) if found else (2, 6)

    def role(self, channel: Channel) -> Role:
        """Whose the channel is, by its name."""
        tech, _, name = channel.name.partition("/")
        if tech.lower() == "local":
            return Role.LOCAL
        if not name or tech.lower() in _INNER:
            return Role.NOBODY
        if self._is_trunk(name):
            return Role.CLIENT
        if self.extension(channel):
            return Role.EMPLOYEE
        return Role.NOBODY if self._trunks else Role.CLIENT

    def extension(self, channel: Channel) -> str | None:
        """Internal number in the channel's name (`PJSIP/101-…`, `Local/101@…`)."""
        tech, _, rest = channel.name.partition("/")
        name = rest.partition("@")[0]
        if tech.lower() not in _NAMED_BY_NUMBER:
            return None
        for text in (name, _SUFFIX.sub("", name)):
            found = _DEVICE.fullmatch(text)
            if found and self.is_extension(found[1]):
                return found[1]
        return None

    def is_extension(self, number: str | None) -> bool:
        """Whether digits are as long as the internal numbers here."""
        return self._shortest <= len(number or "") <= self._longest

    def is_outside(self, number: str | None) -> bool:
        """Whether digits are somebody's outside the agency."""
        return bool(number) and not phones.is_internal(number) and not self.is_extension(number)

    def _is_trunk(self, name: str) -> bool:
        plain = name.lower().partition("@")[0]
        return plain in self._trunks or _SUFFIX.sub("", plain) in self._trunks

    def comes_from_outside(self, channel: Channel) -> bool:
        """Whether the context of a new channel is that of a trunk."""
        context = channel.context.lower()
        return context in self._contexts or context.startswith(self._prefixes or ("\0",))

    def outside_number(self, candidates: Iterable[str | None]) -> str | None:
        """The first of the numbers that is nobody's of the agency."""
        return next((number for number in candidates if self.is_outside(number)), None)


def dialled_number(dial_string: str) -> str | None:
    """Digits of a number in a dial string (`trunk/sip:+7…@host`, `7…@trunk`), None without one."""
    found = _DIALLED.findall(dial_string.rpartition("@")[0] or dial_string)
    return phones.digits(found[-1]) if found else None
