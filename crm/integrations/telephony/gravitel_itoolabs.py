"""Гравител, older command API: a brand of the ITooLabs platform.

Sources: github.com/maxim-oleinik/gravitel (document of 2017-08), github.com/ryzhak/gravitel.
"""

from __future__ import annotations

from crm.integrations.telephony import itoolabs
from crm.integrations.telephony.itoolabs import Brand, ITooLabs

_BRAND = Brand(protocols=(itoolabs.COMMANDS,), acknowledgement=b"", commands_know_clid=True)


class GravitelOlder(ITooLabs):
    """Гравител with `cmd=` in its requests; the present API is another operator."""

    slug = "gravitel_older"
    title = "Гравител (прежний API)"
    docs_url = "http://www.gravitel.ru/upload/gravitel_rest_api.pdf"
    brand = _BRAND
    capabilities = itoolabs.COMMANDS_CAPABILITIES
    credentials = itoolabs.credential_fields(
        _BRAND, "Из кабинета АТС, например https://company.gravitel.ru/sys/crm_api.wcgp"
    )
    setup_steps = (
        (
            "Убедитесь, что у вас прежний API: в его кабинете один адрес CRM и два ключа. Если "
            "кабинет находится на aicall.ru, подключайте просто «Гравител»."
        ),
        "В кабинете АТС откройте «Интеграция с CRM» → «REST API».",
        "В поле «Адрес CRM» вставьте {webhook_url}",
        (
            "Придумайте ключ не короче 32 знаков, впишите его в кабинете как ключ CRM и повторите "
            "на шаге «Доступ», в поле «Ключ для авторизации в CRM»."
        ),
        (
            "Скопируйте из кабинета адрес API АТС и ключ к нему в поля «Адрес АТС» и «Ключ для "
            "авторизации в АТС»."
        ),
        "Включите запись разговоров, иначе скачивать будет нечего.",
        "Сопоставьте сотрудников CRM с логинами АТС: события называют сотрудника логином.",
    )
    cautions = (
        *itoolabs.CAUTIONS,
        itoolabs.COMMANDS_CAUTION,
        (
            "Команды «история» и «сотрудники» известны только по открытым интеграциям 2017–2018 "
            "годов: нажмите «Проверить связь», чтобы узнать, есть ли они у вас."
        ),
        (
            "С каких серверов Гравител отдаёт записи, не описано: если они не скачиваются, впишите "
            "сервер из ссылки в поле «Сервер записей»."
        ),
    )
    recording_hosts = ("*.gravitel.ru",)
