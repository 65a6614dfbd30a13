/* The deal card: stage bar, editing in place, tasks, feed, tabs; kept fresh while it is open. */
import { api, ApiError, confirmDialog, debounce, el, enhance, on, toast, tr } from "./kit.js";
import { formDialog } from "./dialogs.js";
import { chooseStage, moveDeal, takeDeal } from "./moves.js";
import { editInPlace } from "./inline.js";
import { newTask, startTasks } from "./tasks.js";

const root = () => document.getElementById("deal");
const id = Number(root().dataset.deal);
const stages = () => JSON.parse(root().dataset.stages);

const get = (path) => fetch(path, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });

/** Take the changed regions from a fresh copy of the page; what is being typed stays. */
async function refresh() {
  const response = await get(window.location.href);
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById("deal");
  for (const name of ["version", "stage", "stages", "presets", "responsible", "responsibleName"]) root().dataset[name] = fresh.dataset[name];
  for (const region of document.querySelectorAll("[data-region]")) {
    const copy = page.querySelector(`[data-region="${region.dataset.region}"]`);
    if (!copy || region.dataset.region === "tabs") continue;
    if (isEdited(region)) refreshFields(region, copy);
    else region.replaceChildren(...copy.childNodes);
  }
  showStage();
  refreshFeed(page.querySelector("[data-feed]"));
  reloadPane();
}

/** On a phone the bar is wider than the page: the stage the deal stands on must be in sight. */
function showStage() {
  const now = document.querySelector(".kv-stages > .now");
  if (now) now.parentElement.scrollLeft = now.offsetLeft - now.parentElement.offsetLeft - 40;
}

const isEdited = (node) => node.querySelector(".kv-inline, .kv-opening") !== null;

/** Beside a field that is being edited the others still follow. */
function refreshFields(region, page) {
  for (const place of region.querySelectorAll("dd[data-field]")) {
    const copy = page.querySelector(`dd[data-field="${place.dataset.field}"]`);
    if (copy && !isEdited(place)) place.replaceChildren(...copy.childNodes);
  }
}

/** A recording that plays is not cut off: the feed is renewed at the next change. */
function refreshFeed(copy) {
  const feed = document.querySelector("[data-feed]");
  const playing = [...feed.querySelectorAll("audio")].some((audio) => !audio.paused);
  if (!copy || playing) return;
  feed.replaceChildren(...copy.childNodes);
  enhance(feed);
}

const refreshSoon = debounce(refresh, 250);

async function attempt(request, said = "") {
  try {
    const answer = await request();
    if (said) toast(said, { tone: "ok" });
    refreshSoon();
    return answer;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { tone: "bad" });
    return null;
  }
}

/* --- stage, saving, people ------------------------------------------------------------- */

async function toStage(stageId) {
  const stage = stages().find((found) => found.id === Number(stageId));
  if (!stage || stage.id === Number(root().dataset.stage) || !("editable" in root().dataset)) return;
  if (await moveDeal(id, stage, { onUndone: refreshSoon })) refreshSoon();
}

async function save() {
  const address = `/api/v1/deals/${id}/save`;
  try {
    await api(address, { method: "POST", body: {} });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (!error.payload?.fields?.length) return toast(error.message, { tone: "bad" });
    const saved = await formDialog({
      title: tr("Завести сделку"), text: tr("Заполните обязательные поля этапа."),
      fields: error.payload.fields.map((field) => ({ ...field, name: field.code })),
      check: (values) => api(address, { method: "POST", body: { values } }),
    });
    if (!saved) return undefined;
  }
  toast(tr("Сделка заведена"), { tone: "ok" });
  return refreshSoon();
}

async function assign() {
  const { responsible, responsibleName } = root().dataset;
  const answer = await formDialog({
    title: tr("Передать сделку"), ok: tr("Передать"),
    fields: [{ name: "responsible_id", label: tr("Кому"), kind: "remote", remote: "/api/v1/options/employees", required: true, options: responsible ? [[responsible, responsibleName]] : [], value: responsible }],
    check: (values) => api(`/api/v1/deals/${id}/assign`, { method: "POST", body: values }),
  });
  if (answer) {
    toast(tr("Сделка передана"), { tone: "ok" });
    refreshSoon();
  }
}

