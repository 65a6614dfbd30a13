"""The search of the top bar: its page and its drop-down."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_babel import gettext as _

from crm.models import Listing
from crm.reports import search
from crm.security.principal import current_principal
from crm.views import arguments
from crm.views.access import requires
from crm.views.base import CrmView, expose
from crm.views.base_api import CrmApi

IN_DROP_DOWN = 5
ON_PAGE = 30


class SearchView(CrmView):
    """``/search?q=``."""

    route_base = "/search"
    class_permission_name = "Search"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """Everything found that the person may open."""
        text = arguments.text("q")
        return self.page(
            "search/index.html",
            text=text,
            found=search.search(current_principal(), text, ON_PAGE),
            opens=_opens(),
        )


class SearchApi(CrmApi):
    """``GET /api/v1/search?q=``: groups of links for the drop-down."""

    resource_name = "search"
    class_permission_name = "Search"

    @expose("/", methods=["GET"])
    @requires("list")
    def index(self) -> Response:
        """At most five of each kind."""
        found = search.search(current_principal(), arguments.text("q"), IN_DROP_DOWN)
        opens = _opens()
        groups = [
            {"title": _("Сделки"), "items": [_deal(row) for row in found.deals]},
            {"title": _("Контакты"), "items": [_contact(row) for row in found.contacts]},
            {"title": _("Объекты"), "items": [_listing(row) for row in found.listings]},
        ]
        shown = [
            group
            for group, allowed in zip(groups, opens.values(), strict=True)
            if allowed and group["items"]
        ]
        return self.answer(groups=shown, known=found.known)


def _opens() -> dict[str, bool]:
    """Whose cards the person may open at all: nothing else is offered."""
    principal = current_principal()
    return {
        "deals": principal.may_open("can_list", "Deals"),
        "contacts": principal.may_open("can_list", "Contacts"),
        "listings": principal.may_open("can_list", "Listings"),
    }


def _deal(row: search.FoundDeal) -> dict[str, Any]:
    return {
        "href": f"/deals/{row.deal.id}",
        "icon": "briefcase",
        "title": row.client or _("Без имени"),
        "note": f"№ {row.deal.id} · {row.deal.stage.name}",
    }


def _contact(row: search.FoundContact) -> dict[str, Any]:
    shown = ", ".join(row.phones[:2])
    return {
        "href": f"/contacts/{row.contact.id}",
        "icon": "user",
        "title": row.name or shown or _("Без имени"),
        "note": shown if row.name else "",
    }


def _listing(listing: Listing) -> dict[str, Any]:
    return {
        "href": f"/listings/{listing.id}",
        "icon": "home",
        "title": listing.title or listing.address or f"№ {listing.id}",
        "note": listing.address or "" if listing.title else f"№ {listing.id}",
    }
