/* Short messages at the bottom of the window. Errors stay until they are closed. */
import { el, icon } from "./dom.js";
import { t } from "./texts.js";

const ICONS = { ok: "circle-check", bad: "circle-x", warn: "alert-triangle", info: "info-circle" };
const SECONDS = { ok: 5, info: 6, warn: 10, bad: 0 };

function leaveLater(node, seconds) {
  if (!seconds) return;
  let timer = setTimeout(() => node.remove(), seconds * 1000);
  // Reading takes time: the message waits while the pointer or the focus is on it.
  for (const type of ["mouseenter", "focusin"]) node.addEventListener(type, () => clearTimeout(timer));
  for (const type of ["mouseleave", "focusout"]) {
    node.addEventListener(type, () => {
      clearTimeout(timer);
      timer = setTimeout(() => node.remove(), 2000);
    });
  }
}

/** Show a message. tone: ok, bad, warn, info; undo: function called by the button «Отменить»; seconds: 0 keeps it. Returns its node. */
export function toast(text, { tone = "info", undo = null, undoLabel = null, seconds = null } = {}) {
  const node = el("div", { class: `kv-toast kv-toast-${tone}`, "data-toast": tone, role: tone === "bad" ? "alert" : null }, icon(ICONS[tone] ?? ICONS.info), el("span", {}, text));
  if (undo) {
    const button = el("button", { type: "button", class: "btn btn-sm" }, undoLabel ?? t("undo"));
    button.addEventListener("click", () => {
      node.remove();
      undo();
    });
    node.append(button);
  }
  node.append(el("button", { type: "button", class: "kv-icon-btn", "data-toast-close": true, "aria-label": t("close") }, icon("x")));
  document.getElementById("toasts")?.append(node);
  leaveLater(node, seconds ?? (undo ? 10 : SECONDS[tone] ?? 6));
  return node;
}

/** Messages the server put on the page leave like those of toast(). */
export function startServerToasts() {
  for (const node of document.querySelectorAll("#toasts [data-toast]")) leaveLater(node, SECONDS[node.dataset.toast]);
}
