"""Telephony connections: their list with health, the choice of an operator, the wizard."""

from __future__ import annotations

from typing import Any

from flask import abort, flash, redirect, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from crm.integrations.telephony import registry
from crm.models import Action, AssignRule, Model, TelephonyConnection
from crm.operations import connections, records, telephony_settings
from crm.operations.errors import NotFound, ValidationErrors
from crm.reports import telephony_health
from crm.security.principal import current_principal
from crm.views.base import CappedInterface, CrmModelView, expose, requires
from crm.views.settings.fields import ClockField, DaysField, choice
from crm.views.settings.names import WEEKDAYS
from crm.views.settings.telephony_steps import STEPS, Step, context_of, progress

_FORM = [
    "name", "operator", "pipeline", "department", "default_source", "makes_deals", "assign_rule",
    "assign_to", "callback_minutes", "callback_task", "work_start", "work_end", "work_days",
    "ignored_numbers", "syncs_history", "keep_recordings_days", "active",
]  # fmt: skip
_ASSIGN_RULES = [
    (AssignRule.FREE, _l("Свободный разбор: берёт первый из отдела")),
    (AssignRule.QUEUE, _l("По очереди: тому, кто получал раньше всех")),
    (AssignRule.PERSON, _l("Всегда одному сотруднику")),
]
_WORK_END = _l("Вне этих часов срок перезвона не идёт. Пусто — часы компании.")


def _operators() -> list[tuple[str, str]]:
    return [(one.slug, one.title) for one in registry.all_operators()]


class TelephonyView(CrmModelView):
    """`/settings/telephony`."""

    route_base = "/settings/telephony"
    class_permission_name = "Telephony"
    datamodel = CappedInterface(TelephonyConnection)
    include_route_methods = {"list", "add", "edit", "delete", "credentials", "check", "rotate"}
    list_title, add_title = _l("Телефония"), _l("Новое подключение")
    edit_title = show_title = _l("Подключение")
    edit_template = "settings/telephony.html"
    list_columns = ["name", "operator", "pipeline", "department", "active"]
    show_columns = ["name"]
    add_columns = ["name", "operator"]
    edit_columns = _FORM
    search_columns = ["name", "active"]
    order_columns = ["name", "last_event_at", "active"]
    base_order = ("name", "asc")
    label_columns = {
        "name": _l("Название"),
        "operator": _l("Оператор"),
        "pipeline": _l("Воронка"),
        "department": _l("Отдел"),
        "default_source": _l("Источник, если не определён"),
        "makes_deals": _l("Заводить сделки по звонкам"),
        "assign_to": _l("Сотрудник"),
        "callback_minutes": _l("Перезвонить в течение, минут"),
        "callback_task": _l("Ставить задачу «Перезвонить»"),
        "work_days": _l("Рабочие дни линий"),
        "ignored_numbers": _l("Не учитывать номера"),
        "syncs_history": _l("Сверять с журналом оператора"),
        "keep_recordings_days": _l("Хранить записи, дней"),
        "active": _l("Принимает звонки"),
    }
    description_columns = {
        "pipeline": _l("Где появится сделка от звонка. Пусто — воронка по умолчанию."),
        "department": _l("Кто увидит звонок, пока он ничей. Пусто — отдел источника или все."),
        "default_source": _l("Когда набранный номер не указан ни у одного источника."),
        "makes_deals": _l(
            "Выключено — звонки незнакомых остаются в списке звонков без сделки. "
            "Клиент с открытой сделкой всё равно попадёт в неё."
        ),
        "assign_to": _l("Для правила «Всегда одному сотруднику»."),
        "callback_minutes": _l(
            "Рабочих минут после пропущенного. Позже звонок становится красным."
        ),
        "callback_task": _l("Тому, кому достанется сделка. Закроется сама, когда поговорят."),
        "ignored_numbers": _l(
            "Через запятую: курьеры, спам, свои мобильные. Сделки по ним не заводятся. "
            "Номера компании, сотрудников и линий не учитываются и так."
        ),
        "syncs_history": _l("Каждые 10 минут и ночью: находит звонки, о которых события не дошли."),
        "keep_recordings_days": _l("Пусто — всегда. Старше — удаляются, звонок остаётся."),
        "active": _l("Выключено — события не принимаются, оператор получает отказ."),
    }
    edit_form_extra_fields = {
        "operator": choice(
            _l("Оператор"),
            _operators,
            description=_l("Адрес для кабинета при смене оператора остаётся прежним."),
        ),
        "assign_rule": choice(_l("Кому сделка пропущенного звонка"), _ASSIGN_RULES),
        "work_start": ClockField(_l("Линии работают с")),
        "work_end": ClockField(_l("Линии работают до"), description=_WORK_END),
        "work_days": DaysField(_l("Рабочие дни линий"), lambda: WEEKDAYS),
    }
    add_form_extra_fields = {"operator": choice(_l("Оператор"), _operators)}

    @expose("/list/")
    @requires("list")
    def list(self) -> str:
        """All connections with their health."""
        found = telephony_health.overview()
        text: str = self.render_template(
            "settings/telephony_list.html",
            connections=found,
            titles=dict(_operators()),
            days=telephony_health.DAYS,
        )
        return text

    @expose("/add", methods=["GET", "POST"])
    @requires("add")
    def add(self) -> Response | str:
        """Choose the operator; everything else is asked for step by step."""
        typed = {name: request.form.get(name, "").strip() for name in ("name", "operator")}
        errors: dict[str, str] = {}
        if request.method == "POST":
            try:
                record = self._create(**typed)
            except ValidationErrors as error:
                errors = {complaint.field: complaint.message for complaint in error.errors}
            else:
                return redirect(url_for("TelephonyView.edit", pk=record.id, step=Step.ACCESS))
        text: str = self.render_template(
            "settings/telephony_new.html",
            operators=registry.all_operators(),
            typed=typed,
            errors=errors,
        )
        return text

    def _create(self, name: str, operator: str) -> TelephonyConnection:
        """Without a name of its own the connection is called like its operator."""
        titles = dict(_operators())
        record = TelephonyConnection(
            name=(name or connections.free_name(titles.get(operator, "")))[:120],
            operator=operator[:40],
        )
        records.create(record, current_principal())
        return record

    @expose("/edit/<int:pk>", methods=["GET", "POST"])
    @requires("edit")
    def edit(self, pk: int) -> Response | str:
        """The wizard's step named in the address; the form of the rules is sent here."""
        if request.method == "POST":
            return super().edit(pk)
        item = self._get_or_404(pk, Action.EDIT)
        form = self.edit_form(formdata=None, obj=item)
        return self.edit_page(item, form)

    @expose("/<int:pk>/credentials", methods=["POST"])
    @requires("edit")
    def credentials(self, pk: int) -> Response | str:
        """Keep the operator's keys; blank secrets stay as they are. Then try them if asked to."""
        connection = self._get_or_404(pk, Action.EDIT)
        typed = typed_fields("credential-")
        try:
            telephony_settings.set_credentials(pk, current_principal(), typed)
        except ValidationErrors as error:
            return self.edit_page(
                connection, errors=_by_field(error), typed=_plain(connection, typed)
            )
        if "check" in request.form:
            return _checked(pk)
        return back_to(pk, Step.ACCESS, _("Доступ сохранён. Проверьте подключение."))

    @expose("/<int:pk>/check", methods=["POST"])
    @requires("edit")
    def check(self, pk: int) -> Response:
        """Try the settings against the live operator."""
        self._get_or_404(pk, Action.EDIT)
        return _checked(pk)

    @expose("/<int:pk>/rotate", methods=["POST"])
    @requires("edit")
    def rotate(self, pk: int) -> Response:
        """A new secret address."""
        self._get_or_404(pk, Action.EDIT)
        connections.rotate_token(pk, current_principal())
        text = _("Адрес заменён. Вставьте новый в кабинете оператора: прежний не работает.")
        return back_to(pk, Step.ADDRESS, text)

    def after_save(self, item: Model) -> str:
        """On with the wizard."""
        return url_for("TelephonyView.edit", pk=item.id, step=Step.RULES)

    def page_context(self, item: Model | None) -> dict[str, Any]:
        """What the step shows, the steps with their marks, and the health beside."""
        if not isinstance(item, TelephonyConnection):
            return {}
        step = current_step()
        found = telephony_health.details(item)
        return {
            "step": step,
            "steps": STEPS,
            "done": progress(item, found.health),
            "health": found.health,
            "deliveries": found.deliveries,
            "runs": found.runs,
            "days": telephony_health.DAYS,
            "errors": {},
            "typed": {},
            **context_of(step, item),
        }


