"""МГТС «Виртуальная АТС»: no API of it is published, the protocol is chosen in the settings."""

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


class Mgts(Brand):
    """МГТС."""

    slug = "mgts"
    title = "МГТС"
    own_steps = (
        "Попросите у МГТС документ «API» или «Интеграция с CRM»: вопросы для письма — ниже.",
        "Выберите протокол, который назвал оператор, и заполните поля с его названием.",
    )
    own_texts = (QUESTIONS,)
    own_cautions = (
        "Описания API «Виртуальной АТС» МГТС мы не нашли: ни один протокол не подтверждён.",
        (
            "ITooLabs стоит первым, потому что на нём работают несколько российских операторов; "
            "сам МГТС этого не подтверждал."
        ),
        (
            "МГТС входит в группу МТС, но описания протокола МТС у нас нет, поэтому в списке его "
            "нет: если АТС работает по нему, подключите её по общему протоколу."
        ),
    )

    @classmethod
    def offers(cls) -> tuple[Offer, ...]:
        """Families that Russian operators resell, and the general protocol."""
        return (ITOOLABS, MANGO, GENERAL, DETECT)
