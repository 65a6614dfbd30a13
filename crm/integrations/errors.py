"""Root of the errors raised by everything under `crm.integrations`."""

from __future__ import annotations


class IntegrationError(Exception):
    """A failure at the border with another system.

    `permanent` True: repeating changes nothing, tell the administrator; False: repeat later.
    The message is Russian, fit for a person, and holds no secret.
    """

    def __init__(self, message: str, permanent: bool) -> None:
        super().__init__(message)
        self.message = message
        self.permanent = permanent
