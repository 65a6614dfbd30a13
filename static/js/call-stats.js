/* «Статистика звонков»: charts drawn from the tables under them, tables sorted by a column. */
import { icon, on } from "./kit.js";

const root = document.documentElement;
const charts = [];

/** Value of a CSS variable: the theme decides the colours. */
const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const digits = (text) => Number(text.replace(/\D/g, "")) || 0;

function read(table) {
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const rows = [...table.tBodies[0].rows];
  return {
    labels: rows.map((row) => row.cells[0].dataset.label),
    titles: rows.map((row) => row.cells[0].textContent.trim()),
    series: heads.map((head, index) => ({ label: head.textContent, name: head.dataset.color, data: rows.map((row) => digits(row.cells[index + 1].textContent)) })),
  };
}

function axis(more) {
  return { stacked: true, border: { display: false }, ticks: { color: colour("--kv-muted"), precision: 0, maxRotation: 0, autoSkipPadding: 12, font: { size: 11.5 } }, ...more };
}

function paint(chart) {
  for (const set of chart.data.datasets) set.backgroundColor = colour(set.name);
  for (const scale of Object.values(chart.options.scales)) scale.ticks.color = colour("--kv-muted");
  chart.options.scales.y.grid.color = colour("--kv-line");
  chart.update("none");
}

function draw(canvas) {
  const { labels, titles, series } = read(document.getElementById(canvas.dataset.chartOf));
  const chart = new window.Chart(canvas, {
    type: "bar",
    data: { labels, datasets: series.map((set) => ({ ...set, backgroundColor: colour(set.name), borderRadius: 2, maxBarThickness: 34 })) },
    options: {
      animation: false, responsive: true, maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: { colors: { enabled: false }, legend: { display: false }, tooltip: { callbacks: { title: (items) => titles[items[0].dataIndex] } } },
      scales: { x: axis({ grid: { display: false } }), y: axis({ beginAtZero: true, grid: { color: colour("--kv-line") } }) },
    },
  });
  charts.push(chart);
}

function startCharts() {
  window.Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  document.querySelectorAll("[data-chart-of]").forEach(draw);
  new MutationObserver(() => charts.forEach(paint)).observe(root, { attributeFilter: ["data-bs-theme"] });
}

/** What a cell is sorted by: its own value, the number it shows first, or its text. */
function valueOf(row, index, kind) {
  const cell = row.cells[index];
  if (kind === "text") return cell.textContent.trim();
  return cell.dataset.value !== undefined ? Number(cell.dataset.value) : digits((cell.querySelector("a") ?? cell).firstChild?.textContent ?? "");
}

function sort(head) {
  const table = head.closest("table");
  const kind = head.dataset.sort;
  const order = head.getAttribute("aria-sort") === (kind === "text" ? "ascending" : "descending") ? -1 : 1;
  const compare = kind === "text" ? (a, b) => a.localeCompare(b, root.lang) : (a, b) => b - a;
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: valueOf(row, head.cellIndex, kind) }));
  rows.sort((a, b) => order * compare(a.value, b.value));
  table.tBodies[0].append(...rows.map(({ row }) => row));
  table.querySelectorAll("[aria-sort]").forEach((other) => {
    other.removeAttribute("aria-sort");
    other.querySelector(".ti")?.remove();
  });
  const descending = (kind === "text") === (order < 0);
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  head.firstElementChild.append(icon(descending ? "arrow-down" : "arrow-up"));
}

function startSorting() {
  document.querySelectorAll("[data-sortable] th[data-sort]").forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "kv-sort";
    button.append(...head.childNodes);
    head.append(button);
  });
  on(document, "click", ".kv-sort", (event, button) => sort(button.closest("th")));
}

startCharts();
startSorting();
