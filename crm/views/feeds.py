"""Feeds for portals: what is published where, what was left out and why."""

from __future__ import annotations

from typing import Any

from flask import abort, flash, redirect, request, url_for
from flask_babel import gettext as _
from redis.exceptions import RedisError
from sqlalchemy import select
from werkzeug.wrappers import Response

from crm.integrations.portals import registry
from crm.integrations.portals import vocabulary as v
from crm.models import Department, Feed, db
from crm.operations import bus, feed_offers, publishing, records
from crm.operations import feeds as operations
from crm.operations.errors import OperationError
from crm.reports import feeds as report
from crm.security.principal import current_principal
from crm.views import listing_labels as labels
from crm.views.access import requires
from crm.views.base import CrmView, expose
from crm.views.feed_runs import refuse, run_context, run_number

_LISTS = ("deal_types", "kinds", "departments")


class FeedsView(CrmView):
    """``/feeds``."""

    route_base = "/feeds"
    class_permission_name = "Feeds"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """All feeds with their addresses and last builds."""
        rows = report.outgoing()
        return self.page(
            "feeds/index.html",
            rows=rows,
            portals=_portals(),
            url_of=publishing.feed_url,
            labels=labels,
            RUN_STATES=labels.RUN_STATES,
            agency_ready=_agency_ready(),
        )

    @expose("/<int:feed_id>", methods=["GET"])
    @requires("show")
    def show(self, feed_id: int) -> str:
        """One feed: its conditions and the history of its builds."""
        feed = _feed_or_404(feed_id)
        return self.page(
            "feeds/show.html",
            feed=feed,
            page=report.runs_of(feed_id=feed_id, after=run_number("after")),
            url=publishing.feed_url(feed),
            portals=_portals(),
            conditions=_conditions(feed),
            labels=labels,
            RUN_STATES=labels.RUN_STATES,
        )

    @expose("/run/<int:run_id>", methods=["GET"])
    @requires("show")
    def run(self, run_id: int) -> str:
        """The report of one build."""
        run = report.run(run_id, outgoing_run=True)
        if run is None:
            abort(404)
        return self.page("feeds/run.html", outgoing=True, **run_context(run))

    # --- acts ----------------------------------------------------------------------

    @expose("/<int:feed_id>/build", methods=["POST"])
    @requires("run")
    def build(self, feed_id: int) -> Response:
        """«Собрать сейчас»: by the workers, or at once when there is no queue."""
        feed = _feed_or_404(feed_id)
        try:
            job_id = f"feed-{feed.id}"
            asked = (feed.id, current_principal().id)
            bus.enqueue_now("feeds", publishing.BUILD_JOB, *asked, job_id=job_id)
        except RedisError:
            return self._build_here(feed)
        flash(_("Сборка начнётся через несколько секунд."), "info")
        return redirect(f"/feeds/{feed_id}")

    def _build_here(self, feed: Feed) -> Response:
        try:
            run = publishing.build_feed(feed.id, actor_id=current_principal().id)
        except OperationError as error:
            flash(error.message, "danger")
            return redirect(f"/feeds/{feed.id}")
        return redirect(f"/feeds/run/{run.id}")

    @expose("/run/<int:run_id>/confirm", methods=["POST"])
    @requires("run")
    def confirm(self, run_id: int) -> Response:
        """«Публиковать всё равно»."""
        try:
            publishing.confirm_build(run_id, current_principal())
        except OperationError as error:
            flash(error.message, "danger")
        return redirect(f"/feeds/run/{run_id}")

    @expose("/<int:feed_id>/token", methods=["POST"])
    @requires("edit")
    def rotate(self, feed_id: int) -> Response:
        """A new secret address."""
        operations.rotate_token(feed_id, current_principal())
        flash(_("Адрес сменён. Укажите новый в кабинете площадки."), "success")
        return redirect(f"/feeds/{feed_id}")

    @expose("/<int:feed_id>/delete", methods=["POST"])
    @requires("delete")
    def delete(self, feed_id: int) -> Response:
        """Delete the feed with its history."""
        try:
            operations.delete_feed(feed_id, current_principal())
        except OperationError as error:
            flash(error.message, "danger")
            return redirect(f"/feeds/{feed_id}")
        flash(_("Фид удалён. Площадка больше не сможет его забрать."), "success")
        return redirect(url_for("FeedsView.index"))

    # --- form ----------------------------------------------------------------------

    @expose("/add", methods=["GET", "POST"])
    @requires("add")
    def add(self) -> Response | str:
        """A new feed."""
        return self._form(Feed(filters={}, active=True, portal="yandex", name=""), is_new=True)

    @expose("/<int:feed_id>/edit", methods=["GET", "POST"])
    @requires("edit")
    def edit(self, feed_id: int) -> Response | str:
        """Change a feed; refused input comes back with what is wrong beside it."""
        return self._form(_feed_or_404(feed_id), is_new=False)

    def _form(self, feed: Feed, *, is_new: bool) -> Response | str:
        typed, errors = _stored(feed), {}
        if request.method == "POST":
            typed = _typed()
            try:
                saved = _save(feed, typed, is_new=is_new)
            except OperationError as error:
                errors = refuse(error)
            else:
                flash(_("Сохранено. Файл соберётся с новыми условиями."), "success")
                return redirect(f"/feeds/{saved}")
        return self.page(
            "feeds/form.html",
            typed=typed,
            errors=errors,
            feed_id=None if is_new else feed.id,
            choices=_choices(),
        )


