"""What runs when. Times are UTC; a slot begins at a whole multiple of the period."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A job, its queue and how often it runs."""

    name: str
    queue: str
    function: str
    seconds: int

    @property
    def period(self) -> dt.timedelta:
        return dt.timedelta(seconds=self.seconds)

    @property
    def job_id(self) -> str:
        """At most one of it waits or runs, however slow the queue is."""
        return f"cron-{self.name}"

    def slot(self, now: dt.datetime) -> dt.datetime:
        """The slot that ``now`` lies in."""
        return dt.datetime.fromtimestamp(now.timestamp() // self.seconds * self.seconds, dt.UTC)


SWEEP = Scheduled("sweep", "calls", "crm.jobs.housekeeping.sweep_inbox", 20)
SCHEDULE: tuple[Scheduled, ...] = (
    SWEEP,
    Scheduled("recordings", "default", "crm.jobs.recordings.fetch_due", 60),
    Scheduled("photos", "default", "crm.jobs.photos.fetch_due", 60),
    Scheduled("endings", "calls", "crm.jobs.telephony.end_abandoned", 20),
    Scheduled("histories", "default", "crm.jobs.telephony.order_histories", 600),
    # A slot begins at midnight UTC: three in the morning in Moscow.
    Scheduled("nightly", "default", "crm.jobs.telephony.order_nightly_histories", 86400),
    Scheduled("subscriptions", "default", "crm.jobs.telephony.renew_subscriptions", 300),
    Scheduled("watch", "default", "crm.jobs.telephony.watch_subscriptions", 1200),
    Scheduled("retention", "default", "crm.jobs.telephony.expire_recordings", 3600),
    Scheduled("feeds", "feeds", "crm.jobs.feeds.build_due", 600),
    Scheduled("purge", "default", "crm.jobs.housekeeping.purge", 3600),
)
