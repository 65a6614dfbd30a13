/* The card of an incoming call, on every page. It comes with kv:call.ringing and goes when the call is answered by another or is over. */
import { ApiError, el, on } from "./kit.js";

const REMEMBERED = "kv-calls";
const LOOK_AGAIN_MS = 20000;
const cards = new Map(); // call id -> { node, began }
const turns = new Map(); // call id -> how often it was asked for or taken away: a late answer is not shown

function turn(id) {
  turns.set(id, (turns.get(id) ?? 0) + 1);
  return turns.get(id);
}

function stack() {
  const found = document.getElementById("call-pops");
  if (found) return found;
  const made = el("div", { id: "call-pops", class: "kv-pops", role: "status", "aria-live": "assertive" });
  document.body.append(made);
  return made;
}

/** Calls shown in this tab survive a change of the page. */
function remember() {
  try {
    sessionStorage.setItem(REMEMBERED, JSON.stringify([...cards.keys()]));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error; // storage is forbidden: the card lives until the page is left
  }
}

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(REMEMBERED) ?? "[]");
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException) return [];
    throw error;
  }
}

function remove(id) {
  turn(id);
  cards.get(id)?.node.remove();
  if (cards.delete(id)) remember();
}

async function fetchCard(id) {
  const response = await fetch(`/calls/${id}/popup`, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (response.status === 404 || response.redirected) return null;
  if (!response.ok) throw new ApiError(String(response.status), response.status);
  const holder = document.createElement("template");
  holder.innerHTML = await response.text();
  return holder.content.querySelector("[data-call-pop]");
}

async function show(id) {
  const asked = turn(id);
  let node;
  try {
    node = await fetchCard(id);
  } catch (error) {
    if (error instanceof ApiError || error instanceof TypeError) return; // no answer now: the next look brings it
    throw error;
  }
  if (turns.get(id) !== asked) return; // it has ended, or was asked for again, meanwhile
  if (!node) return remove(id);
  const began = Date.now() - Number(node.dataset.seconds) * 1000;
  const before = cards.get(id);
  if (before) before.node.replaceWith(node);
  else stack().append(node);
  cards.set(id, { node, began });
  remember();
}

function tick() {
  for (const { node, began } of cards.values()) {
    const seconds = Math.max(0, Math.floor((Date.now() - began) / 1000));
    const shown = [Math.floor(seconds / 60), seconds % 60].map((part) => String(part).padStart(2, "0")).join(":");
    node.querySelector("[data-call-timer]").textContent = shown;
  }
}

function onAnswered({ call_id: id, employee_id: employee }) {
  if (!cards.has(id)) return;
  if (String(employee) === document.body.dataset.userId) show(id);
  else remove(id);
}

function onKey(event) {
  if (event.key !== "Escape" || !cards.size || event.defaultPrevented || document.querySelector(".modal.show")) return;
  remove([...cards.keys()].at(-1));
}

function start() {
  if (window.kvCallPop || !document.body.dataset.userId) return;
  window.kvCallPop = { show, remove };
  document.addEventListener("kv:call.ringing", (event) => show(event.detail.call_id));
  document.addEventListener("kv:call.answered", (event) => onAnswered(event.detail));
  document.addEventListener("kv:call.ended", (event) => remove(event.detail.call_id));
  document.addEventListener("kv:resync", () => [...cards.keys()].forEach(show));
  document.addEventListener("keydown", onKey);
  on(document, "click", "[data-call-hide]", (event, button) => remove(Number(button.closest("[data-call-pop]").dataset.callPop)));
  setInterval(tick, 1000);
  // An event of the end may be lost with the connection.
  setInterval(() => [...cards.keys()].forEach(show), LOOK_AGAIN_MS);
  remembered().forEach(show);
}

start();
