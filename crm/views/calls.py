"""Calls: the list, the work of calling back, the export, recordings."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, jsonify, request, stream_with_context

from crm.reports import calls, missed_calls
from crm.reports.call_bar import call_bar
from crm.reports.call_filters import CallFilter
from crm.reports.company import local_today
from crm.reports.missed_calls import Following
from crm.security.call_rights import may_export
from crm.security.principal import Principal, current_principal
from crm.values.clock import utc_now
from crm.views import arguments, call_export, call_filter, call_words, sound
from crm.views.access import requires
from crm.views.base import CrmView, expose


class CallsView(CrmView):
    """``/calls``."""

    route_base = "/calls"
    class_permission_name = "Calls"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """Calls that the person may see, the newest first; missed ones as work to do."""
        principal, wanted = current_principal(), call_filter.read_filter()
        bar = call_bar(principal, wanted)
        counts = calls.pressing_counts(
            principal, wanted, missed_calls.waiting_clients(principal, wanted)
        )
        of_missed = wanted.result == "missed"
        shown = _work(principal, wanted) if of_missed else _list(principal, wanted)
        return self.page(
            "calls/index.html",
            wanted=wanted,
            bar=bar,
            segments=call_filter.segments(wanted, counts),
            chips=call_filter.chips(wanted, bar),
            period=call_filter.period_label(wanted),
            period_links=call_filter.period_links(wanted),
            address=call_filter.address,
            words=call_words,
            now=utc_now(),
            reset=call_filter.address(_bare(wanted)),
            export_url=call_filter.address(wanted.args(), "/calls/export")
            if may_export(principal)
            else "",
            counts_url=call_filter.address(wanted.args(), "/calls/counts"),
            **shown,
        )

    @expose("/counts", methods=["GET"])
    @requires("list")
    def counts(self) -> Response:
        """How many calls the filter finds: the page does not wait for it."""
        found = calls.counts(current_principal(), call_filter.read_filter())
        names = [*call_filter.SEGMENTS, "here"]
        return jsonify({name: call_filter.number(found.get(name)) for name in names})

    @expose("/export", methods=["GET"])
    @requires("list")
    def export(self) -> Response:
        """The same calls as CSV, streamed; only those the person may export."""
        principal = current_principal()
        if not may_export(principal):
            abort(403)
        rows = calls.export(principal, call_filter.read_filter())
        name = f"zvonki-{local_today().isoformat()}.csv"
        return Response(
            stream_with_context(call_export.lines(rows)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @expose("/<int:pk>/recording", methods=["GET"])
    @requires("list")
    def recording(self, pk: int) -> Response:
        """The sound of a call for those who may hear it; parts of it on request."""
        stored = calls.recording(current_principal(), pk)
        if stored is None:
            abort(404)
        return sound.stream(stored, f"call-{pk}", as_file="download" in request.args)


def _bare(wanted: CallFilter) -> dict[str, str]:
    """Arguments of the segment alone."""
    bare = CallFilter(direction=wanted.direction, result=wanted.result)
    return bare.args() if call_filter.segment_of(bare) else {}


def _list(principal: Principal, wanted: CallFilter) -> dict[str, Any]:
    page = calls.page(
        principal, wanted, request.args.get("after", ""), request.args.get("before", "")
    )
    number = max(arguments.number("page") or 1, 1) if page.previous else 1
    first = (number - 1) * calls.PAGE + 1
    back = {**wanted.args(), "before": page.previous, "page": max(number - 1, 1)}
    on = {**wanted.args(), "after": page.following, "page": number + 1}
    return {
        "rows": page.rows,
        "first": first,
        "last": first + len(page.rows) - 1,
        # The last page tells how many there are; on others a script asks.
        "count": "" if page.following else first + len(page.rows) - 1,
        "segment": call_filter.segment_of(wanted) or "here",
        "prev_url": call_filter.address(back) if page.previous else "",
        "next_url": call_filter.address(on) if page.following else "",
    }


def _work(principal: Principal, wanted: CallFilter) -> dict[str, Any]:
    part = arguments.choice("part", (missed_calls.SETTLED,), missed_calls.WAITING)
    work = missed_calls.work_list(principal, wanted, part, arguments.place())
    more = work.following
    return {
        "work": work.rows,
        "next_url": _further(wanted, more) if more else "",
        "first_url": call_filter.address(wanted.args()) if "after" in request.args else "",
        "look_back": missed_calls.LOOK_BACK.days if not any(wanted.days) and not more else 0,
    }


def _further(wanted: CallFilter, more: Following) -> str:
    args = {**wanted.args(), "part": more.part}
    return call_filter.address({**args, "after": str(more.place)} if more.place else args)
