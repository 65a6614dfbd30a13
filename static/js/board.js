/* The board: drag, keyboard, lazy columns, live updates. */
import { api, ApiError, debounce, on, toast, tr } from "./kit.js";
import { chooseStage, moveDeal, takeDeal } from "./moves.js";

const board = document.getElementById("board");
const pipeline = Number(board.dataset.pipeline);
const stages = JSON.parse(board.dataset.stages);
const query = board.dataset.query;
const columns = [...board.querySelectorAll("[data-column]")];
const waiting = new Set(); // deals that changed while a card was being dragged

const column = (stageId) => board.querySelector(`[data-column="${stageId}"]`);
const list = (place) => place.querySelector("[data-cards]");
const card = (id) => board.querySelector(`[data-deal="${id}"]`);
const stageOf = (id) => stages.find((stage) => stage.id === Number(id));
const withQuery = (path, more = {}) => {
  const params = new URLSearchParams(query);
  for (const [name, value] of Object.entries(more)) params.set(name, value);
  const text = params.toString();
  return text ? `${path}?${text}` : path;
};

async function html(path) {
  const response = await fetch(path, { headers: { "X-Requested-With": "fetch" }, credentials: "same-origin" });
  if (response.redirected || !response.ok) throw new ApiError("", response.status);
  const holder = document.createElement("template");
  holder.innerHTML = await response.text();
  return { cards: [...holder.content.querySelectorAll("[data-deal]")], after: response.headers.get("X-After") ?? "" };
}

/* --- figures -------------------------------------------------------------------------- */

function showEmpty(place) {
  place.querySelector("[data-empty]").hidden = list(place).querySelector("[data-deal]") !== null;
}

async function refreshTotals() {
  try {
    const { stages: totals } = await api(withQuery(`/board/${pipeline}/totals`));
    for (const total of totals) {
      const place = column(total.id);
      if (!place) continue;
      place.querySelector("[data-count]").textContent = total.count;
      place.querySelector("[data-sum]").textContent = total.amount;
      place.classList.toggle("kv-crowded", total.crowded);
      showEmpty(place);
    }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // figures wait for the next change
  }
}

const refreshTotalsSoon = debounce(refreshTotals, 250);

/* --- cards ---------------------------------------------------------------------------- */

/** Newest on the stage first; a card below the loaded page waits for «Показать ещё». */
function place(node) {
  const target = column(node.dataset.stage);
  card(node.dataset.deal)?.remove();
  if (!target) return;
  const cards = [...list(target).querySelectorAll("[data-deal]")];
  const next = cards.find((other) => Date.parse(other.dataset.entered) <= Date.parse(node.dataset.entered));
  if (!next && target.dataset.after) return;
  list(target).insertBefore(node, next ?? null);
  showEmpty(target);
}

async function refreshCard(id, { fresh = false, focus = false } = {}) {
  const old = card(id);
  const from = old?.closest("[data-column]");
  const focused = focus || old?.contains(document.activeElement);
  try {
    const { cards: [node] } = await html(withQuery(`/board/card/${id}`));
    // The list under the mouse must not change: a card put in now would stand there twice.
    if (isDragging()) return waiting.add(String(id));
    if (!node) old?.remove();
    else {
      place(node);
      if (fresh) node.classList.add("kv-fresh");
      if (focused) node.focus();
    }
    if (from) showEmpty(from);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // the next event or reload shows it
  }
  refreshTotalsSoon();
}

async function more(button) {
  const target = button.closest("[data-column]");
  if (button.disabled || !target.dataset.after) return;
  button.disabled = true;
  try {
    const page = await html(withQuery(`/board/${pipeline}/stage/${target.dataset.column}`, { after: target.dataset.after }));
    list(target).append(...page.cards.filter((node) => !card(node.dataset.deal)));
    target.dataset.after = page.after;
    button.hidden = !page.after;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(tr("Не удалось загрузить карточки. Нажмите «Показать ещё»."), { tone: "warn" });
  } finally {
    button.disabled = false;
  }
}

/* --- moving --------------------------------------------------------------------------- */

const isDragging = () => document.body.classList.contains("kv-dragging");

function refreshWaiting() {
  for (const id of waiting) refreshCard(id, { fresh: !card(id) });
  waiting.clear();
}

function say(text) {
  document.getElementById("board-said").textContent = text;
}

