"""The page «Задачи» and what is done with a task."""

from __future__ import annotations

from typing import Any

from flask import Response, flash, redirect, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response as BaseResponse

from crm.models import ObjectKind, Scope, Task, TaskKind
from crm.operations import tasks
from crm.operations.errors import OperationError, ValidationErrors
from crm.reports import tasks as report
from crm.security.principal import Principal, current_principal
from crm.views.access import requires
from crm.views.base import CrmView, expose
from crm.views.base_api import CrmApi
from crm.views.deal_card import TASK_KINDS
from crm.views.deals_api import new_task
from crm.views.payload import Payload

_GROUPS = {
    "now": _l("Сегодня"),
    "overdue": _l("Просроченные"),
    "upcoming": _l("Предстоящие"),
    "done": _l("Выполненные"),
}
_CREATED = 201


class TasksView(CrmView):
    """``/tasks``."""

    route_base = "/tasks"
    class_permission_name = "Tasks"

    @expose("")
    @requires("list")
    def index(self) -> str:
        """One group of tasks, one's own or the team's."""
        principal = current_principal()
        asked = _asked(principal)
        counts = report.task_counts(principal, asked["whose"])
        page = report.task_page(
            principal,
            **asked,
            after=request.args.get("after", ""),
            before=request.args.get("before", ""),
        )
        return self.page(
            "tasks/index.html",
            lines=page.lines,
            asked=asked,
            groups=_group_links(asked, counts),
            whose=_whose_links(principal, asked),
            kinds=_kind_links(asked),
            task_kinds=TASK_KINDS,
            prev_url=page.previous and url_for("TasksView.index", before=page.previous, **asked),
            next_url=page.following and url_for("TasksView.index", after=page.following, **asked),
            may_add=principal.may_open("can_add", "Tasks"),
        )

    @expose("/add", methods=["GET", "POST"])
    @requires("add")
    def add(self) -> BaseResponse | str:
        """A task of no deal, or of a chosen one."""
        errors: dict[str, str] = {}
        if request.method == "POST":
            try:
                new_task(_form_payload(), current_principal(), _form_number("deal_id"))
            except ValidationErrors as error:
                errors = {item.field: item.message for item in error.errors}
            except OperationError as error:
                errors = {"": error.message}
            else:
                flash(_("Задача поставлена."), "success")
                return redirect(url_for("TasksView.index"))
        return self.page(
            "tasks/add.html",
            errors=errors,
            typed=request.form,
            kinds=[(kind, label) for kind, (label, _icon) in TASK_KINDS.items()],
        )


class TaskApi(CrmApi):
    """``/api/v1/tasks/<id>/…``: done, again, another moment, delete."""

    resource_name = "tasks"
    class_permission_name = "Tasks"

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @requires("add")
    def create(self) -> Response:
        """A task: see ``deals_api.new_task``, and ``deal_id``."""
        body = Payload()
        made = new_task(body, current_principal(), body.number("deal_id"))
        return self.answer(_CREATED, id=made.id)

    @expose("/<int:pk>/done", methods=["POST"])
    @requires("edit")
    def done(self, pk: int) -> Response:
        """Mark done with {result}."""
        task = tasks.complete_task(pk, current_principal(), Payload().text("result"))
        return self._answer(task)

    @expose("/<int:pk>/reopen", methods=["POST"])
    @requires("edit")
    def reopen(self, pk: int) -> Response:
        """Make undone again."""
        return self._answer(tasks.reopen(pk, current_principal()))

    @expose("/<int:pk>/reschedule", methods=["POST"])
    @requires("edit")
    def reschedule(self, pk: int) -> Response:
        """Another {due_at | due_date} and {remind_at}."""
        body = Payload()
        day = body.date("due_date")
        task = tasks.reschedule(
            pk,
            current_principal(),
            due_at=None if day else body.moment("due_at"),
            due_date=day,
            remind_at=body.moment("remind_at"),
        )
        return self._answer(task)

    @expose("/<int:pk>", methods=["DELETE"])
    @requires("edit")
    def remove(self, pk: int) -> Response:
        """Delete."""
        tasks.delete_task(pk, current_principal())
        return self.answer(id=pk)

    def _answer(self, task: Task) -> Response:
        return self.answer(id=task.id, deal_id=task.deal_id, done=task.done_at is not None)


def _asked(principal: Principal) -> dict[str, Any]:
    group, whose = request.args.get("group", ""), request.args.get("whose", "")
    kind = request.args.get("kind", "")
    team = whose == "team" and _leads(principal)
    return {
        "group": group if group in _GROUPS else "now",
        "whose": "team" if team else "mine",
        "kind": kind if kind in set(TaskKind) else "",
    }


def _leads(principal: Principal) -> bool:
    """Whether there is anybody else whose tasks the person sees."""
    return principal.scope(ObjectKind.TASK) not in (Scope.NONE, Scope.OWN)


def _address(asked: dict[str, Any], **changes: str) -> str:
    wanted = {**asked, **changes}
    defaults = {"group": "now", "whose": "mine", "kind": ""}
    return url_for("TasksView.index", **{k: v for k, v in wanted.items() if v != defaults[k]})


def _group_links(asked: dict[str, Any], counts: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "label": str(label),
            "href": _address(asked, group=group),
            "active": asked["group"] == group,
            "count": counts.get(group),
        }
        for group, label in _GROUPS.items()
    ]


def _whose_links(principal: Principal, asked: dict[str, Any]) -> list[dict[str, Any]]:
    if not _leads(principal):
        return []
    names = (("mine", _("Мои")), ("team", _("Сотрудников")))
    return [
        {"label": label, "href": _address(asked, whose=name), "active": asked["whose"] == name}
        for name, label in names
    ]


def _kind_links(asked: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "label": str(label),
            "icon": icon,
            "href": _address(asked, kind="" if asked["kind"] == kind else kind),
            "active": asked["kind"] == kind,
        }
        for kind, (label, icon) in TASK_KINDS.items()
    ]


def _form_number(name: str) -> int | None:
    text = request.form.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004


def _form_payload() -> Payload:
    return Payload(dict(request.form))
