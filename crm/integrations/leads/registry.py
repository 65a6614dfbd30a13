"""Finds the lead channels: every concrete subclass of `LeadChannel` in this package's modules."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TypeGuard

from crm.integrations import leads
from crm.integrations.leads.base import LeadChannel


class UnknownChannel(LookupError):
    """No channel has this slug."""


@cache
def _channels() -> Mapping[str, LeadChannel]:
    found: dict[str, LeadChannel] = {}
    for module_info in pkgutil.iter_modules(leads.__path__):
        module = importlib.import_module(f"{leads.__name__}.{module_info.name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and _is_channel(kind):
                _claim(found, kind())
    return MappingProxyType(dict(sorted(found.items())))


def _is_channel(kind: type[object]) -> TypeGuard[type[LeadChannel]]:
    return issubclass(kind, LeadChannel) and not inspect.isabstract(kind)


def _claim(found: dict[str, LeadChannel], channel: LeadChannel) -> None:
    if channel.slug in found:
        raise ValueError(f"two lead channels share the slug {channel.slug!r}")
    found[channel.slug] = channel


def get(slug: str) -> LeadChannel:
    """Return the channel with this slug; raises UnknownChannel."""
    try:
        return _channels()[slug]
    except KeyError:
        raise UnknownChannel(slug) from None


def all_channels() -> tuple[LeadChannel, ...]:
    """Return all channels in the order of their slugs."""
    return tuple(_channels().values())
