/* The shell: theme, menu of the phone, search keys. */
import { on } from "./dom.js";

function rememberTheme(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error; // storage is forbidden: the choice lives until the page is left
  }
}

function showThemeIcon() {
  const dark = document.documentElement.dataset.bsTheme === "dark";
  for (const mark of document.querySelectorAll("[data-theme-toggle] .ti")) mark.className = `ti ti-${dark ? "sun" : "moon"}`;
}

function toggleTheme() {
  const theme = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
  document.documentElement.dataset.bsTheme = theme;
  rememberTheme(theme);
  showThemeIcon();
  document.dispatchEvent(new CustomEvent("kv:theme", { detail: { theme } }));
}

function showMenu(open) {
  document.body.classList.toggle("kv-nav-open", open);
  const button = document.querySelector("[data-nav-open]");
  button?.setAttribute("aria-expanded", String(open));
  if (open) document.querySelector("#nav [data-nav-close]")?.focus();
  else button?.focus();
}

function isTyping(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable=true]") !== null;
}

function onKey(event) {
  const search = document.getElementById("global-search");
  const asked = (event.key === "/" && !isTyping(event.target)) || (event.code === "KeyK" && (event.ctrlKey || event.metaKey));
  if (search && asked && !event.altKey) {
    event.preventDefault();
    search.focus();
    search.select();
  }
  if (event.key !== "Escape") return;
  if (document.body.classList.contains("kv-nav-open")) showMenu(false);
  else if (event.target === search) search.blur();
}

export function startShell() {
  showThemeIcon();
  on(document, "click", "[data-theme-toggle]", toggleTheme);
  on(document, "click", "[data-nav-open]", () => showMenu(true));
  on(document, "click", "[data-nav-close]", () => showMenu(false));
  document.addEventListener("keydown", onKey);
}
