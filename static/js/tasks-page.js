/* The page «Задачи»: done in place, refreshed when tasks change elsewhere. */
import { debounce } from "./kit.js";
import { startTasks } from "./tasks.js";

async function refresh() {
  const response = await fetch(window.location.href, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const selector of ["#tasks", ".kv-head"]) document.querySelector(selector).replaceChildren(...page.querySelector(selector).childNodes);
}

const refreshSoon = debounce(refresh, 200);
startTasks(document.getElementById("tasks"), refreshSoon);
document.addEventListener("kv:task.changed", refreshSoon);
document.addEventListener("kv:resync", refreshSoon);
