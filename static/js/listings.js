/* The list of listings (chosen many), the card (history, hand-over) and the form (fields of the kind). */
import { formDialog } from "./dialogs.js";
import { api, ApiError, el, on, toast, tr } from "./kit.js";

/* --- many at once ------------------------------------------------------------------ */

function chosenIds() {
  return [...document.querySelectorAll('input[name="listing"]:checked')].map((box) => Number(box.value));
}

function report(answer) {
  if (answer.done) toast(tr("Изменено объектов: %(count)s.", { count: answer.done }), { tone: "ok" });
  if (!answer.failed.length) {
    window.location.reload();
    return;
  }
  const list = el("ul", { class: "kv-report" }, answer.failed.map((item) => el("li", {}, `№ ${item.id}: ${item.message}`)));
  const note = toast(tr("Не изменено объектов: %(count)s.", { count: answer.failed.length }), { tone: "warn", seconds: 0 });
  note.querySelector("span").append(list);
}

const BULK = {
  state: (table) => ({ title: tr("Состояние объектов"), ok: tr("Изменить"), fields: [{ name: "state", label: tr("Новое состояние"), kind: "choice", required: true, options: JSON.parse(table.dataset.states) }] }),
  transfer: () => ({ title: tr("Передать объекты"), ok: tr("Передать"), fields: [{ name: "responsible_id", label: tr("Кому"), kind: "remote", remote: "/api/v1/options/employees", required: true }] }),
};

async function bulk(table, action) {
  const everything = table.querySelector("[data-bulk-all]")?.getAttribute("aria-pressed") === "true";
  const query = everything ? `?${table.dataset.query}` : "";
  const answer = await formDialog({
    ...BULK[action](table),
    check: (values) => api(`/listings/bulk${query}`, { method: "POST", body: { action, ...values, ...(everything ? { all: true } : { ids: chosenIds() }) } }),
  });
  if (answer) report(answer);
}

function startList(table) {
  on(table, "click", "[data-bulk]", (event, button) => bulk(table, button.dataset.bulk));
  on(table, "click", "[data-bulk-all]", (event, button) => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(pressed));
    table.querySelector("[data-bulk-count]").textContent = pressed ? button.dataset.count : String(chosenIds().length);
  });
}

/* --- card ---------------------------------------------------------------------------- */

async function moreHistory(button) {
  const pane = button.closest("[data-feed]");
  button.disabled = true;
  const response = await fetch(`${pane.dataset.feed}?after=${encodeURIComponent(button.dataset.feedMore)}`, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });
  if (!response.ok) {
    button.disabled = false;
    toast(tr("История не загрузилась. Повторите."), { tone: "bad" });
    return;
  }
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  button.replaceWith(...fresh.body.childNodes);
}

async function transfer(listingId) {
  const done = await formDialog({
    title: tr("Передать объект"), ok: tr("Передать"),
    text: tr("Новый ответственный увидит контакты собственника и сможет менять объект."),
    fields: [{ name: "responsible_id", label: tr("Кому"), kind: "remote", remote: "/api/v1/options/employees", required: true }],
    check: (values) => api(`/api/v1/listings/${listingId}/transfer`, { method: "POST", body: values }),
  });
  if (done) window.location.reload();
}

function startCard() {
  on(document, "click", "[data-feed-more]", (event, button) => moreHistory(button));
  on(document, "click", "[data-transfer]", (event, button) => transfer(button.dataset.transfer));
}

/* --- form ---------------------------------------------------------------------------- */

function concerns(spot, kind, deal) {
  const { kinds, deals } = spot.dataset;
  return (!kinds || kinds.split(" ").includes(kind)) && (!deals || deals === deal);
}

function switchSpot(spot, shown) {
  spot.hidden = !shown;
  // A field that does not concern the listing is not sent; what was typed stays until the page is left.
  for (const control of spot.querySelectorAll("input, select, textarea, fieldset")) {
    control.disabled = !shown;
    if (control.tomselect) control.tomselect[shown ? "enable" : "disable"]();
  }
}

function showFields(form) {
  const kind = form.elements.kind.value;
  const deal = form.elements.deal_type.value === "sale" ? "sale" : "rent";
  for (const spot of form.querySelectorAll("[data-kinds]")) switchSpot(spot, concerns(spot, kind, deal));
  for (const group of form.querySelectorAll("[data-group]")) {
    const spots = [...group.querySelectorAll("[data-kinds]")];
    group.hidden = spots.every((spot) => spot.hidden);
    const rare = group.querySelector("[data-rare]");
    if (rare) rare.hidden = [...rare.querySelectorAll("[data-kinds]")].every((spot) => spot.hidden);
  }
}

/** Unfold what hides the first wrong or marked field, and go there. */
function goToTrouble(form) {
  for (const spot of form.querySelectorAll(".kv-field-bad, .kv-remarked")) spot.closest("details")?.setAttribute("open", "");
  const named = window.location.hash.startsWith("#f-") ? document.getElementById(window.location.hash.slice(1)) : null;
  const target = form.querySelector("[aria-invalid=true]") ?? named;
  if (!target) return;
  target.closest("details")?.setAttribute("open", "");
  target.scrollIntoView({ block: "center" });
  (target.tomselect ?? target).focus?.({ preventScroll: true });
}

function startForm(form) {
  on(form, "change", "[data-leading]", () => showFields(form));
  showFields(form);
  goToTrouble(form);
}

/* --- start --------------------------------------------------------------------------- */

window.addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof ApiError)) return;
  event.preventDefault();
  toast(event.reason.message, { tone: "bad" });
});

const table = document.getElementById("listings");
const form = document.getElementById("listing-form");
if (table) startList(table);
if (form) startForm(form);
if (document.getElementById("gallery")) startCard();
