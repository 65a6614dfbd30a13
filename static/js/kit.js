/* What the scripts of pages import. It starts nothing by itself: that is app.js. */
export { api, ApiError, csrfToken } from "./api.js";
export { confirmDialog } from "./confirm.js";
export { debounce, el, escapeHtml, icon, money, on, phone } from "./dom.js";
export { enhance } from "./enhance.js";
export { t, tr } from "./texts.js";
export { toast } from "./toast.js";
