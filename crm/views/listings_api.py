"""``/api/v1/listings``: reading by declared columns, changing through the operations only."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, make_response, request
from flask_appbuilder.api import rison
from flask_appbuilder.api.schemas import get_item_schema, get_list_schema
from flask_babel import gettext as _

from crm.integrations.portals.base import FIELDS
from crm.models import Action, Listing, ListingPhoto, PhotoState, db
from crm.operations import listings, photos
from crm.operations.errors import NotFound, ValidationErrors
from crm.operations.listing_offers import values_of
from crm.operations.listings import ListingSaved
from crm.security import visibility
from crm.security.principal import Principal, current_principal
from crm.views.access import requires
from crm.views.base import CappedInterface, expose
from crm.views.base_api import CrmApi, CrmRestApi
from crm.views.listing_card import demand_visible_owner
from crm.views.payload import Payload

_CREATED = 201


class ListingApi(CrmRestApi):
    """Listings for our own pages and for programs."""

    resource_name = "listings"
    class_permission_name = "Listings"
    datamodel = CappedInterface(Listing)
    # FAB's own writing routes would go past the operations.
    exclude_route_methods = {"info", "post", "put", "delete"}
    # No flat number: it is the agency's own. No owner: his card has rights of its own.
    list_columns = [
        "id", "public_id", "state", "deal_type", "kind", "market", "title", "region", "district",
        "locality", "sub_locality", "address", "lat", "lon", "price", "currency", "rooms",
        "area_total", "area_living", "area_kitchen", "land_area_m2", "floor", "floors_total",
        "responsible.id", "responsible.first_name", "responsible.last_name", "department.id",
        "department.name", "internal_id", "published_from",
        "created_at", "updated_at", "version",
    ]  # fmt: skip
    show_columns = [*list_columns, "description", "cadastral_number", "exclusive_until"]
    search_columns = [
        "id", "public_id", "internal_id", "state", "deal_type", "kind", "market", "region",
        "district", "locality", "sub_locality", "address", "price", "rooms", "area_total", "floor",
        "responsible", "department", "created_at", "updated_at",
    ]  # fmt: skip
    order_columns = ["id", "price", "area_total", "created_at", "updated_at"]
    base_order = ("id", "desc")

    # --- reading ------------------------------------------------------------------

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @requires("list")
    @rison(get_list_schema)
    def get_list(self, **kwargs: Any) -> Response:
        """Listings that the person sees, filtered and ordered by declared columns."""
        return self.get_list_headless(**kwargs)

    @expose("/<int:pk>", methods=["GET"])
    @requires("show")
    @rison(get_item_schema)
    def get(self, pk: int, **kwargs: Any) -> Response:
        """One listing with all its fields and photos."""
        return self.get_headless(pk, **kwargs)

    def pre_get(self, data: dict[str, Any]) -> None:
        """Add the fields of the catalogue and the photos."""
        listing = visibility.get_visible(current_principal(), Listing, data["id"])
        if listing is None:
            return
        data["result"]["fields"] = catalogue(listing)
        data["result"]["photos"] = [photo_json(photo) for photo in photos.photos_of(listing.id)]

    # --- making and changing ---------------------------------------------------------

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @requires("add")
    def create(self) -> Response:
        """A draft: {deal_type, kind, …fields of the catalogue, owner_id?, responsible_id?}."""
        by, body = current_principal(), Payload()
        demand_visible_owner(by, body.data.get("owner_id"), None)
        return _saved(listings.create_listing(by, body.data), _CREATED)

    @expose("/<int:pk>", methods=["PATCH"])
    @requires("edit")
    def change(self, pk: int) -> Response:
        """Fields by their names, and ``version`` of the listing that was seen."""
        by, body = current_principal(), Payload()
        version = body.number("version")
        values = {name: value for name, value in body.data.items() if name != "version"}
        present = visibility.get_visible(by, Listing, pk)
        demand_visible_owner(by, values.get("owner_id"), present.owner_id if present else None)
        return _saved(listings.edit_listing(pk, by, values, version))

    @expose("/<int:pk>/state", methods=["POST"])
    @requires("edit")
    def state(self, pk: int) -> Response:
        """To {state}."""
        listing = listings.set_state(pk, current_principal(), Payload().text("state"))
        return self.answer(id=pk, state=listing.state, version=listing.version)

    @expose("/<int:pk>/transfer", methods=["POST"])
    @requires("edit")
    def transfer(self, pk: int) -> Response:
        """Give the listing to {responsible_id}."""
        person = Payload().needed("responsible_id")
        listing = listings.transfer(pk, current_principal(), person)
        return self.answer(id=pk, responsible_id=listing.responsible_id)

    @expose("/<int:pk>/copy", methods=["POST"])
    @requires("add")
    def copy(self, pk: int) -> Response:
        """A draft of one's own with the same fields and photos."""
        copied = listings.copy_listing(pk, current_principal())
        return self.answer(_CREATED, id=copied.id)


