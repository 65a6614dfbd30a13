"""What the libraries do before each request, done once where nothing of it changes."""

from __future__ import annotations

from functools import lru_cache

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from flask_limiter import Limiter
from itsdangerous import URLSafeTimedSerializer


class CookieSessions(SecureCookieSessionInterface):
    """Flask's signed cookie; the signer is made once for a key, not twice for a request."""

    def __init__(self) -> None:
        self._signer = lru_cache(8)(self._make_signer)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """The signer of the present keys; None without a key."""
        if not app.secret_key:
            return None
        return self._signer(app.secret_key, tuple(app.config["SECRET_KEY_FALLBACKS"] or ()))

    def _make_signer(
        self, key: str | bytes, fallbacks: tuple[str | bytes, ...]
    ) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            # The present key is the last, as itsdangerous wants it.
            [*fallbacks, key],  # type: ignore[arg-type]
            salt=self.salt,
            serializer=self.serializer,
            signer_kwargs={
                "key_derivation": self.key_derivation,
                "digest_method": self.digest_method,
            },
        )


class MarkedViewsLimiter(Limiter):
    """There are no limits for all pages: only views that have one of their own are asked about."""

    def _check_request_limit(
        self, callable_name: str | None = None, in_middleware: bool = True
    ) -> None:
        if not in_middleware:
            super()._check_request_limit(callable_name, in_middleware)
