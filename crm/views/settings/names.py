"""Words for the codes that settings hold."""

from __future__ import annotations

from flask_babel import LazyString
from flask_babel import lazy_gettext as _l

from crm.models import (
    Action,
    Channel,
    DealSide,
    DepartmentKind,
    ObjectKind,
    Scope,
    StageType,
    TaskKind,
)
from crm.operations.attribution import Step

DEPARTMENT_KINDS: dict[str, LazyString] = {
    DepartmentKind.RESALE: _l("Вторичная"),
    DepartmentKind.NEW_BUILDING: _l("Новостройки"),
    DepartmentKind.RENT: _l("Аренда"),
    DepartmentKind.COMMERCIAL: _l("Коммерческая"),
    DepartmentKind.COUNTRY: _l("Загородная"),
    DepartmentKind.MORTGAGE: _l("Ипотека"),
    DepartmentKind.MARKETING: _l("Маркетинг"),
    DepartmentKind.OTHER: _l("Прочее"),
}
CHANNELS: dict[str, LazyString] = {
    Channel.CALL: _l("Звонок"),
    Channel.SITE_FORM: _l("Форма на сайте"),
    Channel.TILDA: _l("Tilda"),
    Channel.VK_LEAD_FORM: _l("ВКонтакте: форма"),
    Channel.VK_MESSAGE: _l("ВКонтакте: сообщения"),
    Channel.VK_ADS: _l("VK Реклама"),
    Channel.META_LEADGEN: _l("Meta: форма"),
    Channel.AVITO_CHAT: _l("Авито: чат"),
    Channel.AVITO_CALL: _l("Авито: звонок"),
    Channel.CIAN_CHAT: _l("ЦИАН: чат"),
    Channel.CIAN_CALL: _l("ЦИАН: звонок"),
    Channel.YANDEX_CALL: _l("Яндекс: звонок"),
    Channel.DOMCLICK_CHAT: _l("ДомКлик: чат"),
    Channel.EMAIL: _l("Письмо"),
    Channel.CHAT_WIDGET: _l("Чат на сайте"),
    Channel.TELEGRAM: _l("Telegram"),
    Channel.WHATSAPP: _l("WhatsApp"),
    Channel.IMPORT: _l("Импорт"),
    Channel.MANUAL: _l("Вручную"),
    Channel.API: _l("Через API"),
}
SIDES: dict[str, LazyString] = {
    DealSide.BUYER: _l("Покупатель"),
    DealSide.SELLER: _l("Собственник"),
    DealSide.TENANT: _l("Арендатор"),
    DealSide.LANDLORD: _l("Арендодатель"),
    DealSide.MORTGAGE: _l("Ипотека"),
    DealSide.OTHER: _l("Прочее"),
}
STAGE_TYPES: dict[str, LazyString] = {
    StageType.IN_WORK: _l("Сделка в работе"),
    StageType.SUCCESS: _l("Успешное завершение"),
    StageType.REFUSAL: _l("Отказ"),
    StageType.NON_TARGET: _l("Нецелевой контакт"),
    StageType.ARCHIVE: _l("Архив"),
}
TASK_KINDS: dict[str, LazyString] = {
    TaskKind.CALL: _l("Звонок"),
    TaskKind.MEETING: _l("Встреча"),
    TaskKind.SHOWING: _l("Показ"),
    TaskKind.LETTER: _l("Письмо"),
    TaskKind.OTHER: _l("Прочее"),
}
OBJECT_KINDS: dict[ObjectKind, LazyString] = {
    ObjectKind.DEAL: _l("Сделки"),
    ObjectKind.CONTACT: _l("Контакты"),
    ObjectKind.LISTING: _l("Объекты"),
    ObjectKind.CALL: _l("Звонки"),
    ObjectKind.APPEAL: _l("Обращения"),
    ObjectKind.TASK: _l("Задачи"),
}
ACTIONS: dict[Action, LazyString] = {
    Action.VIEW: _l("Видит"),
    Action.EDIT: _l("Изменяет"),
    Action.DELETE: _l("Удаляет"),
    Action.EXPORT: _l("Выгружает"),
}
SCOPES: dict[Scope, LazyString] = {
    Scope.NONE: _l("нет"),
    Scope.OWN: _l("свои"),
    Scope.TEAM: _l("команда"),
    Scope.DEPARTMENT: _l("отдел"),
    Scope.OFFICE: _l("офис"),
    Scope.ALL: _l("все"),
}
STEPS: dict[Step, LazyString] = {
    Step.EXPLICIT: _l("указан явно"),
    Step.PHONE: _l("телефон"),
    Step.UTM: _l("UTM-метки"),
    Step.DOMAIN: _l("сайт"),
    Step.CHANNEL: _l("канал"),
    Step.DEFAULT: _l("по умолчанию"),
    Step.UNDEFINED: _l("не определён"),
}
WEEKDAYS: list[LazyString] = [
    _l("пн"), _l("вт"), _l("ср"), _l("чт"), _l("пт"), _l("сб"), _l("вс"),
]  # fmt: skip
