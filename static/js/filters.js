/* Filter form and saved views of the board and the list of deals. */
import { api, ApiError, on, toast } from "./kit.js";
import { showErrors } from "./dialogs.js";

/** Empty fields do not clutter the address, which people send to each other. */
function dropEmpty(event, form) {
  for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  setTimeout(() => [...form.elements].forEach((field) => (field.disabled = false)), 0);
}

const dialog = () => document.getElementById("saved-view");
const modal = () => window.tabler.Modal.getOrCreateInstance(dialog());

function openView(event, button) {
  const { view, viewName, viewShared } = button.dataset;
  const form = document.getElementById("view-form");
  form.dataset.view = view;
  form.elements.name.value = viewName;
  form.elements.shared.checked = viewShared === "1";
  dialog().querySelector("[data-view-delete]").hidden = !view;
  showErrors(form, {});
  modal().show();
}

async function send(request, form) {
  try {
    await request();
    window.location.reload();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (form) showErrors(form, error.errors, error.message);
    else toast(error.message, { tone: "bad" });
  }
}

async function saveView(event, form) {
  event.preventDefault();
  const { view, query } = form.dataset;
  const body = { name: form.elements.name.value, shared: form.elements.shared.checked };
  if (view) return send(() => api(`/deals/views/${view}`, { method: "PATCH", body }), form);
  return send(() => api("/deals/views", { method: "POST", body: { ...body, query } }), form);
}

on(document, "submit", "[data-filter-form]", dropEmpty);
on(document, "click", "[data-view]:not(form)", openView);
on(document, "submit", "#view-form", saveView);
on(document, "click", "[data-view-delete]", () => send(() => api(`/deals/views/${document.getElementById("view-form").dataset.view}`, { method: "DELETE" })));
