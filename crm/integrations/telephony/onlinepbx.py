"""OnlinePBX (onlinepbx.ru, onpbx.ru).

Sources: the operator's pages http://api.onlinepbx.ru/ and
https://kb.onlinepbx.ru/confluence/pages/viewpage.action?pageId=37520587; paths, answers and limits
as read by github.com/animetrity/onlinepbx-telephony and
github.com/Hostlife22/AmoCrm-and-OnlinePBX-integration.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from crm.integrations.http_protocol import HttpResponse
from crm.integrations.inbound import InboundRequest, MalformedRequest
from crm.integrations.telephony import onlinepbx_events, onlinepbx_simulation
from crm.integrations.telephony.base import (
    CallEvent,
    CallScenario,
    Capability,
    ClickToCall,
    CredentialField,
    Extension,
    OperatorError,
    PlacedCall,
    Recording,
    RecordingNotReady,
    RecordingRef,
    SimulatedRequest,
    TelephonyOperator,
    WebhookRejected,
    same_secret,
)
from crm.integrations.telephony.masking import MASK
from crm.integrations.telephony.onlinepbx_events import Origin
from crm.integrations.telephony.payload import Payload
from crm.values import phones

API_BASE = "https://api.onlinepbx.ru"
YES, NO = "yes", "no"
# How the panel writes the numbers of trunks: the part before the last ten digits.
_TRUNKS = {"7": "7", "8": "8", "+7": "+7", "10": ""}
_SEARCH = "mongo_history/search.json"
_HISTORY_WINDOW = timedelta(days=1)
# Pages of the history are not documented: so long a list may have been cut short by the operator.
_SUSPICIOUS = 50
_SHORTEST_WINDOW = timedelta(minutes=15)
_SECOND = timedelta(seconds=1)
_FULL = 11  # digits of a Russian number with its country code
_LINK = re.compile(r'(download_url"?\s*[:=]\s*"?)[^"\s]+')


class OnlinePbx(TelephonyOperator):
    """OnlinePBX."""

    slug = "onlinepbx"
    title = "OnlinePBX"
    docs_url = "https://api2.onlinepbx.ru/documentation"
    capabilities = (
        Capability.CLICK_TO_CALL
        | Capability.HISTORY
        | Capability.RECORDINGS
        | Capability.EXTENSIONS
    )
    credentials = (
        CredentialField(
            "domain",
            "Домен АТС",
            secret=False,
            help="Например, pbx12345.onpbx.ru; он виден в адресе панели управления",
        ),
        CredentialField("api_key", "Ключ API", help="Панель → «Интеграция» → «API»"),
        CredentialField(
            "recording",
            "Разговоры записываются",
            secret=False,
            default=YES,
            choices=(
                (YES, "Да: искать запись каждого разговора из истории"),
                (NO, "Нет: брать только записи, о которых сообщила АТС"),
            ),
            help="История звонков не говорит, есть ли запись; этот выбор решает, искать ли её",
        ),
        CredentialField(
            "pbx_token",
            "Секрет из заголовка X-Pbx-Token",
            required=False,
            help="Если он задан в панели: уведомления без него будут отклонены. Иначе пусто",
        ),
        CredentialField(
            "trunks",
            "Линия для звонков из CRM",
            secret=False,
            required=False,
            default="7",
            choices=(
                ("7", "Которую знает клиент; в панели она записана как 74950001122"),
                ("8", "Которую знает клиент; в панели она записана как 84950001122"),
                ("+7", "Которую знает клиент; в панели она записана как +74950001122"),
                ("10", "Которую знает клиент; в панели она записана как 4950001122"),
                (NO, "По правилам исходящих звонков АТС"),
            ),
            help="АТС понимает номер линии только так, как он записан в её панели",
        ),
        CredentialField(
            "api_base",
            "Адрес API",
            secret=False,
            required=False,
            default=API_BASE,
            help="Бывает ещё https://api2.onlinepbx.ru. Меняйте, только если так сказал оператор",
        ),
    )
    setup_steps = (
        "Скопируйте домен АТС (например, pbx12345.onpbx.ru) из адреса панели на шаг «Доступ».",
        "В панели откройте «Интеграция» → «API» и скопируйте ключ в поле «Ключ API».",
        (
            "Откройте «Профиль» → «Webhooks», добавьте адрес {webhook_url} и отметьте все события: "
            "начало звонка, вызов сотрудника, ответ и завершение."
        ),
        "У адреса CRM должен быть действующий сертификат: на другой уведомления не приходят.",
        "Включите запись разговоров в АТС, иначе скачивать будет нечего.",
        "Впишите номера линий вручную: списка линий API не отдаёт.",
    )
    cautions = (
        (
            "Уведомления OnlinePBX не подписаны: их защищает только секрет в адресе. "
            "Не показывайте адрес никому; если он стал известен, выпустите новый."
        ),
        (
            "Названия событий «вызов сотрудника» и «пропущенный» взяты из чужих подключений: "
            "сделайте пробный звонок и проверьте, что карточка открылась у нужного сотрудника."
        ),
        (
            "Повторяет ли оператор уведомления, которые не дошли, неизвестно: "
            "пропущенное CRM берёт из истории звонков."
        ),
        (
            "Постраничная выдача истории не описана: если звонков много, CRM запрашивает её "
            "короткими промежутками."
        ),
        (
            "Номер звонка, заказанного из CRM, бывает другим в уведомлениях: CRM узнаёт его по "
            "сотруднику, номеру клиента и времени."
        ),
        (
            "Как АТС записывает линию, с которой звонить, в доступном описании не сказано: если "
            "звонок из CRM отклонён из-за линии, выберите другую запись в настройках."
        ),
        "Если звонок пришёл на группу с коротким номером, её номер выглядит как внутренний.",
    )
    recording_hosts = ("onlinepbx.ru", "*.onlinepbx.ru", "onpbx.ru", "*.onpbx.ru")
    # The link of the event lives about half an hour.
    recording_delay = timedelta()

    # About three requests a second are allowed.
    request_pause: ClassVar[timedelta] = timedelta(milliseconds=350)
    # Key of the current session, got by `auth.json`; another object asks for its own.
    _session: str = ""

    def secrets(self) -> list[str]:
        """The key of the session is one too."""
        key = self._session.partition(":")[2]
        return [*super().secrets(), *([key] if key else [])]

    def mask(self, request: InboundRequest) -> str:
        """Temporary links are not shown: whoever has one can listen."""
        return _LINK.sub(rf"\1{MASK}", super().mask(request))

    # Inbound

    def check_request(self, request: InboundRequest) -> None:
        """No signature exists: the secret address is required, the domain must be ours."""
        if self.missing_credentials():
            raise WebhookRejected("Домен и ключ подключения не заполнены")
        expected = self.credential("pbx_token")
        if expected and not same_secret(request.headers.get("X-Pbx-Token", ""), expected):
            raise WebhookRejected("Секрет в заголовке X-Pbx-Token не совпадает")
        told = onlinepbx_events.fields_of(request).text("domain") or ""
        if not same_secret(told.lower(), self._domain()):
            raise WebhookRejected("Уведомление другой АТС")

    def parse(self, request: InboundRequest) -> list[CallEvent]:
        """Translate by the field `event`."""
        payload = onlinepbx_events.fields_of(request)
        translate = onlinepbx_events.TRANSLATORS.get(payload.required("event"))
        if translate is None:
            return [self.unknown_event(request)]
        return translate(payload, self._origin(request.received_at, self.mask(request)))

    def simulate(self, scenario: CallScenario) -> list[SimulatedRequest]:
        """The call as start, employee, answer and end with its recording."""
        token = self.credential("pbx_token")
        return [
            SimulatedRequest(
                path_tail="",
                headers={
                    "Content-Type": "application/json",
                    **({"X-Pbx-Token": token} if token else {}),
                },
                body=step.body,
                delay=step.delay,
            )
            for step in onlinepbx_simulation.steps(scenario, self._domain())
        ]

    # Outbound

    def place_call(self, call: ClickToCall) -> PlacedCall:
        """`call/now`: rings the employee, then the client.

        The uuid of the answer is not kept: notices of the call may have another one, so that the
        call is found by the employee, the number and the time.
        """
        order = {"from": call.extension, "to": call.number}
        if trunk := self._trunk(call.line_number or ""):
            order["gate_to"] = trunk
        self._ask("call/now.json", order)
        return PlacedCall(request_id=call.request_id)

    def extensions(self) -> list[Extension]:
        """`user/get`: users that are switched on."""
        found = (_extension(user) for user in self._rows("user/get.json", {}))
        return [extension for extension in found if extension is not None]

    def history(self, since: datetime, until: datetime) -> Iterator[CallEvent]:
        """`mongo_history/search`: by days, a crowded one by parts of it."""
        start = since
        while start < until:
            end = min(start + _HISTORY_WINDOW, until)
            yield from self._history_window(start, end, until)
            start = end

    def fetch_recording(self, ref: RecordingRef) -> Recording:
        """The link of the event while it lives, then a new one by the uuid."""
        uuid = ref.recording_ref or ref.provider_call_id
        if ref.recording_url:
            try:
                return self._download(ref.recording_url)
            except OperatorError:
                if not uuid:
                    raise
        if not uuid:
            raise self.failure("у записи нет идентификатора", permanent=True)
        return self._download(self._fresh_link(uuid))

    # Details

    def _domain(self) -> str:
        """The domain as the operator writes it, also when it was copied with the address."""
        return self.credential("domain").lower().rpartition("://")[2].split("/")[0]

    def _trunk(self, line: str) -> str:
        """The line as the panel writes it; "" leaves the choice to the PBX."""
        before = _TRUNKS.get(self.credential("trunks"))
        if before is None or phones.is_internal(line):
            return ""
        is_russian = len(line) == _FULL and line.startswith("7")
        return f"{before}{line[1:]}" if is_russian else line

    def _origin(self, received_at: datetime, raw: str) -> Origin:
        return Origin(
            connection_id=self.connection_id,
            received_at=received_at,
            raw=raw,
            finds_recordings=self.credential("recording") != NO,
        )

    def _post(self, path: str, form: Mapping[str, str], session: str = "") -> HttpResponse:
        base = self.credential("api_base").rstrip("/")
        url = f"{base}/{quote(self._domain(), safe='')}/{path}"
        headers = {"x-pbx-authentication": session} if session else {}
        return self.send("POST", url, data=dict(form), headers=headers)

    def _authenticate(self, *, renew: bool) -> None:
        """`auth.json`: a pair that expires; without `renew` the operator gives the current one."""
        order = {"auth_key": self.credential("api_key")}
        response = self._post("auth.json", {**order, "new": "true"} if renew else order)
        answer = self.answer_object(response)
        key_id, key = answer.text("data.key_id"), answer.text("data.key")
        if answer.text("status") != "1" or not key_id or not key:
            comment = answer.text("comment") or "ключ API не принят"
            raise self.failure(f"вход не выполнен: {comment}", permanent=True)
        self._session = f"{key_id}:{key}"

    def _ask(self, path: str, form: Mapping[str, str]) -> dict[str, Any]:
        """One command; a session that has ended is renewed once. Raises `OperatorError`."""
        self.require_credentials()
        if not self._session:
            self._authenticate(renew=False)
        response = self._post(path, form, self._session)
        if self._is_session_over(response):
            self._authenticate(renew=True)
            response = self._post(path, form, self._session)
        answer = self.answer_object(response)
        if answer.text("status") != "1":
            comment = answer.text("comment") or "причина не названа"
            raise self.failure(f"отказ: {comment}", permanent=True, response=response)
        value: dict[str, Any] = self.answer(response)
        return value

    def _is_session_over(self, response: HttpResponse) -> bool:
        """Whether the operator wants to be asked for a new pair."""
        if response.status in (401, 403):
            return True
        value = self.answer(response)
        return isinstance(value, dict) and value.get("isNotAuth") in (True, 1, "1", "true")

    def _rows(self, path: str, form: Mapping[str, str]) -> list[Payload]:
        """Objects of `data`: a list, or a single one without its list."""
        answer = self._ask(path, form)
        if "data" not in answer:
            raise self.failure("в ответе нет данных", permanent=False)
        data = answer["data"]
        rows = [data] if isinstance(data, dict) and data else data or []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.failure("в ответе нет списка", permanent=False)
        return [Payload({name: _plain(value) for name, value in row.items()}) for row in rows]

    def _history_window(
        self, start: datetime, end: datetime, until: datetime
    ) -> Iterator[CallEvent]:
        last = end if end == until else end - _SECOND
        time.sleep(self.request_pause.total_seconds())
        order = {"start_stamp_from": _stamp(start), "start_stamp_to": _stamp(last)}
        rows = self._rows(_SEARCH, order)
        if len(rows) >= _SUSPICIOUS and end - start > _SHORTEST_WINDOW:
            del rows  # the halves bring the same calls
            middle = start + (end - start) / 2
            yield from self._history_window(start, middle, until)
            yield from self._history_window(middle, end, until)
            return
        for row in rows:
            yield self._history_event(row)

    def _history_event(self, row: Payload) -> CallEvent:
        origin = self._origin(datetime.now(UTC), self.redacted(row.source()))
        try:
            return onlinepbx_events.from_history(row, origin)
        except MalformedRequest as error:
            raise self.failure(f"строка истории: {error.message}", permanent=False) from error

    def _fresh_link(self, uuid: str) -> str:
        """A text, from some accounts a list of one."""
        data = self._ask(_SEARCH, {"uuid": uuid, "download": "1"}).get("data")
        link = data[0] if isinstance(data, list) and data else data
        if not isinstance(link, str) or not link:
            message = "записи ещё нет"
            raise self.failure(message, permanent=False, kind=RecordingNotReady)
        return link

    def _download(self, link: str) -> Recording:
        base = self.credential("api_base")
        own = link.startswith(f"{urlsplit(base).scheme}://{urlsplit(base).netloc}/")
        return self.download(link if own else onlinepbx_events.secured(link), own=base)


def _plain(value: object) -> object:
    """Flags as text and seconds with a fraction as whole ones."""
    if isinstance(value, bool):
        return str(value).lower()
    return int(value) if isinstance(value, float) and abs(value) < 1e12 else value


def _stamp(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def _extension(user: Payload) -> Extension | None:
    number = user.identifier("num")
    if number is None or user.text("enabled") in ("0", "false"):
        return None
    return Extension(number=number, name=user.text("name") or number, employee_key=number)
