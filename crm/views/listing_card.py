"""One listing: the card, the form, its states, copies and photos."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, flash, redirect, render_template, request
from flask_babel import gettext as _
from werkzeug.wrappers import Response as BaseResponse

from crm.models import Action, Contact, Listing, ListingState, PhotoState
from crm.operations import files, listing_doubles
from crm.operations import listings as operations
from crm.operations.errors import Conflict, FieldError, OperationError, ValidationErrors
from crm.reports import contact_masks, listing_card
from crm.reports.listing_card import ListingSheet
from crm.security import visibility
from crm.security.principal import Principal, current_principal
from crm.views import listing_ads
from crm.views import listing_labels as labels
from crm.views.access import requires
from crm.views.base import CrmView, expose
from crm.views.listing_form import ListingForm

PHOTO_SIZES = ("large", "medium", "thumb")
PHOTO_LIFE = 24 * 3600
_CHUNK = 64 * 1024


class ListingCardView(CrmView):
    """Routes of one listing; the list's view inherits them, so that the menu stays lit."""

    route_base = "/listings"
    class_permission_name = "Listings"

    @expose("/<int:listing_id>", methods=["GET"])
    @requires("show")
    def show(self, listing_id: int) -> str:
        """The card."""
        principal = current_principal()
        sheet = listing_card.listing_sheet(principal, listing_id)
        if sheet is None:
            abort(404)
        asked = request.args.get("doubles") == "1" and sheet.rights.edit
        return self.page(
            "listings/show.html",
            sheet=sheet,
            listing=sheet.listing,
            gallery=[p for p in sheet.listing.photos if p.state == PhotoState.STORED],
            labels=labels,
            ads=listing_ads.advertising(sheet.listing),
            feed=listing_card.listing_feed(listing_id),
            states=_next_states(sheet),
            doubles=listing_doubles.find_doubles(sheet.listing, principal) if asked else [],
        )

    @expose("/<int:listing_id>/feed", methods=["GET"])
    @requires("show")
    def feed(self, listing_id: int) -> str:
        """A page of the listing's events as HTML."""
        _visible_or_404(listing_id)
        page = listing_card.listing_feed(listing_id, request.args.get("after", ""))
        return render_template("listings/_feed.html", feed=page, labels=labels)

    # --- form --------------------------------------------------------------------------

    @expose("/add", methods=["GET", "POST"])
    @requires("add")
    def add(self) -> BaseResponse | str:
        """The form of a new listing; refused input comes back with what is wrong beside it."""
        principal = current_principal()
        if request.method == "GET":
            return self._form(ListingForm.blank(request.args), None)
        form = ListingForm.typed(request.form)
        try:
            demand_visible_owner(principal, form.values.get("owner_id"), None)
            saved = operations.create_listing(principal, form.input)
        except OperationError as error:
            form.refuse(error)
            return self._form(form, None)
        flash(_("Объект заведён как черновик. Добавьте фотографии."), "success")
        return _to_card(saved)

    @expose("/<int:listing_id>/edit", methods=["GET", "POST"])
    @requires("edit")
    def edit(self, listing_id: int) -> BaseResponse | str:
        """The form of a listing; ``?feed=`` marks what that portal would refuse."""
        principal = current_principal()
        listing = _editable_or_404(principal, listing_id)
        if request.method == "GET":
            form = ListingForm.of(listing)
            _remark(form, listing)
            return self._form(form, listing)
        form = ListingForm.typed(request.form)
        try:
            demand_visible_owner(principal, form.values.get("owner_id"), listing.owner_id)
            saved = operations.edit_listing(listing_id, principal, form.input, _version())
        except OperationError as error:
            form.refuse(error)
            return self._form(form, _editable_or_404(principal, listing_id))
        flash(_("Сохранено."), "success")
        return _to_card(saved)

    def _form(self, form: ListingForm, listing: Listing | None) -> str:
        return self.page(
            "listings/form.html",
            form=form,
            leading=form.leading(),
            groups=form.groups(),
            listing=listing,
            labels=labels,
            version=_version() or (listing.version if listing else ""),
            owner=_owner_option(form),
            marked=bool(form.remarks),
        )

    # --- acts --------------------------------------------------------------------------

    @expose("/<int:listing_id>/state/<string:state>", methods=["POST"])
    @requires("edit")
    def state(self, listing_id: int, state: str) -> BaseResponse:
        """Move the listing to another state."""
        try:
            operations.set_state(listing_id, current_principal(), state)
        except (ValidationErrors, Conflict) as error:
            flash(error.message, "danger")
        else:
            flash(_("Состояние: %(state)s.", state=labels.state_label(state)), "success")
        return redirect(f"/listings/{listing_id}")

    @expose("/<int:listing_id>/copy", methods=["POST"])
    @requires("add")
    def copy(self, listing_id: int) -> BaseResponse:
        """A draft of one's own with the same fields and photos."""
        copied = operations.copy_listing(listing_id, current_principal())
        flash(_("Это копия объекта № %(id)s. Проверьте адрес и цену.", id=listing_id), "success")
        return redirect(f"/listings/{copied.id}/edit")

    # --- photos ------------------------------------------------------------------------

    @expose("/photo/<int:photo_id>/<string:size>", methods=["GET"])
    @requires("list")
    def photo(self, photo_id: int, size: str) -> Response:
        """A picture of a listing that the person sees; kept by his browser only."""
        if size not in PHOTO_SIZES:
            abort(404)
        stored = listing_card.visible_photo(current_principal(), photo_id, size)
        if stored is None:
            abort(404)
        response = Response(content_type=stored.content_type)
        response.set_etag(stored.sha256[:32])
        response.cache_control.private = True
        response.cache_control.max_age = PHOTO_LIFE
        response.make_conditional(request)
        if response.status_code == 304:  # noqa: PLR2004
            return response
        try:
            response.set_data(files.read_bytes(stored))
        except FileNotFoundError:
            abort(404)
        return response


