"""The general protocol: what the settings page asks and shows, the contract for integrators too."""

from __future__ import annotations

from crm.integrations.telephony.shapes import CredentialField, SetupText

_EVENTS_TEXT = """\
POST {webhook_url}
Content-Type: application/json

{"event":"ringing","call_id":"1700000001.15","direction":"in","client":"+79000000001",\
"line":"+74950000010","extension":"101","time":"2026-03-02T11:20:31+03:00"}
{"event":"answered","call_id":"1700000001.15","direction":"in","client":"+79000000001",\
"line":"+74950000010","extension":"101","time":"2026-03-02T11:20:40+03:00"}
{"event":"ended","call_id":"1700000001.15","direction":"in","client":"+79000000001",\
"line":"+74950000010","extension":"101","time":"2026-03-02T11:22:10+03:00",\
"answered":true,"duration":99,"talk":90}
{"event":"recording","call_id":"1700000001.15","direction":"in","client":"+79000000001",\
"recording_url":"https://records.example.ru/1700000001.15.mp3"}

Одно событие — один запрос; вместо JSON можно прислать форму с теми же именами полей.

event          обязательно: ringing — звонит телефон, answered — сотрудник снял трубку,
               ended — закончился весь звонок, recording — готова запись
call_id        обязательно: один и тот же на весь звонок, до 128 знаков
direction      обязательно: in — входящий, out — исходящий, internal — внутренний
client         обязательно: номер клиента; если номер скрыт — пустая строка
line           номер компании, на который позвонили: по нему определяется источник
extension      внутренний номер сотрудника
time           дата ISO 8601 с часовым поясом или секунды Unix; если поля нет — время получения
answered       обязательно в ended: true, если ответил сотрудник (не меню), иначе false;
               входящий с false считается пропущенным
duration, talk в ended: секунды всего звонка и разговора
recording_url  адрес записи https://, обязательно в recording, можно прислать и в ended

Ответ 200 {"ok":true}; на ringing — ещё contact (имя клиента) и responsible (внутренний номер
ответственного), если клиент известен. Ответ 422 {"error":"…","field":"…"} называет поле,
которое надо исправить. Ответ 403 — неверный адрес или подпись. Повтор с теми же call_id, event и
extension ничего не меняет."""

_SIGNATURE_TEXT = """\
X-Signature: sha256=<HMAC-SHA256 тела запроса с ключом подписи, шестнадцатеричные цифры>

BODY='{"event":"ringing","call_id":"1","direction":"in","client":"+79000000001"}'
SIGN=$(printf '%s' "$BODY" | openssl dgst -sha256 -hmac "$KEY" | sed 's/.*= //')
curl -H 'Content-Type: application/json' -H "X-Signature: sha256=$SIGN" \
-d "$BODY" '{webhook_url}'"""

_HISTORY_TEXT = """\
[{"call_id":"1700000001.15","direction":"in","client":"+79000000001","line":"+74950000010",\
"extension":"101","time":"2026-03-02T11:22:10+03:00","answered":true,"duration":99,"talk":90,\
"recording_url":"https://records.example.ru/1700000001.15.mp3"}]

Поля те же, что у события ended; time — когда звонок закончился, здесь обязательно. В CSV первая
строка — названия столбцов, даже если звонков нет. Со страницами ({page}, счёт с 1) последней
считается пустая."""

CREDENTIALS = (
    CredentialField(
        "signing",
        "Подпись событий",
        secret=False,
        required=False,
        default="off",
        choices=(("off", "Не проверять, хватит секрета в адресе"), ("on", "Проверять")),
    ),
    CredentialField(
        "signing_key",
        "Ключ подписи",
        required=False,
        help="Придумайте длинную случайную строку и впишите её и здесь, и на стороне АТС",
    ),
    CredentialField(
        "recording_hosts",
        "Серверы записей",
        secret=False,
        required=False,
        help="Через запятую: records.example.ru, *.example.ru. Записи скачиваются только с"
        " них. Сервер без https пишите целиком: http://records.example.ru",
    ),
    CredentialField(
        "api_token",
        "Ключ для запросов к АТС",
        required=False,
        help="Подставляется в шаблоны вместо {token}",
    ),
    CredentialField(
        "call_url",
        "Адрес для звонка из CRM",
        secret=False,
        required=False,
        help="Шаблон с подстановками {extension}, {phone}, {line}, {token}. Номер подставляется"
        " цифрами, 79000000001; если АТС нужен плюс, напишите %2B{phone}",
    ),
    CredentialField(
        "call_method",
        "Метод запроса на звонок",
        secret=False,
        required=False,
        default="POST",
        choices=(("POST", "POST"), ("GET", "GET")),
    ),
    CredentialField(
        "call_body",
        "Тело запроса на звонок",
        secret=False,
        required=False,
        multiline=True,
        help='JSON с теми же подстановками: {"from": "{extension}", "to": "{phone}"}.'
        " Оставьте пустым, если АТС хватает адреса; с методом GET не отправляется",
    ),
    CredentialField(
        "call_id_path",
        "Где в ответе номер звонка",
        secret=False,
        required=False,
        help="Путь в JSON через точку, например result.call_id. Пусто — АТС его не сообщает",
    ),
    CredentialField(
        "history_url",
        "Адрес истории звонков",
        secret=False,
        required=False,
        help="Шаблон с подстановками {from}, {to}, {page}, {token}",
    ),
    CredentialField(
        "history_time",
        "Даты в адресе истории",
        secret=False,
        required=False,
        default="iso",
        choices=(("iso", "2026-03-02T08:20:31Z (UTC)"), ("unix", "Секунды Unix")),
    ),
    CredentialField(
        "history_format",
        "Формат истории",
        secret=False,
        required=False,
        default="json",
        choices=(("json", "JSON"), ("csv", "CSV")),
    ),
    CredentialField(
        "history_path",
        "Где в ответе список звонков",
        secret=False,
        required=False,
        help="Путь в JSON через точку, например data.calls. Пусто — ответ и есть список",
    ),
    CredentialField(
        "history_fields",
        "Названия полей истории",
        secret=False,
        required=False,
        multiline=True,
        help="По одному на строке, если они у АТС свои: client = caller_number",
    ),
)

SETUP_STEPS = (
    "Попросите специалиста по АТС отправлять события звонков на адрес {webhook_url}.",
    "Описание событий для него — ниже на этой странице, там же примеры.",
    "Адрес содержит секрет: передавайте его как пароль. Замените его, если он попал к чужим.",
    "По желанию включите подпись событий и впишите ключ подписи с обеих сторон.",
    "Чтобы CRM скачивала записи разговоров, перечислите серверы, на которых они лежат.",
    "Чтобы звонить из CRM, впишите адрес, по которому АТС соединяет сотрудника с клиентом.",
    "Чтобы CRM добирала пропущенные события, впишите адрес истории звонков.",
    "Впишите внутренние номера сотрудников и номера линий вручную и сделайте пробный звонок.",
)

SETUP_TEXTS = (
    SetupText("События звонка: описание для специалиста по АТС", _EVENTS_TEXT),
    SetupText("Подпись событий, если она включена", _SIGNATURE_TEXT),
    SetupText("Ответ на запрос истории", _HISTORY_TEXT),
)

CAUTIONS = (
    "Это собственный протокол CRM: оператор его не знает, нужен специалист, который настроит АТС.",
    "Без адреса истории журнал состоит только из событий: то, которое не дошло, пропадёт.",
    "Списки внутренних номеров и линий по общему протоколу не загружаются.",
)
