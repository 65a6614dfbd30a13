"""The ``crm`` command. Each group of commands lives in its own module under ``crm/commands``."""

from __future__ import annotations

import importlib
import pkgutil

import click
from flask.cli import FlaskGroup

from crm import create_app

main = FlaskGroup(
    name="crm",
    create_app=create_app,
    add_default_commands=False,
    add_version_option=False,
    help="Квартал: CRM агентства недвижимости.",
)


def _load() -> None:
    package = importlib.import_module("crm.commands")
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"crm.commands.{module.name}")
        for command in getattr(loaded, "COMMANDS", ()):
            if isinstance(command, click.Command):
                main.add_command(command)


_load()

if __name__ == "__main__":
    main()
