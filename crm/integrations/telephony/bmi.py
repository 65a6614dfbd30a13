"""BMI Telecom: nothing about its PBX is published, so the protocol is chosen in the settings.

The only public trace is the SMS gateway of the same name, which is no telephony.
"""

from __future__ import annotations

from crm.integrations.telephony.brands import (
    DETECT,
    GENERAL,
    ITOOLABS,
    MANGO,
    QUESTIONS,
    Brand,
    Offer,
)


class BmiTelecom(Brand):
    """BMI Telecom."""

    slug = "bmi"
    title = "BMI Telecom"
    own_steps = (
        "Спросите у BMI Telecom, умеет ли АТС отправлять события звонков: вопросы — ниже.",
        "Выберите протокол. Если ответа нет, оставьте общий: его настроит специалист по АТС.",
    )
    own_texts = (QUESTIONS,)
    own_cautions = (
        "Описания API у BMI Telecom мы не нашли: по какому протоколу работает АТС, неизвестно.",
    )

    @classmethod
    def offers(cls) -> tuple[Offer, ...]:
        """The general protocol unless the operator names another."""
        return (GENERAL, ITOOLABS, MANGO, DETECT)
