/* The list of deals: actions on many, each told how it went. */
import { api, ApiError, el, on, toast, tr } from "./kit.js";
import { formDialog } from "./dialogs.js";
import { newTask } from "./tasks.js";

const table = document.getElementById("deals");
const stages = JSON.parse(table.dataset.stages);
let everything = false;

const chosen = () => [...table.querySelectorAll("input[name=deal]:checked")].map((box) => Number(box.value));
const address = () => `/deals/bulk${everything && table.dataset.query ? `?${table.dataset.query}` : ""}`;
const subject = () => (everything ? { all: true } : { ids: chosen() });

function report({ done, failed }) {
  if (!failed.length) {
    toast(tr("Готово: %(count)s", { count: done }), { tone: "ok" });
    setTimeout(() => window.location.reload(), 700);
    return;
  }
  const rows = failed.map(({ id, message }) => el("li", {}, el("a", { class: "kv-link", href: `/deals/${id}` }, `№ ${id}`), ` — ${message}`));
  formDialog({
    title: tr("Сделано: %(done)s, не получилось: %(failed)s", { done, failed: failed.length }), fields: [], ok: tr("Понятно"),
    extra: () => el("ul", { class: "kv-report" }, rows), check: async () => true,
  }).then(() => window.location.reload());
}

async function run(dialog) {
  const answer = await dialog;
  if (answer) report(answer);
}

const send = (action) => (values) => api(address(), { method: "POST", body: { ...subject(), action, ...values } });

const ACTIONS = {
  assign: () => formDialog({
    title: tr("Передать сделки"), ok: tr("Передать"), check: send("assign"),
    fields: [{ name: "responsible_id", label: tr("Кому"), kind: "remote", remote: "/api/v1/options/employees", required: true }],
  }),
  move: () => formDialog({
    title: tr("Переместить на этап"), ok: tr("Переместить"), check: send("move"),
    // A success and a refusal ask each deal for its own sum or reason: they are moved one by one.
    fields: [{ name: "stage_id", label: tr("Этап"), kind: "choice", options: stages.filter(({ type }) => type !== "success" && type !== "refusal").map(({ id, name }) => [id, name]), required: true }],
  }),
  task: () => newTask(address(), { body: { ...subject(), action: "task" } }),
};

on(table, "click", "[data-bulk]", (event, button) => run(ACTIONS[button.dataset.bulk]()));
on(table, "click", "[data-bulk-all]", (event, button) => {
  const { count, max } = table.dataset;
  if (Number(count) > Number(max)) return toast(tr("За один раз можно изменить не больше %(max)s сделок: сузьте условия.", { max }), { tone: "warn" });
  everything = !everything;
  button.setAttribute("aria-pressed", String(everything));
  button.classList.toggle("btn-primary", everything);
  return undefined;
});
document.addEventListener("change", (event) => {
  if (event.target.matches?.("input[name=deal]")) everything = false;
});
window.addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof ApiError) toast(event.reason.message, { tone: "bad" });
});
