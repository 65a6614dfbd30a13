"""The editor of pipelines: stages to drag, options of the chosen one beside them."""

from __future__ import annotations

from typing import Any

from flask import abort, flash, jsonify, redirect, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select
from werkzeug.wrappers import Response

from crm.models import Department, Pipeline, Stage, StageType, db
from crm.operations import deal_fields, pipelines, records
from crm.operations.errors import Conflict, ValidationErrors
from crm.reports import pipeline_editor
from crm.security.principal import current_principal
from crm.views.base import CrmView, expose, requires
from crm.views.settings.names import SIDES, STAGE_TYPES, TASK_KINDS

PRESETS = (
    "#3056d3", "#7a5af8", "#9b1c56", "#d92d20", "#f79009", "#b98a08",
    "#12b76a", "#067647", "#0e9384", "#0b7fab", "#667085", "#475467",
)  # fmt: skip
SWITCHES = (
    ("available_to_manager", _l("Доступен менеджеру"), _l("иначе этап видят только руководители")),
    ("tasks_allowed", _l("Можно ставить задачи"), _l("и попадать в отчёт «без задач»")),
    ("open_view", _l("Открыт для просмотра всеми"), _l("сделки видны в разделе «Общие сделки»")),
    ("open_full", _l("Полный доступ для всех"), _l("любой может изменить сделку и взять её себе")),
    ("skip_required", _l("Не проверять обязательные поля"), _l("пройдёт даже пустая карточка")),
    ("mandatory", _l("Обязательный этап"), _l("дальше нельзя, пока не пройден")),
    ("active", _l("Этап используется"), _l("выключенный этап не виден на доске")),
)
_NUMBERS = ("time_limit_days", "time_limit_target_id", "probability", "wip_color_threshold")
_TEXTS = ("name", "description", "checklist")


