/* Builds and imports while they run: counts move, the report appears by itself. */
import { api, ApiError, debounce, tr } from "./kit.js";

const POLL_MS = 3000;
const GOING_ON = ["queued", "running"];
const TITLES = { queued: tr("Ждёт своей очереди"), running: tr("Читаем файл") };
const numbers = new Intl.NumberFormat("ru-RU");

/** Take the same address anew and swap the content; what is being typed is not disturbed. */
async function refresh(selector) {
  const active = document.activeElement;
  if (active?.matches("input:not([type=checkbox]), textarea, select") && active.closest(selector)) return;
  const response = await fetch(window.location.href, { credentials: "same-origin" });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const [old, fresh] = [document.querySelector(selector), page.querySelector(selector)];
  if (old && fresh) old.replaceWith(document.adoptNode(fresh));
}

function watchList() {
  const again = debounce(() => refresh("[data-live-runs]"), 400);
  document.addEventListener("kv:run.changed", again);
  document.addEventListener("kv:resync", again);
}

class RunWatch {
  constructor(root) {
    this.root = root;
    this.id = root.dataset.run;
    this.look = debounce(() => this.poll(), 200);
  }

  start() {
    document.addEventListener("kv:run.changed", (event) => String(event.detail.run_id) === this.id && this.look());
    document.addEventListener("kv:resync", this.look);
    if (GOING_ON.includes(this.root.dataset.runState)) this.timer = setInterval(() => this.poll(), POLL_MS);
  }

  async poll() {
    if (!this.root.dataset.runUrl) return this.reload();
    try {
      this.show(await api(this.root.dataset.runUrl));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // the next look may succeed
    }
  }

  show(run) {
    const total = this.root.querySelector('[data-run-count="total"]');
    const title = this.root.querySelector("[data-run-title]");
    if (total) total.textContent = numbers.format(run.total);
    if (title && TITLES[run.state]) title.textContent = TITLES[run.state];
    if (run.state !== this.root.dataset.runState && !GOING_ON.includes(run.state)) this.reload();
  }

  reload() {
    clearInterval(this.timer);
    window.location.reload();
  }
}

const run = document.querySelector("[data-run]");
if (run) new RunWatch(run).start();
if (document.querySelector("[data-live-runs]")) watchList();
