"""Calls: the list, recordings, dialling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from flask import Response, abort, request
from flask_babel import gettext as _

from crm.models import CallState, Employee, Source, StoredFile
from crm.operations import files, recordings
from crm.operations.errors import ValidationErrors
from crm.reports import calls
from crm.security import visibility
from crm.security.grants import Grant
from crm.security.principal import current_principal
from crm.views import arguments
from crm.views.access import requires
from crm.views.base import CrmView, expose
from crm.views.base_api import CrmApi

DIRECTIONS = ("in", "out", "internal")
RESULTS = ("missed", "answered", "live")
_CHUNK = 64 * 1024


class CallsView(CrmView):
    """``/calls``."""

    route_base = "/calls"
    class_permission_name = "Calls"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """Calls that the person may see, the newest first."""
        principal = current_principal()
        wanted = read_filter()
        rows, more = calls.page(principal, wanted, arguments.place())
        return self.page(
            "calls/index.html",
            rows=rows,
            next_url=arguments.link(after=str(more)) if more else None,
            wanted=wanted,
            employee=_named(Employee, wanted.employee_id),
            source=_named(Source, wanted.source_id),
            lines=calls.lines(principal),
            link=arguments.link,
            state=CallState,
            may_dial=not principal.can(Grant.FORBID_CLICK_TO_CALL),
        )

    @expose("/<int:pk>/recording", methods=["GET"])
    @requires("list")
    def recording(self, pk: int) -> Response:
        """The sound of a call for those who may hear it; parts of it on request."""
        stored = calls.recording(current_principal(), pk)
        if stored is None:
            abort(404)
        return _stream(stored, f"call-{pk}", as_file="download" in request.args)


class CallsApi(CrmApi):
    """``/api/v1/calls``."""

    resource_name = "calls"
    class_permission_name = "Calls"

    @expose("/dial", methods=["POST"])
    @requires("list")
    def dial(self) -> Response:
        """Ring the person, then the client: ``{contact_phone_id | number, deal_id}``."""
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            raise ValidationErrors.one("", _("Нужен объект JSON."))
        call = recordings.click_to_call(
            current_principal(),
            contact_phone_id=_id(body, "contact_phone_id"),
            number=_text(body, "number"),
            deal_id=_id(body, "deal_id"),
        )
        return self.answer(202, message=_("Снимите трубку: сначала звонок вам."), call_id=call.id)


def read_filter() -> calls.CallFilter:
    """The filter written in the address."""
    return calls.CallFilter(
        direction=arguments.choice("direction", DIRECTIONS),
        result=arguments.choice("result", RESULTS),
        employee_id=arguments.number("employee"),
        line=arguments.text("line", 32),
        source_id=arguments.number("source"),
        day_from=arguments.day("from"),
        day_to=arguments.day("to"),
        first=arguments.choice("first", ("first", "repeat")),
        number=arguments.text("q", 40),
    )


def _named(model: type[Employee | Source], pk: int | None) -> Employee | Source | None:
    """The chosen row of a filter, shown by its name if the person may see it."""
    if pk is None:
        return None
    found: Employee | Source | None = visibility.get_visible(current_principal(), model, pk)
    return found


def _id(body: dict[str, object], name: str) -> int | None:
    value = body.get(name)
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not str(value).isdecimal() or len(str(value)) > 10:  # noqa: PLR2004
        raise ValidationErrors.one(name, _("Нужен номер записи."))
    return int(str(value))


def _text(body: dict[str, object], name: str) -> str | None:
    value = body.get(name)
    if value in (None, ""):
        return None
    if not isinstance(value, str) or len(value) > 40:  # noqa: PLR2004 no phone is longer
        raise ValidationErrors.one(name, _("Нужен номер телефона."))
    return value


def _stream(stored: StoredFile, name: str, *, as_file: bool) -> Response:
    """The file in pieces, whole or the part that ``Range`` asks for."""
    safe = stored.content_type.startswith("audio/")
    part = _range(stored.size)
    start, stop = part or (0, stored.size)
    try:
        pieces = _pieces(stored, start, stop)
    except FileNotFoundError:
        abort(404)
    response = Response(
        pieces,
        status=206 if part else 200,
        mimetype=stored.content_type if safe else "application/octet-stream",
    )
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
    extension = stored.key.rpartition(".")[2] if "." in stored.key else "bin"
    kind = "attachment" if as_file or not safe else "inline"
    response.headers["Content-Disposition"] = f'{kind}; filename="{name}.{extension}"'
    response.headers["Content-Length"] = str(stop - start)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


def _range(size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a single wanted range; 416 when impossible."""
    wanted = request.range
    if wanted is None or len(wanted.ranges) != 1:
        return None
    found = wanted.range_for_length(size)
    if found is None:
        abort(Response(status=416, headers={"Content-Range": f"bytes */{size}"}))
    return found


def _pieces(stored: StoredFile, start: int, stop: int) -> Iterator[bytes]:
    """Open at once, so that a lost file is a refusal and not a broken answer; read lazily."""
    opened = files.open_file(stored)
    stream = opened.__enter__()
    stream.seek(start)

    def read(source: IO[bytes]) -> Iterator[bytes]:
        left = stop - start
        try:
            while left > 0 and (piece := source.read(min(_CHUNK, left))):
                left -= len(piece)
                yield piece
        finally:
            opened.__exit__(None, None, None)

    return read(stream)
