/* The list of calls: marks of calling back, taking a deal, and keeping the two lists that change by themselves up to date. */
import { api, ApiError, debounce, el, enhance, on, toast } from "./kit.js";

const list = document.querySelector("[data-calls]");
const SEGMENTS = ["all", "in", "out", "missed", "live"]; // as the links of the head stand
const TEXTS = document.documentElement.lang.startsWith("en") ? { taken: "The deal is yours.", of: "of" } : { taken: "Сделка ваша.", of: "из" };

/** Something is being listened to, chosen or dialled here: drawing anew would break it off. */
function isBusy() {
  const playing = [...list.querySelectorAll("audio")].some((sound) => !sound.paused);
  return playing || document.hidden || list.querySelector("[data-call-state]") || document.querySelector(".modal.show, .dropdown-menu.show") || list.contains(document.activeElement);
}

/** Numbers of the segments and of the pager come after the page: counting may take longer than the page itself. */
async function count() {
  let found;
  try {
    found = await api(list.dataset.counts);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return; // the list is whole without them
  }
  const links = document.querySelectorAll(".kv-head .kv-seg a");
  SEGMENTS.forEach((name, place) => {
    if (found[name] && links[place] && !links[place].querySelector("small")) links[place].append(el("small", {}, found[name]));
  });
  const total = list.querySelector("[data-total]");
  const number = total && found[total.dataset.total];
  if (number && !total.textContent.trim()) total.textContent = ` ${TEXTS.of} ${number}`;
}

async function draw() {
  const response = await fetch(window.location.href, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector("[data-calls]");
  if (!fresh) return;
  list.replaceChildren(...fresh.childNodes);
  list.dataset.counts = fresh.dataset.counts;
  enhance(list);
  for (const part of [".kv-head .kv-seg", "#nav"]) {
    const now = document.querySelector(part);
    const then = page.querySelector(part);
    if (now && then) now.replaceChildren(...then.childNodes);
  }
  count();
}

async function refresh() {
  if (isBusy()) return;
  try {
    await draw();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // no connection now: the next turn brings it
  }
}

async function act(button, request, done) {
  button.disabled = true;
  try {
    done(await request());
    await draw();
  } catch (error) {
    button.disabled = false;
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { tone: "bad" });
  }
}

function markCalledBack(event, button) {
  const path = `/api/v1/calls/${button.dataset.calledBack}/called-back`;
  const undo = () => act(button, () => api(path, { method: "DELETE" }), (answer) => toast(answer.message, { tone: "ok" }));
  act(button, () => api(path, { method: "POST" }), (answer) => toast(answer.message, { tone: "ok", undo }));
}

function take(event, button) {
  act(button, () => api(`/api/v1/deals/${button.dataset.takeDeal}/take`, { method: "POST", body: {} }), () => toast(TEXTS.taken, { tone: "ok" }));
}

// On a narrow screen the chosen segment may be out of sight.
document.querySelector(".kv-head .kv-seg .on")?.scrollIntoView({ block: "nearest", inline: "center" });
on(document, "click", "[data-called-back]", markCalledBack);
on(document, "click", "[data-take-deal]", take);
count();
if (list.dataset.refresh) {
  const soon = debounce(refresh, 700);
  for (const kind of ["call.ringing", "call.dialling", "call.answered", "call.ended", "appeal.created", "resync"]) document.addEventListener(`kv:${kind}`, soon);
  setInterval(refresh, Number(list.dataset.refresh) * 1000);
}
