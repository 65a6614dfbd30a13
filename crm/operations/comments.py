"""Notes of employees in a deal's feed."""

from __future__ import annotations

import datetime as dt

from flask_babel import gettext as _

from crm.models import Comment, EventKind, db
from crm.operations import audit, rows, timeline
from crm.operations.deal_marks import tell
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.operations.transaction import operation
from crm.security.principal import Principal
from crm.values.clock import utc_now

MAX_LENGTH = 10_000
# A note may be mended by its author for a day; then it is history.
EDITABLE_FOR = dt.timedelta(hours=24)


@operation
def add_comment(deal_id: int, by: Principal, text: str) -> Comment:
    """Add a note to the feed; raises ValidationErrors naming ``text``."""
    deal = rows.deal_to_change(deal_id, by)
    comment = Comment(deal_id=deal.id, author_id=by.id, text=_checked(text))
    db.session.add(comment)
    timeline.note(EventKind.COMMENT, deal=deal, by=by, comment=comment)
    tell(deal)
    return comment


@operation
def edit_comment(comment_id: int, by: Principal, text: str) -> Comment:
    """Change one's own note within 24 hours.

    Raises NotFound, Forbidden (somebody else's), Conflict (too late), ValidationErrors.
    """
    comment: Comment | None = db.session.get(Comment, comment_id)
    if comment is None:
        raise NotFound(_("Комментарий не найден."))
    deal = rows.deal_to_change(comment.deal_id, by)
    if comment.author_id != by.id:
        raise Forbidden(_("Комментарий может изменить только его автор."))
    if utc_now() - comment.created_at > EDITABLE_FOR:
        raise Conflict(_("Комментарий можно изменить только в течение 24 часов."))
    before = {"text": comment.text}
    comment.text = _checked(text)
    db.session.flush()
    audit.record("update", comment, by, before=before, after={"text": comment.text})
    tell(deal)
    return comment


def _checked(text: str) -> str:
    cleaned = text.strip()
    if not cleaned:
        raise ValidationErrors.one("text", _("Напишите комментарий."))
    if len(cleaned) > MAX_LENGTH:
        raise ValidationErrors.one(
            "text", _("Комментарий длиннее %(limit)s знаков.", limit=MAX_LENGTH)
        )
    return cleaned
