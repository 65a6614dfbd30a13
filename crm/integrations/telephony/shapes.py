"""What the CRM and a telephony operator hand to each other, besides events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import Flag, auto
from types import TracebackType
from typing import Self

from crm.integrations.http_protocol import HttpResponse


class Capability(Flag):
    """What an operator can do beyond sending events."""

    NONE = 0
    CLICK_TO_CALL = auto()
    HISTORY = auto()
    RECORDINGS = auto()
    EXTENSIONS = auto()
    LINES = auto()
    SYNCHRONOUS_REPLY = auto()
    SUBSCRIPTION = auto()
    # Events come over a connection that we keep open ourselves.
    STREAM = auto()


@dataclass(frozen=True)
class CredentialField:
    """One field of the connection's form; secret ones are stored encrypted and never shown."""

    name: str
    label: str
    secret: bool = True
    help: str = ""
    required: bool = True
    default: str = ""
    # (value, label) pairs of a closed list; empty for free text.
    choices: tuple[tuple[str, str], ...] = ()
    # Long text such as a certificate or a template.
    multiline: bool = False
    # Of which protocol it is, where one is chosen on the form itself: others need not be seen.
    protocol: str = ""


@dataclass(frozen=True)
class SetupText:
    """A text to copy into the operator's cabinet; may hold `{webhook_url}`."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ClickToCall:
    """Connect an employee with a number; `request_id` is ours, numbers are digits."""

    extension: str
    number: str
    request_id: str
    line_number: str | None = None
    employee_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlacedCall:
    """The operator accepted a call; without its id match the next call of the employee."""

    request_id: str
    provider_call_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class RecordingRef:
    """Where a recording is: an id to pull by, or an address from an event."""

    recording_ref: str | None = None
    recording_url: str | None = None
    provider_call_id: str = ""
    employee_key: str | None = None


class Recording:
    """An open stream of a recording; read `chunks` inside `with`."""

    def __init__(self, response: HttpResponse, content_type: str) -> None:
        self._stack = ExitStack()
        self.chunks: Iterator[bytes] = self._stack.enter_context(response).iter_bytes()
        self.content_type = content_type

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()


@dataclass(frozen=True, kw_only=True)
class Extension:
    """An internal number; `employee_key` is the operator's own key of the employee."""

    number: str
    name: str
    employee_key: str
    email: str | None = None
    department: str | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A number of the agency that clients dial."""

    number: str
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class KnownCaller:
    """What the CRM knows of a caller, for operators that ask while the call waits.

    `responsible_key` is the operator's own key of the employee, the number if it has no other.
    """

    name: str | None = None
    responsible_extension: str | None = None
    responsible_key: str | None = None
    deal_id: int | None = None


def named_values(told: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Values under the names of a setting, several through a comma; absent values are left out."""
    return {
        name.strip(): value
        for names, value in told
        if value
        for name in names.split(",")
        if name.strip()
    }


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription to events that ends by itself."""

    id: str
    expires_at: datetime


@dataclass(frozen=True)
class CheckResult:
    """Outcome of "check connection", in Russian for the administrator."""

    ok: bool
    message: str
