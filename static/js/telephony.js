/* The trial step: what the operator sends appears here while somebody calls.
   The step of keys: where the protocol is chosen on the form, only its own fields are seen. */
import { api, ApiError, el, icon } from "./kit.js";

const EVERY_MS = 2000;
const UNTIL_MS = 15 * 60 * 1000;
const SHOWN = 12;

function line(event) {
  const text = el("a", { href: event.href, class: event.tone === "bad" ? "kv-bad" : "" }, event.text);
  return el("li", {}, text, el("small", {}, event.at));
}

function callLine(box, call) {
  const parts = [call.number, `${box.dataset.source}: ${call.source}`];
  if (call.employee) parts.push(`${box.dataset.employee}: ${call.employee}`);
  return parts.join(" · ");
}

function showCall(box, call) {
  const state = box.querySelector("[data-pulse-state]");
  state.textContent = callLine(box, call);
  box.querySelector(".kv-trial-state > i")?.replaceWith(icon("circle-check"));
  if (call.deal) state.append(" ", el("a", { href: call.deal }, box.dataset.deal));
}

function watch(box) {
  const began = Date.now();
  const list = box.querySelector("[data-pulse-events]");
  let after = Number(box.dataset.after);
  let first = null; // the call that was there before nobody has made for us

  async function look() {
    try {
      const told = await api(`${box.dataset.pulse}?after=${after}`);
      after = told.last;
      list.prepend(...told.events.map(line).reverse());
      while (list.children.length > SHOWN) list.lastElementChild.remove();
      if (first === null) first = told.call?.id ?? 0;
      if (told.call && (told.call.id !== first || told.events.length)) showCall(box, told.call);
    } catch (error) {
      // No answer now: the next look brings what came meanwhile.
      if (!(error instanceof ApiError || error instanceof TypeError)) throw error;
    }
    if (Date.now() - began < UNTIL_MS) setTimeout(look, EVERY_MS);
    else if (!list.children.length) box.querySelector("[data-pulse-state]").textContent = box.dataset.later;
  }
  look();
}

/** Fields of the other protocols keep their values; the server says which of them are required. */
function showChosen(select) {
  for (const part of document.querySelectorAll("[data-protocol]")) {
    part.hidden = part.dataset.protocol !== select.value;
    // What is out of sight cannot be filled in.
    if (part.hidden) part.querySelectorAll("[required]").forEach((field) => field.removeAttribute("required"));
  }
}

document.querySelectorAll("[data-pulse]").forEach(watch);
const protocol = document.querySelector("[data-protocol]") && document.querySelector("[name=credential-protocol]");
if (protocol) {
  protocol.addEventListener("change", () => showChosen(protocol));
  showChosen(protocol);
}
