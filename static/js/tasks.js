/* What is done with tasks, wherever they stand: done, again, another moment, delete, a new one. */
import { api, ApiError, confirmDialog, el, on, toast, tr } from "./kit.js";
import { formDialog } from "./dialogs.js";

const KINDS = [["call", tr("Звонок")], ["meeting", tr("Встреча")], ["showing", tr("Показ")], ["letter", tr("Письмо")], ["other", tr("Другое")]];

const task = (node) => node.closest("[data-task]");
const url = (node, act = "") => `/api/v1/tasks/${task(node).dataset.task}${act}`;

async function attempt(request, said, changed) {
  try {
    await request();
    if (said) toast(said, { tone: "ok" });
    changed();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { tone: "bad" });
  }
}

async function done(node, changed) {
  const answer = await formDialog({
    title: task(node).dataset.text, ok: tr("Готово"),
    fields: [{ name: "result", label: tr("Результат"), kind: "longtext", hint: tr("Что узнали, о чём договорились") }],
    check: (values) => api(url(node, "/done"), { method: "POST", body: values }),
  });
  if (!answer) return;
  const again = `/api/v1/tasks/${answer.id}/reopen`;
  toast(tr("Задача выполнена"), { tone: "ok", undo: () => attempt(() => api(again, { method: "POST", body: {} }), tr("Задача снова в работе"), changed) });
  changed();
}

async function moveTask(node, changed) {
  const answer = await formDialog({
    title: tr("Перенести задачу"), text: task(node).dataset.text, ok: tr("Перенести"), extra: quickDays,
    fields: [{ name: "due_at", label: tr("Новый срок"), kind: "datetime", required: true }],
    check: (values) => api(url(node, "/reschedule"), { method: "POST", body: values }),
  });
  if (answer) changed();
}

async function remove(node, changed) {
  if (await confirmDialog(tr("Удалить задачу «%(text)s»?", { text: task(node).dataset.text }), { ok: tr("Удалить"), danger: true })) {
    attempt(() => api(url(node), { method: "DELETE" }), tr("Задача удалена"), changed);
  }
}

function dayAt(days, hours) {
  const day = new Date();
  day.setDate(day.getDate() + days);
  day.setHours(hours, 0, 0, 0);
  return day;
}

function setMoment(form, moment) {
  form.querySelector("[name=due_at]")._flatpickr?.setDate(moment, true);
}

function quickDays(form) {
  const choices = [[tr("Через час"), () => new Date(Date.now() + 3600e3)], [tr("Завтра 10:00"), () => dayAt(1, 10)], [tr("Послезавтра"), () => dayAt(2, 10)], [tr("Через неделю"), () => dayAt(7, 10)]];
  return el("div", { class: "kv-presets" }, choices.map(([label, moment]) =>
    el("button", { type: "button", class: "kv-chip", onclick: () => setMoment(form, moment()) }, label)));
}

/** Ready texts of the stage: one press fills the dialog. */
function presetChips(presets, form) {
  return el("div", { class: "kv-presets" }, presets.map((preset) =>
    el("button", { type: "button", class: "kv-chip", onclick: () => {
      form.elements.text.value = preset.text;
      form.elements.kind.value = preset.kind;
      form.dataset.status = preset.id;
      setMoment(form, dayAt(preset.days, 12));
    } }, preset.text)));
}

/** Dialog of a new task. `address` takes it; `presets` are the stage's ready tasks. Resolves to the answer or null. */
export async function newTask(address, { presets = [], responsible = null, body = {} } = {}) {
  let form = null;
  const extra = (made) => {
    form = made;
    return el("div", { class: "kv-form" }, presets.length ? presetChips(presets, made) : null, quickDays(made));
  };
  return formDialog({
    title: tr("Новая задача"), ok: tr("Поставить задачу"), extra,
    fields: [
      { name: "text", label: tr("Что сделать"), kind: "text", required: true },
      { name: "kind", label: tr("Вид"), kind: "choice", options: KINDS, value: "call" },
      { name: "due_at", label: tr("Срок"), kind: "datetime", required: true },
      { name: "responsible_id", label: tr("Кому"), kind: "remote", remote: "/api/v1/options/employees", options: responsible ? [responsible] : [], value: responsible?.[0], hint: tr("Пусто — ответственному за сделку") },
    ],
    check: (values) => {
      const preset = presets.find(({ id }) => String(id) === form.dataset.status);
      const status = preset && preset.text === values.text ? preset.id : null;
      return api(address, { method: "POST", body: { ...body, ...values, status_id: status } });
    },
  });
}

/** Wire the buttons of tasks inside `root`; `changed` is called after each change. */
export function startTasks(root, changed) {
  on(root, "click", "[data-task-done]", (event, button) => done(button, changed));
  on(root, "click", "[data-task-move]", (event, button) => moveTask(button, changed));
  on(root, "click", "[data-task-delete]", (event, button) => remove(button, changed));
  on(root, "click", "[data-task-reopen]", (event, button) => attempt(() => api(url(button, "/reopen"), { method: "POST", body: {} }), tr("Задача снова в работе"), changed));
}