async function move(id, stage, { focus = false } = {}) {
  card(id)?.classList.add("kv-busy");
  const answer = await moveDeal(id, stage, { onUndone: () => refreshCard(id, { fresh: true, focus }) });
  card(id)?.classList.remove("kv-busy");
  if (answer) {
    say(tr("Перемещено на этап «%(name)s»", { name: stage.name }));
    await refreshCard(id, { fresh: true, focus });
  }
  return answer;
}

function startDrag() {
  for (const place of columns) {
    window.Sortable.create(list(place), {
      group: "deals", draggable: "[data-deal]", sort: true, animation: 130, delay: 180, delayOnTouchOnly: true, touchStartThreshold: 6,
      filter: ".kv-locked, .kv-busy, button", preventOnFilter: false, forceFallback: true, fallbackOnBody: true, fallbackTolerance: 5,
      ghostClass: "sortable-ghost", dragClass: "sortable-drag", scroll: board, scrollSensitivity: 90,
      onStart: () => document.body.classList.add("kv-dragging"),
      onEnd: dropped,
    });
  }
}

async function dropped({ item, from, to, oldDraggableIndex }) {
  document.body.classList.remove("kv-dragging");
  const back = () => {
    const shown = card(item.dataset.deal);
    if (shown && shown !== item) return; // the server has put it back already
    const others = [...from.querySelectorAll("[data-deal]")].filter((node) => node !== item);
    from.insertBefore(item, others[oldDraggableIndex] ?? null);
  };
  if (from === to) {
    back();
    return refreshWaiting();
  }
  showEmpty(to.closest("[data-column]"));
  const stage = stageOf(to.closest("[data-column]").dataset.column);
  const answer = await move(item.dataset.deal, stage);
  if (!answer) {
    back();
    for (const side of [from, to]) showEmpty(side.closest("[data-column]"));
  }
  refreshWaiting();
  return answer;
}

async function openMenu(node) {
  const stage = await chooseStage(stages, Number(node.dataset.stage));
  if (stage) await move(node.dataset.deal, stage, { focus: true });
}

function step(node, by) {
  const index = stages.findIndex((stage) => stage.id === Number(node.dataset.stage));
  return stages[index + by] ?? null;
}

function neighbour(node, key) {
  if (key === "ArrowDown") return node.nextElementSibling;
  if (key === "ArrowUp") return node.previousElementSibling;
  const own = node.closest("[data-column]");
  const row = [...node.parentElement.children].indexOf(node);
  const step = key === "ArrowRight" ? 1 : -1;
  for (let i = columns.indexOf(own) + step; columns[i]; i += step) {
    const cards = list(columns[i]).querySelectorAll("[data-deal]");
    if (cards.length) return cards[Math.min(row, cards.length - 1)];
  }
  return null;
}

function onKey(event, node) {
  if (event.target !== node || event.ctrlKey || event.metaKey || event.altKey) return;
  const locked = node.classList.contains("kv-locked");
  if (event.key === "Enter") node.querySelector("a[href]").click();
  else if ((event.code === "KeyM" || event.key === " ") && !locked) openMenu(node);
  else if (event.shiftKey && !locked && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    const stage = step(node, event.key === "ArrowRight" ? 1 : -1);
    if (stage) move(node.dataset.deal, stage, { focus: true });
  } else if (event.key.startsWith("Arrow")) {
    const next = neighbour(node, event.key);
    next?.focus();
    next?.scrollIntoView({ block: "nearest", inline: "nearest" });
  } else return;
  event.preventDefault();
}

/* --- start ---------------------------------------------------------------------------- */

function watchColumns() {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) more(entry.target);
  }, { root: board, rootMargin: "300px" });
  for (const button of board.querySelectorAll("[data-more]")) watcher.observe(button);
}

function concerns(detail) {
  return detail.pipeline_id === pipeline || card(detail.deal_id) !== null;
}

on(board, "click", "[data-more]", (event, button) => more(button));
on(board, "click", "[data-move-menu]", (event, button) => openMenu(button.closest("[data-deal]")));
on(board, "click", "[data-take]", async (event, button) => {
  const node = button.closest("[data-deal]");
  await takeDeal(node.dataset.deal);
  refreshCard(node.dataset.deal);
});
on(board, "keydown", "[data-deal]", onKey);
document.addEventListener("kv:deal.changed", ({ detail }) => {
  if (!concerns(detail)) return;
  if (isDragging()) waiting.add(String(detail.deal_id));
  else refreshCard(detail.deal_id, { fresh: !card(detail.deal_id) });
});
document.addEventListener("kv:resync", () => window.location.reload());
document.addEventListener("DOMContentLoaded", startDrag, { once: true });
if (document.readyState !== "loading" && window.Sortable) startDrag();
watchColumns();
