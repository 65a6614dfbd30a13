/* Small helpers for building and listening. */

/** Node with attributes and children; texts become text nodes, so nothing is parsed as HTML. */
export function el(tag, attrs = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attrs)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on") && typeof value === "function") node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Tabler icon by its name without the prefix. */
export function icon(name) {
  return el("i", { class: `ti ti-${name}`, "aria-hidden": "true" });
}

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export function escapeHtml(text) {
  return String(text ?? "").replace(/[&<>"']/g, (sign) => ENTITIES[sign]);
}

export function debounce(work, milliseconds) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), milliseconds);
  };
}

/** Delegated listener: handler(event, element matching the selector). */
export function on(root, type, selector, handler, options) {
  root.addEventListener(type, (event) => {
    const found = event.target instanceof Element ? event.target.closest(selector) : null;
    if (found && root.contains(found)) handler(event, found);
  }, options);
}

const RUBLES = new Intl.NumberFormat("ru-RU", { maximumFractionDigits: 0 });

/** 12500000 -> «12 500 000 ₽» with no-break spaces. */
export function money(amount) {
  return amount === null || amount === undefined || amount === "" ? "—" : `${RUBLES.format(Number(amount))}\u00a0₽`;
}

/** 79123456789 or +79123456789 -> «+7 912 345-67-89»; other texts come back unchanged. */
export function phone(text) {
  const digits = String(text ?? "").replace(/\D/g, "");
  if (!/^[78]\d{10}$/.test(digits)) return String(text ?? "");
  return `+7\u00a0${digits.slice(1, 4)}\u00a0${digits.slice(4, 7)}-${digits.slice(7, 9)}-${digits.slice(9)}`;
}
