/* The card of a call, on every page. It comes with kv:call.ringing (somebody calls) or kv:call.dialling (one calls oneself) and goes when the call is over,
   or a moment after another has answered: so long it says who. */
import { api, ApiError, el, on } from "./kit.js";

const REMEMBERED = "kv-calls";
const LOOK_AGAIN_MS = 20000;
const TAKEN_MS = 4000;
const cards = new Map(); // call id -> { node, began, taken }
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

async function fetchCard(id, fresh) {
  const response = await fetch(`/calls/${id}/popup${fresh ? "?new=1" : ""}`, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (response.status === 204 || response.redirected) return null;
  if (!response.ok) throw new ApiError(String(response.status), response.status);
  const holder = document.createElement("template");
  holder.innerHTML = await response.text();
  return holder.content.querySelector("[data-call-pop]");
}

async function show(id, fresh = false) {
  if (cards.get(id)?.taken) return;
  const asked = turn(id);
  let node;
  try {
    node = await fetchCard(id, fresh && !cards.has(id));
  } catch (error) {
    if (error instanceof ApiError || error instanceof TypeError) return; // no answer now: the next look brings it
    throw error;
  }
  if (turns.get(id) !== asked) return; // it has ended, or was asked for again, meanwhile
  if (!node || node.dataset.state === "taken") return remove(id);
  const began = Date.now() - Number(node.dataset.seconds) * 1000;
  const before = cards.get(id);
  if (before) before.node.replaceWith(node);
  else stack().append(node);
  cards.set(id, { node, began });
  remember();
}

function tick() {
  for (const { node, began, taken } of cards.values()) {
    if (taken) continue;
    const seconds = Math.max(0, Math.floor((Date.now() - began) / 1000));
    const shown = [Math.floor(seconds / 60), seconds % 60].map((part) => String(part).padStart(2, "0")).join(":");
    node.querySelector("[data-call-timer]").textContent = shown;
  }
}

function onAnswered({ call_id: id, employee_id: employee }) {
  if (!cards.has(id)) return;
  if (String(employee) === document.body.dataset.userId) show(id);
  else if (employee) tellWho(id, employee);
  else remove(id);
}

/** The card says who has answered, and goes. */
async function tellWho(id, employee) {
  const card = cards.get(id);
  if (card.taken) return;
  card.taken = true;
  turn(id);
  setTimeout(() => remove(id), TAKEN_MS);
  try {
    const { text } = await api(`/calls/taken-by/${employee}`);
    card.node.querySelector(".bar b").textContent = text;
    card.node.dataset.state = "taken";
    card.node.classList.add("kv-pop-talk");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    remove(id); // no answer: the call is not ours all the same
  }
}

function lookAgain() {
  [...cards.keys()].forEach((id) => show(id));
}

function onKey(event) {
  if (event.key !== "Escape" || !cards.size || event.defaultPrevented || document.querySelector(".modal.show")) return;
  remove([...cards.keys()].at(-1));
}

function start() {
  if (window.kvCallPop || !document.body.dataset.userId) return;
  window.kvCallPop = { show, remove };
  for (const kind of ["ringing", "dialling"]) document.addEventListener(`kv:call.${kind}`, (event) => show(event.detail.call_id, true));
  document.addEventListener("kv:call.answered", (event) => onAnswered(event.detail));
  document.addEventListener("kv:call.ended", (event) => !cards.get(event.detail.call_id)?.taken && remove(event.detail.call_id));
  document.addEventListener("kv:resync", lookAgain);
  document.addEventListener("keydown", onKey);
  on(document, "click", "[data-call-hide]", (event, button) => remove(Number(button.closest("[data-call-pop]").dataset.callPop)));
  setInterval(tick, 1000);
  // An event of the end may be lost with the connection.
  setInterval(lookAgain, LOOK_AGAIN_MS);
  remembered().forEach((id) => show(id));
}

start();
