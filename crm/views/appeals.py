"""Appeals: what waits for a person, everything that came, spam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import flash, redirect, request, url_for
from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select
from werkzeug.wrappers import Response

from crm.models import Channel, Department, Employee, Source, db
from crm.operations import appeals as operations
from crm.operations import deals
from crm.operations.errors import OperationError
from crm.reports import appeals
from crm.security import visibility
from crm.security.principal import Principal, current_principal
from crm.views import arguments
from crm.views.access import local_path, requires
from crm.views.base import CrmView, expose

CHANNELS: dict[str, tuple[LazyString, str]] = {
    Channel.CALL: (_l("Звонок"), "phone-incoming"),
    Channel.SITE_FORM: (_l("Форма на сайте"), "world"),
    Channel.TILDA: (_l("Тильда"), "world"),
    Channel.VK_LEAD_FORM: (_l("ВК: форма заявки"), "brand-vk"),
    Channel.VK_MESSAGE: (_l("ВК: сообщение"), "brand-vk"),
    Channel.VK_ADS: (_l("ВК Реклама"), "brand-vk"),
    Channel.META_LEADGEN: (_l("Meta: форма заявки"), "brand-meta"),
    Channel.AVITO_CHAT: (_l("Авито: чат"), "message"),
    Channel.AVITO_CALL: (_l("Авито: звонок"), "phone-incoming"),
    Channel.CIAN_CHAT: (_l("ЦИАН: чат"), "message"),
    Channel.CIAN_CALL: (_l("ЦИАН: звонок"), "phone-incoming"),
    Channel.YANDEX_CALL: (_l("Яндекс: звонок"), "phone-incoming"),
    Channel.DOMCLICK_CHAT: (_l("ДомКлик: чат"), "message"),
    Channel.EMAIL: (_l("Письмо"), "mail"),
    Channel.CHAT_WIDGET: (_l("Чат на сайте"), "message"),
    Channel.TELEGRAM: (_l("Telegram"), "brand-telegram"),
    Channel.WHATSAPP: (_l("WhatsApp"), "brand-whatsapp"),
    Channel.IMPORT: (_l("Импорт"), "file-import"),
    Channel.MANUAL: (_l("Вручную"), "pencil"),
    Channel.API: (_l("API"), "api"),
}
SEGMENTS = ("waiting", "all", "spam")


class AppealsView(CrmView):
    """``/appeals``."""

    route_base = "/appeals"
    class_permission_name = "Appeals"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """One of three lists of what the person may see."""
        principal = current_principal()
        shown = arguments.choice("show", SEGMENTS, "waiting")
        wanted, place = read_filter(), arguments.place()
        if shown == "waiting":
            rows: Any
            rows, more = appeals.waiting(principal, wanted, place)
        else:
            rows, more = appeals.page(principal, wanted, spam=shown == "spam", place=place)
        return self.page(
            "appeals/index.html",
            shown=shown,
            rows=rows,
            next_url=arguments.link(after=str(more)) if more else None,
            link=arguments.link,
            here=request.full_path.rstrip("?"),
            channels=CHANNELS,
            age=age,
            **_choices(principal, wanted),
        )

    @expose("/<int:pk>/spam", methods=["POST"])
    @requires("edit")
    def spam(self, pk: int) -> Response:
        """«Это спам»."""
        return _do(
            lambda by: operations.mark_spam(pk, by), _("Обращение перенесено в папку «Спам».")
        )

    @expose("/<int:pk>/not-spam", methods=["POST"])
    @requires("edit")
    def not_spam(self, pk: int) -> Response:
        """«Не спам»."""
        return _do(
            lambda by: operations.not_spam(pk, by),
            _("Обращение возвращено в работу с исходным временем."),
        )

    @expose("/take/<int:deal_id>", methods=["POST"])
    @requires("edit")
    def take(self, deal_id: int) -> Response:
        """«Взять»: the deal becomes the person's, and its card opens."""
        return _do(lambda by: deals.take(deal_id, by), _("Сделка ваша."), f"/deals/{deal_id}")


def read_filter() -> appeals.AppealFilter:
    """The filter written in the address."""
    nobody = request.args.get("responsible") == "nobody"
    return appeals.AppealFilter(
        department_id=arguments.number("department"),
        responsible_id=appeals.NOBODY if nobody else arguments.number("responsible"),
        source_id=arguments.number("source"),
        channel=arguments.choice("channel", tuple(CHANNELS)),
    )


def age(waited: Any) -> str:
    """«7 мин», «3 ч», «2 дн»."""
    minutes = int(waited.total_seconds() // 60)
    if minutes < 60:  # noqa: PLR2004 minutes in an hour
        return _("%(n)s мин", n=minutes)
    hours = minutes // 60
    return _("%(n)s ч", n=hours) if hours < 48 else _("%(n)s дн", n=hours // 24)  # noqa: PLR2004


def _choices(principal: Principal, wanted: appeals.AppealFilter) -> dict[str, Any]:
    """What the filters offer and which rows are chosen."""
    departments = select(Department).where(Department.active).order_by(Department.position)
    source = responsible = None
    if wanted.source_id:
        source = visibility.get_visible(principal, Source, wanted.source_id)
    if wanted.responsible_id and wanted.responsible_id > 0:
        responsible = db.session.get(Employee, wanted.responsible_id)
    return {
        "wanted": wanted,
        "departments": list(db.session.scalars(departments)),
        "source": source,
        "responsible": responsible,
    }


def _do(act: Callable[[Principal], object], done: str, target: str | None = None) -> Response:
    """Run an operation and come back with what came of it."""
    back = local_path(request.form.get("next"), url_for("AppealsView.index"))
    try:
        act(current_principal())
    except OperationError as error:
        flash(error.message, "danger")
        return redirect(back)
    flash(done, "success")
    return redirect(target or back)
