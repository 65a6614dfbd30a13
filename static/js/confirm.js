/* Asking before a destructive act: one dialog for every data-confirm of the page. */
import { openModal } from "./modal.js";
import { t } from "./texts.js";

/** Ask; resolves to true or false. ok: label of the button, danger: red button. */
export function confirmDialog(text, { ok = null, danger = false } = {}) {
  const root = document.getElementById("confirm-dialog");
  if (!root || !window.tabler) return Promise.resolve(window.confirm(text));
  const button = root.querySelector("[data-confirm-ok]");
  root.querySelector("#confirm-text").textContent = text;
  button.textContent = ok || button.dataset.defaultLabel || t("proceed");
  button.classList.toggle("btn-danger", danger);
  button.classList.toggle("btn-primary", !danger);
  return new Promise((resolve) => {
    let answer = false;
    let close;
    const accept = () => {
      answer = true;
      close();
    };
    button.addEventListener("click", accept);
    root.addEventListener("shown.bs.modal", () => button.focus(), { once: true });
    root.addEventListener("hidden.bs.modal", () => {
      button.removeEventListener("click", accept);
      resolve(answer);
    }, { once: true });
    close = openModal(root);
  });
}

const agreed = new WeakSet();

function goOn(element, submitter) {
  agreed.add(element);
  if (element instanceof HTMLFormElement) element.requestSubmit(submitter ?? undefined);
  else element.click();
}

async function ask(event, element, submitter) {
  if (agreed.delete(element)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const { confirm, confirmLabel, confirmDanger } = element.dataset;
  if (await confirmDialog(confirm, { ok: confirmLabel, danger: confirmDanger !== undefined })) goOn(element, submitter);
}

/** Listen in the capture phase: the question comes before any other handler of the page. */
export function startConfirm() {
  document.addEventListener("submit", (event) => {
    if (event.target.dataset?.confirm) ask(event, event.target, event.submitter);
  }, true);
  document.addEventListener("click", (event) => {
    const found = event.target instanceof Element ? event.target.closest("a[data-confirm], button[data-confirm]") : null;
    if (found) ask(event, found, null);
  }, true);
}
