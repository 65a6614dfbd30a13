"""Rules of stages asked before a deal is born on one or moved to one (domain §3.3)."""

from __future__ import annotations

from collections.abc import Collection

from flask_babel import gettext as _
from sqlalchemy import or_, select
from sqlalchemy.orm import aliased

from crm.models import Deal, MoveHow, RequiredField, Stage, StageHistory, StageType, db
from crm.operations import deal_fields
from crm.operations.deal_fields import DealField
from crm.operations.errors import FieldError
from crm.security.principal import Principal

# Refusals and the like may happen at any time: only these demand the mandatory stages.
_ORDERED = (StageType.IN_WORK, StageType.SUCCESS)


def closed_to(stage: Stage, by: Principal) -> str | None:
    """Why the person may not use the stage at all, in words."""
    if by.is_ordinary() and not stage.available_to_manager:
        reason: str = _("Этап «%(name)s» доступен только руководителю.", name=stage.name)
        return reason
    return None


def mandatory_refusal(stage: Stage, visited: Collection[int]) -> str | None:
    """The refusal that names the mandatory stages before ``stage`` not in ``visited``."""
    if stage.kind not in _ORDERED:
        return None
    query = select(Stage).where(
        Stage.pipeline_id == stage.pipeline_id,
        Stage.active,
        Stage.mandatory,
        Stage.type == StageType.IN_WORK,
        Stage.position < stage.position,
    )
    skipped = [
        found.name
        for found in db.session.scalars(query.order_by(Stage.position, Stage.id))
        if found.id not in visited
    ]
    if not skipped:
        return None
    names = ", ".join(f"«{name}»" for name in skipped)
    reason: str = _("Сначала нужно пройти обязательные этапы: %(names)s.", names=names)
    if len(skipped) == 1:
        reason = _("Сначала нужно пройти обязательный этап %(names)s.", names=names)
    return reason


_BEFORE, _AFTER = aliased(Stage), aliased(Stage)


def visited_stages(deal: Deal) -> frozenset[int]:
    """Stages the deal has been on since it entered its present pipeline."""
    query = (
        select(
            StageHistory.to_stage_id,
            or_(StageHistory.from_stage_id.is_(None), _BEFORE.pipeline_id != _AFTER.pipeline_id),
        )
        .join(_AFTER, _AFTER.id == StageHistory.to_stage_id)
        .outerjoin(_BEFORE, _BEFORE.id == StageHistory.from_stage_id)
        .where(
            StageHistory.deal_id == deal.id,
            ~StageHistory.undone,
            StageHistory.how != MoveHow.UNDO,
        )
        .order_by(StageHistory.id)
    )
    visited = {deal.stage_id}
    for stage_id, entered in db.session.execute(query):
        visited = {deal.stage_id, stage_id} if entered else visited | {stage_id}
    return frozenset(visited)


def missing_fields(deal: Deal, stage: Stage) -> list[DealField]:
    """Required fields of the stage's pipeline that the card lacks for ``stage``."""
    if stage.skip_required:
        return []
    query = (
        select(RequiredField.field)
        .outerjoin(Stage, Stage.id == RequiredField.from_stage_id)
        .where(
            RequiredField.pipeline_id == stage.pipeline_id,
            or_(RequiredField.from_stage_id.is_(None), Stage.position <= stage.position),
        )
    )
    codes = set(db.session.scalars(query))
    return [
        field
        for code, field in deal_fields.CATALOGUE.items()
        if code in codes and not deal_fields.is_filled(deal, code)
    ]


def missing_errors(missing: list[DealField]) -> list[FieldError]:
    """The same as complaints beside the fields."""
    return [FieldError(field.code, _missing(field)) for field in missing]


def _missing(field: DealField) -> str:
    name = str(field.label)
    text: str = _("Заполните поле «%(name)s».", name=name)
    if field.parts:
        text = _("«%(name)s»: заполните хотя бы одно из полей.", name=name)
    return text
