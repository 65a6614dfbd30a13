"""Elements of a YRL offer that hold exactly one field, in the order they are written."""

from __future__ import annotations

from typing import Any

from crm.integrations.portals import yandex_vocabulary as y
from crm.integrations.portals.fields import FIELDS, FieldKind
from crm.integrations.portals.yandex_vocabulary import Element, Form


def _row(form: Any, modern: bool = False, /, **fields: str) -> list[Element]:
    """Elements of one form: Python names of elements with `_` for `-`, to fields of the offer."""
    return [Element(tag.replace("_", "-"), field, form, modern) for tag, field in fields.items()]


SIMPLE: tuple[Element, ...] = (
    *_row(Form.TEXT, lot_number="lot_number", cadastral_number="cadastral_number", url="url"),
    *_row(
        Form.MOMENT,
        creation_date="created_at",
        last_update_date="updated_at",
        expire_date="publish_until",
    ),
    *_row(Form.BOOL, haggle="bargain_allowed", mortgage="mortgage_allowed"),
    *_row(Form.DECIMAL, prepayment="prepayment_pct"),
    *_row(Form.BOOL, rent_pledge="deposit_required"),
    *_row(
        Form.DECIMAL,
        security_payment="deposit_pct",
        agent_fee="client_commission_pct",
        commission="agent_commission_pct",
    ),
    *_row(
        Form.BOOL,
        utilities_included="utilities_included",
        electricity_included="electricity_included",
    ),
    *_row(Form.BOOL, True, cleaning_included="cleaning_included"),
    *_row(Form.INT, min_rent_period="min_lease_months"),
    *_row(
        Form.BOOL,
        with_children="children",
        with_pets="pets",
        not_for_agents="not_for_agents",
        apartments="is_apartments",
    ),
    *_row(Form.INT, rooms="rooms", rooms_offered="rooms_offered", floor="floor"),
    *_row(Form.POSITIVE, floors_total="floors_total"),
    *_row(Form.YES, studio="is_studio", open_plan="is_open_plan"),
    *_row(y.QUALITIES, quality="quality"),
    *_row(y.COVERINGS, floor_covering="floor_covering"),
    *_row(
        Form.BOOL,
        room_furniture="has_furniture",
        kitchen_furniture="kitchen_furniture",
        air_conditioner="air_conditioner",
        refrigerator="refrigerator",
        washing_machine="washing_machine",
        dishwasher="dishwasher",
        television="television",
        built_in_tech="built_in_tech",
        internet="internet",
        phone="phone_line",
        flat_alarm="flat_alarm",
    ),
    *_row(y.WALLS, building_type="wall_material"),
    *_row(
        Form.TEXT,
        building_series="series",
        building_name="complex_name",
        building_section="section",
        building_phase="building_phase",
        yandex_building_id="yandex_building_id",
    ),
    *_row(Form.TEXT, True, yandex_house_id="yandex_house_id"),
    *_row(y.BUILDING_STATES, building_state="building_state"),
    *_row(Form.POSITIVE, built_year="built_year"),
    *_row(Form.QUARTER, ready_quarter="ready_quarter"),
    *_row(Form.DATE, True, key_handover_date="key_handover_date"),
    *_row(Form.DECIMAL, ceiling_height="ceiling_height"),
    *_row(
        Form.BOOL,
        lift="lift",
        rubbish_chute="garbage_chute",
        guarded_building="guarded_building",
        access_control_system="access_control",
        parking="guarded_parking",
    ),
    *_row(Form.INT, parking_places="parking_places"),
    *_row(Form.DECIMAL, parking_place_price="parking_place_price"),
    *_row(Form.BOOL, parking_guest="guest_parking"),
    *_row(Form.INT, parking_guest_places="guest_parking_places"),
    *_row(Form.BOOL, alarm="alarm", security="security", is_elite="is_elite"),
    *_row(y.LAND_STATUSES, lot_type="land_status"),
    *_row(Form.BOOL, pmg="registration_possible", kitchen="house_kitchen"),
    *_row(y.INDOORS, toilet="wc_location", shower="shower_location"),
    *_row(
        Form.BOOL,
        pool="pool",
        billiard="billiard",
        sauna="sauna",
        heating_supply="heating",
        water_supply="water",
        sewerage_supply="sewerage",
        electricity_supply="electricity",
        gas_supply="gas",
    ),
    *_row(y.GARAGE_STATUSES, ownership_type="garage_status"),
    *_row(Form.TEXT, garage_name="garage_name"),
    *_row(y.PARKING_TYPES, parking_type="parking_type"),
    *_row(
        Form.BOOL,
        automatic_gates="automatic_gates",
        cctv="cctv",
        inspection_pit="inspection_pit",
        cellar="cellar",
        car_wash="car_wash",
        auto_repair="auto_repair",
        new_parking="new_parking",
        twenty_four_seven="twenty_four_seven",
    ),
    *_row(y.BUILDING_KINDS, commercial_building_type="building_kind"),
    *_row(y.BUILDING_CLASSES, office_class="building_class"),
    *_row(y.ENTRANCES, entrance_type="entrance_type"),
    *_row(y.WINDOW_TYPES, window_type="window_type"),
    *_row(Form.INT, phone_lines="phone_lines", electric_capacity="power_kw"),
    *_row(
        Form.BOOL,
        adding_phone_on_request="extra_phone_lines",
        self_selection_telecom="own_telecom",
        ventilation="ventilation",
        fire_alarm="fire_alarm",
        eating_facilities="eating_facilities",
        responsible_storage="responsible_storage",
    ),
    *_row(Form.DECIMAL, pallet_price="pallet_price"),
    *_row(
        Form.BOOL,
        freight_elevator="freight_elevator",
        truck_entrance="truck_entrance",
        ramp="ramp",
        railway="railway",
        office_warehouse="office_warehouse",
        open_area="open_area",
        service_three_pl="third_party_logistics",
    ),
    *_row(Form.TEXT, temperature_comment="temperature_comment"),
    *_row(
        Form.BOOL,
        True,
        online_show="online_show",
        is_image_order_change_allowed="photo_order_may_change",
        disable_flat_plan_guess="plan_guess_disabled",
    ),
    *_row(Form.TEXT, description="description"),
)

