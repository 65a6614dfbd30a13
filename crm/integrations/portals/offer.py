"""The canonical listing: what every feed is read into and written from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crm.integrations.portals import vocabulary as v
from crm.integrations.portals.fields import FIELDS, Metro, OfferPhoto


@dataclass(slots=True)
class Offer:
    """One listing; None means "not stated", which is never the same as "no".

    Areas are m2, plots too (`land_unit` keeps the unit the person typed), moments are aware,
    money is in `currency`. `extra` keeps elements the format's reader does not know, `notes`
    says in Russian what could not be understood; neither is ever exported.
    """

    public_id: str
    deal_type: v.DealType
    kind: v.Kind

    # Publication
    market: v.Market | None = None
    sale_kind: v.SaleKind | None = None
    lease_kind: v.LeaseKind | None = None
    is_apartments: bool | None = None
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    publish_until: dt.datetime | None = None
    title: str | None = None
    description: str | None = None
    cadastral_number: str | None = None
    lot_number: str | None = None
    url: str | None = None
    promo: list[v.Promo] = field(default_factory=list)
    promo_raise_at: dt.datetime | None = None
    photos: list[OfferPhoto] = field(default_factory=list)
    photo_order_may_change: bool | None = None
    plan_guess_disabled: bool | None = None
    video_url: str | None = None
    tour_url: str | None = None
    tour_provider: v.TourProvider | None = None
    tour_preview_url: str | None = None
    online_show: bool | None = None

    # Place
    country: str = "Россия"
    region: str | None = None
    district: str | None = None
    locality: str | None = None
    sub_locality: str | None = None
    landmark: str | None = None
    address: str | None = None
    flat_number: str | None = None
    highway: str | None = None
    distance_km: Decimal | None = None
    lat: Decimal | None = None
    lon: Decimal | None = None
    metro: list[Metro] = field(default_factory=list)
    railway_station: str | None = None
    settlement_name: str | None = None

    # Contacts
    owner_role: v.OwnerRole | None = None
    phones: list[str] = field(default_factory=list)
    contact_name: str | None = None
    contact_email: str | None = None
    agency_name: str | None = None
    agency_url: str | None = None
    agency_logo: str | None = None

    # Price and terms
    price: Decimal | None = None
    currency: v.Currency = v.Currency.RUB
    price_unit: v.PriceUnit | None = None
    price_period: v.PricePeriod | None = None
    vat: v.Vat | None = None
    discount_price: Decimal | None = None
    discount_until: dt.datetime | None = None
    bargain_allowed: bool | None = None
    mortgage_allowed: bool | None = None
    share_amount: str | None = None
    prepayment_pct: Decimal | None = None
    prepay_months: int | None = None
    deposit_required: bool | None = None
    deposit_pct: Decimal | None = None
    deposit_amount: Decimal | None = None
    client_commission_pct: Decimal | None = None
    agent_commission_pct: Decimal | None = None
    utilities_included: bool | None = None
    electricity_included: bool | None = None
    cleaning_included: bool | None = None
    utilities_amount: Decimal | None = None
    meters_paid_by: v.MetersPaidBy | None = None
    min_lease_months: int | None = None
    grace_period: bool | None = None
    available_from: dt.date | None = None
    pets: bool | None = None
    children: bool | None = None
    smoking: bool | None = None
    not_for_agents: bool | None = None

    # Rooms and areas
    rooms: int | None = None
    rooms_offered: int | None = None
    is_studio: bool | None = None
    is_open_plan: bool | None = None
    room_layout: list[v.RoomLayout] = field(default_factory=list)
    area_total: Decimal | None = None
    area_living: Decimal | None = None
    area_kitchen: Decimal | None = None
    area_rooms: list[Decimal] = field(default_factory=list)
    floor: int | None = None
    floors_total: int | None = None
    renovation: v.Renovation | None = None
    finish: v.Finish | None = None
    quality: v.Quality | None = None
    floor_covering: v.FloorCovering | None = None
    balconies: int | None = None
    loggias: int | None = None
    wc_separate: int | None = None
    wc_combined: int | None = None
    wc_total: int | None = None
    window_views: list[v.WindowView] = field(default_factory=list)
    ceiling_height: Decimal | None = None
    has_furniture: bool | None = None
    kitchen_furniture: bool | None = None
    air_conditioner: bool | None = None
    refrigerator: bool | None = None
    washing_machine: bool | None = None
    dishwasher: bool | None = None
    television: bool | None = None
    built_in_tech: bool | None = None
    internet: bool | None = None
    phone_line: bool | None = None
    flat_alarm: bool | None = None
    beds_count: int | None = None

    # Building
    wall_material: v.WallMaterial | None = None
    series: str | None = None
    complex_name: str | None = None
    section: str | None = None
    building_phase: str | None = None
    building_state: v.BuildingState | None = None
    built_year: int | None = None
    ready_quarter: int | None = None
    key_handover_date: dt.date | None = None
    yandex_building_id: str | None = None
    yandex_house_id: str | None = None
    lift: bool | None = None
    lifts_passenger: int | None = None
    lifts_cargo: int | None = None
    garbage_chute: bool | None = None
    guarded_building: bool | None = None
    access_control: bool | None = None
    guarded_parking: bool | None = None
    parking_places: int | None = None
    parking_place_price: Decimal | None = None
    guest_parking: bool | None = None
    guest_parking_places: int | None = None
    alarm: bool | None = None
    security: bool | None = None
    is_elite: bool | None = None

    # House and land
    land_area_m2: Decimal | None = None
    land_unit: v.LandUnit | None = None
    land_status: v.LandStatus | None = None
    bedrooms: int | None = None
    registration_possible: bool | None = None
    house_kitchen: bool | None = None
    wc_location: v.Indoors | None = None
    shower_location: v.Indoors | None = None
    pool: bool | None = None
    billiard: bool | None = None
    sauna: bool | None = None
    heating: bool | None = None
    water: bool | None = None
    sewerage: bool | None = None
    electricity: bool | None = None
    gas: bool | None = None

    # Garage
    garage_status: v.GarageStatus | None = None
    garage_name: str | None = None
    parking_type: v.ParkingType | None = None
    automatic_gates: bool | None = None
    cctv: bool | None = None
    inspection_pit: bool | None = None
    cellar: bool | None = None
    car_wash: bool | None = None
    auto_repair: bool | None = None
    new_parking: bool | None = None

    # Commercial
    commercial_types: list[v.CommercialType] = field(default_factory=list)
    purposes: list[v.Purpose] = field(default_factory=list)
    warehouse_purposes: list[v.WarehousePurpose] = field(default_factory=list)
    building_kind: v.BuildingKind | None = None
    building_class: v.BuildingClass | None = None
    entrance_type: v.EntranceType | None = None
    window_type: v.WindowType | None = None
    house_line: v.HouseLine | None = None
    phone_lines: int | None = None
    power_kw: int | None = None
    extra_phone_lines: bool | None = None
    own_telecom: bool | None = None
    ventilation: bool | None = None
    fire_alarm: bool | None = None
    twenty_four_seven: bool | None = None
    eating_facilities: bool | None = None
    responsible_storage: bool | None = None
    pallet_price: Decimal | None = None
    freight_elevator: bool | None = None
    truck_entrance: bool | None = None
    ramp: bool | None = None
    railway: bool | None = None
    office_warehouse: bool | None = None
    open_area: bool | None = None
    third_party_logistics: bool | None = None
    temperature_comment: str | None = None
    min_area: Decimal | None = None
    is_occupied: bool | None = None
    monthly_income: Decimal | None = None

    extra: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        """JSON-safe and lossless; what is not stated is left out."""
        stored: dict[str, Any] = {}
        for name, spec in FIELDS.items():
            value = getattr(self, name)
            if value is not None and value != []:
                stored[name] = spec.encode(value)
        stored.update({name: value for name in _LOOSE if (value := getattr(self, name))})
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Offer:
        """The offer that `to_dict` gave. Raises `ValueError` on an unknown or damaged value."""
        values: dict[str, Any] = {name: stored[name] for name in _LOOSE if name in stored}
        for name, value in stored.items():
            if name in _LOOSE:
                continue
            if name not in FIELDS:
                raise ValueError(f"Неизвестное поле объекта: {name}")
            values[name] = FIELDS[name].decode(value)
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError("Не указаны номер, вид сделки или вид объекта") from error


_LOOSE = ("extra", "notes")
