/* Habits of every form: no double sending, a warning about unsaved changes, boxes for all rows, filters, demo logins. */
import { on } from "./dom.js";
import { t } from "./texts.js";
import { toast } from "./toast.js";

function guardDoubleSending() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method === "get" || form.target === "_blank" || form.matches("[hx-post], [hx-put], [hx-patch], [hx-delete]")) return;
    // After the browser has collected the values: a disabled button would not be sent.
    setTimeout(() => form.querySelectorAll("button[type=submit], button:not([type])").forEach((button) => (button.disabled = true)), 0);
  });
  // A page taken back from the browser's history must not stay locked.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("form button:disabled").forEach((button) => (button.disabled = false));
  });
}

function warnUnsaved() {
  const changed = new Set();
  on(document, "input", "form[data-warn-unsaved]", (event, form) => changed.add(form));
  on(document, "change", "form[data-warn-unsaved]", (event, form) => changed.add(form));
  document.addEventListener("submit", (event) => changed.delete(event.target));
  window.addEventListener("beforeunload", (event) => {
    if ([...changed].some((form) => form.isConnected)) event.preventDefault();
  });
}

function showBulk(name) {
  const boxes = [...document.querySelectorAll(`input[type=checkbox][name="${name}"]`)];
  const chosen = boxes.filter((box) => box.checked);
  boxes.forEach((box) => box.closest("tr")?.classList.toggle("kv-sel", box.checked));
  document.querySelectorAll(`[data-bulk-bar="${name}"]`).forEach((bar) => (bar.hidden = chosen.length === 0));
  document.querySelectorAll("[data-bulk-count]").forEach((place) => (place.textContent = String(chosen.length)));
  const whole = document.querySelector(`[data-check-all="${name}"]`);
  if (!whole) return;
  whole.checked = boxes.length > 0 && chosen.length === boxes.length;
  whole.indeterminate = chosen.length > 0 && chosen.length < boxes.length;
}

function bulkBoxes() {
  on(document, "change", "[data-check-all]", (event, whole) => {
    document.querySelectorAll(`input[type=checkbox][name="${whole.dataset.checkAll}"]`).forEach((box) => (box.checked = whole.checked));
    showBulk(whole.dataset.checkAll);
  });
  on(document, "change", "input[type=checkbox]", (event, box) => {
    if (document.querySelector(`[data-bulk-bar="${box.name}"]`)) showBulk(box.name);
  });
  document.querySelectorAll("[data-bulk-bar]").forEach((bar) => showBulk(bar.dataset.bulkBar));
}

async function copy(event, button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    toast(t("copied"), { tone: "ok" });
  } catch (error) {
    if (!(error instanceof DOMException || error instanceof TypeError)) throw error; // no permission, or no secure context
    toast(t("notCopied"), { tone: "warn" });
  }
}

function togglePassword(event, button) {
  const input = document.querySelector(button.dataset.passwordToggle);
  const shown = input.type === "text";
  input.type = shown ? "password" : "text";
  button.setAttribute("aria-pressed", String(!shown));
  button.querySelector(".ti").className = `ti ti-${shown ? "eye" : "eye-off"}`;
}

function fillLogin(event, button) {
  const form = document.querySelector(button.dataset.fillForm);
  for (const [name, value] of Object.entries(JSON.parse(button.dataset.fill))) form.elements[name].value = value;
  form.requestSubmit();
}

export function startForms() {
  guardDoubleSending();
  warnUnsaved();
  bulkBoxes();
  on(document, "click", "[data-copy]", copy);
  on(document, "click", "[data-password-toggle]", togglePassword);
  on(document, "click", "[data-fill]", fillLogin);
  on(document, "click", "[data-history-back]", () => window.history.back());
  on(document, "change", "[data-submit-on-change]", (event, field) => field.form.requestSubmit());
}