class PipelineView(CrmView):
    """`/settings/pipelines`."""

    route_base = "/settings/pipelines"
    class_permission_name = "Pipelines"

    @expose("/", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """The editor; ``?pipeline=`` and ``?stage=`` choose what is edited."""
        return self._editor(_asked("pipeline"), _asked("stage"))

    def _editor(self, pipeline_id: int | None, stage_id: int | None = None, **typed: Any) -> str:
        known = pipeline_editor.pipelines()
        chosen = next((one for one in known if one.id == pipeline_id), None)
        if pipeline_id is not None and chosen is None:
            abort(404)
        chosen = chosen or next((one for one in known if one.is_default), known[0])
        edited = pipeline_editor.edited(chosen)
        stage = next((one for one in edited.stages if one.id == stage_id), edited.stages[0])
        return self.page(
            "settings/pipelines.html",
            pipelines=known,
            edited=edited,
            stage=stage,
            **_words(),
            **{"values": _values(stage), "statuses": _statuses(stage), "errors": {}, **typed},
            department_options=[(one.id, one.name) for one in _departments()],
            may_edit=current_principal().may_open("can_edit", "Pipelines"),
        )

    # --- pipelines ------------------------------------------------------------------

    @expose("/add", methods=["POST"])
    @requires("edit")
    def add(self) -> Response:
        """A pipeline with the default stages."""
        name, side = request.form.get("name", ""), request.form.get("side", "")
        try:
            made = pipelines.create_pipeline(name, current_principal(), side)
        except ValidationErrors as error:
            flash(error.message, "danger")
            return redirect(url_for("PipelineView.index"))
        flash(_("Воронка создана с типовыми этапами: поправьте их под себя."), "success")
        return _to(made.id)

    @expose("/<int:pk>", methods=["POST"])
    @requires("edit")
    def save(self, pk: int) -> Response:
        """Name, kind and place of a pipeline."""
        pipeline = _pipeline(pk)
        form = request.form
        with db.session.no_autoflush:
            pipeline.name = form.get("name", "")[:120]
            pipeline.description = form.get("description", "")
            pipeline.side = form.get("side", pipeline.side)
            pipeline.active = "active" in form
            pipeline.is_default = "is_default" in form
            chosen = {int(one) for one in form.getlist("departments") if one.isdecimal()}
            pipeline.departments = [one for one in _departments() if one.id in chosen]
        try:
            records.update(pipeline, current_principal())
        except ValidationErrors as error:
            flash(error.message, "danger")
        else:
            flash(_("Воронка сохранена."), "success")
        return _to(pk)

    @expose("/<int:pk>/delete", methods=["POST"])
    @requires("edit")
    def delete(self, pk: int) -> Response:
        """Delete a pipeline without deals."""
        try:
            records.delete(_pipeline(pk), current_principal())
        except Conflict as error:
            flash(error.message, "danger")
            return _to(pk)
        flash(_("Воронка удалена."), "success")
        return redirect(url_for("PipelineView.index"))

    @expose("/<int:pk>/required", methods=["POST"])
    @requires("edit")
    def required(self, pk: int) -> Response:
        """Required fields and the stages from which they are demanded."""
        items = [
            {"field": code, "from_stage_id": _number(request.form.get(f"from-{code}", ""))}
            for code in request.form.getlist("required")
        ]
        try:
            pipelines.save_required_fields(pk, items, current_principal())
        except ValidationErrors as error:
            flash(error.message, "danger")
        else:
            flash(_("Обязательные поля сохранены."), "success")
        return _to(pk, anchor="required")

    # --- stages -----------------------------------------------------------------------

    @expose("/<int:pk>/stages", methods=["POST"])
    @requires("edit")
    def add_stage(self, pk: int) -> Response:
        """A new stage; it is chosen at once."""
        name, kind = request.form.get("name", "")[:120], request.form.get("type", "")
        try:
            stage = pipelines.add_stage(pk, current_principal(), name=name, type=kind)
        except ValidationErrors as error:
            flash(error.message, "danger")
            return _to(pk)
        return _to(pk, stage.id)

    @expose("/<int:pk>/order", methods=["POST"])
    @requires("edit")
    def order(self, pk: int) -> Response:
        """Stages in the order of the JSON list ``ids``."""
        body = request.get_json(silent=True)
        ids = body.get("ids") if isinstance(body, dict) else None
        if not isinstance(ids, list) or not all(type(one) is int for one in ids):
            abort(400)
        pipelines.reorder_stages(pk, ids, current_principal())
        return jsonify(ok=True)

    @expose("/stages/<int:pk>", methods=["POST"])
    @requires("edit")
    def save_stage(self, pk: int) -> Response | str:
        """Options of a stage; a refused form comes back with everything typed."""
        stage = _stage(pk)
        values = _typed()
        try:
            options, errors = _options(values)
            if errors:
                raise ValidationErrors.one(errors[0], _("Укажите целое число."))
            pipelines.update_stage(pk, current_principal(), **options)
        except ValidationErrors as error:
            flash(_("Не сохранено: проверьте отмеченные поля."), "danger")
            return self._editor(
                stage.pipeline_id,
                pk,
                values=values,
                errors={one.field: one.message for one in error.errors},
            )
        flash(_("Этап сохранён."), "success")
        return _to(stage.pipeline_id, pk)

    @expose("/stages/<int:pk>/statuses", methods=["POST"])
    @requires("edit")
    def save_statuses(self, pk: int) -> Response | str:
        """Preset tasks of a stage in their order."""
        stage = _stage(pk)
        items = _typed_statuses()
        try:
            pipelines.save_statuses(pk, items, current_principal())
        except ValidationErrors as error:
            errors = {f"status-{one.field}": one.message for one in error.errors}
            return self._editor(stage.pipeline_id, pk, statuses=items, errors=errors)
        flash(_("Готовые задачи сохранены."), "success")
        return _to(stage.pipeline_id, pk, anchor="statuses")

    @expose("/stages/<int:pk>/delete", methods=["POST"])
    @requires("edit")
    def delete_stage(self, pk: int) -> Response:
        """Delete a stage, or put it away when deals were on it."""
        pipeline_id = _stage(pk).pipeline_id
        try:
            done = pipelines.delete_stage(pk, current_principal())
        except Conflict as error:
            flash(error.message, "danger")
            return _to(pipeline_id, pk)
        if done is pipelines.StageRemoval.ARCHIVED:
            flash(_("На этапе были сделки, поэтому он выключен, а не удалён."), "warning")
        else:
            flash(_("Этап удалён."), "success")
        return _to(pipeline_id)


# --- what the page needs --------------------------------------------------------------


def tags(stage: Stage) -> list[str]:
    """Short marks of a stage's options for its row."""
    days = stage.time_limit_days
    marks = [
        (stage.tasks_allowed, _("задачи")),
        (stage.mandatory, _("обязательный")),
        (days, _("%(n)s дн →", n=days)),
        (stage.open_full, _("полный доступ")),
        (stage.open_view and not stage.open_full, _("открыт всем")),
        (stage.type == StageType.SUCCESS, _("сумма и дата")),
        (stage.type == StageType.REFUSAL, _("причина")),
        (stage.skip_required, _("без проверки полей")),
        (not stage.available_to_manager, _("руководителям")),
        (not stage.active, _("выключен")),
    ]
    return [str(text) for holds, text in marks if holds]


def _words() -> dict[str, Any]:
    return {
        "tags": tags,
        "types": STAGE_TYPES,
        "sides": SIDES,
        "task_kinds": TASK_KINDS,
        "presets": PRESETS,
        "switches": SWITCHES,
        "fields": deal_fields.CATALOGUE,
    }


def _departments() -> list[Department]:
    query = select(Department).where(Department.active).order_by(Department.position)
    return list(db.session.scalars(query))


def _values(stage: Stage) -> dict[str, Any]:
    return {name: getattr(stage, name) for name in pipelines.STAGE_OPTIONS}


def _statuses(stage: Stage) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "text": one.text,
            "task_kind": one.task_kind,
            "delay_days": one.delay_days,
            "active": one.active,
        }
        for one in stage.statuses
        if one.active
    ]