def demand_visible_owner(principal: Principal, typed: Any, present: int | None) -> None:
    """Refuse an owner out of the person's sight: a listing would open his contacts."""
    text = str(typed or "").strip()
    if not text or text == str(present):
        return
    known = text.isascii() and text.isdigit() and len(text) < 10  # noqa: PLR2004
    if not known or visibility.get_visible(principal, Contact, int(text)) is None:
        message = _("Такого контакта нет, или он вам недоступен.")
        raise ValidationErrors([FieldError("owner_id", message)])


def _visible_or_404(listing_id: int) -> Listing:
    listing = visibility.get_visible(current_principal(), Listing, listing_id)
    if listing is None:
        abort(404)
    return listing


def _editable_or_404(principal: Principal, listing_id: int) -> Listing:
    listing = visibility.get_visible(principal, Listing, listing_id)
    if listing is None:
        abort(404)
    if not visibility.may(principal, Action.EDIT, listing):
        abort(403)
    return listing


def _version() -> int | None:
    text = request.form.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004


def _to_card(saved: operations.ListingSaved) -> BaseResponse:
    tail = "?doubles=1" if saved.doubles else ""
    return redirect(f"/listings/{saved.listing.id}{tail}")


def _owner_option(form: ListingForm) -> tuple[int, str] | None:
    """The chosen owner as the box shows him; a closed contact is named by his number."""
    text = str(form.values.get("owner_id") or "")
    if not text.isdecimal() or len(text) > 9:  # noqa: PLR2004
        return None
    principal = current_principal()
    contact = visibility.get_visible(principal, Contact, int(text))
    name = contact_masks.shown_name(principal, contact) if contact else ""
    return int(text), name or _("Контакт № %(id)s", id=text)


def _remark(form: ListingForm, listing: Listing) -> None:
    """Mark the fields that the portal asked about in ``?feed=`` would refuse."""
    text = request.args.get("feed", "")
    if not text.isascii() or not text.isdigit():
        return
    for line in listing_ads.advertising(listing):
        if str(line.feed.id) == text:
            for refusal in (*line.refused, *line.warned):
                form.remark(refusal.field, refusal.message)


def _next_states(sheet: ListingSheet) -> list[dict[str, Any]]:
    """Items of the menu «Состояние»."""
    if not sheet.rights.edit:
        return []
    made: list[dict[str, Any]] = []
    for state in ListingState:
        hidden = state is ListingState.ARCHIVE and not sheet.rights.archive
        if state == sheet.listing.state or hidden:
            continue
        item = {"label": labels.state_label(state), "icon": labels.STATE_ICONS[state]}
        item["post"] = f"/listings/{sheet.listing.id}/state/{state}"
        if state is ListingState.ARCHIVE:
            item["confirm"] = _("Убрать объект в архив? Он исчезнет с площадок.")
        made.append(item)
    return made
