"""Making, filling in, saving, giving, taking and deleting deals."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from crm.models import (
    AuditEntry,
    Comment,
    Contact,
    Deal,
    Employee,
    EventKind,
    MoveHow,
    Pipeline,
    Source,
    StageHistory,
    TimelineEvent,
    UserGrant,
    db,
)
from crm.operations import comments, deal_fields, deals, limits, new_deal, tasks
from crm.operations.errors import Conflict, Forbidden, NotFound, ValidationErrors
from crm.security.grants import Grant
from crm.security.principal import Principal, load_principal
from crm.values.clock import utc_now
from tests.factories import Factory

Rights = Callable[[str], Principal]


@pytest.fixture
def worker(principal: Rights) -> Rights:
    """Rights of a person whose role may add deals."""

    def make(name: str) -> Principal:
        person = principal(name)
        added = person.permissions | {("can_add", "Deals"), ("can_list", "Deals")}
        return dataclasses.replace(person, permissions=added)

    return make


def fields(error: pytest.ExceptionInfo[ValidationErrors]) -> list[str]:
    return [complaint.field for complaint in error.value.errors]


def events(deal: Deal, kind: EventKind) -> list[TimelineEvent]:
    query = select(TimelineEvent).where(
        TimelineEvent.deal_id == deal.id, TimelineEvent.kind == kind
    )
    return list(db.session.scalars(query.order_by(TimelineEvent.id)))


def grant(name: str, make: Factory, code: Grant, value: object = None) -> None:
    row = UserGrant(user_id=make.people[name].id, code=code, allow=True, value=value)
    db.session.add(row)
    db.session.commit()


# --- creation ---------------------------------------------------------------------


def test_a_hand_made_deal_is_saved_and_begins_its_history(make: Factory, worker: Rights) -> None:
    by, source = worker("manager"), make.source()
    deal = deals.create_deal(
        pipeline_id=make.pipeline.id, by=by, contact=make.contact(), source_id=source.id
    )
    assert (deal.stage_id, deal.responsible_id) == (make.stage(0).id, by.id)
    assert (deal.is_saved, deal.source_id, deal.department_id) == (
        True,
        source.id,
        by.department_id,
    )
    row = db.session.scalars(select(StageHistory).where(StageHistory.deal_id == deal.id)).one()
    assert (row.from_stage_id, row.to_stage_id, row.how) == (None, deal.stage_id, MoveHow.MANUAL)
    assert len(events(deal, EventKind.CREATED)) == 1


def test_adding_needs_the_right(make: Factory, principal: Rights) -> None:
    stripped = dataclasses.replace(principal("manager"), permissions=frozenset())
    with pytest.raises(Forbidden):
        deals.create_deal(pipeline_id=make.pipeline.id, by=stripped, source_id=make.source().id)


@pytest.mark.parametrize(
    "options",
    [None, {"active": False}, {"show_in_crm": False}, {"hide_from_other_departments": True}],
)
def test_source_must_be_one_that_may_be_chosen(
    make: Factory, worker: Rights, options: dict[str, bool] | None
) -> None:
    department = make.people["stranger"].department_id
    source = make.source(department_id=department, **options) if options else None
    with pytest.raises(ValidationErrors) as refused:
        deals.create_deal(
            pipeline_id=make.pipeline.id,
            by=worker("manager"),
            contact=make.contact(),
            source_id=source.id if source else None,
        )
    assert fields(refused) == ["source"]


def test_a_person_is_asked_for_required_fields_and_the_system_never(
    make: Factory, worker: Rights
) -> None:
    source = make.source()
    with pytest.raises(ValidationErrors) as refused:
        deals.create_deal(
            pipeline_id=make.pipeline.id,
            by=worker("manager"),
            stage_id=make.stage(1).id,
            source_id=source.id,
            values={"amount": "5 000 000"},
        )
    assert fields(refused) == ["contact_name", "need"]
    came = utc_now() - dt.timedelta(minutes=3)
    deal = deals.create_deal(
        pipeline_id=make.pipeline.id,
        by=None,
        is_saved=False,
        channel="call",
        how=MoveHow.INTAKE,
        received_at=came,
    )
    assert (deal.is_saved, deal.processed_at, deal.first_appeal_at) == (False, None, came)
    assert deal.responsible_id is None


def test_a_deal_is_born_in_work_and_not_past_a_mandatory_stage(
    make: Factory, worker: Rights
) -> None:
    source = make.source()
    for place in (2, 7):
        with pytest.raises(ValidationErrors) as refused:
            deals.create_deal(
                pipeline_id=make.pipeline.id,
                by=worker("director"),
                stage_id=make.stage(place).id,
                source_id=source.id,
            )
        assert fields(refused) == ["stage_id"]


# --- editing ----------------------------------------------------------------------


def test_fields_are_read_written_and_told(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    values = {
        "amount": "12 500 000 ₽",
        "need_kind": "flat",
        "need_rooms": "1-3, студия",
        "need_area_from": "52,5",
        "need_districts": "Пушкин, Павловск",
        "payment": " Ипотека ",
        "comment": "Только утром",
        "contact_email": "Anna@Example.ru",
        "contact_name": "Анна Иванова",
    }
    deals.edit_deal(deal.id, by, values)
    assert deal.amount == Decimal(12_500_000)
    assert deal.need == {
        "kind": "flat",
        "rooms": [0, 1, 2, 3],
        "area_from": "52.5",
        "districts": ["Пушкин", "Павловск"],
    }
    assert (deal.payment, deal.comment) == ("Ипотека", "Только утром")
    assert deal.contact is not None
    assert deal.contact.emails[0].email == "anna@example.ru"
    told = {change["field"]: change for change in events(deal, EventKind.FIELDS)[0].data["changes"]}
    assert told["amount"] == {"field": "amount", "old": "", "new": "12\u00a0500\u00a0000\u00a0₽"}
    assert told["contact_email"] == {"field": "contact_email"}
    audited = db.session.scalars(select(AuditEntry).where(AuditEntry.object_id == deal.id)).all()
    assert audited[-1].after["amount"] == "12500000"
    deals.edit_deal(deal.id, by, {"need_rooms": "", "need_kind": None})
    assert "rooms" not in deal.need


def test_bad_input_is_refused_beside_its_fields_and_writes_nothing(
    make: Factory, principal: Rights
) -> None:
    deal = make.deal()
    values = {
        "amount": "-5",
        "need_kind": "castle",
        "need_rooms": "99",
        "contact_email": "нет",
        "contact_phone": "12",
        "nonsense": "1",
        "need": "x",
        "payment": "д" * 256,
        "comment": "ok",
    }
    with pytest.raises(ValidationErrors) as refused:
        deals.edit_deal(deal.id, principal("manager"), values)
    assert fields(refused) == [code for code in values if code != "comment"]
    db.session.expire_all()
    assert deal.comment is None


def test_one_line_of_the_need_follows_until_typed_by_hand(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    deals.edit_deal(deal.id, by, {"need_kind": "flat", "need_rooms": "2"})
    assert deal.need_text == "Квартира, 2-к"
    deals.edit_deal(deal.id, by, {"need_text": "двушка у парка"})
    deals.edit_deal(deal.id, by, {"need_rooms": "3"})
    assert deal.need_text == "двушка у парка"


def test_without_words_of_its_own_the_line_says_the_parts_again(
    make: Factory, principal: Rights
) -> None:
    deal, by = make.deal(need_text="двушка у парка", need={"kind": "flat"}), principal("manager")
    deals.edit_deal(deal.id, by, {"need_text": " "})
    assert deal.need_text == "Квартира"


def test_areas_typed_one_by_one_are_held_against_each_other(
    make: Factory, principal: Rights
) -> None:
    deal, by = make.deal(), principal("manager")
    deals.edit_deal(deal.id, by, {"need_area_to": "50"})
    with pytest.raises(ValidationErrors) as refused:
        deals.edit_deal(deal.id, by, {"need_area_from": "70,5"})
    assert fields(refused) == ["need_area_from"]
    deals.edit_deal(deal.id, by, {"need_area_from": "40"})
    with pytest.raises(ValidationErrors) as refused:
        deals.edit_deal(deal.id, by, {"need_area_to": "30"})
    assert fields(refused) == ["need_area_to"]
    deals.edit_deal(deal.id, by, {"need_area_from": "", "need_area_to": "30"})
    assert deal.need == {"area_to": "30"}


def test_signs_nobody_sees_are_not_kept(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    deals.edit_deal(deal.id, by, {"payment": "\x01\u202eНаличные\u202c\x7f", "comment": "а\nб\tв"})
    assert (deal.payment, deal.comment) == ("Наличные", "а\nб\tв")


def test_an_edit_over_somebody_elses_is_refused(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    seen = deal.version
    deals.edit_deal(deal.id, principal("head"), {"amount": "1"}, seen)
    with pytest.raises(Conflict):
        deals.edit_deal(deal.id, by, {"amount": "2"}, seen)
    assert deal.amount == 1


def test_a_call_or_comment_meanwhile_does_not_refuse_an_edit(
    make: Factory, principal: Rights
) -> None:
    deal, by = make.deal(), principal("manager")
    seen = deal.version
    comments.add_comment(deal.id, principal("head"), "Позвоните ему")
    deals.edit_deal(deal.id, by, {"amount": "2"}, seen)
    assert deal.amount == 2


def test_editing_follows_the_rights(make: Factory, principal: Rights) -> None:
    deal, common = make.deal("stranger"), make.deal("stranger", 6)
    with pytest.raises(NotFound):
        deals.edit_deal(deal.id, principal("manager"), {"amount": "1"})
    with pytest.raises(Forbidden):
        deals.edit_deal(common.id, principal("manager"), {"amount": "1"})
    with pytest.raises(NotFound):
        deals.edit_deal(999_999, principal("admin"), {"amount": "1"})


def test_the_source_changes_by_its_own_rule_and_is_logged(make: Factory, principal: Rights) -> None:
    fixed = make.source("ЦИАН", manager_may_change=False)
    free, deal = make.source("Сайт"), make.deal(source=fixed)
    with pytest.raises(ValidationErrors) as refused:
        deals.change_source(deal.id, free.id, principal("manager"))
    assert fields(refused) == ["source"]
    deals.change_source(deal.id, free.id, principal("head"))
    assert deal.source is free
    assert events(deal, EventKind.SOURCE)[0].data == {"old": "ЦИАН", "new": "Сайт"}


def test_masked_contacts_are_not_described(make: Factory, principal: Rights) -> None:
    grant("manager", make, Grant.ONLY_STAFF_CONTACTS)
    deal = make.deal(contact=make.contact(phone="+79123456789"))
    seen = deal_fields.describe(deal, principal("manager"))
    assert seen["contact_phone"]["value"] is None
    assert "345" not in seen["contact_phone"]["text"]
    assert seen["contact_phone"]["filled"]
    open_ = deal_fields.describe(deal, principal("head"), ["contact_phone", "need"])
    assert open_["contact_phone"]["value"] == "+79123456789"
    assert open_["need"]["parts"][0]["code"] == "need_kind"


# --- unprocessed ------------------------------------------------------------------


def test_saving_demands_the_stages_fields_and_ends_the_mark(
    make: Factory, principal: Rights
) -> None:
    by = principal("manager")
    deal = make.deal(is_saved=False, contact=make.contact(""))
    with pytest.raises(ValidationErrors) as refused:
        deals.save_deal(deal.id, by, {})
    assert fields(refused) == ["contact_name", "source"]
    assert not deal.is_saved
    deals.save_deal(deal.id, by, {"contact_name": "Пётр", "source": make.source().id})
    assert deal.is_saved
    first = deal.processed_at
    assert first is not None
    deals.save_deal(deal.id, by, {"comment": "ещё"})
    assert deal.processed_at == first


def test_editing_and_comments_do_not_end_the_mark(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(is_saved=False), principal("manager")
    deals.edit_deal(deal.id, by, {"amount": "1"})
    comments.add_comment(deal.id, by, "Слушал запись")
    assert not deal.is_saved


# --- giving -----------------------------------------------------------------------


def test_a_transfer_takes_the_open_tasks_along(make: Factory, principal: Rights) -> None:
    deal, mate = make.deal(), make.people["teammate"]
    task, done = make.task(deal), make.task(deal, done_at=utc_now())
    deals.assign(deal.id, mate.id, principal("manager"))
    assert deal.responsible is mate
    assert (task.responsible_id, done.responsible_id) == (mate.id, make.people["manager"].id)
    data = events(deal, EventKind.RESPONSIBLE)[0].data
    assert (data["old_id"], data["new_id"]) == (make.people["manager"].id, mate.id)
    with pytest.raises(NotFound):
        deals.assign(deal.id, make.people["manager"].id, principal("manager"))


def test_nobody_gives_away_what_is_not_his(make: Factory, principal: Rights) -> None:
    make.stage(6).open_full = True
    db.session.commit()
    deal, by = make.deal("stranger", 6), principal("manager")
    with pytest.raises(Forbidden):
        deals.assign(deal.id, make.people["teammate"].id, by)
    deals.assign(deal.id, by.id, by)
    assert deal.responsible_id == by.id
    make.people["teammate"].active = False
    db.session.commit()
    with pytest.raises(ValidationErrors):
        deals.assign(deal.id, make.people["teammate"].id, by)


def test_taking_an_undistributed_request(make: Factory, principal: Rights) -> None:
    department = make.people["manager"].department_id
    deal = make.deal(None, is_saved=False, department_id=department)
    with pytest.raises(NotFound):
        deals.take(deal.id, principal("stranger"))
    with pytest.raises(NotFound):
        deals.take(make.deal(None).id, principal("marketer"))
    deals.take(deal.id, principal("manager"))
    assert not deal.is_saved
    assert deals.take(deal.id, principal("manager")) is deal
    with pytest.raises(Conflict, match="Manager Тестов"):
        deals.take(deal.id, principal("teammate"))
    with pytest.raises(NotFound):
        deals.take(deal.id, principal("stranger"))


def test_limits_of_requests(make: Factory, principal: Rights) -> None:
    grant("manager", make, Grant.MAX_REQUESTS_DAY, 2)
    first, second, third = (make.deal(None, is_saved=False) for _ in range(3))
    for deal in (first, second):
        deals.take(deal.id, principal("manager"))
    with pytest.raises(Conflict, match=r"Лимит заявок на сегодня \(2\) исчерпан"):
        deals.take(third.id, principal("manager"))
    assert third.responsible_id is None
    with pytest.raises(Conflict, match="Лимит"):
        deals.assign(third.id, make.people["manager"].id, principal("head"))
    # Given back within ten minutes: the place is free again.
    deals.assign(second.id, None, principal("head"))
    assert limits.used(make.people["manager"].id) == (1, 1)
    deals.take(third.id, principal("manager"))
    deals.assign(second.id, make.people["manager"].id, principal("director"), above_limit=True)
    assert limits.used(make.people["manager"].id) == (3, 3)


def test_the_month_has_a_limit_of_its_own_and_zero_gets_none(
    make: Factory, principal: Rights
) -> None:
    grant("manager", make, Grant.MAX_REQUESTS_MONTH, 1)
    grant("teammate", make, Grant.MAX_REQUESTS_DAY, 0)
    with time_machine.travel(dt.datetime(2026, 11, 10, 9, tzinfo=dt.UTC)):
        deals.take(make.deal(None, is_saved=False).id, principal("manager"))
        with pytest.raises(Conflict, match="сегодня"):
            deals.take(make.deal(None, is_saved=False).id, principal("teammate"))
    late = make.deal(None, is_saved=False)
    # 30 November 23:30 in Moscow, then the first of December there.
    with (
        time_machine.travel(dt.datetime(2026, 11, 30, 20, 30, tzinfo=dt.UTC)),
        pytest.raises(Conflict, match="месяц"),
    ):
        deals.take(late.id, principal("manager"))
    with time_machine.travel(dt.datetime(2026, 11, 30, 21, 30, tzinfo=dt.UTC)):
        deals.take(late.id, principal("manager"))
    assert late.responsible_id == make.people["manager"].id


# --- deletion ---------------------------------------------------------------------


def test_only_administrators_delete_and_restore(make: Factory, principal: Rights) -> None:
    deal = make.deal()
    task = make.task(deal)
    with pytest.raises(Forbidden):
        deals.delete_deal(deal.id, principal("director"))
    with pytest.raises(NotFound):
        deals.delete_deal(deal.id, principal("stranger"))
    deals.delete_deal(deal.id, principal("admin"))
    assert task.done_at is not None
    with pytest.raises(NotFound):
        deals.edit_deal(deal.id, principal("admin"), {"amount": "1"})
    with pytest.raises(Forbidden):
        deals.restore_deal(deal.id, principal("director"))
    deals.restore_deal(deal.id, principal("admin"))
    assert (deal.deleted_at, task.done_at, deal.next_task_text) == (None, None, task.text)


# --- comments ---------------------------------------------------------------------


def test_comments_are_mended_by_their_author_for_a_day(make: Factory, principal: Rights) -> None:
    deal, by = make.deal(), principal("manager")
    comment = comments.add_comment(deal.id, by, " Нужен балкон ")
    assert events(deal, EventKind.COMMENT)[0].comment_id == comment.id
    comments.edit_comment(comment.id, by, "Нужен балкон и вид")
    assert db.session.get(Comment, comment.id).text == "Нужен балкон и вид"
    with pytest.raises(Forbidden):
        comments.edit_comment(comment.id, principal("head"), "нет")
    with pytest.raises(ValidationErrors):
        comments.add_comment(deal.id, by, "   ")
    with pytest.raises(NotFound):
        comments.add_comment(deal.id, principal("stranger"), "я")
    with time_machine.travel(utc_now() + dt.timedelta(hours=25)), pytest.raises(Conflict):
        comments.edit_comment(comment.id, by, "поздно")


# --- two at once ------------------------------------------------------------------


def race(app: Flask, *acts: Callable[[], object]) -> list[str]:
    """Run the acts at the same moment in threads; how each ended."""
    start, ended = threading.Barrier(len(acts)), [""] * len(acts)

    def run(place: int) -> None:
        with app.app_context():
            start.wait(10)
            try:
                acts[place]()
                ended[place] = "done"
            except Conflict as error:
                ended[place] = error.message
            finally:
                db.session.remove()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return ended


def staff(*names: str) -> list[Employee]:
    return [db.session.scalars(select(Employee).where(Employee.username == n)).one() for n in names]


def waiting_deals(count: int) -> list[int]:
    pipeline = db.session.scalars(select(Pipeline).where(Pipeline.is_default)).one()
    made = [
        deals.create_deal(pipeline_id=pipeline.id, by=None, is_saved=False) for _ in range(count)
    ]
    return [deal.id for deal in made]


def test_of_two_people_one_takes_and_the_other_is_told(committed: Flask) -> None:
    people = [load_principal(person) for person in staff("manager", "teammate")]
    for deal_id in waiting_deals(5):
        db.session.remove()
        ended = race(committed, *(lambda p=p, d=deal_id: deals.take(d, p) for p in people))
        assert sorted(text == "done" for text in ended) == [False, True], ended
        assert any("Сделку уже взял(а)" in text for text in ended), ended


def test_a_form_sent_twice_at_once_makes_one_deal(committed: Flask) -> None:
    (person,) = staff("manager")
    source = Source(name="Вывеска")
    contact = Contact(name="Анна", responsible_id=person.id)
    db.session.add_all([source, contact])
    db.session.commit()
    pipeline = db.session.scalars(select(Pipeline.id).where(Pipeline.is_default)).one()
    sent: dict[str, Any] = {
        "pipeline_id": pipeline, "by": load_principal(person), "contact_id": contact.id,
        "source_id": source.id, "values": {},
    }  # fmt: skip

    def press() -> None:
        try:
            new_deal.create_with_client(**sent)
        except ValidationErrors as error:
            raise Conflict(error.message) from error

    db.session.remove()
    ended = race(committed, press, press, press)
    assert sorted(ended)[0] == "done", ended
    assert sum("открытая сделка" in text for text in ended) == 2, ended


def test_two_requests_cannot_both_take_the_last_place(committed: Flask) -> None:
    (person,) = staff("manager")
    db.session.add(UserGrant(user_id=person.id, code=Grant.MAX_REQUESTS_DAY, allow=True, value=1))
    db.session.commit()
    principal = load_principal(person)
    ids = waiting_deals(2)
    db.session.remove()
    ended = race(committed, *(lambda d=d: deals.take(d, principal) for d in ids))
    assert sorted(text == "done" for text in ended) == [False, True], ended
    assert any("Лимит" in text for text in ended), ended
    assert limits.used(principal.id) == (1, 1)


def test_two_people_finish_one_task(committed: Flask) -> None:
    people = [load_principal(person) for person in staff("head", "director")]
    (deal_id,) = waiting_deals(1)
    deals.assign(deal_id, people[0].id, None)
    task = tasks.set_task(
        by=None, deal_id=deal_id, text="Позвонить", due_date=utc_now().date(), kind="call"
    )
    task_id = task.id
    db.session.remove()
    ended = race(committed, *(lambda p=p: tasks.complete_task(task_id, p) for p in people))
    assert sorted(text == "done" for text in ended) == [False, True], ended