def current_step() -> Step:
    """The step in the address; a form that was refused is the step of the rules."""
    asked = request.args.get("step", "")
    if asked in list(Step):
        return Step(asked)
    is_rules = request.method == "POST" and request.endpoint == "TelephonyView.edit"
    return Step.RULES if is_rules else Step.ACCESS


def connection_or_404(pk: int) -> TelephonyConnection:
    """The connection of a wizard's form."""
    try:
        return connections.find(pk)
    except NotFound:
        abort(404)


def back_to(
    pk: int, step: Step, message: str = "", tone: str = "success", **typed: str
) -> Response:
    """To a step of the wizard, with a message; what was typed and refused stays in its field."""
    if message:
        flash(message, tone)
    kept: dict[str, Any] = {f"new-{name}": value for name, value in typed.items() if value}
    return redirect(url_for("TelephonyView.edit", pk=pk, step=step, **kept))


def typed_fields(prefix: str) -> dict[str, str]:
    """Fields of the form by the rest of their names."""
    return {
        name.removeprefix(prefix): text
        for name, text in request.form.items()
        if name.startswith(prefix)
    }


def _checked(pk: int) -> Response:
    result = connections.check(pk)
    return back_to(pk, Step.ACCESS, result.message, "success" if result.ok else "danger")


def _plain(connection: TelephonyConnection, typed: dict[str, str]) -> dict[str, str]:
    """What was typed, without secrets: they are not sent back even when refused."""
    declared = connections.build(connection).credentials
    return {item.name: typed.get(item.name, "") for item in declared if not item.secret}


def _by_field(error: ValidationErrors) -> dict[str, str]:
    return {complaint.field: complaint.message for complaint in error.errors}
