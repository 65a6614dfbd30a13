/* A dialog with fields made from their descriptions: {name, label, kind, value, options, hint, required, remote}. */
import { ApiError, el, enhance, icon, tr } from "./kit.js";
import { openModal } from "./modal.js";

let made = 0;

export function control(field, id) {
  const common = { id, name: field.name, required: field.required ?? false, "aria-describedby": `${id}-note` };
  const value = field.value ?? "";
  switch (field.kind) {
    case "longtext":
      return el("textarea", { ...common, class: "form-control", rows: "3" }, String(value));
    case "money":
      return el("input", { ...common, class: "form-control kv-num", type: "text", inputmode: "numeric", value, "data-money": true, autocomplete: "off" });
    case "date":
      return el("input", { ...common, class: "form-control", type: "text", value, "data-date": true, autocomplete: "off" });
    case "datetime":
      return el("input", { ...common, class: "form-control", type: "text", value, "data-datetime": true, autocomplete: "off" });
    case "choice":
    case "remote":
      return select(field, common, value);
    default:
      return el("input", { ...common, class: "form-control", type: { number: "text", email: "email", phone: "tel" }[field.kind] ?? "text", inputmode: field.kind === "number" ? "decimal" : null, value, autocomplete: "off" });
  }
}

function select(field, common, value) {
  const node = el("select", { ...common, class: "form-select", multiple: field.multiple ?? false, "data-remote": field.kind === "remote" ? field.remote : null });
  if (!field.multiple) node.append(el("option", { value: "" }, "—"));
  const chosen = new Set((Array.isArray(value) ? value : [value]).map(String));
  for (const [code, label] of field.options ?? []) node.append(el("option", { value: code, selected: chosen.has(String(code)) }, label));
  return node;
}

function line(field) {
  made += 1;
  const id = `dialog-${made}`;
  if (field.kind === "switch") {
    return el("label", { class: "kv-switch", for: id, "data-field": field.name },
      el("span", {}, field.label, field.hint ? el("small", {}, field.hint) : null),
      el("input", { type: "checkbox", role: "switch", id, name: field.name, value: "y", checked: Boolean(field.value) }));
  }
  return el("div", { class: "kv-field", "data-field": field.name },
    el("label", { for: id }, field.label, field.required ? el("span", { class: "kv-required", "aria-hidden": "true" }, "*") : null),
    control(field, id),
    el("div", { class: "kv-hint", id: `${id}-note` }, field.hint ?? ""));
}

function readValues(form, fields) {
  const data = new FormData(form);
  return Object.fromEntries(fields.map((field) => {
    if (field.kind === "switch") return [field.name, data.has(field.name)];
    return [field.name, field.multiple ? data.getAll(field.name) : String(data.get(field.name) ?? "")];
  }));
}

/** Put complaints beside their fields; those of no field above the form. */
export function showErrors(root, errors, fallback = "") {
  root.querySelectorAll(".kv-field-error").forEach((node) => node.remove());
  root.querySelectorAll(".kv-field-bad").forEach((node) => node.classList.remove("kv-field-bad"));
  const rest = [];
  for (const [name, text] of Object.entries(errors)) {
    const place = root.querySelector(`[data-field="${CSS.escape(name)}"]`);
    if (!place) rest.push(text);
    else {
      place.classList.add("kv-field-bad");
      place.append(el("div", { class: "kv-field-error", role: "alert" }, icon("alert-circle"), el("span", {}, text)));
    }
  }
  const general = Object.keys(errors).length ? rest.join(" ") : fallback;
  if (general) root.prepend(el("div", { class: "kv-field-error", role: "alert" }, icon("alert-circle"), el("span", {}, general)));
}

function frame(title, text, form, ok, extra) {
  const id = `dialog-title-${(made += 1)}`;
  return el("div", { class: "modal fade", tabindex: "-1", "aria-labelledby": id },
    el("div", { class: "modal-dialog modal-dialog-centered modal-dialog-scrollable" },
      el("div", { class: "modal-content" },
        el("div", { class: "modal-header" }, el("h2", { class: "modal-title", id }, title),
          el("button", { type: "button", class: "btn-close", "data-bs-dismiss": "modal", "aria-label": tr("Закрыть") })),
        el("div", { class: "modal-body" }, text ? el("p", { class: "kv-muted" }, text) : null, extra, form),
        el("div", { class: "modal-footer" },
          el("button", { type: "button", class: "btn", "data-bs-dismiss": "modal" }, tr("Отмена")),
          el("button", { type: "submit", form: form.id, class: "btn btn-primary", "data-ok": true }, ok)))));
}

function fieldErrors(error) {
  return error.payload?.fields?.length ? { ...error.errors } : error.errors;
}

/** Show the dialog. `check(values)` sends them; its ApiError is shown beside the fields and the dialog stays.
    Resolves to what `check` gave, or null when it was closed. `extra(form)` may add nodes above the fields. */
export function formDialog({ title, text = "", fields, ok = tr("Сохранить"), check, extra = null }) {
  // The button stands outside the form; named as the form's own, it also answers to Enter in a field.
  const form = el("form", { id: `dialog-form-${(made += 1)}`, class: "kv-form", novalidate: true }, fields.map(line));
  const root = frame(title, text, form, ok, extra?.(form));
  const button = root.querySelector("[data-ok]");
  // A complaint about the attempt before stays until it is closed, and would lie over the buttons.
  document.querySelectorAll("#toasts [data-toast=bad]").forEach((node) => node.remove());
  document.body.append(root);
  return new Promise((resolve) => {
    let result = null;
    let close;
    const send = async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      try {
        result = await check(readValues(form, fields));
        close();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        showErrors(form, fieldErrors(error), error.message);
        form.querySelector(".kv-field-bad input, .kv-field-bad select, .kv-field-bad textarea")?.focus();
      } finally {
        button.disabled = false;
      }
    };
    form.addEventListener("submit", send);
    root.addEventListener("shown.bs.modal", () => form.querySelector("input:not([type=hidden]), select, textarea")?.focus(), { once: true });
    root.addEventListener("hidden.bs.modal", () => {
      root.remove();
      resolve(result);
    }, { once: true });
    enhance(root);
    close = openModal(root);
  });
}
