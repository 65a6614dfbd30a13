"""The form of a listing: its fields by group, each with whom it concerns and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.datastructures import MultiDict

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.base import FieldKind, FieldSpec, Group
from crm.models import Listing
from crm.operations.errors import OperationError, ValidationErrors
from crm.operations.listing_fields import RENT_ONLY, SALE_ONLY, all_groups, text_of
from crm.operations.listing_offers import value_of
from crm.values.clock import zone

SALE, RENT = "sale", "rent"
# Chosen above the groups, because they decide which fields there are.
LEADING = ("deal_type", "kind")
# Fields outside the catalogue: what the agency keeps for itself.
OWN = ("owner_id", "responsible_id", "exclusive_until")
# Seen at once; the rest of a group unfolds.
_MAIN = frozenset({
    "market", "sale_kind", "lease_kind", "title", "description", "cadastral_number",
    "region", "locality", "sub_locality", "address", "flat_number", "metro",
    "price", "price_period", "bargain_allowed", "mortgage_allowed",
    "deposit_amount", "client_commission_pct", "share_amount", "min_lease_months",
    "is_apartments", "rooms", "rooms_offered", "is_studio", "area_total", "area_living",
    "area_kitchen", "floor", "floors_total", "renovation", "balconies", "wc_separate",
    "wc_combined", "ceiling_height", "wall_material", "built_year", "building_state",
    "ready_quarter", "lift", "complex_name", "land_area_m2", "land_status", "heating", "water",
    "sewerage", "electricity", "gas", "garage_status", "garage_name", "parking_type",
    "commercial_types", "purposes", "entrance_type", "building_class", "bedrooms",
    "registration_possible",
})  # fmt: skip
_WIDE = frozenset({"title", "description", "metro"})
_HALF = frozenset({"address"})
_HINTS = {
    "metro": _l("Через точку с запятой: Сокол 7 мин пешком; Аэропорт 10 мин транспортом"),
    "area_rooms": _l("Через точку с запятой: 18,2; 12,6"),
    "flat_number": _l("На площадки уходит, только если площадка его требует."),
    "cadastral_number": _l("Например, 78:42:0018001:2214"),
    "title": _l("Пусто — название составится само."),
}
# Filled by themselves: nobody needs to see them at once.
_USUAL = {"country": "Россия", "currency": "RUB"}
_MONEY = frozenset({"price", "discount_price", "deposit_amount"})
_ROWS = {"description": 8}
# Dates and money have their own boxes; a number is text, so that a comma may be typed.
_CONTROLS = {
    FieldKind.ENUM: "select",
    FieldKind.BOOL: "yesno",
    FieldKind.MULTI: "checks",
    FieldKind.DATE: "date",
    FieldKind.DATETIME: "datetime",
}


@dataclass(slots=True)
class FormField:
    """One control; ``kinds`` and ``deals`` say for which listings it is shown."""

    name: str
    label: str
    control: str
    value: Any
    unit: str = ""
    options: list[tuple[str, str]] = field(default_factory=list)
    kinds: str = ""
    deals: str = ""
    shown: bool = True
    main: bool = True
    # Columns taken: "", "half" or "full".
    width: str = ""
    hint: str = ""
    rows: int = 3
    error: str = ""
    # What a portal would say about it.
    remark: str = ""


@dataclass(slots=True)
class FormGroup:
    """Fields under one heading."""

    code: str
    title: str
    fields: list[FormField]

    @property
    def shown(self) -> bool:
        """Whether anything of the group concerns the listing."""
        return any(item.shown for item in self.fields)

    @property
    def open(self) -> bool:
        """Whether the rare fields must be seen: one is filled, wrong, or remarked upon."""
        return any(
            item.shown
            and not item.main
            and (item.error or item.remark or item.value not in ("", [], _USUAL.get(item.name)))
            for item in self.fields
        )


class ListingForm:
    """Values of the form (typed by a person, or of a listing) and complaints about them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self.errors: dict[str, str] = {}
        self.remarks: dict[str, str] = {}

    @classmethod
    def blank(cls, args: Mapping[str, str]) -> ListingForm:
        """An empty form; the address may choose the kind and the deal."""
        chosen = {name: args.get(name, "") for name in LEADING}
        form = cls(chosen)
        form.values["deal_type"] = form.deal_type.value
        form.values["kind"] = form.kind.value
        return form

    @classmethod
    def of(cls, listing: Listing) -> ListingForm:
        """The form of a stored listing."""
        values: dict[str, Any] = {
            spec.name: _input(spec, value_of(listing, spec.name))
            for specs in all_groups().values()
            for spec in specs
        }
        until = listing.exclusive_until
        values["owner_id"] = listing.owner_id
        values["exclusive_until"] = until.astimezone(zone(None)).date().isoformat() if until else ""
        return cls(values)

    @classmethod
    def typed(cls, sent: MultiDict[str, str]) -> ListingForm:
        """The form as it was sent; fields that were not there are left out."""
        values: dict[str, Any] = {}
        for specs in all_groups().values():
            for spec in specs:
                if spec.name in sent:
                    many = spec.kind is FieldKind.MULTI
                    values[spec.name] = sent.getlist(spec.name) if many else sent[spec.name]
        values |= {name: sent[name] for name in OWN if name in sent}
        return cls(values)

    @property
    def kind(self) -> v.Kind:
        """The chosen kind, a flat until one is chosen."""
        return next((word for word in v.Kind if word == self.values.get("kind")), v.Kind.FLAT)

    @property
    def deal_type(self) -> v.DealType:
        """The chosen deal, a sale until one is chosen."""
        chosen = self.values.get("deal_type")
        return next((word for word in v.DealType if word == chosen), v.DealType.SALE)

    @property
    def input(self) -> dict[str, Any]:
        """What the operations take: everything as typed.

        Browsers send nothing for boxes that are all empty, so the form sends an empty word too.
        """
        return {
            name: [word for word in value if word] if isinstance(value, list) else value
            for name, value in self.values.items()
        }

    def refuse(self, error: OperationError) -> None:
        """Put complaints beside their fields; those of no field are under the empty name."""
        if not isinstance(error, ValidationErrors):
            self.errors[""] = error.message
            return
        for item in error.errors:
            name = item.field if item.field in self._names() else ""
            known = self.errors.get(name)
            self.errors[name] = f"{known} {item.message}" if known else item.message

    def remark(self, name: str, message: str) -> None:
        """Add what a portal says about a field."""
        known = self.remarks.get(name)
        self.remarks[name] = f"{known}; {message}" if known else message

    @staticmethod
    def _names() -> set[str]:
        return {spec.name for specs in all_groups().values() for spec in specs} | set(OWN)

    def groups(self) -> list[FormGroup]:
        """Everything below the choice of kind and deal, in the order of the form."""
        found = []
        for group, specs in all_groups().items():
            rest = [self._field(spec) for spec in specs if spec.name not in LEADING]
            found.append(FormGroup(group.value, _(group.label), rest))
        order = {Group.ADDRESS: 0, Group.TERMS: 1, Group.PUBLICATION: 9}
        return sorted(found, key=lambda group: order.get(Group.of(group.code), 5))

    def leading(self) -> dict[str, FormField]:
        """The choice of kind and deal."""
        fields = {spec.name: spec for specs in all_groups().values() for spec in specs}
        chosen = {"deal_type": self.deal_type.value, "kind": self.kind.value}
        made = {name: self._field(fields[name]) for name in LEADING}
        for name, value in chosen.items():
            made[name].value = value
        return made

    def _field(self, spec: FieldSpec) -> FormField:
        deals = (SALE,) if spec.name in SALE_ONLY else (RENT,)
        every = spec.name not in SALE_ONLY | RENT_ONLY
        here = SALE if self.deal_type is v.DealType.SALE else RENT
        return FormField(
            name=spec.name,
            label=_(spec.label),
            control=_control(spec, self.values.get(spec.name)),
            value=self.values.get(spec.name, ""),
            unit=_(spec.unit) if spec.unit else "",
            options=_options(spec),
            kinds="" if spec.kinds == v.ANY_KIND else " ".join(sorted(spec.kinds)),
            deals="" if every else " ".join(deals),
            shown=spec.concerns(self.kind) and (every or here in deals),
            main=spec.name in _MAIN,
            width=_width(spec),
            hint=str(_HINTS.get(spec.name, "")),
            rows=_ROWS.get(spec.name, 2),
            error=self.errors.get(spec.name, ""),
            remark=self.remarks.get(spec.name, ""),
        )


def _control(spec: FieldSpec, value: Any) -> str:
    if spec.name == "description":
        return "textarea"
    # The box of money holds whole roubles: kopecks of a feed must not be lost in it.
    if spec.name in _MONEY and "," not in str(value or ""):
        return "money"
    return _CONTROLS.get(spec.kind, "text")


def _width(spec: FieldSpec) -> str:
    if spec.name in _WIDE or spec.kind is FieldKind.MULTI:
        return "full"
    return "half" if spec.name in _HALF else ""


def _options(spec: FieldSpec) -> list[tuple[str, str]]:
    if spec.kind is FieldKind.BOOL:
        return [("1", _("да")), ("0", _("нет"))]
    return [(word.value, _(word.label)) for word in spec.enum] if spec.enum else []


def _input(spec: FieldSpec, value: Any) -> Any:
    """What stands in the control: a list for boxes of words, a text for all others."""
    if spec.kind is FieldKind.MULTI:
        return [str(word) for word in value or ()]
    if spec.kind is FieldKind.DATETIME and value is not None:
        # The zone in which the form is read back.
        return value.astimezone(zone(None)).strftime("%Y-%m-%d %H:%M:%S")
    return text_of(spec, value)
