"""The list of all pages and APIs, in the order of the menu."""

from __future__ import annotations

from flask import current_app
from flask_appbuilder import AppBuilder
from flask_wtf import CSRFProtect

from crm.views.account import AccountView, limit_login
from crm.views.appeals import AppealsView
from crm.views.board import BoardView
from crm.views.call_popup import CallPopupView
from crm.views.call_stats import CallStatsView
from crm.views.calls import CallsView
from crm.views.calls_api import CallsApi
from crm.views.contacts import ContactsView
from crm.views.deals import DealsView
from crm.views.deals_api import DealApi
from crm.views.deliveries import DeliveriesView
from crm.views.events import EventsApi
from crm.views.feeds import FeedsView
from crm.views.health import HealthView
from crm.views.imports import ImportsView, RunsApi
from crm.views.jobs import JobsView
from crm.views.listings import ListingsView
from crm.views.listings_api import ListingApi, ListingPhotosApi
from crm.views.options import OptionsApi
from crm.views.public import IntakeEndpoint, TelephonyHooks
from crm.views.public_feeds import FeedEndpoint
from crm.views.search import SearchApi, SearchView
from crm.views.settings import VIEWS as SETTINGS
from crm.views.tasks import TaskApi, TasksView

VIEWS: tuple[type, ...] = (
    TelephonyHooks,
    IntakeEndpoint,
    FeedEndpoint,
    AccountView,
    HealthView,
    BoardView,
    DealsView,
    TasksView,
    *SETTINGS,
    CallsView,
    CallPopupView,
    CallStatsView,
    AppealsView,
    ContactsView,
    ListingsView,
    FeedsView,
    ImportsView,
    SearchView,
    DeliveriesView,
    JobsView,
)
APIS: tuple[type, ...] = (
    OptionsApi,
    DealApi,
    TaskApi,
    EventsApi,
    CallsApi,
    SearchApi,
    ListingApi,
    ListingPhotosApi,
    RunsApi,
)


def register_views(builder: AppBuilder, csrf: CSRFProtect) -> None:
    """Register everything; public endpoints of machines are exempt from CSRF."""
    for view in VIEWS:
        builder.add_view_no_menu(view)
    for api in APIS:
        builder.add_api(api)
    for view in builder.baseviews:
        if getattr(view, "machine_endpoint", False):
            csrf.exempt(view.blueprint)
    builder.sm.auth_view = next(v for v in builder.baseviews if isinstance(v, AccountView))
    limit_login(builder.sm.limiter, current_app.config["LOGIN_LIMIT"])
