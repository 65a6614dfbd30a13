"""Makes the demonstration agency in one transaction."""

from __future__ import annotations

from flask_babel import gettext as _
from sqlalchemy import func, select, update

from crm.models import Deal, TimelineEvent, db
from crm.models.demo import DemoManifest
from crm.operations.demo.calls import make_calls
from crm.operations.demo.clients import make_clients
from crm.operations.demo.listings import make_listings
from crm.operations.demo.people import dress_company, make_people
from crm.operations.demo.settings import make_settings
from crm.operations.demo.world import World, ranges
from crm.operations.errors import Conflict
from crm.operations.transaction import operation


def is_loaded() -> bool:
    """Whether a demonstration agency is here."""
    return bool(db.session.scalar(select(func.count(DemoManifest.id))))


@operation
def load(scale: float = 1.0) -> dict[str, int]:
    """Counts of what was made, by table; {} when the agency is here already.

    Raises Conflict on a base where people have begun to work: a demonstration does not
    belong there.
    """
    if is_loaded():
        return {}
    if db.session.scalar(select(func.count(Deal.id))):
        raise Conflict(_("В базе уже есть сделки: демонстрационные данные не загружаются."))
    world = World(scale=scale)
    before = dress_company()
    make_people(world)
    make_settings(world)
    stories = make_clients(world)
    make_calls(world, stories)
    make_listings(world)
    _last_activity()
    db.session.add(
        DemoManifest(
            ranges={table: ranges(ids) for table, ids in world.made.items()},
            company_before=before,
        )
    )
    return {table: len(ids) for table, ids in world.made.items()}


def _last_activity() -> None:
    """The newest line of a deal's feed is its last activity."""
    newest = (
        select(func.max(TimelineEvent.occurred_at))
        .where(TimelineEvent.deal_id == Deal.id)
        .scalar_subquery()
    )
    db.session.execute(
        update(Deal)
        .values(last_activity_at=newest, updated_at=Deal.updated_at)
        .execution_options(synchronize_session=False)
    )
