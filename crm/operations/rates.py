"""How often somebody knocks: counters in Redis, or in this process when Redis is away."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from crm.operations import bus

log = logging.getLogger(__name__)
_MOST = 10_000
# How long Redis is left alone after it did not answer.
_QUIET_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` times in a window of ``seconds`` for this ``key``."""

    key: str
    most: int
    seconds: int

    def name(self, window: int) -> str:
        """Name of the counter; what it counts (an address, a number) is hashed."""
        digest = hashlib.sha256(self.key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"kvartal:rate:{digest}:{window}"


@dataclass(slots=True)
class _Local:
    """Counters of this process."""

    counts: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    quiet_until: float = 0.0

    def hit(self, names: Sequence[str]) -> list[int]:
        with self.lock:
            if len(self.counts) > _MOST:
                self.counts.clear()
            for name in names:
                self.counts[name] = self.counts.get(name, 0) + 1
            return [self.counts[name] for name in names]


_local = _Local()


def hit(limits: Sequence[Limit]) -> int | None:
    """Count one knock against all limits; seconds to wait when one of them is exceeded."""
    now = time.time()
    names = [limit.name(int(now // limit.seconds)) for limit in limits]
    counts = _counted(names, limits)
    over = [limit for limit, count in zip(limits, counts, strict=True) if count > limit.most]
    return max((_left(limit, now) for limit in over), default=None)


def reset() -> None:
    """Forget this process's counters."""
    _local.counts.clear()
    _local.quiet_until = 0.0


def _counted(names: Sequence[str], limits: Sequence[Limit]) -> list[int]:
    if time.monotonic() < _local.quiet_until:
        return _local.hit(names)
    try:
        with bus.redis().pipeline(transaction=False) as pipe:
            for name, limit in zip(names, limits, strict=True):
                pipe.incr(name)
                pipe.expire(name, limit.seconds)
            answers = pipe.execute()
    except RedisError:
        _local.quiet_until = time.monotonic() + _QUIET_SECONDS
        log.warning("the queue is unreachable; knocks are counted in this process")
        return _local.hit(names)
    return [int(answer) for answer in answers[::2]]


def _left(limit: Limit, now: float) -> int:
    return int(limit.seconds - now % limit.seconds) + 1