async function toPipeline(button) {
  const { stages: offered } = await api(`/board/${button.dataset.pipeline}/totals`);
  const stage = await chooseStage(offered.filter((item) => item.type === "in_work"), null);
  if (!stage) return;
  attempt(() => api(`/api/v1/deals/${id}/pipeline`, { method: "POST", body: { stage_id: stage.id } }), tr("Сделка в воронке «%(name)s»", { name: button.dataset.name }));
}

async function remove() {
  if (!(await confirmDialog(tr("Удалить сделку? Открытые задачи закроются, вернуть её сможет администратор."), { ok: tr("Удалить"), danger: true }))) return;
  const answer = await attempt(() => api(`/api/v1/deals/${id}`, { method: "DELETE" }));
  if (answer) window.location.assign("/deals");
}

/* --- feed and tabs --------------------------------------------------------------------- */

async function comment(event, form) {
  event.preventDefault();
  const box = form.elements.text;
  const text = box.value.trim();
  if (!text) return box.focus();
  const sent = await attempt(() => api(`/api/v1/deals/${id}/comments`, { method: "POST", body: { text } }));
  if (sent) box.value = "";
  return undefined;
}

async function moreFeed(button) {
  button.disabled = true;
  const response = await get(`/deals/${id}/feed?after=${encodeURIComponent(button.dataset.feedMore)}`);
  if (!response.ok || response.redirected) {
    button.disabled = false;
    return;
  }
  const holder = el("div");
  holder.innerHTML = await response.text();
  enhance(holder);
  button.replaceWith(...holder.childNodes);
}

const pane = (name) => document.querySelector(`[data-pane="${name}"]`);
const shownTab = () => document.querySelector("[data-tab].on").dataset.tab;

async function loadPane(name) {
  const response = await get(`/deals/${id}/tab/${name}`);
  if (!response.ok || response.redirected) return toast(tr("Раздел не загрузился. Повторите."), { tone: "bad" });
  pane(name).innerHTML = await response.text();
  return enhance(pane(name));
}

function reloadPane() {
  if (shownTab() !== "feed") loadPane(shownTab());
}

function showTab(button) {
  for (const tab of document.querySelectorAll("[data-tab]")) {
    const on_ = tab === button;
    tab.classList.toggle("on", on_);
    tab.setAttribute("aria-selected", String(on_));
    pane(tab.dataset.tab).hidden = !on_;
  }
  reloadPane();
}

/* --- start ------------------------------------------------------------------------------ */

on(document, "click", "[data-to-stage]", (event, button) => toStage(button.dataset.toStage));
on(document, "click", "[data-save]", save);
on(document, "click", "[data-take]", async () => (await takeDeal(id)) && refreshSoon());
on(document, "click", "[data-spam]", (event, button) => toStage(button.dataset.spam));
on(document, "click", "[data-assign]", assign);
on(document, "click", "[data-pipeline]", (event, button) => toPipeline(button));
on(document, "click", "[data-delete]", remove);
on(document, "click", "[data-edit]", (event, button) => editInPlace(button, id, () => root().dataset.version, refreshSoon));
on(document, "click", "[data-task-new]", async () => {
  const made = await newTask(`/api/v1/deals/${id}/tasks`, { presets: JSON.parse(root().dataset.presets) });
  if (made) refreshSoon();
});
on(document, "click", "[data-tab]", (event, button) => showTab(button));
on(document, "click", "[data-feed-more]", (event, button) => moreFeed(button));
on(document, "submit", "[data-comment]", comment);
on(document, "keydown", "[data-comment] textarea", (event, box) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.form.requestSubmit();
});
showStage();
startTasks(document.getElementById("content"), refreshSoon);
for (const kind of ["deal.changed", "task.changed"]) {
  document.addEventListener(`kv:${kind}`, ({ detail }) => detail.deal_id === id && refreshSoon());
}
document.addEventListener("kv:resync", refreshSoon);