LOCATION: tuple[Element, ...] = (
    *_row(
        Form.TEXT,
        country="country",
        region="region",
        district="district",
        locality_name="locality",
        sub_locality_name="sub_locality",
        non_admin_sub_locality="landmark",
        address="address",
        apartment="flat_number",
        direction="highway",
    ),
    *_row(Form.DECIMAL, distance="distance_km"),
    *_row(Form.COORDINATE, latitude="lat", longitude="lon"),
    *_row(Form.TEXT, railway_station="railway_station"),
    *_row(Form.TEXT, True, village_name="settlement_name"),
)

SALES_AGENT: tuple[Element, ...] = (
    *_row(Form.TEXT, name="contact_name"),
    *_row(y.OWNER_ROLES, category="owner_role"),
    *_row(
        Form.TEXT,
        organization="agency_name",
        url="agency_url",
        email="contact_email",
        photo="agency_logo",
    ),
)

PRICE: tuple[Element, ...] = (
    *_row(Form.DECIMAL, value="price"),
    *_row(y.CURRENCIES, currency="currency"),
    *_row(y.PRICE_UNITS, unit="price_unit"),
    *_row(y.PERIODS, period="price_period"),
    *_row(y.TAXATION, taxation_form="vat"),
)

# Elements of a value and a unit, to their fields in m2.
AREAS = {"area": "area_total", "living-space": "area_living", "kitchen-space": "area_kitchen"}

TOUR: tuple[Element, ...] = (
    *_row(Form.TEXT, True, model_url="tour_url"),
    *_row(y.TOUR_PROVIDERS, True, provider="tour_provider"),
    *_row(Form.TEXT, True, preview_url="tour_preview_url"),
)

MODERN_FIELDS = frozenset(
    {
        *(e.field for table in (SIMPLE, LOCATION, TOUR) for e in table if e.modern),
        "discount_price",
        "discount_until",
        "video_url",
        "promo_raise_at",
    }
)
# Fields of other portals and of the agency itself, which the format has no element for.
ABSENT_FIELDS = frozenset(
    {
        "title",
        "share_amount",
        "prepay_months",
        "deposit_amount",
        "utilities_amount",
        "meters_paid_by",
        "grace_period",
        "available_from",
        "smoking",
        "beds_count",
        "lifts_passenger",
        "lifts_cargo",
        "bedrooms",
        "house_line",
        "min_area",
        "is_occupied",
        "monthly_income",
    }
)

TEXT_FIELDS = tuple(name for name, spec in FIELDS.items() if spec.kind is FieldKind.TEXT)
