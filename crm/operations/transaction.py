"""One operation, one transaction; what goes outside waits for its commit."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from redis.exceptions import RedisError
from sqlalchemy.orm.exc import StaleDataError

from crm.models import db
from crm.operations.errors import Conflict

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
_DEPTH = "operation_depth"
_AFTER = "operation_after_commit"


@contextmanager
def transaction() -> Iterator[None]:
    """Commit at the outermost level; any exception rolls everything back.

    A nested operation joins the one around it.
    """
    info = db.session().info
    info[_DEPTH] = info.get(_DEPTH, 0) + 1
    try:
        yield
        if info[_DEPTH] == 1:
            db.session.commit()
    except StaleDataError as error:
        _abandon(info)
        raise Conflict(
            "Запись только что изменил другой сотрудник. Обновите страницу и повторите."
        ) from error
    except BaseException:
        _abandon(info)
        raise
    finally:
        info[_DEPTH] -= 1
    if info[_DEPTH] == 0:
        _run_after(info.pop(_AFTER, []))


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function as one transaction."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with transaction():
            return function(*args, **kwargs)

    return wrapped


def after_commit(effect: Callable[[], None]) -> None:
    """Call ``effect`` once the running operation is committed, never otherwise."""
    db.session().info.setdefault(_AFTER, []).append(effect)


def _abandon(info: dict[Any, Any]) -> None:
    if info[_DEPTH] == 1:
        db.session.rollback()
        info.pop(_AFTER, None)


def _run_after(effects: list[Callable[[], None]]) -> None:
    for effect in effects:
        try:
            effect()
        except RedisError:
            # The rows are the truth: sweepers and polling browsers find them without Redis.
            log.warning("the queue is unreachable; the sweeper will take over", exc_info=False)
