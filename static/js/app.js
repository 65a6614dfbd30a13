/* Entry of every page. Pages import from kit.js. */
import { csrfToken } from "./api.js";
import { startConfirm } from "./confirm.js";
import { on } from "./dom.js";
import { enhance } from "./enhance.js";
import { startEvents } from "./events.js";
import { startForms } from "./forms.js";
import { startLists } from "./lists.js";
import { startShell } from "./shell.js";
import { t } from "./texts.js";
import { startServerToasts, toast } from "./toast.js";

const HTMX_TEXTS = { 401: "signedOut", 403: "forbidden", 404: "notFound", 409: "conflict", 413: "tooLarge", 429: "tooMany" };

function startHtmx() {
  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRFToken"] = csrfToken();
  });
  document.addEventListener("htmx:load", (event) => enhance(event.detail.elt));
  document.addEventListener("htmx:sendError", () => toast(t("offline"), { tone: "bad" }));
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    toast(t(HTMX_TEXTS[status] ?? (status >= 500 ? "failed" : "invalid")), { tone: "bad" });
  });
}

function start() {
  if (window.kvStarted) return;
  window.kvStarted = true;
  startConfirm();
  startShell();
  startForms();
  startLists();
  startHtmx();
  startServerToasts();
  startEvents();
  on(document, "click", "[data-toast-close]", (event, button) => button.closest(".kv-toast").remove());
  document.addEventListener("kv:problem", (event) => toast(event.detail.text, { tone: "bad" }));
  enhance(document);
}

start();
