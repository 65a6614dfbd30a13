/* Lists of settings tables: rows of filters made from templates, the matrix of permissions, tabs that remember. */
import { on } from "./dom.js";
import { enhance } from "./enhance.js";

/** value and its shown text: of a related row the box knows only the number. */
function fillField(field, value, text) {
  if (field.matches("select") && value && ![...field.options].some((option) => option.value === value)) field.add(new Option(text, value));
  field.value = value;
}

function addFilter(form, column, operation = null, value = null, text = "") {
  const source = form.querySelector(`template[data-col="${CSS.escape(column)}"]`);
  const row = source?.content.firstElementChild?.cloneNode(true);
  if (!row) return;
  const operations = row.querySelector("select[data-op]");
  const field = row.querySelector(".kv-filter-value input, .kv-filter-value select, .kv-filter-value textarea");
  const rename = () => (field.name = `_flt_${operations.value}_${column}`);
  if (operation !== null) operations.value = String(operation);
  operations.addEventListener("change", rename);
  field.removeAttribute("id");
  field.required = false;
  field.setAttribute("aria-label", row.querySelector("b").textContent.trim());
  if (value !== null) fillField(field, value, text);
  rename();
  form.querySelector("[data-filter-rows]").append(row);
  form.hidden = false;
  enhance(row);
  return field;
}

function activeFilters(form) {
  for (const { column, operation, value, shown } of JSON.parse(form.dataset.active)) addFilter(form, column, operation, value, shown);
}

function startFilters() {
  document.querySelectorAll("form[data-filters]").forEach((form) => {
    activeFilters(form);
    form.hidden = form.dataset.open === undefined;
  });
  on(document, "click", "[data-add-filter]", (event, button) => {
    const form = document.querySelector(button.dataset.form);
    const field = addFilter(form, button.dataset.addFilter);
    (field?.tomselect ?? field?._flatpickr?.altInput ?? field)?.focus();
  });
  on(document, "click", "[data-open-filters]", (event, button) => {
    const form = document.querySelector(button.dataset.openFilters);
    form.hidden = !form.hidden;
  });
  on(document, "click", "[data-remove-filter]", (event, button) => {
    const form = button.closest("form");
    button.closest(".kv-filter-row").remove();
    if (!form.querySelector(".kv-filter-row")) form.requestSubmit();
  });
}

function startTabs() {
  document.querySelectorAll("[data-keep-tab]").forEach((bar, index) => {
    const key = `tab:${window.location.pathname}:${index}`;
    const saved = sessionStorage.getItem(key);
    const button = saved ? bar.querySelector(`[data-bs-target="${CSS.escape(saved)}"]`) : null;
    if (button && window.tabler) window.tabler.Tab.getOrCreateInstance(button).show();
    bar.addEventListener("shown.bs.tab", (event) => sessionStorage.setItem(key, event.target.dataset.bsTarget));
  });
}

function countArea(area) {
  const boxes = [...area.querySelectorAll("input[type=checkbox][name]")];
  const place = area.querySelector("[data-area-count]");
  if (place) place.textContent = `${boxes.filter((box) => box.checked).length} / ${boxes.length}`;
}

function findInMatrix(text, matrix) {
  const wanted = text.trim().toLocaleLowerCase();
  for (const area of matrix.querySelectorAll(".kv-matrix-area")) {
    let found = 0;
    for (const row of area.querySelectorAll(".kv-matrix-row")) {
      row.hidden = wanted !== "" && !row.textContent.toLocaleLowerCase().includes(wanted);
      found += row.hidden ? 0 : 1;
    }
    area.hidden = found === 0;
    if (wanted) area.open = found > 0;
  }
}

function startMatrix() {
  document.querySelectorAll(".kv-matrix-area").forEach(countArea);
  on(document, "change", ".kv-matrix-area input[type=checkbox]", (event, box) => countArea(box.closest(".kv-matrix-area")));
  on(document, "click", "[data-area-set]", (event, button) => {
    const area = button.closest(".kv-matrix-area");
    const chosen = button.dataset.areaSet === "all";
    area.querySelectorAll(".kv-matrix-row:not([hidden]) input[type=checkbox]").forEach((box) => (box.checked = chosen));
    countArea(area);
  });
  on(document, "input", "[data-matrix-find]", (event, field) => findInMatrix(field.value, document.querySelector(field.dataset.matrixFind)));
}

export function startLists() {
  startFilters();
  startTabs();
  startMatrix();
}
