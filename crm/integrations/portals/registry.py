"""Finds the portals: every concrete subclass of `Portal` in this package's modules."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TypeGuard

from crm.integrations import portals
from crm.integrations.portals.base import Portal


class UnknownPortal(LookupError):
    """No portal has this slug."""


@cache
def _portals() -> Mapping[str, Portal]:
    found: dict[str, Portal] = {}
    for module_info in pkgutil.iter_modules(portals.__path__):
        module = importlib.import_module(f"{portals.__name__}.{module_info.name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if _is_portal(kind, module.__name__):
                _claim(found, kind())
    return MappingProxyType(dict(sorted(found.items())))


def _is_portal(kind: type, module_name: str) -> TypeGuard[type[Portal]]:
    own = kind.__module__ == module_name
    return own and issubclass(kind, Portal) and not inspect.isabstract(kind)


def _claim(found: dict[str, Portal], portal: Portal) -> None:
    if portal.slug in found:
        raise ValueError(f"two portals share the slug {portal.slug!r}")
    found[portal.slug] = portal


def get(slug: str) -> Portal:
    """Return the portal with this slug; raises `UnknownPortal`."""
    try:
        return _portals()[slug]
    except KeyError:
        raise UnknownPortal(slug) from None


def all_portals() -> tuple[Portal, ...]:
    """Return all portals in the order of their slugs."""
    return tuple(_portals().values())
