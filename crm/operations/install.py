"""What exists after installation: roles, departments, a pipeline, the system source."""

from __future__ import annotations

from flask_appbuilder.security.sqla.models import Role
from sqlalchemy import select

from crm.models import (
    Action,
    Company,
    DealSide,
    Department,
    DepartmentKind,
    LossReason,
    ObjectKind,
    Pipeline,
    RequiredField,
    RoleGrant,
    RoleScope,
    Scope,
    Source,
    SourceGroup,
    Stage,
    StageStatus,
    StageType,
    TaskKind,
    db,
)
from crm.operations.transaction import operation
from crm.security.grants import Grant
from crm.security.principal import ADMIN_ROLE

UNDEFINED_SOURCE = "Не определён"
# name, type, colour, options that differ from the type's defaults, preset tasks
_Preset = tuple[str, StageType, str, dict[str, bool], tuple[str, ...]]
_STAGES: tuple[_Preset, ...] = (
    (
        "Первичный контакт",
        StageType.IN_WORK,
        "#3056d3",
        {},
        ("Позвонить клиенту", "Уточнить потребность"),
    ),
    (
        "Потребность",
        StageType.IN_WORK,
        "#7a5af8",
        {"mandatory": True},
        ("Отправить подборку", "Уточнить бюджет"),
    ),
    (
        "Показ / Встреча",
        StageType.IN_WORK,
        "#f79009",
        {},
        ("Провести показ", "Получить обратную связь"),
    ),
    ("Аванс", StageType.IN_WORK, "#12b76a", {}, ("Подписать соглашение об авансе",)),
    ("Сделка", StageType.IN_WORK, "#0e9384", {}, ("Подготовить документы", "Сопроводить сделку")),
    ("Успешно завершена", StageType.SUCCESS, "#067647", {}, ()),
    (
        "Отложенный спрос",
        StageType.IN_WORK,
        "#667085",
        {"open_view": True},
        ("Вернуться к клиенту",),
    ),
    ("Отказ", StageType.REFUSAL, "#d92d20", {}, ()),
    ("Нецелевой контакт", StageType.NON_TARGET, "#98a2b3", {"skip_required": True}, ()),
    ("Архив", StageType.ARCHIVE, "#475467", {}, ()),
)
_DEPARTMENTS = (
    ("Вторичная недвижимость", DepartmentKind.RESALE),
    ("Новостройки", DepartmentKind.NEW_BUILDING),
    ("Аренда", DepartmentKind.RENT),
    ("Коммерческая недвижимость", DepartmentKind.COMMERCIAL),
    ("Загородная недвижимость", DepartmentKind.COUNTRY),
    ("Ипотека", DepartmentKind.MORTGAGE),
    ("Маркетинг", DepartmentKind.MARKETING),
)
_LOSS_REASONS = (
    "Купил в другом агентстве", "Купил сам", "Передумал", "Не устроила цена",
    "Не одобрили ипотеку", "Не выходит на связь", "Дубль", "Другое",
)  # fmt: skip
_K, _A, _S = ObjectKind, Action, Scope
_EVERY = (_K.DEAL, _K.CONTACT, _K.CALL, _K.APPEAL, _K.TASK)
DIRECTOR, HEAD, SENIOR, MANAGER = "Директор", "Руководитель", "Старший менеджер", "Менеджер"
MARKETER, OPERATOR, QUALITY = "Маркетолог", "Оператор", "Контроль качества"
# role → (view, edit, delete, export) scope of deals, contacts, calls, appeals and tasks
_REACH = {
    DIRECTOR: (_S.ALL, _S.ALL, _S.NONE, _S.ALL),
    HEAD: (_S.DEPARTMENT, _S.DEPARTMENT, _S.NONE, _S.DEPARTMENT),
    SENIOR: (_S.TEAM, _S.TEAM, _S.NONE, _S.NONE),
    MANAGER: (_S.OWN, _S.OWN, _S.NONE, _S.NONE),
    MARKETER: (_S.NONE, _S.NONE, _S.NONE, _S.NONE),
    OPERATOR: (_S.DEPARTMENT, _S.DEPARTMENT, _S.NONE, _S.NONE),
    QUALITY: (_S.ALL, _S.NONE, _S.NONE, _S.NONE),
}
# Extra permissions that a role has without a word of the administrator: who checks how calls are
# handled hears them.
_GRANTS = {QUALITY: (Grant.HEAR_ALL_RECORDS, Grant.QUALITY_CONTROL)}
# role → (view, edit, export) scope of listings
_LISTING_REACH = {
    DIRECTOR: (_S.ALL, _S.ALL, _S.ALL),
    HEAD: (_S.ALL, _S.DEPARTMENT, _S.DEPARTMENT),
    SENIOR: (_S.ALL, _S.TEAM, _S.NONE),
    MANAGER: (_S.ALL, _S.OWN, _S.NONE),
    MARKETER: (_S.ALL, _S.ALL, _S.ALL),
    OPERATOR: (_S.ALL, _S.NONE, _S.NONE),
    QUALITY: (_S.ALL, _S.NONE, _S.NONE),
}


