"""Every route is classified, stands on our bases, and refuses those who may not come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule

from crm.security.principal import Principal
from crm.views.access import PERMISSION, PUBLIC, SIGNED_IN
from crm.views.base import CrmModelView, CrmView
from crm.views.base_api import CrmApi, CrmRestApi

OURS = (CrmView, CrmModelView, CrmApi, CrmRestApi)
DECLARED = (
    "list_columns",
    "show_columns",
    "add_columns",
    "edit_columns",
    "search_columns",
    "order_columns",
)
VALUES = {"RowNumber": "1", "FloatConverter": "1.0"}


def routes(app: Flask) -> Iterator[tuple[Rule, Any]]:
    """Rules with the methods of views behind them; static files aside."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static" and not rule.endpoint.endswith(".static"):
            yield rule, app.view_functions[rule.endpoint]


def access(handler: Any) -> str | None:
    """How the handler is marked; FAB's own REST methods carry its permission only."""
    mark: str | None = getattr(handler, "kv_access", None)
    if mark is None and isinstance(owner(handler), CrmRestApi):
        mark = PERMISSION if hasattr(handler, "_permission_name") else None
    return mark


def owner(handler: Any) -> Any:
    while hasattr(handler, "__wrapped__") and not hasattr(handler, "__self__"):
        handler = handler.__wrapped__
    return getattr(handler, "__self__", None)


def address(rule: Rule) -> str:
    """The rule with something in each place."""
    text = "".join(
        VALUES.get(type(rule._converters[part]).__name__, "x") if is_argument else part
        for is_argument, part in rule._trace
    )
    return text.removeprefix("|")


def test_every_route_is_classified_and_stands_on_our_bases(installed_app: Flask) -> None:
    wrong = [
        rule.endpoint
        for rule, handler in routes(installed_app)
        if access(handler) not in (PUBLIC, SIGNED_IN, PERMISSION)
        or not isinstance(owner(handler), OURS)
    ]
    assert wrong == []


def test_every_view_names_its_permission_itself(installed_app: Flask) -> None:
    views = installed_app.extensions["appbuilder"].baseviews
    assert len(views) > 10
    unnamed = [
        type(view).__name__
        for view in views
        if not any(
            "class_permission_name" in vars(cls)
            and cls not in OURS
            and vars(cls)["class_permission_name"]
            for cls in type(view).__mro__
        )
    ]
    assert unnamed == []


def unused(view: Any) -> set[str]:
    """Columns of forms that an API does not have."""
    closed = set(view.exclude_route_methods or ()) if isinstance(view, CrmRestApi) else set()
    return {
        name
        for method, name in (("post", "add_columns"), ("put", "edit_columns"))
        if method in closed
    }


def test_every_table_declares_its_columns(installed_app: Flask) -> None:
    tables = [
        view
        for view in installed_app.extensions["appbuilder"].baseviews
        if isinstance(view, CrmModelView | CrmRestApi)
    ]
    missing = [
        f"{type(view).__name__}.{name}"
        for view in tables
        for name in DECLARED
        if name not in unused(view)
        and not any(
            vars(cls).get(name) for cls in type(view).__mro__ if cls.__module__.startswith("crm.")
        )
    ]
    assert len(tables) > 5
    assert missing == []


def test_only_programs_are_exempt_from_csrf(installed_app: Flask) -> None:
    from crm.application import csrf

    exempt = {
        blueprint if isinstance(blueprint, str) else blueprint.name
        for blueprint in csrf._exempt_blueprints
    }
    machines = {
        view.blueprint.name
        for view in installed_app.extensions["appbuilder"].baseviews
        if getattr(view, "machine_endpoint", False)
    }
    assert exempt == machines
    assert csrf._exempt_views == set()


def test_a_visitor_sees_public_pages_only(app: Flask, visitor: Any) -> None:
    open_doors = []
    for rule, handler in routes(app):
        if "GET" not in (rule.methods or ()) or access(handler) == PUBLIC:
            continue
        code = visitor.get(address(rule)).status_code
        if code not in (302, 401):
            open_doors.append(f"{code} {rule.rule}")
    assert open_doors == []


def test_a_visitor_changes_nothing(app: Flask, visitor: Any) -> None:
    open_doors = []
    for rule, handler in routes(app):
        for method in {"POST", "PUT", "PATCH", "DELETE"} & set(rule.methods or ()):
            if access(handler) == PUBLIC:
                continue
            code = visitor.open(address(rule), method=method).status_code
            if code not in (302, 400, 401):
                open_doors.append(f"{code} {method} {rule.rule}")
    assert open_doors == []


@pytest.mark.parametrize("person", ["marketer", "manager"])
def test_nobody_opens_a_page_without_its_permission(
    app: Flask, sign_in: Any, principal: Callable[[str], Principal], person: str
) -> None:
    client, rights = sign_in(person), principal(person)
    refused, wrong = 0, []
    for rule, handler in routes(app):
        if access(handler) != PERMISSION:
            continue
        view = owner(handler)
        name = view.method_permission_name.get(handler.__name__, handler._permission_name)
        if rights.may_open(f"can_{name}", view.class_permission_name):
            continue
        for method in set(rule.methods or ()) - {"HEAD", "OPTIONS"}:
            refused += 1
            code = client.open(address(rule), method=method).status_code
            if code not in (403, 404):
                wrong.append(f"{code} {method} {rule.rule}")
    assert wrong == []
    assert refused > 20
