"""Asterisk: what the settings page asks and shows."""

from __future__ import annotations

from crm.integrations.telephony.asterisk_cdr import FILE_NAME, MAPPING
from crm.integrations.telephony.shapes import CredentialField, SetupText

_MANAGER_CONF = """\
; /etc/asterisk/manager.conf (FreePBX: /etc/asterisk/manager_custom.conf — только раздел [crm])
[general]
enabled=yes
port=5038
bindaddr=127.0.0.1      ; или адрес в VPN; никогда не открывайте AMI в интернет
timestampevents=yes

[crm]
secret=<придумайте длинный пароль>
deny=0.0.0.0/0.0.0.0
permit=<адрес сервера CRM>/255.255.255.255
read=call,agent,dialplan,reporting,user
write=originate,call,reporting

Применить: asterisk -rx 'manager reload'"""

_ARI_CONF = """\
; /etc/asterisk/http.conf
[general]
enabled=yes
bindaddr=<адрес АТС в локальной сети или VPN>
bindport=8088

; /etc/asterisk/ari.conf (FreePBX: /etc/asterisk/ari_additional_custom.conf — только раздел [crm])
[general]
enabled=yes

[crm]
type=user
read_only=no
password=<придумайте длинный пароль>

Применить: asterisk -rx 'core reload'"""

_DIALPLAN = """\
; Только для Asterisk без FreePBX: CRM узнаёт набранный номер и имя файла записи.
exten => _X.,1,Set(CRM_DID=${EXTEN})
 same => n,Set(REC=${STRFTIME(${EPOCH},,%Y/%m/%d)}/${UNIQUEID}.wav)
 same => n,MixMonitor(${REC},b)
 same => n,UserEvent(CrmCall,DID: ${CRM_DID},Rec: ${REC})
 same => n,Set(CDR(did)=${CRM_DID})
 same => n,Set(CDR(recordingfile)=${REC})
 same => n,Dial(PJSIP/101&PJSIP/102,30)"""

_ROUTE = """\
; Звонок знакомого клиента — сразу ответственному; ответ CRM: внутренний номер или пусто.
exten => _X.,1,Set(CURLOPT(conntimeout)=2)
 same => n,Set(CURLOPT(httptimeout)=2)
 same => n,Set(RESP=${CURL({webhook_url}/route?phone=${CALLERID(num)})})
 same => n,GotoIf($["${RESP}" = ""]?all)
 same => n,Dial(PJSIP/${RESP},20)
 same => n(all),Dial(PJSIP/101&PJSIP/102,30)"""

_NGINX = """\
# nginx на сервере АТС: отдаёт файлы записей по паролю и только серверу CRM
location /monitor/ {
    alias /var/spool/asterisk/monitor/;
    allow <адрес сервера CRM>;
    deny all;
    auth_basic "records";
    auth_basic_user_file /etc/nginx/records.htpasswd;
}

Тогда «Адрес файлов записей»: https://<адрес АТС>/monitor/{yyyy}/{mm}/{dd}/{file}"""

_JOURNAL = f"""\
; /etc/asterisk/cdr_custom.conf — строку скопируйте целиком
[mappings]
{MAPPING}

Применить: asterisk -rx 'module load cdr_custom.so' и asterisk -rx 'cdr show status':
в списке должен быть cdr-custom. Файл появится после первого звонка.

# nginx на сервере АТС, рядом с /monitor/
location = /cdr/{FILE_NAME} {{
    alias /var/log/asterisk/cdr-custom/{FILE_NAME};
    allow <адрес сервера CRM>;
    deny all;
    auth_basic "records";
    auth_basic_user_file /etc/nginx/records.htpasswd;
}}

Тогда «Адрес журнала звонков»: https://<адрес АТС>/cdr/{FILE_NAME}
Раз в месяц начинайте файл заново (logrotate): CRM читает до 60 МБ."""