@operation
def install_defaults(company_name: str = "Агентство недвижимости") -> None:
    """Create what is missing; an existing installation is left as people changed it."""
    if db.session.scalar(select(Company.id).limit(1)) is None:
        db.session.add(Company(name=company_name))
        _departments()
        _pipeline()
        _loss_reasons()
    if db.session.scalar(select(Source.id).where(Source.is_system).limit(1)) is None:
        db.session.add(
            Source(
                name=UNDEFINED_SOURCE,
                is_system=True,
                group=SourceGroup(name="Прочее"),
                show_in_crm=False,
            )
        )
    for name in _REACH:
        _role(name)


def make_stages(pipeline: Pipeline) -> None:
    """Give ``pipeline`` the default stages with their preset tasks."""
    for position, (name, kind, color, options, presets) in enumerate(_STAGES):
        stage = Stage(
            name=name,
            type=kind,
            color=color,
            position=position,
            tasks_allowed=kind.is_open,
            **options,
        )
        stage.statuses = [
            StageStatus(text=text, position=order, task_kind=_task_kind(text))
            for order, text in enumerate(presets)
        ]
        pipeline.stages.append(stage)


def _task_kind(text: str) -> TaskKind:
    if "показ" in text.lower():
        return TaskKind.SHOWING
    return TaskKind.CALL if "звон" in text.lower() or "Уточнить" in text else TaskKind.OTHER


def _departments() -> None:
    for position, (name, kind) in enumerate(_DEPARTMENTS):
        db.session.add(Department(name=name, kind=kind, position=position))


def _pipeline() -> None:
    pipeline = Pipeline(name="Покупатели", side=DealSide.BUYER, is_default=True)
    make_stages(pipeline)
    db.session.add(pipeline)
    db.session.flush()
    need = pipeline.stages[1]
    for field, stage in (
        ("contact_name", None),
        ("source", None),
        ("need", need),
        ("amount", need),
    ):
        db.session.add(
            RequiredField(
                pipeline_id=pipeline.id, field=field, from_stage_id=stage.id if stage else None
            )
        )


def _loss_reasons() -> None:
    for position, name in enumerate(_LOSS_REASONS):
        db.session.add(LossReason(name=name, position=position))


def _role(name: str) -> None:
    if db.session.scalar(select(Role.id).where(Role.name == name)) is not None:
        return
    role = Role(name=name)
    db.session.add(role)
    db.session.flush()
    actions = (_A.VIEW, _A.EDIT, _A.DELETE, _A.EXPORT)
    for kind in _EVERY:
        for action, scope in zip(actions, _REACH[name], strict=True):
            db.session.add(RoleScope(role_id=role.id, kind=kind, action=action, scope=scope))
    for grant in _GRANTS.get(name, ()):
        db.session.add(RoleGrant(role_id=role.id, code=grant))
    reach = zip((_A.VIEW, _A.EDIT, _A.EXPORT), _LISTING_REACH[name], strict=True)
    for action, scope in reach:
        db.session.add(RoleScope(role_id=role.id, kind=_K.LISTING, action=action, scope=scope))


__all__ = ["ADMIN_ROLE", "install_defaults", "make_stages"]
