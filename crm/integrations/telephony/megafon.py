"""МегаФон «Виртуальная АТС» (megapbx.ru): a brand of the ITooLabs platform.

Sources: github.com/mikopbx/ModuleMegafonPbx, github.com/skytecs/MegafonPbxApiClient,
github.com/antibaloo/bpm.ucre.ru, github.com/barseeek/Megapbx_api.
"""

from __future__ import annotations

from crm.integrations.telephony import itoolabs
from crm.integrations.telephony.itoolabs import Brand, ITooLabs

_BRAND = Brand(protocols=(itoolabs.REST, itoolabs.COMMANDS))


class MegaFon(ITooLabs):
    """МегаФон."""

    slug = "megafon"
    title = "МегаФон"
    docs_url = "https://api.megapbx.ru/#/docs/crmapi/v1/general"
    brand = _BRAND
    capabilities = itoolabs.REST_CAPABILITIES
    credentials = itoolabs.credential_fields(
        _BRAND, "Из кабинета АТС, например https://company.megapbx.ru/crmapi/v1"
    )
    setup_steps = (
        (
            "Откройте кабинет АТС (https://ваша-компания.megapbx.ru) → «Настройки» → "
            "«Интеграция с CRM» и выберите «REST API» (своя CRM)."
        ),
        "В поле «Адрес вашей CRM» вставьте {webhook_url}",
        (
            "Придумайте ключ не короче 32 знаков, впишите его в кабинете как ключ для авторизации "
            "в CRM и повторите на шаге «Доступ», в поле «Ключ для авторизации в CRM»."
        ),
        "Скопируйте из кабинета «Адрес АТС» и «Ключ для авторизации в АТС» на шаг «Доступ».",
        "Если адрес АТС заканчивается на crm_api.wcgp, выберите там же «Прежний API».",
        "Включите запись разговоров на линии или у сотрудника, иначе скачивать будет нечего.",
        "Сопоставьте сотрудников CRM с логинами АТС: события называют сотрудника логином.",
    )
    cautions = (*itoolabs.CAUTIONS, itoolabs.COMMANDS_CAUTION)
    recording_hosts = ("*.megapbx.ru",)
