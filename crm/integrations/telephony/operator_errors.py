"""What can go wrong with a telephony operator, by cause."""

from __future__ import annotations

from datetime import timedelta

from crm.integrations.errors import IntegrationError

_SHOWN_BODY = 300


class OperatorError(IntegrationError):
    """The operator refused, failed or answered nonsense.

    `retry_after` is the least pause before anything else may be asked of the operator.
    """

    def __init__(
        self,
        message: str,
        permanent: bool,
        *,
        provider: str = "",
        status: int | None = None,
        body: str = "",
        retry_after: timedelta | None = None,
    ) -> None:
        self.provider = provider
        self.status = status
        self.body = body if len(body) <= _SHOWN_BODY else body[:_SHOWN_BODY] + "…"
        self.retry_after = retry_after
        super().__init__(self._full(message), permanent)

    def _full(self, message: str) -> str:
        head = f"{self.provider}: {message}" if self.provider else message
        if self.status is not None:
            head += f" (HTTP {self.status})"
        return f"{head}. Ответ: {self.body}" if self.body else head


class MissingCredentials(OperatorError):
    """The connection's settings are not filled in."""


class NotSupported(OperatorError):
    """The operator cannot do that at all."""


class RecordingNotReady(OperatorError):
    """The file is not there yet; ask again later."""


class WebhookRejected(IntegrationError):
    """The request does not prove that it comes from the operator: answer 403, store nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)
