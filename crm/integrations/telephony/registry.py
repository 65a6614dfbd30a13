"""All telephony operators: found by importing the modules of this package, never listed by hand."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

from crm.integrations import telephony
from crm.integrations.errors import IntegrationError
from crm.integrations.telephony.base import TelephonyOperator


class UnknownOperator(IntegrationError):
    """No operator has this slug."""


def get(slug: str) -> type[TelephonyOperator]:
    """Class of the operator. Raises `UnknownOperator`."""
    try:
        return _by_slug()[slug]
    except KeyError:
        raise UnknownOperator(f"Оператор «{slug}» не известен", permanent=True) from None


def all_operators() -> list[type[TelephonyOperator]]:
    """Every operator to choose from, in the order of titles."""
    offered = (operator for operator in _by_slug().values() if operator.is_offered)
    return sorted(offered, key=lambda operator: operator.title.casefold())


@cache
def _by_slug() -> dict[str, type[TelephonyOperator]]:
    for module in pkgutil.iter_modules(telephony.__path__, telephony.__name__ + "."):
        importlib.import_module(module.name)
    found: dict[str, type[TelephonyOperator]] = {}
    for operator in _concrete(TelephonyOperator):
        if found.get(operator.slug, operator) is not operator:
            raise ValueError(f"two telephony operators are called {operator.slug}")
        found[operator.slug] = operator
    return found


def _concrete(base: type[Any]) -> Iterator[type[TelephonyOperator]]:
    for child in base.__subclasses__():
        yield from _concrete(child)
        # Classes of tests and notebooks live elsewhere and are nobody's operator.
        if child.__module__.startswith(telephony.__name__ + ".") and not inspect.isabstract(child):
            yield child
