/* Buttons that call a client (ui.dial): data-call="<id of a contact's phone>", data-call-again="<call id>", data-call-number="+7…" or data-call-deal="<deal id>" alone.
   The employee's telephone rings first; the button tells how the call goes until it is over. */
import { api, ApiError, on, toast } from "./kit.js";

const BUTTONS = "[data-call], [data-call-again], [data-call-number], [data-call-deal]";
const LOOK_MS = 4000; // events come at once; this is for those that were lost
const SILENT_MS = 120000; // an operator that tells nothing of a call
const STAYS_MS = { over: 4000, failed: 8000 };
const TEXTS = document.documentElement.lang.startsWith("en")
  ? { dialling: "Connecting…", ordered: "Calling you…", calling: "Calling the client…", over: "Finished" }
  : { dialling: "Соединяем…", ordered: "Звоним вам…", calling: "Звоним клиенту…", over: "Завершён" };
const live = new Map(); // call id -> { button, state, began, since, timer }

const clock = (seconds) => [Math.floor(seconds / 60), seconds % 60].map((part) => String(part).padStart(2, "0")).join(":");

function request(button) {
  const { call, callAgain, callNumber, callDeal } = button.dataset;
  const body = {};
  if (call) body.contact_phone_id = Number(call);
  else if (callAgain) body.call_id = Number(callAgain);
  else if (callNumber) body.number = callNumber;
  if (callDeal) body.deal_id = Number(callDeal);
  return body;
}

/** The same button after its part of the page was drawn anew. */
function standing(button) {
  if (button.isConnected) return button;
  const same = [...document.querySelectorAll(BUTTONS)].find((other) => ["call", "callAgain", "callNumber", "callDeal"].every((name) => other.dataset[name] === button.dataset[name]));
  return same ?? button;
}

function paint(button, state, text) {
  const place = button.querySelector("[data-dial-text]");
  if (!("dialLabel" in button.dataset)) {
    button.dataset.dialLabel = place?.textContent ?? "";
    button.dataset.dialName = button.getAttribute("aria-label") ?? "";
  }
  if (state) button.dataset.callState = state;
  else delete button.dataset.callState;
  button.disabled = state === "dialling";
  button.setAttribute("aria-busy", String(state === "dialling"));
  if (place) place.textContent = state ? text : button.dataset.dialLabel;
  button.setAttribute("aria-label", state ? text : button.dataset.dialName);
}

function forget(id) {
  const call = live.get(id);
  if (!call) return;
  clearTimeout(call.timer);
  live.delete(id);
  paint(standing(call.button), null);
}

function put(id, { state, seconds, reason }) {
  const call = live.get(id);
  call.button = standing(call.button);
  clearTimeout(call.timer);
  if (state === "over") {
    const failed = Boolean(reason);
    call.state = failed ? "failed" : "over";
    paint(call.button, call.state, failed ? reason : `${TEXTS.over} ${clock(seconds)}`);
    if (failed) toast(reason, { tone: "warn" });
    call.timer = setTimeout(() => forget(id), STAYS_MS[call.state]);
    return;
  }
  // Another has taken over a call that was ours: nothing to show any more.
  if (state === "taken") return forget(id);
  call.state = state;
  call.began = Date.now() - seconds * 1000;
  paint(call.button, state, state === "talking" ? clock(seconds) : TEXTS[state] ?? TEXTS.calling);
  if (state === "ordered" && Date.now() - call.since > SILENT_MS) return forget(id);
  call.timer = setTimeout(() => look(id), LOOK_MS);
}

async function look(id) {
  if (!live.has(id) || ["over", "failed"].includes(live.get(id).state)) return;
  let found;
  try {
    found = await api(`/api/v1/calls/${id}/state`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 404) return forget(id);
    const call = live.get(id);
    if (call) call.timer = setTimeout(() => look(id), LOOK_MS);
    return;
  }
  if (live.has(id)) put(id, found);
}

async function dial(button) {
  if (button.dataset.callState) return;
  paint(button, "dialling", TEXTS.dialling);
  try {
    const answer = await api("/api/v1/calls/dial", { method: "POST", body: request(button) });
    toast(answer.message, { tone: "ok" });
    live.set(answer.call_id, { button, since: Date.now(), timer: 0 });
    put(answer.call_id, { state: "ordered", seconds: 0 });
  } catch (error) {
    paint(button, null);
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { tone: "bad" });
  }
}

function tick() {
  for (const call of live.values()) {
    if (call.state === "talking") paint(call.button, "talking", clock(Math.max(0, Math.floor((Date.now() - call.began) / 1000))));
  }
}

function start() {
  if (window.kvCalls) return;
  window.kvCalls = { look };
  on(document, "click", BUTTONS, (event, button) => {
    event.preventDefault();
    event.stopPropagation();
    dial(button);
  });
  for (const kind of ["dialling", "answered", "ended"]) document.addEventListener(`kv:call.${kind}`, (event) => look(event.detail.call_id));
  setInterval(tick, 1000);
}

start();