CREDENTIALS = (
    CredentialField(
        "protocol",
        "Способ подключения",
        secret=False,
        required=False,
        default="ami",
        choices=(
            ("ami", "AMI — рекомендуем: знает о звонке всё"),
            ("ari", "ARI — если AMI закрыт"),
        ),
    ),
    CredentialField(
        "host", "Адрес АТС", secret=False, help="Имя или IP, без http:// и порта: 10.0.0.5"
    ),
    CredentialField(
        "port",
        "Порт",
        secret=False,
        required=False,
        help="Пусто — обычный: AMI 5038, с TLS 5039; ARI 8088, с TLS 8089",
    ),
    CredentialField(
        "tls",
        "Шифрование",
        secret=False,
        required=False,
        default="no",
        choices=(("no", "Нет: АТС в той же сети или в VPN"), ("yes", "TLS")),
    ),
    CredentialField(
        "ca_certificates",
        "Сертификат АТС",
        secret=False,
        required=False,
        multiline=True,
        help=(
            "Нужен при TLS, если сертификат АТС сделан на ней самой: текст PEM вместе со строками "
            "BEGIN CERTIFICATE и END CERTIFICATE. Адрес АТС должен быть в нём указан (SAN)"
        ),
    ),
    CredentialField("username", "Имя пользователя AMI или ARI", secret=False, help="Например, crm"),
    CredentialField("password", "Пароль AMI или ARI", help="secret в manager.conf"),
    CredentialField(
        "trunks",
        "Транки",
        secret=False,
        required=False,
        help=(
            "Имена через запятую, как в каналах: для PJSIP/msk-0000001a это msk. "
            "Пусто — транком считается всё, что не внутренний номер"
        ),
    ),
    CredentialField(
        "trunk_contexts",
        "Контексты входящих звонков",
        secret=False,
        required=False,
        default="from-trunk*, from-pstn*, from-external*, incoming*",
        help="Через запятую; звёздочка в конце — любое продолжение",
    ),
    CredentialField(
        "extension_digits",
        "Сколько цифр во внутренних номерах",
        secret=False,
        required=False,
        default="2-6",
        help="От и до, например 3-4. Городские номера должны быть длиннее",
    ),
    CredentialField(
        "dial_via",
        "Как звонить сотруднику из CRM",
        secret=False,
        required=False,
        default="local",
        choices=(
            ("local", "Через план набора: работают переадресация и запись (FreePBX)"),
            ("pjsip", "Прямо на телефон PJSIP"),
            ("sip", "Прямо на телефон SIP (chan_sip)"),
        ),
    ),
    CredentialField(
        "dial_context",
        "Контекст исходящих звонков",
        secret=False,
        required=False,
        default="from-internal",
        help="В нём набирается номер клиента при звонке из CRM",
    ),
    CredentialField(
        "dial_format",
        "Как АТС набирает российские номера",
        secret=False,
        required=False,
        default="7",
        choices=(
            ("7", "79001234567"),
            ("8", "89001234567"),
            ("+7", "+79001234567"),
            ("10", "9001234567"),
        ),
    ),
    CredentialField(
        "recordings_url",
        "Адрес файлов записей",
        secret=False,
        required=False,
        help=(
            "Шаблон адреса, например https://pbx.example.ru/monitor/{yyyy}/{mm}/{dd}/{file}. "
            "{name} — имя файла без расширения. Пусто — записи не загружаются"
        ),
    ),
    CredentialField(
        "cdr_url",
        "Адрес журнала звонков",
        secret=False,
        required=False,
        help=(
            "Файл, по которому CRM находит звонки, прошедшие без неё: "
            f"https://pbx.example.ru/cdr/{FILE_NAME}. Пусто — истории не будет"
        ),
    ),
    CredentialField(
        "recordings_user",
        "Имя для файлов записей",
        secret=False,
        required=False,
        help="И для журнала звонков",
    ),
    CredentialField("recordings_password", "Пароль для файлов записей", required=False),
    CredentialField(
        "time_zone",
        "Часовой пояс АТС",
        secret=False,
        required=False,
        default="Europe/Moscow",
        help="По нему разложены папки записей и написан журнал, например Asia/Yekaterinburg",
    ),
    CredentialField(
        "ari_app",
        "Имя приложения ARI",
        secret=False,
        required=False,
        default="crm",
        help="Только для ARI. Одним именем может пользоваться одна программа",
    ),
    CredentialField(
        "ari_path", "Путь ARI", secret=False, required=False, default="/ari", help="Только для ARI"
    ),
)

