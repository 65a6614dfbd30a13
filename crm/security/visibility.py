"""The one place that decides which rows a person sees and may change.

Lists, board, card, REST API, select boxes, search, bulk actions, exports,
downloads and events all ask here; nobody filters by hand. The rule of each kind
is one SQL condition, used alike for many rows (``visible``) and one (``may``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, exists, false, or_, select, true

from crm.models import (
    Action,
    Appeal,
    Call,
    Contact,
    Deal,
    Employee,
    Listing,
    Model,
    ObjectKind,
    Scope,
    Source,
    Task,
    db,
)
from crm.security.grants import Grant
from crm.security.principal import Principal

S = TypeVar("S", bound=Select[Any])
M = TypeVar("M", bound=Model)
Condition = ColumnElement[bool]
Rule = Callable[[Principal, Action], Condition]


def visible(query: S, principal: Principal, model: type[Model], action: Action = Action.VIEW) -> S:
    """``query`` narrowed to the rows of ``model`` that ``principal`` may ``action``."""
    return query.where(condition(principal, model, action))


def condition(principal: Principal, model: type[Model], action: Action = Action.VIEW) -> Condition:
    """SQL condition of the rule; models without row rights are open to all staff."""
    rule = _RULES.get(model)
    return true() if rule is None else rule(principal, action)


def may(principal: Principal, action: Action, obj: Model) -> bool:
    """Whether ``principal`` may ``action`` this very object (1 query)."""
    model = type(obj)
    return bool(
        db.session.scalar(
            select(exists().where(model.id == obj.id, condition(principal, model, action)))
        )
    )


def get_visible(
    principal: Principal,
    model: type[M],
    pk: int,
    action: Action = Action.VIEW,
    *options: Any,
) -> M | None:
    """The object with ``pk`` when the person may ``action`` it, else None."""
    query = select(model).where(model.id == pk).options(*options)
    return db.session.scalars(visible(query, principal, model, action)).one_or_none()


def has_row_rights(model: type[Model]) -> bool:
    """Whether ``model`` has a rule of its own."""
    return model in _RULES


def _people(principal: Principal, scope: Scope, column: Any) -> Condition:
    """Rows whose responsible person (``column``) lies within ``scope``."""
    match scope:
        case Scope.ALL:
            return true()
        case Scope.OFFICE:
            return or_(
                column.in_(principal.team_ids),
                _colleague(column, Employee.office_id, principal.office_id),
            )
        case Scope.DEPARTMENT:
            return or_(
                column.in_(principal.team_ids),
                _colleague(column, Employee.department_id, principal.department_id),
            )
        case Scope.TEAM:
            return column.in_(principal.team_ids)
        case Scope.OWN:
            return column == principal.id
        case _:
            return false()


def _colleague(column: Any, place: Any, place_id: int | None) -> Condition:
    if place_id is None:
        return false()
    return column.in_(select(Employee.id).where(place == place_id))


def _undistributed(principal: Principal, responsible: Any, department: Any) -> Condition:
    """Rows of nobody yet: own department's and, unless denied, those of no department."""
    places = []
    if principal.department_id is not None:
        places.append(department == principal.department_id)
    if not principal.can(Grant.HIDE_ALL_DEPARTMENT_REQUESTS):
        places.append(department.is_(None))
    return and_(responsible.is_(None), or_(false(), *places))


def _deal_rule(principal: Principal, action: Action) -> Condition:
    scope = principal.scope(ObjectKind.DEAL, action)
    alive = Deal.deleted_at.is_(None)
    if scope is Scope.ALL:
        return alive
    if scope is Scope.NONE:
        return false()
    reach = [_people(principal, scope, Deal.responsible_id)]
    if scope in (Scope.DEPARTMENT, Scope.OFFICE) and principal.department_id is not None:
        reach.append(
            and_(Deal.responsible_id.is_(None), Deal.department_id == principal.department_id)
        )
    if action is Action.VIEW:
        reach.append(_undistributed(principal, Deal.responsible_id, Deal.department_id))
        reach.extend(_on_stages(principal.open_stages))
    elif action is Action.EDIT:
        reach.extend(_on_stages(principal.full_stages))
    hidden = principal.hidden_stages if principal.is_ordinary() else frozenset()
    shown = [Deal.stage_id.not_in(sorted(hidden))] if hidden else []
    return and_(alive, or_(*reach), *shown)


def _on_stages(stage_ids: frozenset[int]) -> list[Condition]:
    """No condition at all without such stages: an empty one would still cost the index."""
    return [Deal.stage_id.in_(sorted(stage_ids))] if stage_ids else []


