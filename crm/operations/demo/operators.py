"""Connections of the demonstration agency to further operators, made when they are first asked for."""

from __future__ import annotations

from sqlalchemy import select

from crm.integrations.telephony import registry
from crm.integrations.telephony.base import TelephonyOperator
from crm.models import TelephonyConnection, TelephonyExtension, db
from crm.models.demo import DemoManifest
from crm.operations import connections
from crm.operations.demo.settings import TELEPHONY_TOKEN
from crm.operations.transaction import operation

# What any required field may hold: nobody is asked with it.
_INVENTED = "demo-0123456789abcdef-not-a-secret"


@operation
def connect(slug: str) -> TelephonyConnection | None:
    """A connection with invented keys and the demo's internal numbers; None without the demo.

    Raises UnknownOperator.
    """
    kind = registry.get(slug)
    manifest = db.session.scalars(select(DemoManifest).order_by(DemoManifest.id.desc())).first()
    model = db.session.scalars(
        select(TelephonyConnection).where(TelephonyConnection.token == TELEPHONY_TOKEN)
    ).first()
    if manifest is None or model is None:
        return None
    row = TelephonyConnection(
        name=connections.free_name(f"{kind.title} (демо)")[:120],
        operator=slug,
        token=f"demo-{slug.replace('_', '-')}-token-not-a-secret",
        pipeline_id=model.pipeline_id,
        syncs_history=False,
        extensions=[
            TelephonyExtension(key=own.key, employee_id=own.employee_id) for own in model.extensions
        ],
    )
    db.session.add(row)
    db.session.flush()
    row.credentials = _invented(connections.build(row))
    made = {
        TelephonyConnection.__tablename__: [row.id],
        TelephonyExtension.__tablename__: [own.id for own in row.extensions],
    }
    ranges = {name: list(pairs) for name, pairs in manifest.ranges.items()}
    for name, ids in made.items():
        ranges.setdefault(name, []).extend([pk, pk] for pk in ids)
    manifest.ranges = ranges
    return row


def _invented(operator: TelephonyOperator) -> dict[str, str]:
    return {field.name: _INVENTED for field in operator.missing_credentials()}
