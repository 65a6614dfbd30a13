/* Fields that are more than the browser's own: search boxes, calendars, money, players. Loaded only where a page has them. */
import { api } from "./api.js";
import { el } from "./dom.js";
import { enhancePlayer } from "./player.js";
import { t } from "./texts.js";

const scripts = new Map();

function script(url) {
  if (!scripts.has(url)) {
    scripts.set(url, new Promise((resolve, reject) => {
      const node = el("script", { src: url });
      node.addEventListener("load", () => resolve());
      node.addEventListener("error", () => reject(new Error(`not loaded: ${url}`)));
      document.head.append(node);
    }));
  }
  return scripts.get(url);
}

const russian = () => !document.documentElement.lang.startsWith("en");

function boxTexts() {
  return {
    no_results: () => `<div class="no-results">${t("nothing")}</div>`,
    loading: () => `<div class="no-results">${t("loading")}</div>`,
    not_loading: (data) => (data.input && data.input.length >= 2 ? "" : `<div class="no-results">${t("typeMore")}</div>`),
    option: (data, escape) => `<div>${escape(data.text)}${data.note ? `<small>${escape(data.note)}</small>` : ""}</div>`,
    item: (data, escape) => `<div>${escape(data.text)}</div>`,
  };
}

function boxPlugins(select) {
  const plugins = {};
  if (select.multiple) plugins.remove_button = { title: t("remove") };
  return plugins;
}

function nameBox(box, select) {
  const label = select.labels?.[0]?.textContent?.trim() || select.getAttribute("aria-label");
  if (label) box.control_input.setAttribute("aria-label", label);
  const described = select.getAttribute("aria-describedby");
  if (described) box.control_input.setAttribute("aria-describedby", described);
}

function remoteUrl(select, query, page) {
  const url = new URL(select.dataset.remote, window.location.origin);
  url.searchParams.set("q", query);
  url.searchParams.set("page", String(page));
  const master = select.dataset.depends ? document.querySelector(select.dataset.depends) : null;
  if (master) url.searchParams.set("parent", master.value);
  return url.pathname + url.search;
}

function remoteSettings(select) {
  const pages = new Map();
  return {
    plugins: { ...boxPlugins(select), virtual_scroll: {} },
    valueField: "id", labelField: "text", searchField: [], maxOptions: 500, preload: false,
    shouldLoad: (query) => query.length >= 2,
    firstUrl: (query) => {
      pages.set(query, 0);
      return remoteUrl(select, query, 0);
    },
    async load(query, done) {
      try {
        const answer = await api(this.getUrl(query));
        const page = pages.get(query) ?? 0;
        if (answer.more) {
          pages.set(query, page + 1);
          this.setNextUrl(query, remoteUrl(select, query, page + 1));
        }
        done(answer.results.map((row) => ({ ...row, id: String(row.id) })));
      } catch (error) {
        done([]);
        if (error.name !== "AbortError") document.dispatchEvent(new CustomEvent("kv:problem", { detail: { text: `${t("searchFailed")} ${error.message}` } }));
      }
    },
  };
}

function selectSettings(select) {
  const common = { render: boxTexts(), closeAfterSelect: !select.multiple, hidePlaceholder: true, placeholder: select.getAttribute("placeholder") || select.dataset.placeholder || "", copyClassesToDropdown: false, maxItems: select.multiple ? null : 1 };
  if (select.dataset.remote) return { ...common, ...remoteSettings(select) };
  return { ...common, plugins: boxPlugins(select), allowEmptyOption: !select.multiple, maxOptions: 500 };
}

function enhanceSelect(select) {
  if (select.tomselect) return;
  const box = new window.TomSelect(select, selectSettings(select));
  nameBox(box, select);
  if (!select.dataset.depends) return;
  document.querySelector(select.dataset.depends)?.addEventListener("change", () => {
    box.clear();
    box.clearOptions();
  });
}

function calendarSettings(input) {
  const time = input.matches("[data-datetime]");
  const settings = {
    enableTime: time, time_24hr: true, allowInput: true, altInput: true, disableMobile: true,
    dateFormat: time ? "Y-m-d H:i:S" : "Y-m-d", altFormat: time ? "d.m.Y H:i" : "d.m.Y",
    minDate: input.dataset.min || null, maxDate: input.dataset.max || null,
    locale: russian() && window.flatpickr.l10ns.ru ? "ru" : "default", altInputClass: input.className,
  };
  if (input.dataset.range !== undefined) settings.mode = "range";
  return settings;
}

function enhanceDate(input) {
  if (input._flatpickr) return;
  const calendar = window.flatpickr(input, calendarSettings(input));
  const shown = calendar.altInput;
  if (!shown) return;
  // The visible copy takes over the name for people: label, description, mark of an error.
  const label = input.labels?.[0];
  if (input.id) {
    shown.id = `${input.id}-shown`;
    if (label) label.htmlFor = shown.id;
  }
  for (const name of ["aria-describedby", "aria-invalid", "aria-label"]) {
    if (input.hasAttribute(name)) shown.setAttribute(name, input.getAttribute(name));
  }
  if (input.required) shown.required = true;
  if (!shown.placeholder) shown.placeholder = t(calendar.config.enableTime ? "moment" : "day");
}

const grouped = new Intl.NumberFormat("ru-RU", { maximumFractionDigits: 0 });

/** The visible field groups digits; a hidden one of the same name carries bare digits to the server. */
function enhanceMoney(input) {
  if (input.dataset.money === "ready") return;
  input.dataset.money = "ready";
  const carrier = el("input", { type: "hidden", name: input.name });
  const show = () => {
    const text = input.value.replace(/[^\d,.]/g, "").split(/[.,]/)[0];
    carrier.value = text;
    input.value = text ? grouped.format(Number(text)) : "";
  };
  input.removeAttribute("name");
  input.after(carrier);
  input.addEventListener("input", show);
  show();
}

function all(root, selector) {
  const own = root instanceof Element && root.matches(selector) ? [root] : [];
  return [...own, ...root.querySelectorAll(selector)];
}

const SELECTS = "select[data-remote], select[data-select], select.my_select2";
const DATES = "input[data-date], input[data-datetime]";

/** Make the fields and players inside `root` work. Safe to call twice. Returns when all of them are ready. */
export async function enhance(root = document) {
  all(root, "[data-player]").forEach(enhancePlayer);
  all(root, "input[data-money]").forEach(enhanceMoney);
  const selects = all(root, SELECTS).filter((select) => !select.closest("template"));
  const dates = all(root, DATES);
  const { tomSelect, flatpickr, flatpickrRu } = document.body.dataset;
  if (selects.length && tomSelect) {
    await script(tomSelect);
    selects.forEach(enhanceSelect);
  }
  if (dates.length && flatpickr) {
    await script(flatpickr);
    if (russian()) await script(flatpickrRu);
    dates.forEach(enhanceDate);
  }
}

