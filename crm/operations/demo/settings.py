"""Pipelines, sources, telephony, intake point, feed: what an administrator would set up."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from crm.models import (
    DealSide,
    Feed,
    ImportFeed,
    IntakePoint,
    LossReason,
    Pipeline,
    RequiredField,
    SavedView,
    Source,
    SourceGroup,
    Stage,
    StageStatus,
    StageType,
    Tag,
    TaskKind,
    TelephonyConnection,
    TelephonyExtension,
    TelephonyLine,
    db,
)
from crm.operations.demo.world import Track, World
from crm.values import phones

DEMO_KEY, DEMO_SALT = "demo0key0demo0key0demo0key0demo0", "demo0salt0demo0salt0demo0salt000"
TELEPHONY_TOKEN = "demo-telephony-token-not-a-secret-000000000"  # noqa: S105
INTAKE_KEY = "demo-intake-point-public-key-00000000"
INTAKE_SECRET = "demo-signing-secret-not-a-secret-0000000"  # noqa: S105
FEED_TOKEN = "demo-yandex-feed-address-0000000000000000"  # noqa: S105
_OWNER_STAGES: tuple[
    tuple[str, StageType, str, dict[str, Any], tuple[str, ...]], ...
] = (
    ("Заявка собственника", StageType.IN_WORK, "#3056d3", {}, ("Позвонить собственнику",)),
    ("Оценка", StageType.IN_WORK, "#7a5af8", {"mandatory": True}, ("Осмотреть объект", "Подготовить оценку")),
    ("Договор", StageType.IN_WORK, "#f79009", {"mandatory": True}, ("Подписать договор",)),
    ("В рекламе", StageType.IN_WORK, "#12b76a", {"time_limit_days": 60}, ("Отчитаться о показах",)),
    ("Аванс", StageType.IN_WORK, "#0e9384", {}, ("Подготовить сделку",)),
    ("Продано", StageType.SUCCESS, "#067647", {}, ()),
    ("Отказ", StageType.REFUSAL, "#d92d20", {}, ()),
    ("Нецелевой контакт", StageType.NON_TARGET, "#98a2b3", {"skip_required": True}, ()),
    ("Архив", StageType.ARCHIVE, "#475467", {}, ()),
)  # fmt: skip
# name, group, channel, line, domain, utm source, utm medium, weight, cost a month
_SOURCES: tuple[tuple[Any, ...], ...] = (
    ("Авито", "Порталы", "avito_call", "+78120001102", "avito.ru", None, None, 14, 48000),
    ("ЦИАН", "Порталы", "cian_call", "+78120001103", "cian.ru", None, None, 13, 61200),
    ("ДомКлик", "Порталы", None, "+78120001105", "domclick.ru", None, None, 9, 24000),
    ("Яндекс Недвижимость", "Порталы", "yandex_call", "+78120001106", "realty.yandex.ru", None, None, 8, 31000),
    ("Мир Квартир", "Порталы", None, "+78120001107", "mirkvartir.ru", None, None, 3, 9000),
    ("Move.ru", "Порталы", None, "+78120001108", "move.ru", None, None, 2, 5000),
    ("Сайт: прямой заход", "Сайт", "site_form", "+78120001110", "novy-adres.example.ru", None, None, 6, 0),
    ("Сайт: Яндекс Директ", "Сайт", None, "+78120001111", None, "yandex", "cpc", 8, 26400),
    ("Сайт: Директ, новостройки", "Сайт", None, None, None, "yandex", "cpc", 4, 18000),
    ("Сайт: поиск Яндекса", "Сайт", None, None, None, "yandex", "organic", 4, 0),
    ("Сайт: поиск Google", "Сайт", None, None, None, "google", "organic", 2, 0),
    ("ВК: таргет", "Соцсети", None, "+78120001120", None, "vk", "cpc", 4, 15000),
    ("ВК: лид-формы", "Соцсети", "vk_lead_form", None, None, None, None, 4, 12000),
    ("ВК: сообщения группы", "Соцсети", "vk_message", None, None, None, None, 2, 0),
    ("Telegram-канал", "Соцсети", "telegram", None, None, "telegram", "social", 2, 0),
    ("2ГИС", "Карты", None, "+78120001130", "2gis.ru", "2gis", "*", 3, 7000),
    ("Яндекс Карты", "Карты", None, "+78120001131", None, "yandex", "maps", 3, 6000),
    ("Наружная реклама", "Офлайн", None, "+78120001140", None, None, None, 2, 20000),
    ("Листовки", "Офлайн", None, "+78120001141", None, None, None, 1, 4000),
    ("Вывеска офиса", "Офлайн", None, "+78120000200", None, None, None, 2, 0),
    ("Рекомендация", "Свои", None, None, None, None, None, 7, 0),
    ("Повторное обращение", "Свои", None, None, None, None, None, 4, 0),
    ("База агентства", "Свои", "import", None, None, None, None, 2, 0),
    ("Рассылка", "Свои", "email", None, None, "email", "newsletter", 1, 2000),
    ("Партнёры", "Свои", None, None, None, "partner", "*", 2, 0),
)  # fmt: skip
_ICONS = {"Порталы": "building", "Сайт": "world", "Соцсети": "brand-vk", "Карты": "map-pin",
          "Офлайн": "speakerphone", "Свои": "user-heart"}  # fmt: skip


def make_settings(world: World) -> None:
    """Everything that stands before the first call."""
    _pipelines(world)
    _sources(world)
    _doors(world)
    _feeds(world)
    world.loss_reasons = list(
        db.session.scalars(select(LossReason.id).order_by(LossReason.position, LossReason.id))
    )


def _pipelines(world: World) -> None:
    buyers = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    owners = Pipeline(name="Собственники", side=DealSide.SELLER, position=1)
    for position, (name, kind, color, options, presets) in enumerate(_OWNER_STAGES):
        stage = Stage(
            name=name,
            type=kind,
            color=color,
            position=position,
            tasks_allowed=kind.is_open,
            **options,
        )
        stage.statuses = [
            StageStatus(text=text, position=place, task_kind=_task_kind(text))
            for place, text in enumerate(presets)
        ]
        owners.stages.append(stage)
    world.add(owners)
    owners.stages[3].time_limit_target_id = owners.stages[0].id
    contract = owners.stages[2].id
    for field, since in (("contact_name", None), ("source", None), ("amount", contract)):
        world.add(RequiredField(pipeline_id=owners.id, field=field, from_stage_id=since))
    world.buyers, world.owners = _track(buyers), _track(owners)


def _task_kind(text: str) -> TaskKind:
    return TaskKind.CALL if "звон" in text else TaskKind.OTHER


def _track(pipeline: Pipeline) -> Track:
    def of(kind: StageType) -> list[Stage]:
        return [stage for stage in pipeline.stages if stage.kind is kind]

    working = of(StageType.IN_WORK)
    deferred = next((s for s in working if s.open_view), None)
    return Track(
        pipeline.id,
        [stage for stage in working if stage is not deferred],
        of(StageType.SUCCESS)[0],
        of(StageType.REFUSAL)[0],
        of(StageType.NON_TARGET)[0],
        of(StageType.ARCHIVE)[0],
        deferred,
    )


def _sources(world: World) -> None:
    groups: dict[str, SourceGroup] = {}
    tags = [Tag(name="Платный", color="#f79009"), Tag(name="Бесплатный", color="#12b76a")]
    world.add(*tags)
    for name, group, channel, line, domain, utm_source, utm_medium, weight, cost in _SOURCES:
        if group not in groups:
            groups[group] = SourceGroup(name=f"{group} (демо)")
            world.add(groups[group])
        source = Source(
            name=name,
            group=groups[group],
            channel=channel,
            phone=line,
            phone_key=phones.match_key(line) if line else None,
            domains=domain,
            utm_source=utm_source,
            utm_medium=utm_medium,
            utm_campaign="novostroyki" if "новостройки" in name else None,
            cost_per_month=Decimal(cost) if cost else None,
            icon=_ICONS[group],
            tags=[tags[0 if cost else 1]],
        )
        world.add(source)
        world.sources.append((source, weight))


def _doors(world: World) -> None:
    assert world.buyers is not None
    connection = TelephonyConnection(
        name="Mango Office (демо)",
        operator="mango",
        credentials={"api_key": DEMO_KEY, "api_salt": DEMO_SALT},
        token=TELEPHONY_TOKEN,
        pipeline_id=world.buyers.pipeline_id,
        last_event_at=world.now - dt.timedelta(minutes=4),
        # The keys are invented: the true operator is not to be asked with them.
        syncs_history=False,
        extensions=[
            TelephonyExtension(key=person.extension, employee_id=person.id)
            for person in world.people
            if person.extension
        ],
    )
    world.add(connection)
    world.remember(TelephonyExtension, [row.id for row in connection.extensions])
    world.add(
        *(
            TelephonyLine(
                connection_id=connection.id,
                number=source.phone,
                key=source.phone_key,
                title=source.name,
            )
            for source, _weight in world.sources
            if source.phone and source.phone_key
        )
    )
    point = IntakePoint(
        name="Сайт агентства (демо)",
        key=INTAKE_KEY,
        pipeline_id=world.buyers.pipeline_id,
        allowed_domains="novy-adres.example.ru",
        secrets={"secret": INTAKE_SECRET, "token_secret": "demo-token-secret-000000000000000"},
    )
    world.add(point)
    world.connection_id, world.intake_id = connection.id, point.id


def _feeds(world: World) -> None:
    world.add(
        Feed(name="Яндекс Недвижимость", portal="yandex", token=FEED_TOKEN, phone="+78120001106"),
        ImportFeed(name="Объекты партнёров", portal="yandex", state_for_new="draft", active=False),
    )
    assert world.buyers is not None
    showing = world.buyers.working[2]
    for person in world.people:
        if person.login in {"director", "head", "manager"}:
            query = f"stage={showing.id}&no_task=1"
            world.add(
                SavedView(user_id=person.id, page="deals", name="Показы без задачи", query=query)
            )
