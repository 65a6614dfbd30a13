/* Drop-down of the search in the top bar: a combobox over /api/v1/search. Enter without a choice opens the page of the search. */
import { api, ApiError, debounce, el, icon, t } from "./kit.js";

const SHORTEST = 2;
const PAUSE_MS = 180;
const TEXTS = document.documentElement.lang.startsWith("en")
  ? { nothing: "Nothing found", known: "The number is known, but its card is not open to you.", unknown: "There is no such number." }
  : { nothing: "Ничего не найдено", known: "Номер есть в базе, но карточка вам недоступна.", unknown: "Такого номера в базе нет." };

function option(item, number) {
  return el("a", { role: "option", id: `found-${number}`, href: item.href, tabindex: "-1", "aria-selected": "false" }, icon(item.icon), el("span", {}, item.title, item.note ? el("small", {}, item.note) : null));
}

function note(answer) {
  if (answer.groups.length) return null;
  if (answer.known === true) return TEXTS.known;
  return answer.known === false ? TEXTS.unknown : TEXTS.nothing;
}

class DropDown {
  constructor(input) {
    this.input = input;
    this.list = el("div", { id: "global-found", class: "kv-found", role: "listbox", "aria-label": input.getAttribute("aria-label"), hidden: true });
    input.closest("form").append(this.list);
    for (const [name, value] of Object.entries({ role: "combobox", "aria-controls": "global-found", "aria-expanded": "false", "aria-autocomplete": "list" })) input.setAttribute(name, value);
    this.asked = 0;
    this.chosen = -1;
    const ask = debounce(() => this.ask(), PAUSE_MS);
    input.addEventListener("input", ask);
    input.addEventListener("focus", () => input.value.trim().length >= SHORTEST && this.ask());
    input.addEventListener("keydown", (event) => this.onKey(event));
    document.addEventListener("pointerdown", (event) => !input.closest("form").contains(event.target) && this.close());
    input.closest("form").addEventListener("focusout", (event) => event.relatedTarget && !input.closest("form").contains(event.relatedTarget) && this.close());
  }

  async ask() {
    const text = this.input.value.trim();
    const number = ++this.asked;
    if (text.length < SHORTEST) return this.close();
    let answer;
    try {
      answer = await api(`/api/v1/search/?q=${encodeURIComponent(text)}`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      answer = { groups: [], problem: t("searchFailed") };
    }
    // A slow answer to an older text must not replace a newer one.
    if (number === this.asked && document.activeElement === this.input) this.show(answer);
  }

  show(answer) {
    let number = 0;
    const groups = answer.groups.map((group) => el("div", { role: "group", "aria-label": group.title }, el("b", { "aria-hidden": "true" }, group.title), group.items.map((item) => option(item, number++))));
    const said = answer.problem ?? note(answer);
    this.list.replaceChildren(...groups, ...(said ? [el("div", { class: "kv-found-note", role: "status" }, said)] : []));
    this.options = [...this.list.querySelectorAll("[role=option]")];
    this.choose(-1);
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
  }

  close() {
    this.asked += 1;
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  choose(number) {
    this.chosen = number;
    this.options.forEach((node, place) => node.setAttribute("aria-selected", String(place === number)));
    const node = this.options[number];
    if (!node) return this.input.removeAttribute("aria-activedescendant");
    this.input.setAttribute("aria-activedescendant", node.id);
    node.scrollIntoView({ block: "nearest" });
  }

  onKey(event) {
    if (this.list.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.options.length) {
      event.preventDefault();
      const places = this.options.length + 1; // one place is the field itself
      this.choose(((this.chosen + 1 + step + places) % places) - 1);
    } else if (event.key === "Enter" && this.chosen >= 0) {
      event.preventDefault();
      this.options[this.chosen].click();
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    }
  }
}

const input = document.getElementById("global-search");
if (input && !window.kvSearch) window.kvSearch = new DropDown(input);
