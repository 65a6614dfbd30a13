"""Rights about calls that go beyond seeing them; each is one SQL condition on ``Call``.

Those that say so are for queries that have joined each call's ``Deal`` (outer).
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, or_, true

from crm.models import Action, Call, CallLeg, Deal, ObjectKind, Scope
from crm.security import visibility
from crm.security.principal import Principal

Condition = ColumnElement[bool]


def met_condition(principal: Principal) -> Condition:
    """Calls that the person may see, and those that his own telephone rings or rang with."""
    rang = exists().where(CallLeg.call_id == Call.id, CallLeg.employee_id == principal.id)
    return or_(visibility.condition(principal, Call), rang)


def settle_condition(principal: Principal) -> Condition:
    """Missed calls that the person may mark as called back (``Deal`` is joined).

    He may edit the deal, or it is a call of his own or of his people; of calls without a deal,
    whoever may edit all calls. Hearing all recordings (permission 1) settles nothing.
    """
    scope = principal.scope(ObjectKind.CALL, Action.EDIT)
    reach = true() if scope is Scope.ALL else _of_deals(principal, Action.EDIT)
    if scope is not Scope.NONE:
        reach = or_(reach, Call.employee_id.in_(principal.team_ids))
    return and_(visibility.joined_call_condition(principal), reach)


def export_condition(principal: Principal) -> Condition:
    """Calls that the person may take out, never further than their deals (``Deal`` is joined)."""
    own = visibility.condition(principal, Call, Action.EXPORT)
    if principal.scope(ObjectKind.CALL, Action.EXPORT) is Scope.ALL:
        return own
    within = Call.employee_id.in_(principal.team_ids)
    return and_(own, or_(within, _of_deals(principal, Action.EXPORT)))


def _of_deals(principal: Principal, action: Action) -> Condition:
    return and_(Deal.id.is_not(None), visibility.condition(principal, Deal, action))


def may_export(principal: Principal) -> bool:
    """Whether any calls may be exported at all."""
    return principal.scope(ObjectKind.CALL, Action.EXPORT) is not Scope.NONE
