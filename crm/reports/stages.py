"""All stages of the active pipelines, read in one query and asked by many."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import contains_eager

from crm.models import Pipeline, Stage, StageType, db
from crm.security.principal import Principal


@dataclass(slots=True)
class StageBook:
    """Pipelines in their order and every stage by its id."""

    pipelines: list[Pipeline] = field(default_factory=list)
    stages: dict[int, Stage] = field(default_factory=dict)

    def pipeline(self, pipeline_id: int | None) -> Pipeline | None:
        """The pipeline asked for, else the default one, else the first."""
        if pipeline_id is not None:
            return next((p for p in self.pipelines if p.id == pipeline_id), None)
        default = next((p for p in self.pipelines if p.is_default), None)
        return default or (self.pipelines[0] if self.pipelines else None)

    def of(self, pipeline_id: int) -> list[Stage]:
        """All stages of a pipeline in order, archived and switched-off ones included."""
        return [stage for stage in self.stages.values() if stage.pipeline_id == pipeline_id]

    def shown(self, pipeline_id: int, principal: Principal) -> list[Stage]:
        """Stages that the person sees in the pipeline: on the board and in the stage bar."""
        ordinary = principal.is_ordinary()
        return [
            stage
            for stage in self.of(pipeline_id)
            if stage.active
            and stage.kind is not StageType.ARCHIVE
            and (stage.available_to_manager or not ordinary)
        ]

    def open_ids(self) -> list[int]:
        """Stages on which a deal is in work."""
        return [stage.id for stage in self.stages.values() if stage.kind.is_open]

    def closed_ids(self) -> list[int]:
        """Stages on which a deal is finished, this way or another."""
        return [stage.id for stage in self.stages.values() if not stage.kind.is_open]

    def tasked_ids(self) -> list[int]:
        """Stages on which a deal without a task is a fault (domain §5)."""
        return [s.id for s in self.stages.values() if s.kind.is_open and s.tasks_allowed]

    def common_ids(self) -> list[int]:
        """Stages whose deals are open to everybody."""
        return [s.id for s in self.stages.values() if s.open_view or s.open_full]


def stage_book() -> StageBook:
    """Active pipelines and their stages (1 query)."""
    query = (
        select(Stage)
        .join(Stage.pipeline)
        .options(contains_eager(Stage.pipeline))
        .where(Pipeline.active)
        .order_by(Pipeline.position, Pipeline.id, Stage.position, Stage.id)
    )
    book = StageBook()
    for stage in db.session.scalars(query):
        book.stages[stage.id] = stage
        if stage.pipeline not in book.pipelines:
            book.pipelines.append(stage.pipeline)
    return book