SETUP_STEPS = (
    (
        "CRM сама подключается к АТС и держит соединение. Откройте ей доступ к порту АТС в "
        "локальной сети или через VPN; в интернет порт не открывайте."
    ),
    (
        "Если АТС во внутренней сети, впишите её адрес в настройку сервера CRM "
        "OUTBOUND_ALLOW_PRIVATE и перезапустите CRM: 10.0.0.5 — для событий, записей и журнала, "
        "10.0.0.5:5038 — для одного порта."
    ),
    "На АТС заведите пользователя для CRM: текст для manager.conf (или ari.conf) — ниже.",
    "В asterisk.conf задайте systemname, чтобы номера звонков не повторялись на разных серверах.",
    (
        "На шаге «Доступ» заполните поля, нажмите «Сохранить и проверить»; события пойдут "
        "в течение нескольких секунд."
    ),
    "Загрузите внутренние номера и назначьте их сотрудникам; имён АТС не передаёт.",
    (
        "Чтобы слушать записи в CRM, отдайте их по HTTP (пример для nginx — ниже) и впишите шаблон "
        "адреса. Скачивание с ARI-записями работает и без него."
    ),
    (
        "Чтобы CRM находила звонки, которые прошли, пока она была выключена, ведите для неё "
        "журнал звонков (cdr_custom.conf — ниже), отдайте его по HTTP и впишите адрес."
    ),
    (
        "По желанию направляйте знакомых клиентов сразу ответственному: план набора спрашивает "
        "{webhook_url}/route, пример — ниже."
    ),
)

SETUP_TEXTS = (
    SetupText("manager.conf — для AMI", _MANAGER_CONF),
    SetupText("http.conf и ari.conf — для ARI", _ARI_CONF),
    SetupText("План набора без FreePBX", _DIALPLAN),
    SetupText("Звонок сразу ответственному менеджеру", _ROUTE),
    SetupText("nginx для файлов записей", _NGINX),
    SetupText("cdr_custom.conf и nginx для журнала звонков", _JOURNAL),
)

CAUTIONS = (
    (
        "По AMI и ARI Asterisk не отдаёт историю звонков. Без адреса журнала звонки, которые "
        "прошли, пока CRM не была подключена, в неё не попадут."
    ),
    (
        "Время в журнале звонков написано без часового пояса: CRM считает его поясом АТС. Если "
        "звонок сначала взяло меню, время разговора в журнале включает и его; точнее считают "
        "события, которые CRM слышит сама."
    ),
    "Списка линий Asterisk не отдаёт: впишите номера вручную.",
    (
        "Подключение сделано по документации Asterisk; имена файлов и переменных FreePBX — по "
        "общему опыту. После настройки сделайте пробные звонки: входящий, пропущенный, исходящий, "
        "с переводом."
    ),
    (
        "Пропущенным считается звонок, на который не ответил телефон сотрудника; ответ меню или "
        "голосовой почты не в счёт. Переадресация на мобильный считается ответом."
    ),
    (
        "Через ARI звонок собирается из каналов по событиям Dial и мостам: сложные переводы AMI "
        "показывает точнее. Вторая программа с тем же именем приложения ARI отключит CRM."
    ),
    (
        "Запись, которую АТС сжимает в MP3 после звонка, появится с задержкой; если меняется и "
        "расширение файла, напишите его в шаблоне: {name}.mp3."
    ),
)
