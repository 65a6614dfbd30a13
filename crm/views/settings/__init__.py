"""Pages of the settings; `VIEWS` is what `crm.views.register` registers."""

from __future__ import annotations

from crm.views.settings.audit import AuditView
from crm.views.settings.company import CompanyView
from crm.views.settings.employees import EmployeeView
from crm.views.settings.intake import IntakePointView
from crm.views.settings.invitation import InvitationView
from crm.views.settings.lists import (
    DepartmentView,
    LossReasonView,
    OfficeView,
    SourceGroupView,
    TagView,
)
from crm.views.settings.overview import SettingsView
from crm.views.settings.pipelines import PipelineView
from crm.views.settings.roles import RoleView
from crm.views.settings.sources import SourceView
from crm.views.settings.telephony import TelephonyView
from crm.views.settings.telephony_forms import TelephonyFormsView

VIEWS: tuple[type, ...] = (
    SettingsView,
    CompanyView,
    OfficeView,
    DepartmentView,
    EmployeeView,
    InvitationView,
    RoleView,
    PipelineView,
    LossReasonView,
    SourceView,
    SourceGroupView,
    TagView,
    TelephonyView,
    TelephonyFormsView,
    IntakePointView,
    AuditView,
)
