"""The deal board: columns, their next pages and single cards for live updates."""

from __future__ import annotations

from flask import Response, abort, jsonify, make_response, render_template, request, url_for

from crm.models import Pipeline, Stage
from crm.reports import board
from crm.reports.deal_filters import DealFilters
from crm.reports.filter_bar import filter_bar
from crm.reports.stages import StageBook, stage_book
from crm.security.principal import current_principal
from crm.values import formats
from crm.views.access import requires
from crm.views.base import CrmView, expose
from crm.views.moves import stage_options

_NO_CONTENT = 204


class BoardView(CrmView):
    """``/board``: a pipeline's stages side by side."""

    route_base = "/board"
    class_permission_name = "Deals"

    @expose("")
    @requires("list")
    def index(self) -> str:
        """The default pipeline."""
        return self._board(None)

    @expose("/<int:pipeline_id>")
    @requires("list")
    def pipeline(self, pipeline_id: int) -> str:
        """One pipeline."""
        return self._board(pipeline_id)

    @expose("/<int:pipeline_id>/stage/<int:stage_id>")
    @requires("list")
    def stage(self, pipeline_id: int, stage_id: int) -> Response:
        """The next cards of a column as HTML; ``X-After`` holds the key of the page behind."""
        principal, book = current_principal(), stage_book()
        stage = next((s for s in book.shown(pipeline_id, principal) if s.id == stage_id), None)
        if stage is None:
            abort(404)
        after = board.parse_key(request.args.get("after"))
        filters = DealFilters.parse(request.args)
        found, more = board.next_cards(principal, filters, book, stage, after)
        response = make_response(render_template("board/_cards.html", cards=found))
        if more:
            response.headers["X-After"] = board.page_key(found[-1])
        return response

    @expose("/<int:pipeline_id>/totals")
    @requires("list")
    def totals(self, pipeline_id: int) -> Response:
        """Counts and sums of the columns, as shown."""
        principal, book = current_principal(), stage_book()
        pipeline = _known(book, pipeline_id)
        stages = book.shown(pipeline.id, principal)
        figures = board.totals(principal, DealFilters.parse(request.args), book, stages)
        return jsonify(stages=[_shown_total(stage, figures) for stage in stages])

    @expose("/card/<int:deal_id>")
    @requires("list")
    def card(self, deal_id: int) -> Response:
        """One card, or 204 when the deal is not for this person or not under these filters."""
        filters = DealFilters.parse(request.args)
        card = board.one_card(current_principal(), filters, stage_book(), deal_id)
        if card is None:
            return make_response("", _NO_CONTENT)
        return make_response(render_template("board/_cards.html", cards=[card]))

    def _board(self, pipeline_id: int | None) -> str:
        principal, book = current_principal(), stage_book()
        filters = DealFilters.parse(request.args)
        pipeline = _known(book, pipeline_id)
        stages = _narrowed(book.shown(pipeline.id, principal), filters)
        columns = board.columns(principal, filters, book, stages)
        return self.page(
            "board/index.html",
            pipeline=pipeline,
            columns=columns,
            filters=filters,
            counts=_counts(columns),
            bar=filter_bar(principal, filters),
            segments=_segments(book, pipeline, filters),
            stages=stages,
            stage_options=stage_options(stages),
            common_stages=book.common_ids(),
            list_url=url_for("DealsView.index", pipeline=pipeline.id, **filters.args()),
            base_url=url_for("BoardView.pipeline", pipeline_id=pipeline.id),
            may_unchecked=not principal.is_ordinary(),
            empty_board=not filters.narrowed and not any(c.total.count for c in columns),
        )


def _known(book: StageBook, pipeline_id: int | None) -> Pipeline:
    pipeline = book.pipeline(pipeline_id)
    if pipeline is None:
        abort(404)
    return pipeline


def _narrowed(stages: list[Stage], filters: DealFilters) -> list[Stage]:
    """The stage asked for alone, if it is there."""
    if filters.stage is None:
        return stages
    return [stage for stage in stages if stage.id == filters.stage] or stages


def _counts(columns: list[board.Column]) -> dict[str, int]:
    names = ("no_task", "overdue", "unprocessed")
    return {name: sum(getattr(column.total, name) for column in columns) for name in names}


def _segments(book: StageBook, chosen: Pipeline, filters: DealFilters) -> list[dict[str, object]]:
    # A stage belongs to one pipeline: it is left behind.
    kept = filters.without("stage")
    return [
        {
            "label": pipeline.name,
            "href": url_for("BoardView.pipeline", pipeline_id=pipeline.id, **kept),
            "active": pipeline is chosen,
        }
        for pipeline in book.pipelines
    ]


def _shown_total(stage: Stage, figures: dict[int, board.StageTotal]) -> dict[str, object]:
    total = figures.get(stage.id) or board.StageTotal()
    return {
        "id": stage.id,
        "name": stage.name,
        "color": stage.color,
        "type": stage.type,
        "count": formats.number(total.count),
        "amount": formats.money(int(total.amount)),
        "empty": total.count == 0,
        "crowded": board.Column(stage, total).crowded,
    }