def may_take_condition(principal: Principal) -> Condition:
    """Deals that the person may make his own: nobody's, or on a fully open stage."""
    return and_(
        Deal.deleted_at.is_(None),
        or_(
            _undistributed(principal, Deal.responsible_id, Deal.department_id),
            *_on_stages(principal.full_stages),
            _deal_rule(principal, Action.EDIT),
        ),
    )


def _visible_deal_ids(principal: Principal, action: Action = Action.VIEW) -> Select[Any]:
    return select(Deal.id).where(_deal_rule(principal, action))


def _contact_rule(principal: Principal, action: Action) -> Condition:
    scope = principal.scope(ObjectKind.CONTACT, action)
    if scope is Scope.ALL:
        return true()
    if scope is Scope.NONE:
        return false()
    by_deal = select(Deal.contact_id).where(
        _deal_rule(principal, action), Deal.contact_id.is_not(None)
    )
    by_listing = select(Listing.owner_id).where(
        Listing.owner_id.is_not(None), _people(principal, scope, Listing.responsible_id)
    )
    return or_(
        _people(principal, scope, Contact.responsible_id),
        Contact.id.in_(by_deal),
        Contact.id.in_(by_listing),
    )


def _listing_rule(principal: Principal, action: Action) -> Condition:
    if action is Action.EDIT and principal.can(Grant.EDIT_ANY_LISTING):
        return true()
    return _people(principal, principal.scope(ObjectKind.LISTING, action), Listing.responsible_id)


def _foreign_department(principal: Principal, department: Any) -> Condition:
    """Bound to a department that is not the person's (domain §7.4)."""
    if principal.department_id is None:
        return department.is_not(None)
    return and_(department.is_not(None), department != principal.department_id)


def _appeal_rule(principal: Principal, action: Action) -> Condition:
    scope = principal.scope(ObjectKind.APPEAL, action)
    if scope is Scope.ALL:
        return true()
    if scope is Scope.NONE:
        return false()
    mine = _people(principal, scope, Appeal.responsible_id)
    reach = or_(
        Appeal.deal_id.in_(_visible_deal_ids(principal, action)),
        _undistributed(principal, Appeal.responsible_id, Appeal.department_id),
    )
    return or_(mine, and_(reach, ~_foreign_department(principal, Appeal.department_id)))


def _call_rule(principal: Principal, action: Action) -> Condition:
    scope = principal.scope(ObjectKind.CALL, action)
    if scope is Scope.ALL:
        return true()
    if scope is Scope.NONE:
        return false()
    # Each call's deal by its key: the list of all deals of a department is too long to search.
    deal = _visible_deal_ids(principal).where(Deal.id == Call.deal_id).correlate(Call)
    return or_(_people(principal, scope, Call.employee_id), deal.exists())


def joined_call_condition(principal: Principal) -> Condition:
    """Which calls the person sees, for a query that has joined each call's ``Deal`` (outer).

    The same rows as of ``condition``, by a look at the one deal of each call that is read: where
    few are read, a set of all visible deals would cost more than the calls.
    """
    scope = principal.scope(ObjectKind.CALL)
    if scope is Scope.ALL:
        return true()
    if scope is Scope.NONE:
        return false()
    by_deal = and_(Deal.id.is_not(None), _deal_rule(principal, Action.VIEW))
    return or_(_people(principal, scope, Call.employee_id), by_deal)


def recording_condition(principal: Principal) -> Condition:
    """Calls whose recording the person may hear (permission 1)."""
    if principal.is_admin or principal.can(Grant.HEAR_ALL_RECORDS):
        return true()
    return and_(Call.employee_id.in_(principal.team_ids), _call_rule(principal, Action.VIEW))


def _task_rule(principal: Principal, action: Action) -> Condition:
    scope = principal.scope(ObjectKind.TASK, action)
    if scope is Scope.ALL:
        return true()
    if scope is Scope.NONE:
        return false()
    reach = [
        _people(principal, scope, Task.responsible_id),
        Task.deal_id.in_(_visible_deal_ids(principal, action)),
    ]
    if action is Action.VIEW:
        reach.append(Task.author_id == principal.id)
    return or_(*reach)


def _source_rule(principal: Principal, _action: Action) -> Condition:
    """Sources hidden from other departments are not offered there."""
    if principal.scope(ObjectKind.APPEAL) is Scope.ALL:
        return true()
    return ~and_(
        Source.hide_from_other_departments,
        _foreign_department(principal, Source.department_id),
    )


_RULES: dict[type[Model], Rule] = {
    Deal: _deal_rule,
    Contact: _contact_rule,
    Listing: _listing_rule,
    Appeal: _appeal_rule,
    Call: _call_rule,
    Task: _task_rule,
    Source: _source_rule,
}
