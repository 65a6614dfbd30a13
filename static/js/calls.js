/* Buttons that dial: data-call="<id of a contact's phone>" or data-call-number="+7…", with data-deal-id. The phone of the employee rings first. */
import { api, ApiError, on, toast } from "./kit.js";

const WAITING_MS = 45000;
let dialled = null; // { button, timer, call }

function setState(button, state) {
  if (state) button.dataset.callState = state;
  else delete button.dataset.callState;
  button.setAttribute("aria-busy", String(state === "dialling"));
  button.disabled = state === "dialling";
}

function finish() {
  if (!dialled) return;
  clearTimeout(dialled.timer);
  setState(dialled.button, null);
  dialled = null;
}

function request(button) {
  const body = {};
  if (button.dataset.call) body.contact_phone_id = Number(button.dataset.call);
  else body.number = button.dataset.callNumber;
  if (button.dataset.dealId) body.deal_id = Number(button.dataset.dealId);
  return body;
}

async function dial(button) {
  finish();
  setState(button, "dialling");
  try {
    const answer = await api("/api/v1/calls/dial", { method: "POST", body: request(button) });
    toast(answer.message, { tone: "ok" });
    dialled = { button, timer: setTimeout(finish, WAITING_MS), call: answer.call_id };
  } catch (error) {
    setState(button, null);
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { tone: "bad" });
  }
}

function start() {
  if (window.kvCalls) return;
  window.kvCalls = true;
  on(document, "click", "[data-call], [data-call-number]", (event, button) => {
    event.preventDefault();
    dial(button);
  });
  document.addEventListener("kv:call.answered", (event) => {
    if (dialled?.call !== event.detail.call_id) return;
    clearTimeout(dialled.timer);
    setState(dialled.button, "talking");
  });
  document.addEventListener("kv:call.ended", (event) => dialled?.call === event.detail.call_id && finish());
}

start();