def _save(feed: Feed, typed: dict[str, Any], *, is_new: bool) -> int:
    """Store the feed; a refused one is read anew, so that nothing half-made stays."""
    values = {name: typed[name] for name in ("name", "portal", "active", "modern")}
    for name, value in values.items():
        setattr(feed, name, value)
    feed.include_deposit = typed["include_deposit"]
    feed.phone = typed["phone"] or None
    feed.filters = {name: typed[name] for name in (*_LISTS, "min_price")}
    try:
        stored = (records.create if is_new else records.update)(feed, current_principal())
    except OperationError:
        db.session.rollback()
        raise
    return int(stored.id)


def _typed() -> dict[str, Any]:
    form = request.form
    lists = {name: [value for value in form.getlist(name) if value] for name in _LISTS}
    flags = {name: form.get(name) == "y" for name in ("active", "modern", "include_deposit")}
    texts = {
        name: form.get(name, "").replace("\x00", "").strip()[:200]
        for name in ("name", "portal", "phone", "min_price")
    }
    return {**texts, **lists, **flags}


def _stored(feed: Feed) -> dict[str, Any]:
    filters = feed.filters or {}
    return {
        "name": feed.name,
        "portal": feed.portal,
        "phone": feed.phone or "",
        "active": feed.active,
        "modern": bool(feed.modern),
        "include_deposit": bool(feed.include_deposit),
        "min_price": filters.get("min_price", ""),
        **{name: [str(item) for item in filters.get(name, [])] for name in _LISTS},
    }


def _choices() -> dict[str, list[tuple[Any, str]]]:
    departments = select(Department.id, Department.name).where(Department.active)
    rows = db.session.execute(departments.order_by(Department.position, Department.name))
    return {
        "portals": [(portal.slug, portal.title) for portal in registry.all_portals()],
        "deal_types": labels.term_options(v.DealType),
        "kinds": labels.term_options(v.Kind),
        "departments": [(str(row.id), row.name) for row in rows],
    }


def _conditions(feed: Feed) -> list[tuple[str, str]]:
    """What the feed takes, in words."""
    filters = feed.filters or {}
    names = dict(_choices()["departments"])
    states = _("активные и с авансом") if feed.include_deposit else _("активные")
    chosen = {
        "deal_types": [labels.deal_type_label(word) for word in filters.get("deal_types", [])],
        "kinds": [labels.kind_label(word) for word in filters.get("kinds", [])],
        "departments": [names.get(str(pk), f"№ {pk}") for pk in filters.get("departments", [])],
    }
    least = feed_offers.min_price(filters.get("min_price"))
    return [
        (_("Состояние"), states),
        (_("Вид сделки"), ", ".join(chosen["deal_types"]) or _("любой")),
        (_("Вид объекта"), ", ".join(chosen["kinds"]) or _("любой")),
        (_("Отделы"), ", ".join(chosen["departments"]) or _("все")),
        (_("Цена от"), labels.money(least) if least is not None else _("любая")),
    ]


def _portals() -> dict[str, str]:
    return {portal.slug: portal.title for portal in registry.all_portals()}


def _agency_ready() -> bool:
    agency = publishing.company_of()
    return bool((agency.name or "").strip() and (agency.ogrn_name or "").strip())


def _feed_or_404(feed_id: int) -> Feed:
    feed: Feed | None = db.session.get(Feed, feed_id)
    if feed is None:
        abort(404)
    return feed
