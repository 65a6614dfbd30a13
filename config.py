"""Settings of Kvartal, read from the environment only. This file documents all of them.

| Variable | Meaning | Default |
|---|---|---|
| DATABASE_URL | PostgreSQL or SQLite address | SQLite in INSTANCE_DIR |
| REDIS_URL | queue and events | embedded Redis in INSTANCE_DIR |
| INSTANCE_DIR | data of this installation | ./instance |
| SECRET_KEY | signs cookies and tokens | made once, kept in INSTANCE_DIR |
| ENCRYPTION_KEYS | comma list, newest first: secrets at rest | derived from SECRET_KEY |
| STORAGE_URL | fsspec address of files (file://, s3://) | INSTANCE_DIR/files |
| PUBLIC_URL | address of the site as the outside world sees it | http://127.0.0.1:8080 |
| EVENTS_URL | address of the event stream for browsers | PUBLIC_URL's host, PORT + 1 |
| TRUSTED_HOSTS | comma list of host names that may be asked for | any |
| COOKIE_SECURE | 1: cookies over https only | 1 when PUBLIC_URL is https |
| PROXY_HOPS | reverse proxies in front (X-Forwarded-*) | 0 |
| DEMO_MODE | 1: the login page offers the demo people | 0 |
| OUTBOUND_ALLOW_PRIVATE | comma list host[:port] that fetches may reach though private | none |
| SESSION_HOURS / SESSION_IDLE_HOURS | absolute and idle life of a sign-in | 336 / 72 |
| LOGIN_LIMIT | attempts of one address | 20 per 5 minutes |
| WEB_WORKERS / WEB_THREADS | processes and threads of the web server | 2 / 8 |
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent


def _flag(env: Mapping[str, str], name: str, default: bool = False) -> bool:
    value = env.get(name, "").strip().lower()
    return default if not value else value in {"1", "true", "yes", "on"}


def _list(env: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in env.get(name, "").split(",") if part.strip()]


def _secret_key(env: Mapping[str, str], instance: Path) -> str:
    """Given key, or one made at the first start and kept readable by the owner only."""
    if env.get("SECRET_KEY"):
        return env["SECRET_KEY"]
    path = instance / "secret.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    return path.read_text(encoding="ascii").strip()


def _database(env: Mapping[str, str], instance: Path) -> str:
    url = env.get("DATABASE_URL") or f"sqlite:///{instance / 'kvartal.sqlite3'}"
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def _engine_options(url: str) -> dict[str, Any]:
    # A failed statement goes to the log: without clients' data and hashes of passwords.
    quiet = {"hide_parameters": True}
    if url.startswith("sqlite"):
        return {**quiet, "connect_args": {"timeout": 30}}
    return {**quiet, "pool_pre_ping": True, "pool_size": 10, "max_overflow": 10}


def _events_url(env: Mapping[str, str], public_url: str, port: int) -> str:
    if env.get("EVENTS_URL"):
        return env["EVENTS_URL"]
    parts = urlsplit(public_url)
    return f"{parts.scheme}://{parts.hostname}:{port + 1}/events"


def load(env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """All settings for Flask, from ``env`` (the process's environment by default)."""
    env = os.environ if env is None else env
    instance = Path(env.get("INSTANCE_DIR") or ROOT / "instance").resolve()
    instance.mkdir(parents=True, exist_ok=True)
    port = int(env.get("PORT") or 8080)
    public_url = (env.get("PUBLIC_URL") or f"http://127.0.0.1:{port}").rstrip("/")
    secret = _secret_key(env, instance)
    database = _database(env, instance)
    return {
        **_framework_settings(),
        "INSTANCE_DIR": str(instance),
        "SECRET_KEY": secret,
        "ENCRYPTION_KEYS": _list(env, "ENCRYPTION_KEYS") or [secret],
        "SQLALCHEMY_DATABASE_URI": database,
        "SQLALCHEMY_ENGINE_OPTIONS": _engine_options(database),
        "REDIS_URL": env.get("REDIS_URL", ""),
        "STORAGE_URL": env.get("STORAGE_URL") or f"file://{instance / 'files'}",
        "PORT": port,
        "PUBLIC_URL": public_url,
        "EVENTS_URL": _events_url(env, public_url, port),
        "TRUSTED_HOSTS": _list(env, "TRUSTED_HOSTS") or None,
        "PROXY_HOPS": int(env.get("PROXY_HOPS") or 0),
        "DEMO_MODE": _flag(env, "DEMO_MODE"),
        "OUTBOUND_ALLOW_PRIVATE": _list(env, "OUTBOUND_ALLOW_PRIVATE"),
        "SESSION_HOURS": int(env.get("SESSION_HOURS") or 336),
        "SESSION_IDLE_HOURS": int(env.get("SESSION_IDLE_HOURS") or 72),
        "SESSION_COOKIE_SECURE": _flag(env, "COOKIE_SECURE", public_url.startswith("https:")),
        "LOGIN_LIMIT": env.get("LOGIN_LIMIT") or "20 per 5 minutes",
        "WEB_WORKERS": int(env.get("WEB_WORKERS") or 2),
        "WEB_THREADS": int(env.get("WEB_THREADS") or 8),
    }


def _framework_settings() -> dict[str, Any]:
    """What Flask, FAB and their extensions must be told, whatever the environment."""
    return {
        "APP_NAME": "Квартал",
        "SESSION_COOKIE_NAME": "kvartal",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "MAX_CONTENT_LENGTH": 64 * 1024 * 1024,
        "MAX_FORM_PARTS": 2000,
        "WTF_CSRF_ENABLED": True,
        "WTF_CSRF_TIME_LIMIT": None,
        "BABEL_DEFAULT_LOCALE": "ru",
        "BABEL_TRANSLATION_DIRECTORIES": str(ROOT / "translations"),
        "LANGUAGES": {
            "ru": {"flag": "ru", "name": "Русский"},
            "en": {"flag": "gb", "name": "English"},
        },
        "AUTH_TYPE": 1,
        "AUTH_RATE_LIMITED": False,
        "FAB_CREATE_DB": False,
        "FAB_UPDATE_PERMS": False,
        "FAB_ADD_SECURITY_API": False,
        "FAB_ADD_OPENAPI_VIEWS": False,
        "FAB_API_SWAGGER_UI": False,
        "FAB_ADD_SECURITY_PERMISSION_VIEW": False,
        "FAB_ADD_SECURITY_VIEW_MENU_VIEW": False,
        "FAB_ADD_SECURITY_PERMISSION_VIEWS_VIEW": False,
        "FAB_API_MAX_PAGE_SIZE": 100,
        "FAB_BASE_TEMPLATE": "appbuilder/baselayout.html",
        "FAB_SECURITY_SIGNALS_ENABLED": False,
        "RATELIMIT_ENABLED": True,
        "RATELIMIT_HEADERS_ENABLED": False,
        # A visitor is refused by address; the address key is the proxy-corrected one.
        "RATELIMIT_SWALLOW_ERRORS": True,
        "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": True,
    }
