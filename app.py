"""WSGI entry: ``gunicorn app:app``."""

from __future__ import annotations

from crm import create_app

app = create_app()
