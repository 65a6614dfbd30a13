/* Moving a deal to a stage, from the board, the stage bar and the list alike: asks for exactly what is missing,
   says why not, offers to undo. */
import { api, ApiError, el, enhance, icon, toast, tr } from "./kit.js";
import { formDialog } from "./dialogs.js";
import { openModal } from "./modal.js";

/** Ask for the fields the server named; resolves to the body of the next attempt or null. */
function askMissing(refusal, sent) {
  const { message, fields = [], may_skip: maySkip = false } = refusal;
  const skip = maySkip ? [{ name: "unchecked", label: tr("Переместить без проверки"), kind: "switch", hint: tr("Останется в истории сделки.") }] : [];
  return formDialog({
    title: tr("Не хватает данных"), text: fields.length ? tr("Заполните, чтобы перейти на этап.") : message,
    fields: [...fields.map((field) => ({ ...field, name: field.code })), ...skip], ok: tr("Переместить"),
    check: async (values) => {
      const body = merged(sent, values, fields);
      return { body, answer: await attempt(sent.url, body) };
    },
  });
}

const OWN = new Set(["loss_reason_id", "won_amount", "won_on"]);

function merged(sent, values, fields) {
  const body = { ...sent.body, values: { ...(sent.body.values ?? {}) } };
  for (const { code } of fields) {
    if (OWN.has(code)) body[code] = values[code];
    else body.values[code] = values[code];
  }
  if (values.unchecked) body.unchecked = true;
  return body;
}

const attempt = (url, body) => api(url, { method: "POST", body });

const asksMore = (error) => error instanceof ApiError && (error.payload?.fields?.length || error.payload?.may_skip);

/** Move deal `id` to `stage` ({id, name}). Resolves to the server's answer, or to null when nothing moved (already said why). */
export async function moveDeal(id, stage, { onUndone = null } = {}) {
  const url = `/api/v1/deals/${id}/move`;
  const body = { stage_id: stage.id };
  try {
    return moved(await attempt(url, body), stage, onUndone);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (!asksMore(error)) {
      toast(error.message, { tone: "bad" });
      return null;
    }
    const done = await askMissing(error.payload, { url, body });
    return done ? moved(done.answer, stage, onUndone) : null;
  }
}

function moved(answer, stage, onUndone) {
  for (const warning of answer.warnings ?? []) toast(warning, { tone: "warn" });
  const undo = answer.history_id ? () => undoMove(answer.deal_id, answer.history_id, onUndone) : null;
  toast(tr("Сделка на этапе «%(name)s»", { name: stage.name }), { tone: "ok", undo });
  return answer;
}

async function undoMove(id, historyId, onUndone) {
  try {
    const answer = await api(`/api/v1/deals/${id}/undo`, { method: "POST", body: { history_id: historyId } });
    toast(tr("Возвращено"), { tone: "ok" });
    onUndone?.(answer);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { tone: "bad" });
  }
}

/** Let the person choose a stage from a list; resolves to the stage or null. */
export function chooseStage(stages, currentId) {
  const root = el("div", { class: "modal fade", tabindex: "-1", "aria-labelledby": "stage-choice" });
  const list = el("div", { class: "kv-stage-list" });
  root.append(el("div", { class: "modal-dialog modal-sm modal-dialog-centered modal-dialog-scrollable" },
    el("div", { class: "modal-content" },
      el("div", { class: "modal-header" }, el("h2", { class: "modal-title", id: "stage-choice" }, tr("Переместить на этап")),
        el("button", { type: "button", class: "btn-close", "data-bs-dismiss": "modal", "aria-label": tr("Закрыть") })),
      el("div", { class: "modal-body" }, list))));
  document.body.append(root);
  return new Promise((resolve) => {
    let chosen = null;
    let close;
    for (const stage of stages) {
      const current = stage.id === currentId;
      list.append(el("button", { type: "button", "aria-current": current ? "true" : null, disabled: current, onclick: () => {
        chosen = stage;
        close();
      } }, el("span", { class: "kv-stage", style: `--c:${stage.color}` }, stage.name), current ? icon("check") : null));
    }
    root.addEventListener("shown.bs.modal", () => list.querySelector("button:not([disabled])")?.focus(), { once: true });
    root.addEventListener("hidden.bs.modal", () => {
      root.remove();
      resolve(chosen);
    }, { once: true });
    enhance(root);
    close = openModal(root);
  });
}

/** «Взять себе»; resolves to true when taken. */
export async function takeDeal(id) {
  try {
    await api(`/api/v1/deals/${id}/take`, { method: "POST", body: {} });
    toast(tr("Сделка ваша"), { tone: "ok" });
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { tone: "bad" });
    return false;
  }
}
