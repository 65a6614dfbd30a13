"""UIS and CoMagic: one platform under two names (uiscom.ru, comagic.ru).

Sources: github.com/comagic/comagic.github.io (`data_api`, `call_api`,
`interactive_call_processing`, April 2026). Notices are texts that the administrator types; what
of them comes from third parties is said in `cautions`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from crm.integrations.inbound import InboundRequest, MalformedRequest, Reply
from crm.integrations.telephony import uis_events, uis_simulation, uis_templates
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    Capability,
    ClickToCall,
    CredentialField,
    Extension,
    KnownCaller,
    Line,
    OperatorError,
    PlacedCall,
    Recording,
    RecordingRef,
    SetupText,
    SimulatedRequest,
    TelephonyOperator,
)
from crm.integrations.telephony.masking import MAX_SHOWN
from crm.integrations.telephony.payload import Payload
from crm.integrations.telephony.uis_api import JsonRpc
from crm.integrations.telephony.uis_events import Origin
from crm.values import phones


@dataclass(frozen=True)
class Brand:
    """Hosts of one portal; keys of one are refused by the other."""

    data_api: str
    call_api: str
    application: str
    media: str


_BRANDS = {
    brand: Brand(
        f"https://dataapi.{host}/v2.0",
        f"https://callapi.{host}/v4.0",
        f"https://app.{host}",
        f"https://media.{host}",
    )
    for brand, host in (("uiscom", "uiscom.ru"), ("comagic", "comagic.ru"))
}
_CITIES = (
    ("Europe/Kaliningrad", "Калининград (Москва −1)"),
    ("Europe/Moscow", "Москва"),
    ("Europe/Samara", "Самара (Москва +1)"),
    ("Asia/Yekaterinburg", "Екатеринбург (Москва +2)"),
    ("Asia/Omsk", "Омск (Москва +3)"),
    ("Asia/Novosibirsk", "Новосибирск (Москва +4)"),
    ("Asia/Krasnoyarsk", "Красноярск (Москва +4)"),
    ("Asia/Irkutsk", "Иркутск (Москва +5)"),
    ("Asia/Yakutsk", "Якутск (Москва +6)"),
    ("Asia/Vladivostok", "Владивосток (Москва +7)"),
    ("Asia/Magadan", "Магадан (Москва +8)"),
    ("Asia/Kamchatka", "Петропавловск-Камчатский (Москва +9)"),
)
_MOSCOW = "Europe/Moscow"
_ZONES = {name: ZoneInfo(name) for name, _ in _CITIES}
# The report refuses more than three months; a month also stays below the greatest offset.
_HISTORY_WINDOW = timedelta(days=30)
_REPORT_FIELDS = (
    "id",
    "start_time",
    "finish_time",
    "finish_reason",
    "direction",
    "source",
    "is_lost",
    "is_transfer",
    "virtual_phone_number",
    "contact_phone_number",
    "communication_id",
    "wait_duration",
    "talk_duration",
    "total_duration",
    "call_records",
    "full_record_file_link",
    "employees",
    "last_talked_employee_id",
    "last_answered_employee_id",
    "first_answered_employee_id",
    "call_api_external_id",
)
_RECORDING_KEY = re.compile(r"(\w+)/([\w-]+)")
_LONGEST_CODE = 6
_FORWARDING = re.compile(r"\s*(\w+)\s*[=:]\s*(.+)")


class Uis(TelephonyOperator):
    """UIS or CoMagic."""

    slug = "uis"
    title = "UIS / CoMagic"
    docs_url = "https://www.uiscom.ru/academiya/spravochnyj-centr/dokumentatsiya-api/"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
        | Capability.LINES
        | Capability.SYNCHRONOUS_REPLY
    )
    credentials = (
        CredentialField(
            "platform",
            "Площадка",
            secret=False,
            default="uiscom",
            choices=(("uiscom", "UIS (uiscom.ru)"), ("comagic", "CoMagic (comagic.ru)")),
            help="Где открыт ваш личный кабинет: ключ одной площадки на другой не действует",
        ),
        CredentialField(
            "access_token",
            "Ключ доступа (access token)",
            help="Постоянный ключ пользователя API; кабинет показывает его один раз",
        ),
        CredentialField(
            "line_number",
            "Виртуальный номер для звонков из CRM",
            secret=False,
            required=False,
            help="Клиент увидит этот номер, когда ему звонят из CRM. Например, 74950001122",
        ),
        CredentialField(
            "time_zone",
            "Часовой пояс аккаунта",
            secret=False,
            required=False,
            default=_MOSCOW,
            choices=_CITIES,
            help="Как в личном кабинете: время в отчётах приходит без часового пояса",
        ),
        CredentialField(
            "forwarding",
            "Номера сотрудников для перевода звонка",
            secret=False,
            required=False,
            multiline=True,
            help="Для интерактивной обработки вызова. По строке на сотрудника: "
            "ID = номер, например 25 = 79001112233",
        ),
        CredentialField(
            "fallback_code",
            "Код возврата, если ответственного нет",
            secret=False,
            required=False,
            help="Для интерактивной обработки вызова: число, по которому сценарий выберет ветку",
        ),
        CredentialField(
            "data_api_base",
            "Адрес Data API",
            secret=False,
            required=False,
            help="Оставьте пустым. Заполняйте, только если так сказал оператор",
        ),
        CredentialField(
            "call_api_base",
            "Адрес Call API",
            secret=False,
            required=False,
            help="Оставьте пустым. Заполняйте, только если так сказал оператор",
        ),
        CredentialField(
            "recordings_base",
            "Адрес сервера записей",
            secret=False,
            required=False,
            help="Оставьте пустым. Заполняйте, только если так сказал оператор",
        ),
    )
    setup_steps = (
        (
            "Проверьте, что подключены опции «Уведомления» (или «API Базовый»), "
            "«Call API Базовый набор» и «Data API»."
        ),
        (
            "В кабинете откройте «Правила и настройки безопасности» → вкладка «API» и внесите "
            "адрес сервера CRM в список разрешённых: пока список пуст, оператор отказывает всем."
        ),
        (
            "В «Управлении пользователями» создайте пользователя с доступом к Call API и Data API, "
            "выпустите для него постоянный ключ и вставьте ключ на шаге «Доступ»."
        ),
        (
            "В разделе «Уведомления» добавьте восемь HTTP-уведомлений, по одному на каждый текст "
            "ниже. Метод — POST, адрес — {webhook_url}, тело — текст без изменений. "
            "Имена в двойных фигурных скобках в кавычки не берите."
        ),
        (
            "Позвоните на свой номер и поговорите несколько секунд: в журнале CRM должны появиться "
            "звонок, ответ, завершение и запись."
        ),
        (
            "Загрузите список сотрудников и сопоставьте их с пользователями CRM: оператор "
            "различает сотрудников по ID, а не по внутреннему номеру."
        ),
        (
            "По желанию: чтобы постоянного клиента соединяло сразу с его менеджером, добавьте в "
            "сценарий операцию «Интерактивная обработка вызова» с адресом {webhook_url} и "
            "параметрами cdr_id, start_time, input_result, numa, numb, заполните номера "
            "сотрудников для перевода и обязательно настройте ветку на случай, если ответа нет."
        ),
    )
    setup_texts = tuple(
        SetupText(name, uis_templates.template(event))
        for event, name in uis_templates.CABINET_NAMES.items()
    )
    cautions = (
        (
            "Оператор не подписывает уведомления: их защищает только секрет в адресе. Никому не "
            "показывайте адрес и смените его, если он стал известен."
        ),
        (
            "Описания уведомлений от самого оператора мы не нашли: тексты составлены по справке "
            "других систем. Если переменную кабинет не знает, CRM её пропустит; посмотрите на "
            "последнее принятое уведомление и поправьте текст."
        ),
        (
            "Повторяет ли оператор неудачные уведомления, неизвестно: пропущенное добирается из "
            "истории звонков."
        ),
        (
            "Часовой пояс времени в отчётах оператор не называет: мы считаем, что это пояс "
            "аккаунта. Если звонки в истории сдвинуты, поменяйте часовой пояс в настройках."
        ),
        (
            "Каждый запрос тратит баллы, в день их бывает всего 750: не обновляйте историю чаще, "
            "чем раз в 5–10 минут."
        ),
        (
            "Нужна ли для скачивания записей авторизация, в документации не сказано: мы скачиваем "
            "по ссылке без неё."
        ),
        (
            "Что делает сценарий, когда CRM не может назвать менеджера, в документации не сказано: "
            "укажите код возврата или настройте ветку на случай, если ответа нет."
        ),
    )
    recording_hosts = (
        "app.uiscom.ru",
        "media.uiscom.ru",
        "app.comagic.ru",
        "media.comagic.ru",
    )
    # The notice comes when the file is there.
    recording_delay = timedelta(0)

    # How long a long list may stand and wait for the points of the next minute.
    longest_pause: ClassVar[timedelta] = timedelta(seconds=60)

    # Inbound

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate a notice, whatever hands have made of its text."""
        values = uis_templates.values_of(request)
        origin = self._origin(request)
        if uis_templates.is_question(values):
            return uis_events.from_question(values, origin)
        if not values:
            raise MalformedRequest("В уведомлении нет ни одного значения")
        event = uis_templates.event_of(values, request.path_tail)
        if event is None:
            return [self.unknown_event(request)]
        return uis_events.translate(event, values, origin)

    def caller_question(self, request: InboundRequest) -> str | None:
        """Digits of `numa`, when a scenario asks where to send the call."""
        question = _question(request)
        return question.number("numa") if question else None

    def reply(self, request: InboundRequest, caller: KnownCaller | None = None) -> Reply:
        """Numbers to forward the call to, else the code of a branch; notices need no words."""
        if _question(request) is None:
            return Reply()
        employee = caller.responsible_key if caller else None
        numbers = self._forwarding().get(employee or "", [])
        code = self.credential("fallback_code")
        answer: dict[str, Any] = {}
        if numbers:
            answer["phones"] = numbers
        elif code.isdecimal() and len(code) <= _LONGEST_CODE:
            answer["returned_code"] = int(code)
        return Reply(body=json.dumps(answer).encode("ascii"), content_type="application/json")

    def mask(self, request: InboundRequest) -> str:
        """A question sent by GET has no body: its parameters are shown instead."""
        query = urlencode(request.query, errors="replace")
        return super().mask(request) or self.redacted(query)[:MAX_SHOWN]

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The notices of a whole call, in the texts we give away."""
        return [
            SimulatedRequest(
                path_tail="",
                headers={"Content-Type": "application/json"},
                body=step.body.encode("utf-8"),
                delay=step.delay,
            )
            for step in uis_simulation.steps(scenario, self._zone())
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`start.employee_call`: rings the employee, then the client."""
        employee = call.employee_key or call.extension
        line = phones.digits(call.line_number or self.credential("line_number"))
        if not (employee.isascii() and employee.isdecimal()):
            raise self.failure(f"«{employee}» не ID сотрудника в UIS", permanent=True)
        if line is None:
            message = "не указан виртуальный номер, с которого звонить"
            raise self.failure(message, permanent=True)
        if phones.is_internal(call.number):
            raise self.failure("на внутренний номер оператор не звонит", permanent=True)
        order = {
            "first_call": "employee",
            "switch_at_once": True,
            "early_switching": True,
            "virtual_phone_number": line,
            "contact": call.number,
            "employee": {"id": int(employee)},
            "external_id": call.request_id,
            # Without it the call is reported as inbound.
            "direction": "out",
        }
        url = self.credential("call_api_base") or self._brand().call_api
        result = self._rpc().ask(url, "start.employee_call", order, call.request_id)
        placed = Payload(result).text("data.call_session_id")
        return PlacedCall(request_id=call.request_id, provider_call_id=placed)

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`get.calls_report`: windows of a month, pages by offset, the oldest calls first."""
        start = since
        while start < until:
            end = min(start + _HISTORY_WINDOW, until)
            for row in self._report(start, end):
                yield from self._history_events(row)
            start = end

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """By its address, else by the addresses that its key may have: sources differ."""
        own, refused = self._recordings(), None
        for link in self._links(ref):
            try:
                return self.download(link, own=own)
            except OperatorError as error:
                if error.retry_after is not None:
                    raise
                refused = refused or error
        raise refused or self.failure("у записи нет ни ссылки, ни ключа", permanent=True)

    def extensions(self) -> list[Extension]:
        """`get.employees`: everybody has an id, an internal number is not obligatory."""
        return [found for row in self._list("get.employees") if (found := _extension(row))]

    def lines(self) -> list[Line]:
        """`get.virtual_numbers`."""
        return [found for row in self._list("get.virtual_numbers") if (found := _line(row))]

    # Details

    def _brand(self) -> Brand:
        return _BRANDS.get(self.credential("platform"), _BRANDS["uiscom"])

    def _zone(self) -> ZoneInfo:
        return _ZONES.get(self.credential("time_zone"), _ZONES[_MOSCOW])

    def _recordings(self) -> str:
        return self.credential("recordings_base") or self._brand().application

    def _rpc(self) -> JsonRpc:
        return JsonRpc(self, self.credential("access_token"), self.longest_pause)

    def _list(self, method: str, **params: Any) -> Iterator[Payload]:
        url = self.credential("data_api_base") or self._brand().data_api
        return self._rpc().rows(url, method, params)

    def _origin(self, request: InboundRequest | None, raw: str = "") -> Origin:
        return Origin(
            connection_id=self.connection_id,
            received_at=request.received_at if request else datetime.now(UTC),
            fallback_id=self.delivery_key(request) if request else "",
            zone=self._zone(),
            raw=self.mask(request) if request else self.redacted(raw),
        )

    def _forwarding(self) -> dict[str, list[str]]:
        """Numbers to ring by the id of an employee; lines that are something else are left out."""
        lines = (_FORWARDING.fullmatch(line) for line in self.credential("forwarding").splitlines())
        return {
            line[1]: [number for text in line[2].split(",") if (number := phones.digits(text))]
            for line in lines
            if line
        }

    def _report(self, start: datetime, end: datetime) -> Iterator[Payload]:
        """The order keeps the pages in their places while new calls come."""
        return self._list(
            "get.calls_report",
            date_from=self._local(start),
            date_till=self._local(end),
            include_ongoing_calls=False,
            fields=list(_REPORT_FIELDS),
            sort=[{"field": "start_time", "order": "asc"}],
        )

    def _local(self, moment: datetime) -> str:
        return moment.astimezone(self._zone()).strftime("%Y-%m-%d %H:%M:%S")

    def _history_events(self, row: Payload) -> list[CallEvent]:
        try:
            return uis_events.from_history(row, self._origin(None, row.source()))
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error

    def _links(self, ref: RecordingRef) -> Iterator[str]:
        """The told address, the documented pattern, then the one seen in a public connector."""
        if ref.recording_url:
            yield ref.recording_url
        key = _RECORDING_KEY.fullmatch(ref.recording_ref or "")
        if key is None:
            return
        yield f"{self._recordings().rstrip('/')}/system/media/talk/{key[1]}/{key[2]}/"
        media = self.credential("recordings_base") or self._brand().media
        call = ref.provider_call_id if ref.provider_call_id.isalnum() else key[1]
        yield f"{media.rstrip('/')}/{call}/{key[2]}"


def _question(request: InboundRequest) -> Payload | None:
    """Values of a scenario's question; what cannot be read asks nothing."""
    try:
        values = uis_templates.values_of(request)
    except MalformedRequest:
        return None
    return Payload(values) if uis_templates.is_question(values) else None


def _extension(row: Payload) -> Extension | None:
    employee = row.identifier("id")
    if employee is None:
        return None
    own = (one.number("phone_number") for one in row.objects("phone_numbers"))
    number = row.identifier("extension_phone_number") or next(filter(None, own), employee)
    return Extension(
        number=number,
        name=row.text("full_name") or number,
        employee_key=employee,
        email=row.text("email"),
    )


def _line(row: Payload) -> Line | None:
    number = row.number("virtual_phone_number")
    if number is None:
        return None
    campaigns = (one.text("campaign_name") for one in row.objects("campaigns"))
    name = row.text("name") or row.text("comment") or next(filter(None, campaigns), "")
    return Line(number=number, name=name)
