"""What the editor of pipelines shows: stages with their deals counted in SQL."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from crm.models import Deal, Pipeline, RequiredField, Stage, db


@dataclass(slots=True)
class EditedPipeline:
    """A pipeline with its stages in order, deals by stage and required fields by code."""

    pipeline: Pipeline
    stages: list[Stage]
    counts: dict[int, int]
    # Code of a field → stage from which it is demanded (None: from the first).
    required: dict[str, int | None] = field(default_factory=dict)


def pipelines() -> list[Pipeline]:
    """All pipelines, those switched off included (1 query)."""
    query = select(Pipeline).order_by(Pipeline.active.desc(), Pipeline.position, Pipeline.id)
    return list(db.session.scalars(query))


def edited(pipeline: Pipeline) -> EditedPipeline:
    """Everything about one pipeline (4 queries)."""
    query = (
        select(Stage)
        .options(selectinload(Stage.statuses))
        .where(Stage.pipeline_id == pipeline.id)
        .order_by(Stage.position, Stage.id)
    )
    stages = list(db.session.scalars(query))
    counted = (
        select(Deal.stage_id, func.count())
        .where(Deal.pipeline_id == pipeline.id, Deal.deleted_at.is_(None))
        .group_by(Deal.stage_id)
    )
    counts = dict(list(db.session.execute(counted)))
    rows = select(RequiredField).where(RequiredField.pipeline_id == pipeline.id)
    required = {row.field: row.from_stage_id for row in db.session.scalars(rows)}
    return EditedPipeline(pipeline, stages, counts, required)
