"""A connection that only listens: what the first requests of an undescribed PBX look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from crm.integrations.inbound import InboundRequest
from crm.integrations.telephony import fingerprints
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    SimulatedRequest,
    TelephonyOperator,
)


class Detector(TelephonyOperator):
    """Keeps requests and the shape of each; no call comes of them."""

    slug = "detect"
    title = "Пробное подключение"
    # A protocol to choose for a brand, not an operator by itself.
    is_offered: ClassVar[bool] = False
    setup_steps = (
        "Вставьте адрес {webhook_url} в кабинете АТС и сделайте несколько звонков.",
        "Здесь появится, на какой известный протокол похожи запросы; выберите его в списке.",
    )

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Nothing is known yet."""
        return [self.unknown_event(request)]

    def notes(self, request: InboundRequest) -> Mapping[str, Any]:
        """Names of headers and fields, before the headers that prove something are dropped."""
        return {"sketch": fingerprints.as_json(fingerprints.sketch(request))}

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """A request of a protocol that nobody knows."""
        body = f'{{"call":"{scenario.call_key}","phone":"{scenario.client_number}"}}'
        return [
            SimulatedRequest(
                path_tail="", body=body.encode(), headers={"Content-Type": "application/json"}
            )
        ]
