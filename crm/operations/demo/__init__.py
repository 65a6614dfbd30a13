"""The demonstration agency: a believable year of work, removable with one command."""

from __future__ import annotations

from crm.operations.demo.load import load
from crm.operations.demo.people import PASSWORD, logins
from crm.operations.demo.remove import remove

__all__ = ["PASSWORD", "load", "logins", "remove"]
