/* Editing a value where it stands: click, change, Enter saves, Esc gives up; complaints beside the field. */
import { api, ApiError, el, enhance, icon, toast, tr } from "./kit.js";
import { control, showErrors } from "./dialogs.js";

function form(field, save, cancel) {
  const input = control({ ...field, name: field.code, required: false }, `inline-${field.code}`);
  input.setAttribute("aria-label", field.label);
  const node = el("form", { class: "kv-inline", novalidate: true }, el("div", { "data-field": field.code }, input),
    el("div", { class: "kv-inline-acts" },
      el("button", { type: "submit", class: "btn btn-sm btn-primary" }, icon("check"), tr("Сохранить")),
      el("button", { type: "button", class: "btn btn-sm", onclick: cancel }, tr("Отмена"))));
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    save(new FormData(node).get(field.code) ?? "");
  });
  node.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      cancel();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea")) node.requestSubmit();
  });
  return node;
}

/** Replace `button` by the field it names; `version` gives the version of the card that was seen. */
export async function editInPlace(button, dealId, version, changed) {
  const code = button.dataset.edit;
  // Until its field is there, a refresh of the page must not take the button away.
  button.classList.add("kv-opening");
  try {
    const { fields: [field] } = await api(`/api/v1/deals/${dealId}/fields/${code}`);
    open(button, dealId, version, changed, "blank" in button.dataset ? { ...field, value: "" } : field);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { tone: "bad" });
  } finally {
    button.classList.remove("kv-opening");
  }
}

function open(button, dealId, version, changed, field) {
  const close = () => {
    node.replaceWith(button);
    button.focus();
  };
  const save = async (value) => {
    try {
      const body = { [field.code]: value, version: Number(version()) };
      const answer = await api(`/api/v1/deals/${dealId}`, { method: "PATCH", body });
      document.getElementById("deal").dataset.version = answer.version;
      close();
      changed();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showErrors(node, error.errors, error.message);
    }
  };
  const node = form(field, save, close);
  button.replaceWith(node);
  enhance(node);
  const input = node.querySelector("input:not([type=hidden]), select, textarea");
  input.focus();
  input.select?.();
}
