"""Background jobs: queues, workers, schedule, what failed."""

from __future__ import annotations

from collections.abc import Callable

from flask import flash, redirect, request, url_for
from flask_babel import LazyString
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from crm.operations import failed_jobs
from crm.operations.errors import OperationError
from crm.reports import jobs
from crm.reports.health import BEAT_IS_LATE
from crm.security.principal import Principal, current_principal
from crm.values.clock import utc_now
from crm.views.access import requires
from crm.views.base import CrmView, expose

QUEUES: dict[str, LazyString] = {
    "calls": _l("Звонки и заявки"),
    "default": _l("Записи, фото, прочее"),
    "feeds": _l("Фиды и импорт"),
    "sync": _l("Сверка звонков"),
}
# Name in the schedule → what it does, and how often in words.
SLOTS: dict[str, tuple[LazyString, LazyString]] = {
    "sweep": (_l("Дообработка входящих"), _l("каждые 20 секунд")),
    "recordings": (_l("Загрузка записей звонков"), _l("каждую минуту")),
    "photos": (_l("Загрузка фотографий"), _l("каждую минуту")),
    "endings": (_l("Завершение забытых звонков"), _l("каждые 20 секунд")),
    "histories": (_l("Сверка звонков с операторами"), _l("каждые 10 минут")),
    "nightly": (_l("Ночная сверка звонков за 3 дня"), _l("каждую ночь")),
    "subscriptions": (_l("Продление подписок на события"), _l("каждые 5 минут")),
    "watch": (_l("Проверка подписок на события"), _l("каждые 20 минут")),
    "retention": (_l("Удаление старых записей разговоров"), _l("каждый час")),
    "feeds": (_l("Сборка фидов"), _l("каждые 10 минут")),
    "purge": (_l("Уборка старых событий и входов"), _l("каждый час")),
}
# Older than this a waiting job means that something is stuck.
OLD_SECONDS = {"calls": 30, "default": 600, "feeds": 3600, "sync": 3600}


class JobsView(CrmView):
    """``/settings/jobs``."""

    route_base = "/settings/jobs"
    class_permission_name = "Jobs"

    @expose("", methods=["GET"])
    @requires("list")
    def index(self) -> str:
        """How the work in the background stands."""
        slots = jobs.slots()
        seen = jobs.scheduler_seen(slots)
        return self.page(
            "jobs/index.html",
            state=jobs.state(),
            slots=slots,
            seen=seen,
            scheduler_late=seen is None or utc_now() - seen > BEAT_IS_LATE,
            queue_names=QUEUES,
            slot_names=SLOTS,
            old=OLD_SECONDS,
        )

    @expose("/retry", methods=["POST"])
    @requires("run")
    def retry(self) -> Response:
        """Run a failed job once more."""
        return _do(failed_jobs.retry, _("Задание снова в очереди."))

    @expose("/discard", methods=["POST"])
    @requires("run")
    def discard(self) -> Response:
        """Take a failed job off the list."""
        return _do(failed_jobs.discard, _("Задание удалено."))


def _do(act: Callable[[str, Principal], None], done: str) -> Response:
    try:
        act(request.form.get("job", "")[:200], current_principal())
    except OperationError as error:
        flash(error.message, "danger")
    else:
        flash(done, "success")
    return redirect(url_for("JobsView.index"))