class ListingPhotosApi(CrmApi):
    """``/api/v1/listings/<id>/photos``: pictures of one listing."""

    resource_name = "listings"
    class_permission_name = "Listings"

    @expose("/<int:pk>/photos", methods=["GET"])
    @requires("show")
    def index(self, pk: int) -> Response:
        """The photos in their order."""
        if visibility.get_visible(current_principal(), Listing, pk) is None:
            raise NotFound(_("Объект не найден."))
        return self.answer(photos=[photo_json(photo) for photo in photos.photos_of(pk)])

    @expose("/<int:pk>/photos", methods=["POST"])
    @requires("edit")
    def upload(self, pk: int) -> Response:
        """One picture as ``photo`` of a multipart form, with ``kind``; put after the others."""
        file = request.files.get("photo")
        if file is None:
            raise ValidationErrors.one("photo", _("Выберите файл."))
        kind = request.form.get("kind", "photo")
        photo = photos.add_photo(pk, current_principal(), file.stream, kind)  # type: ignore[arg-type]
        return self.answer(_CREATED, photo=photo_json(photo))

    @expose("/<int:pk>/photos/order", methods=["PUT"])
    @requires("edit")
    def order(self, pk: int) -> Response:
        """{ids}: all photos in the new order; the first one is the cover."""
        ids = Payload().data.get("ids")
        if not isinstance(ids, list) or not all(type(item) is int for item in ids):
            raise ValidationErrors.one("ids", _("Неверное значение."))
        photos.reorder(pk, current_principal(), ids)
        return self.answer(id=pk)

    @expose("/<int:pk>/photos/<int:photo_id>", methods=["PATCH"])
    @requires("edit")
    def change(self, pk: int, photo_id: int) -> Response:
        """{kind}: a photo or a plan."""
        _photo_of(current_principal(), pk, photo_id)
        photo = photos.set_kind(photo_id, current_principal(), Payload().text("kind"))
        return self.answer(photo=photo_json(photo))

    @expose("/<int:pk>/photos/<int:photo_id>", methods=["DELETE"])
    @requires("edit")
    def remove(self, pk: int, photo_id: int) -> Response:
        """Delete the picture."""
        _photo_of(current_principal(), pk, photo_id)
        photos.delete_photo(photo_id, current_principal())
        return self.answer(id=photo_id)


def catalogue(listing: Listing) -> dict[str, Any]:
    """Stated fields of the catalogue, JSON-safe; private ones are left out."""
    return {
        name: FIELDS[name].encode(value)
        for name, value in values_of(listing).items()
        if not FIELDS[name].private
    }


def photo_json(photo: ListingPhoto) -> dict[str, Any]:
    """A photo as pages and programs get it."""
    stored = photo.state == PhotoState.STORED
    return {
        "id": photo.id,
        "position": photo.position,
        "kind": photo.kind,
        "state": photo.state,
        "error": photo.error,
        "width": photo.width,
        "height": photo.height,
        "thumb": f"/listings/photo/{photo.id}/thumb" if stored else None,
        "large": f"/listings/photo/{photo.id}/large" if stored else None,
    }


def _photo_of(by: Principal, listing_id: int, photo_id: int) -> ListingPhoto:
    """The photo when it is this listing's and the person sees the listing."""
    photo: ListingPhoto | None = db.session.get(ListingPhoto, photo_id)
    listing = visibility.get_visible(by, Listing, listing_id, Action.VIEW)
    if photo is None or listing is None or photo.listing_id != listing_id:
        raise NotFound(_("Фотография не найдена."))
    return photo


def _saved(saved: ListingSaved, code: int = 200) -> Response:
    listing = saved.listing
    doubles = [{"id": item.listing_id, "message": item.message} for item in saved.doubles]
    body = {"id": listing.id, "public_id": listing.public_id, "version": listing.version}
    return make_response(jsonify(**body, doubles=doubles), code)
