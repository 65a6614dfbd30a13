/* The editor of pipelines: dragging of stages (mouse, finger, arrow keys) and rows of preset tasks. */
import { api, on, toast } from "./kit.js";

const list = document.querySelector("[data-stages]");

function order() {
  return [...list.children].map((row) => Number(row.dataset.id));
}

let saved = list ? order() : [];

/** Put the rows back as the server has them. */
function restore() {
  const rows = new Map([...list.children].map((row) => [Number(row.dataset.id), row]));
  saved.forEach((id) => list.append(rows.get(id)));
}

async function save() {
  const ids = order();
  if (ids.join() === saved.join()) return;
  list.setAttribute("aria-busy", "true");
  try {
    await api(list.dataset.stages, { method: "POST", body: { ids } });
    saved = ids;
  } catch (error) {
    restore();
    toast(error.message, { tone: "bad" });
  } finally {
    list.removeAttribute("aria-busy");
  }
}

function byKeys(event, handle) {
  const row = handle.closest("[data-id]");
  const target = { ArrowUp: row.previousElementSibling, ArrowDown: row.nextElementSibling }[event.key];
  if (!target) return;
  event.preventDefault();
  if (event.key === "ArrowUp") target.before(row);
  else target.after(row);
  handle.focus();
  save();
}

if (list) {
  window.Sortable.create(list, { handle: ".kv-handle", animation: 140, onEnd: save });
  on(list, "keydown", ".kv-handle", byKeys);
}

const rows = document.querySelector("[data-status-rows]");
on(document, "click", "[data-add-status]", () => {
  const made = document.querySelector("[data-status-template]").content.cloneNode(true);
  rows.append(made);
  rows.lastElementChild.querySelector("[name=status-text]").focus();
});
on(document, "click", "[data-remove-status]", (event, button) => {
  button.closest("form").dispatchEvent(new Event("change", { bubbles: true }));
  button.closest(".kv-status-row").remove();
});
on(document, "input", "[data-own-color]", (event, input) => {
  const own = input.form.querySelector("[name=color][value=own]");
  own.checked = true;
  own.nextElementSibling.style.setProperty("--c", input.value);
});
