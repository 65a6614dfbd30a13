"""Form fields and widgets: what a person types, what the browser gets."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from werkzeug.datastructures import MultiDict
from wtforms import BooleanField, DateField, Form, StringField, TextAreaField

from crm.views import widgets


class Sample(Form):  # type: ignore[misc]
    """One field of each kind."""

    moment = widgets.LocalDateTimeField("Когда", widget=widgets.DateTimeWidget())
    amount = widgets.LocalDecimalField("Сумма", widget=widgets.DecimalWidget())
    day = DateField("День", widget=widgets.DateWidget())
    name = StringField("Название", widget=widgets.TextWidget())
    note = TextAreaField("Заметка", widget=widgets.TextAreaWidget())
    active = BooleanField("Включён", widget=widgets.SwitchWidget())
    file = StringField("Файл", widget=widgets.FileWidget())


@pytest.fixture(autouse=True)
def moscow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets, "company_zone", lambda: ZoneInfo("Europe/Moscow"))


def send(**values: str) -> Sample:
    form = Sample(MultiDict(values))
    form.validate()
    return form


@pytest.mark.parametrize("typed", ["2026-11-23 14:05:00", "2026-11-23 14:05", "2026-11-23T14:05"])
def test_a_moment_is_typed_in_the_companys_zone_and_kept_in_utc(typed: str) -> None:
    form = send(moment=typed)
    assert form.moment.data == dt.datetime(2026, 11, 23, 11, 5, tzinfo=dt.UTC)


def test_a_moment_is_shown_in_the_companys_zone() -> None:
    form = Sample(obj=SimpleNamespace(moment=dt.datetime(2026, 11, 23, 22, 30, tzinfo=dt.UTC)))
    assert 'value="2026-11-24 01:30:00"' in form.moment()


def test_an_empty_moment_is_none() -> None:
    assert send(moment="").moment.data is None


def test_an_unreadable_moment_is_refused_and_stays_in_the_box() -> None:
    form = send(moment="завтра")
    assert len(form.moment.errors) == 1
    assert 'value="завтра"' in form.moment()


@pytest.mark.parametrize("typed", ["1200,5", "1 200,50", "1\u00a0200.50"])
def test_a_number_is_read_as_russians_type_it(typed: str) -> None:
    assert send(amount=typed).amount.data == Decimal("1200.5")


@pytest.mark.parametrize("typed", ["12 рублей", "NaN", "Infinity", "1,2,3"])
def test_what_is_not_a_number_is_refused(typed: str) -> None:
    form = send(amount=typed)
    assert form.amount.errors
    assert form.amount.data is None


def test_calendars_are_marked_for_the_script() -> None:
    form = Sample()
    assert " data-date" in form.day()
    assert " data-datetime" in form.moment()


def test_a_box_does_not_repeat_its_label_inside() -> None:
    form = Sample()
    assert "placeholder" not in form.name() + form.note() + form.amount()


def test_typed_text_is_escaped() -> None:
    assert "<script>" not in send(name='"><script>alert(1)</script>').name()


def test_a_switch_is_a_checkbox_for_the_form() -> None:
    assert 'role="switch"' in Sample().active()
    assert send(active="y").active.data is True
    assert send().active.data is False


def test_the_stored_name_of_a_file_is_not_shown() -> None:
    form = Sample(obj=SimpleNamespace(file="7f3a_secret.pdf"))
    page = form.file()
    assert "7f3a_secret" not in page
    assert 'name="_file-delete"' in page


def test_rights_stand_in_the_habitual_order() -> None:
    names = ["can_delete", "export", "can_add", "can_list", "can_edit", "can_show"]
    rights = [widgets.Right(str(n), name, name, granted=False) for n, name in enumerate(names)]
    ordered = [right.name for right in sorted(rights, key=widgets._habitual)]
    assert ordered == ["can_list", "can_show", "can_add", "can_edit", "can_delete", "export"]
