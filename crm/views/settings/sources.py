"""Advertising sources, and a place to try which one would win (domain §7)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import request
from flask_babel import lazy_gettext as _l

from crm.models import Source, db
from crm.operations import sources
from crm.operations.attribution import MARK_NAMES, Evidence
from crm.security.principal import current_principal
from crm.values import phones
from crm.views.base import CappedInterface, CrmModelView, expose, requires
from crm.views.settings.fields import choice
from crm.views.settings.names import CHANNELS, STEPS

_UTM = list(MARK_NAMES)
_FORM = [
    "name", "group", "tags", "phone", "domains", *_UTM, "channel", "department",
    "hide_from_other_departments", "show_in_crm", "manager_may_change", "exclude_from_stats",
    "cost_per_month", "cost_per_lead", "comment", "active",
]  # fmt: skip
_MARK_HELP = _l("«*» — любое значение. Пусто — метка не привязана.")


def shown_domains(text: str | None) -> str:
    """Domains as people read them: ``новостройки.рф`` instead of its punycode."""
    return ", ".join(map(_readable, sources.split_domains(text))) or "—"


def _readable(domain: str) -> str:
    try:
        return domain.encode("ascii").decode("idna")
    except UnicodeError:
        return domain


class SourceView(CrmModelView):
    """`/settings/sources`."""

    route_base = "/settings/sources"
    class_permission_name = "Sources"
    datamodel = CappedInterface(Source)
    include_route_methods = {"list", "show", "add", "edit", "delete", "check"}
    intro = _l(
        "По каким признакам обращение относится к рекламе: номер, метки, сайт или канал. "
        "Первая сработавшая улика решает."
    )
    list_title, add_title = _l("Рекламные источники"), _l("Новый источник")
    edit_title = show_title = _l("Источник")
    list_template = "settings/sources.html"
    edit_template = add_template = "settings/source_form.html"
    list_columns = ["name", "group", "phone", "domains", "utm", "tags", "active"]
    show_columns = add_columns = edit_columns = _FORM
    search_columns = ["name", "group", "department", "phone", "active"]
    order_columns = ["name", "active"]
    base_order = ("name", "asc")
    label_columns = {
        "name": _l("Название"),
        "group": _l("Группа"),
        "tags": _l("Теги"),
        "phone": _l("Телефон"),
        "domains": _l("Домены сайтов"),
        "utm": _l("Метки"),
        "utm_source": "UTM Source",
        "utm_medium": "UTM Medium",
        "utm_campaign": "UTM Campaign",
        "utm_content": "UTM Content",
        "channel": _l("Канал"),
        "department": _l("Отдел"),
        "hide_from_other_departments": _l("Скрывать в выборке по другим отделам"),
        "show_in_crm": _l("Показывать в CRM"),
        "manager_may_change": _l("Менеджер может менять этот источник на другой"),
        "exclude_from_stats": _l("Не учитывать в статистике"),
        "cost_per_month": _l("Расход в месяц, ₽"),
        "cost_per_lead": _l("Цена обращения, ₽"),
        "comment": _l("Комментарий"),
        "active": _l("Активен"),
    }
    description_columns = {
        "phone": _l("Номер из рекламы. Один номер — один активный источник."),
        "domains": _l("Через запятую. Поддомены подходят сами; самый длинный домен выигрывает."),
        "utm_source": _MARK_HELP,
        "utm_medium": _MARK_HELP,
        "utm_campaign": _MARK_HELP,
        "utm_content": _MARK_HELP,
        "department": _l("Обращения получат этот отдел; другие отделы их не увидят."),
        "hide_from_other_departments": _l("Источник не предлагается сотрудникам других отделов."),
        "show_in_crm": _l("Выключено — в карточке не выбрать, но сам источник определяется."),
        "manager_may_change": _l("Выключено — сменить источник сделки может только руководитель."),
        "exclude_from_stats": _l("Сделки и обращения источника не попадают в отчёты."),
        "cost_per_lead": _l("Если площадка берёт плату за обращение."),
    }
    _extra = {
        "channel": choice(
            _l("Канал"),
            list(CHANNELS.items()),
            blank=True,
            description=_l("Всё, что пришло этим путём и не опознано точнее."),
        )
    }
    add_form_extra_fields = edit_form_extra_fields = _extra
    formatters_columns = {
        "phone": phones.pretty,
        "channel": lambda code: CHANNELS.get(code or "", "—"),
        "domains": shown_domains,
    }

    @expose("/check", methods=["GET"])
    @requires("list")
    def check(self) -> str:
        """Which source would win, and why. Changes nothing, so the address can be shared."""
        evidence = _evidence()
        verdict = sources.attribute(evidence) if _anything(evidence) else None
        found = db.session.get(Source, verdict.source_id) if verdict else None
        return self.render_template(
            "settings/source_check.html",
            verdict=verdict,
            source=found,
            step=STEPS[verdict.step] if verdict else "",
            channels=CHANNELS,
            may_edit=current_principal().may_open("can_edit", "Sources"),
        )


def _evidence() -> Evidence:
    page = request.args.get("page", "").strip()[:2000]
    return Evidence(
        called_number=request.args.get("phone", "").strip()[:64] or None,
        page_url=page,
        utm=_marks(page),
        channel=request.args.get("channel", "")[:20],
    )


def _marks(page: str) -> Any:
    try:
        query = parse_qs(urlsplit(page).query)
    except ValueError:
        return ("", "", "", "")
    return tuple((query.get(name) or [""])[0] for name in MARK_NAMES)


def _anything(evidence: Evidence) -> bool:
    return bool(evidence.called_number or evidence.page_url or evidence.channel)
