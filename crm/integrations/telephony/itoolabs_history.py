"""ITooLabs platform: histories by halves of a period, their rows in JSON and in CSV.

Sources: rows of JSON as read by github.com/mikopbx/ModuleMegafonPbx, columns of CSV and their
meaning as written in github.com/skytecs/MegafonPbxApiClient and github.com/ryzhak/gravitel.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from crm.integrations.inbound import MalformedRequest
from crm.integrations.telephony.events import CallEvent, CallResult
from crm.integrations.telephony.itoolabs_events import (
    FinishedCall,
    Origin,
    direction_of,
    finished,
    is_internal,
    login,
    moment,
    result_of,
    seconds,
)
from crm.integrations.telephony.payload import Payload

_COLUMNS = ("uid", "type", "client", "account", "via", "start", "wait", "duration", "record")
_LEAST_COLUMNS = 8  # a call without a recording may lack the last column
_SECOND = timedelta(seconds=1)
Ask = Callable[[datetime, datetime], list[Payload]]


def rows_between(
    since: datetime, until: datetime, ask: Ask, *, limit: int, pause: timedelta
) -> Iterator[Payload]:
    """Rows of a period of aware moments, oldest window first.

    The API knows a limit but neither pages nor an order of rows, so a window with a full answer is
    asked again by halves. Halves share their border: whether it belongs to a window is not
    documented. Raises `MalformedRequest` when one second holds more calls than the limit.
    """
    start = since.astimezone(UTC).replace(microsecond=0)
    windows = [(start, until.astimezone(UTC))] if since < until else []
    asked, previous = False, frozenset[str]()
    while windows:
        start, end = windows.pop()
        time.sleep(pause.total_seconds() if asked else 0)
        rows, asked = ask(start, end), True
        if len(rows) == limit:
            windows += reversed(_halves(start, end))
            continue
        told = {row.source(): row for row in rows}
        yield from (row for source, row in told.items() if source not in previous)
        previous = frozenset(told)


def csv_rows(text: str) -> list[Payload]:
    """Rows of the headerless CSV of `cmd=history`. Raises `MalformedRequest`."""
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] in ("<", "{") or "\x00" in text:
        raise MalformedRequest("вместо CSV пришёл другой текст")
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except csv.Error as error:
        raise MalformedRequest("CSV не разобрать") from error
    if any(len(line) < _LEAST_COLUMNS for line in lines):
        raise MalformedRequest("в строке CSV не хватает столбцов")
    return [Payload(dict(zip(_COLUMNS, line, strict=False))) for line in lines]


def from_row(row: Payload, origin: Origin) -> list[CallEvent]:
    """Events of one row; names of its members differ between the two APIs.

    Raises `MalformedRequest`.
    """
    word = row.text("type")
    client = row.number("phone") or row.number("client")
    if is_internal(word, client):
        return []
    started = moment(row.text("start"))
    if started is None:
        raise MalformedRequest("нет времени начала")
    call = FinishedCall(
        call_id=row.identifier("callid") or row.required("uid"),
        direction=direction_of(word),
        result=_result(row),
        client_number=client,
        line_number=row.number("diversion") or row.number("via"),
        user=login(row, "user") or login(row, "account"),
        extension=row.identifier("ext"),
        started_at=started,
        wait=seconds(row, "wait"),
        duration=seconds(row, "duration"),
        link=row.text("link") or row.text("record"),
    )
    return finished(call, origin)


def _halves(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    half = timedelta(seconds=(end - start) // (2 * _SECOND))
    if half < _SECOND:
        raise MalformedRequest("в одну секунду попало больше звонков, чем отдаёт один ответ")
    return [(start, start + half), (start + half, end)]


def _result(row: Payload) -> CallResult:
    """CSV has no status: a call that nobody answered has no seconds of talk."""
    if (row.text("type") or "").lower() == "missed":
        return CallResult.NO_ANSWER
    status = row.text("status")
    if status is not None:
        return result_of(status)
    return CallResult.ANSWERED if seconds(row, "duration") else CallResult.NO_ANSWER
