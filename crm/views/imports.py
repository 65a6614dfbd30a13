"""Imports of foreign feeds: tried first, then run; every run is kept."""

from __future__ import annotations

from typing import Any

from flask import Response as FlaskResponse
from flask import abort, flash, redirect, request
from flask_babel import gettext as _
from sqlalchemy import select
from werkzeug.wrappers import Response

from crm.integrations.portals import registry
from crm.models import Department, Employee, FeedRun, ImportFeed, db
from crm.operations import imports as operations
from crm.operations import records
from crm.operations.errors import OperationError, ValidationErrors
from crm.operations.feeds import STATES_FOR_NEW
from crm.reports import feeds as report
from crm.security.principal import current_principal
from crm.views import listing_labels as labels
from crm.views.access import requires
from crm.views.base import CrmView, expose
from crm.views.base_api import CrmApi
from crm.views.feed_runs import refuse, run_context, run_number


class ImportsView(CrmView):
    """``/imports``."""

    route_base = "/imports"
    class_permission_name = "Imports"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """All imports with their last runs, and the newest runs."""
        return self.page(
            "feeds/imports.html",
            rows=report.incoming(),
            labels=labels,
            RUN_STATES=labels.RUN_STATES,
        )

    @expose("/<int:import_id>", methods=["GET"])
    @requires("show")
    def show(self, import_id: int) -> str:
        """One import: where it comes from and the history of its runs."""
        feed = _import_or_404(import_id)
        return self.page(
            "feeds/import.html",
            feed=feed,
            has_address=bool((feed.address or {}).get("url")),
            page=report.runs_of(import_id=import_id, after=run_number("after")),
            labels=labels,
            RUN_STATES=labels.RUN_STATES,
        )

    @expose("/run/<int:run_id>", methods=["GET"])
    @requires("show")
    def run(self, run_id: int) -> str:
        """The report of one run."""
        run = report.run(run_id, outgoing_run=False)
        if run is None:
            abort(404)
        return self.page("feeds/run.html", outgoing=False, **run_context(run))

    # --- form ----------------------------------------------------------------------

    @expose("/add", methods=["GET", "POST"])
    @requires("add")
    def add(self) -> Response | str:
        """A new import: a file or an address, tried before anything is written."""
        feed = ImportFeed(name="", portal="yandex", state_for_new="draft", active=True)
        return self._form(feed, is_new=True)

    @expose("/<int:import_id>/edit", methods=["GET", "POST"])
    @requires("edit")
    def edit(self, import_id: int) -> Response | str:
        """Change where new listings go, or the address."""
        return self._form(_import_or_404(import_id), is_new=False)

    def _form(self, feed: ImportFeed, *, is_new: bool) -> Response | str:
        typed, errors = _stored(feed), {}
        if request.method == "POST":
            typed = _typed()
            try:
                target = _save(feed, typed, is_new=is_new)
            except OperationError as error:
                db.session.rollback()
                errors = refuse(error)
            else:
                return redirect(target)
        return self.page(
            "feeds/import_form.html",
            typed=typed,
            errors=errors,
            import_id=None if is_new else feed.id,
            has_address=not is_new and bool((feed.address or {}).get("url")),
            person=_person(typed["responsible_id"]),
            choices=_choices(),
        )

    # --- acts ----------------------------------------------------------------------

    @expose("/<int:import_id>/start", methods=["POST"])
    @requires("run")
    def start(self, import_id: int) -> Response:
        """Take the listings: from the uploaded file, or from the address of the feed."""
        feed = _import_or_404(import_id)
        file = request.files.get("file")
        source: Any = file.stream if file and file.filename else None
        try:
            run = operations.start_import(
                feed, source, dry_run=request.form.get("dry_run") == "y", by=current_principal()
            )
        except OperationError as error:
            flash(error.message, "danger")
            return redirect(f"/imports/{import_id}")
        return redirect(f"/imports/run/{run.id}")

    @expose("/run/<int:run_id>/again", methods=["POST"])
    @requires("run")
    def again(self, run_id: int) -> Response:
        """The same file once more, in earnest unless asked to try."""
        try:
            dry = request.form.get("dry_run") == "y"
            run = operations.run_again(run_id, current_principal(), dry_run=dry)
        except OperationError as error:
            flash(error.message, "danger")
            return redirect(f"/imports/run/{run_id}")
        return redirect(f"/imports/run/{run.id}")

    @expose("/run/<int:run_id>/confirm", methods=["POST"])
    @requires("run")
    def confirm(self, run_id: int) -> Response:
        """The vanished listings are gone indeed."""
        return self._decide(operations.confirm_import, run_id)

    @expose("/run/<int:run_id>/dismiss", methods=["POST"])
    @requires("run")
    def dismiss(self, run_id: int) -> Response:
        """The file was not whole: nothing is missing."""
        return self._decide(operations.dismiss_import, run_id)

    def _decide(self, act: Any, run_id: int) -> Response:
        try:
            act(run_id, current_principal())
        except OperationError as error:
            flash(error.message, "danger")
        return redirect(f"/imports/run/{run_id}")