# --- what was typed -----------------------------------------------------------------


def _typed() -> dict[str, Any]:
    form = request.form
    color = form.get("color", "")
    values: dict[str, Any] = {name: form.get(name, "").strip() for name in (*_TEXTS, *_NUMBERS)}
    values["type"] = form.get("type", "")
    values["color"] = form.get("color-own", "") if color == "own" else color
    values.update({name: name in form for name, _label, _hint in SWITCHES})
    return values


def _options(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Columns of the stage and names of the numbers that are not numbers."""
    options = dict(values)
    wrong = []
    for name in _NUMBERS:
        text = str(values[name])
        if text and _number(text) is None:
            wrong.append(name)
        options[name] = _number(text)
    options["name"] = values["name"][:120]
    return options, wrong


def _typed_statuses() -> list[dict[str, Any]]:
    form = request.form
    rows = zip(
        form.getlist("status-id"),
        form.getlist("status-text"),
        form.getlist("status-kind"),
        form.getlist("status-delay"),
        strict=False,
    )
    return [
        {
            "id": _number(pk),
            "text": text.strip(),
            "task_kind": kind,
            "delay_days": _number(delay),
            "active": True,
        }
        for pk, text, kind, delay in rows
        if text.strip()
    ]


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() and int(text) < 2**31 else None


def _asked(name: str) -> int | None:
    return _number(request.args.get(name, ""))


def _pipeline(pk: int) -> Pipeline:
    pipeline: Pipeline | None = db.session.get(Pipeline, pk)
    if pipeline is None:
        abort(404)
    return pipeline


def _stage(pk: int) -> Stage:
    stage: Stage | None = db.session.get(Stage, pk)
    if stage is None:
        abort(404)
    return stage


def _to(pipeline_id: int, stage_id: int | None = None, anchor: str | None = None) -> Response:
    target = url_for("PipelineView.index", pipeline=pipeline_id, stage=stage_id, _anchor=anchor)
    return redirect(target)
