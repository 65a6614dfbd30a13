"""The deal card: page, feed and lazily loaded tabs."""

from __future__ import annotations

from typing import Any

from flask import abort, render_template, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from crm.models import Deal, StageType, TaskKind
from crm.operations import deal_fields
from crm.reports import deal_card, feed
from crm.reports.company import company
from crm.reports.deal_card import DealSheet
from crm.reports.stages import stage_book
from crm.security import visibility
from crm.security.principal import Principal, current_principal
from crm.values.clock import utc_now
from crm.views.access import requires
from crm.views.base import CrmView, expose
from crm.views.moves import stage_options

TASK_KINDS = {
    TaskKind.CALL: (_l("Звонок"), "phone"),
    TaskKind.MEETING: (_l("Встреча"), "users"),
    TaskKind.SHOWING: (_l("Показ"), "home-search"),
    TaskKind.LETTER: (_l("Письмо"), "mail"),
    TaskKind.OTHER: (_l("Другое"), "checkbox"),
}
_ABOUT = ("responsible", "source", "amount", "payment", "commission", "comment")
_NEED = (
    "need_kind", "need_rooms", "need_area_from", "need_area_to", "need_districts", "need_when",
    "need_text",
)  # fmt: skip
_CONTACT = ("contact_name", "contact_email")
_TABS = ("tasks", "calls", "appeals")


class DealCardView(CrmView):
    """Routes of one deal; the list's view inherits them, so that the menu stays lit."""

    route_base = "/deals"
    class_permission_name = "Deals"

    @expose("/<int:deal_id>")
    @requires("show")
    def show(self, deal_id: int) -> str:
        """The card."""
        principal, book = current_principal(), stage_book()
        sheet = deal_card.deal_sheet(principal, deal_id, book)
        if sheet is None:
            abort(404)
        return self.page(
            "deals/show.html",
            sheet=sheet,
            deal=sheet.deal,
            panels=_panels(sheet, principal),
            stages=stage_options([item.stage for item in sheet.bar]),
            feed=feed.deal_feed(principal, deal_id),
            task_kinds=TASK_KINDS,
            presets=_presets(sheet),
            late=_is_late(sheet),
            now=utc_now(),
            pipelines=[p for p in book.pipelines if p.id != sheet.deal.pipeline_id],
            field_label=deal_fields.label,
            spam_stage=_spam_stage(sheet),
        )

    @expose("/<int:deal_id>/feed")
    @requires("show")
    def feed(self, deal_id: int) -> str:
        """A page of the feed as HTML."""
        principal = self._visible_or_404(deal_id)
        page = feed.deal_feed(principal, deal_id, request.args.get("after", ""))
        return render_template(
            "deals/_feed.html", feed=page, deal_id=deal_id, field_label=deal_fields.label
        )

    @expose("/<int:deal_id>/tab/<string:name>")
    @requires("show")
    def tab(self, deal_id: int, name: str) -> str:
        """«Задачи», «Звонки» or «Обращения» of the deal as HTML."""
        if name not in _TABS:
            abort(404)
        principal = self._visible_or_404(deal_id)
        return render_template(
            f"deals/_{name}.html", deal_id=deal_id, **_tab_context(name, principal, deal_id)
        )

    def _visible_or_404(self, deal_id: int) -> Principal:
        principal = current_principal()
        if visibility.get_visible(principal, Deal, deal_id) is None:
            abort(404)
        return principal


def _tab_context(name: str, principal: Principal, deal_id: int) -> dict[str, Any]:
    match name:
        case "calls":
            return {"calls": deal_card.calls_of(principal, deal_id)}
        case "appeals":
            return {"appeals": deal_card.appeals_of(principal, deal_id)}
        case _:
            return {
                "open_tasks": deal_card.open_tasks(principal, deal_id),
                "done_tasks": deal_card.done_tasks(principal, deal_id),
                "task_kinds": TASK_KINDS,
                "now": utc_now(),
            }


def _panels(sheet: DealSheet, principal: Principal) -> dict[str, list[dict[str, Any]]]:
    """Lines of the three panels, masked, each with whether it is demanded and editable."""
    own_shown = company().show_contacts_in_own_deals
    described = deal_fields.describe(
        sheet.deal, principal, (*_ABOUT, *_NEED, *_CONTACT), own_shown=own_shown
    )
    need_missing = "need" in sheet.required and not deal_fields.is_filled(sheet.deal, "need")

    def line(code: str) -> dict[str, Any]:
        item = described[code]
        missing = code in sheet.required or (need_missing and code == "need_kind")
        hidden = code in deal_fields.PRIVATE and item["filled"] and item["value"] is None
        return {**item, "missing": missing and not item["filled"], "locked": hidden}

    return {
        "about": [line(code) for code in _ABOUT],
        "need": [line(code) for code in _NEED],
        "contact": [line(code) for code in _CONTACT],
    }


def _presets(sheet: DealSheet) -> list[dict[str, Any]]:
    if not (sheet.editable and sheet.stage.tasks_allowed):
        return []
    return [
        {"id": row.id, "text": row.text, "kind": row.task_kind, "days": row.delay_days}
        for row in deal_card.presets(sheet.stage.id)
    ]


def _is_late(sheet: DealSheet) -> bool:
    """Whether the unprocessed deal waits longer than the company lets it (domain §6.5)."""
    firm, deal = company(), sheet.deal
    if deal.is_saved:
        return False
    minutes = firm.call_limit_minutes if deal.channel == "call" else firm.request_limit_minutes
    since = deal.first_appeal_at or deal.created_at
    return (utc_now() - since).total_seconds() > minutes * 60


def _spam_stage(sheet: DealSheet) -> dict[str, Any] | None:
    """Where «Нецелевой контакт» leads."""
    found = next((i.stage for i in sheet.bar if i.stage.kind is StageType.NON_TARGET), None)
    return {"id": found.id, "name": found.name} if found else None


def channel_label(channel: str) -> str:
    """How the client came, in words."""
    known = CHANNELS.get(channel)
    return str(known) if known else _("другой канал")


CHANNELS = {
    "call": _l("звонок"),
    "site_form": _l("форма на сайте"),
    "tilda": _l("Тильда"),
    "vk_lead_form": _l("лид-форма ВК"),
    "vk_message": _l("сообщение ВК"),
    "vk_ads": _l("реклама ВК"),
    "meta_leadgen": _l("лид-форма"),
    "avito_chat": _l("чат Авито"),
    "avito_call": _l("звонок с Авито"),
    "cian_chat": _l("чат ЦИАН"),
    "cian_call": _l("звонок с ЦИАН"),
    "yandex_call": _l("звонок с Яндекс Недвижимости"),
    "domclick_chat": _l("чат ДомКлик"),
    "email": _l("письмо"),
    "chat_widget": _l("чат на сайте"),
    "telegram": _l("Телеграм"),
    "whatsapp": _l("Ватсап"),
    "import": _l("импорт"),
    "manual": _l("вручную"),
    "api": _l("по API"),
}