class RunsApi(CrmApi):
    """``/api/v1/runs/<id>``: where a build or an import stands, for pages that poll."""

    resource_name = "runs"
    class_permission_name = "Imports"

    @expose("/<int:run_id>", methods=["GET"])
    @requires("show")
    def get(self, run_id: int) -> FlaskResponse:
        """State and counts of an import."""
        run = report.run(run_id, outgoing_run=False)
        if run is None:
            abort(404)
        return self.answer(**run_json(run))


def run_json(run: FeedRun) -> dict[str, Any]:
    """State and counts of a run."""
    names = ("id", "state", "dry_run", "total", "created", "updated", "unchanged", "refused")
    return {name: getattr(run, name) for name in names}


def _save(feed: ImportFeed, typed: dict[str, Any], *, is_new: bool) -> str:
    """Store the settings; a new import is tried at once. The address of the next page."""
    file = request.files.get("file")
    source: Any = file.stream if file and file.filename else None
    if is_new and source is None and not typed["address"]:
        raise ValidationErrors.one("file", _("Выберите файл или укажите адрес."))
    _apply(feed, typed)
    stored = (records.create if is_new else records.update)(feed, current_principal())
    if not is_new:
        flash(_("Сохранено."), "success")
        return f"/imports/{stored.id}"
    assert isinstance(stored, ImportFeed)
    try:
        run = operations.start_import(stored, source, dry_run=True, by=current_principal())
    except OperationError as error:
        # The settings are kept already: only the file is to be given again.
        flash(error.message, "danger")
        return f"/imports/{stored.id}"
    return f"/imports/run/{run.id}"


def _apply(feed: ImportFeed, typed: dict[str, Any]) -> None:
    feed.name, feed.portal = typed["name"], typed["portal"]
    feed.state_for_new, feed.active = typed["state_for_new"], typed["active"]
    feed.responsible_id = _id(typed["responsible_id"])
    feed.department_id = _id(typed["department_id"])
    if typed["address"]:
        # An empty box keeps the stored address: it is never sent back to the page.
        feed.address = {"url": typed["address"]}


def _typed() -> dict[str, Any]:
    names = ("name", "portal", "address", "state_for_new", "responsible_id", "department_id")
    texts = {name: request.form.get(name, "").replace("\x00", "").strip()[:1000] for name in names}
    return {**texts, "name": texts["name"][:120], "active": request.form.get("active") == "y"}


def _stored(feed: ImportFeed) -> dict[str, Any]:
    return {
        "name": feed.name,
        "portal": feed.portal,
        "address": "",
        "state_for_new": feed.state_for_new,
        "responsible_id": str(feed.responsible_id or ""),
        "department_id": str(feed.department_id or ""),
        "active": feed.active,
    }


def _choices() -> dict[str, list[tuple[Any, str]]]:
    departments = select(Department.id, Department.name).where(Department.active)
    rows = db.session.execute(departments.order_by(Department.position, Department.name))
    return {
        "portals": [(portal.slug, portal.title) for portal in registry.all_portals()],
        "states": [(state.value, labels.state_label(state)) for state in STATES_FOR_NEW],
        "departments": [(row.id, row.name) for row in rows],
    }


def _id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004


def _person(text: str) -> tuple[int, str] | None:
    pk = _id(text)
    person = db.session.get(Employee, pk) if pk is not None else None
    return (person.id, person.full_name) if person else None


def _import_or_404(import_id: int) -> ImportFeed:
    feed: ImportFeed | None = db.session.get(ImportFeed, import_id)
    if feed is None:
        abort(404)
    return feed
