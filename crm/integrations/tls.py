"""Trust in authorities that browsers do not know, such as the Russian Trusted CA."""

from __future__ import annotations

import ssl

from crm.integrations.errors import IntegrationError


def trusting(certificates: str) -> ssl.SSLContext | None:
    """Context that trusts ``certificates`` (PEM) besides the system's; None for an empty text.

    Raises IntegrationError (permanent) when they cannot be read.
    """
    if not certificates.strip():
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cadata=certificates)
    except (ssl.SSLError, TypeError, ValueError):
        message = "Сертификаты в настройках подключения не читаются: нужен текст в формате PEM"
        raise IntegrationError(message, permanent=True) from None
    return context
