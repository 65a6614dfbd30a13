/* Talking to the server: JSON both ways, CSRF header, errors as sentences for people. */
import { t } from "./texts.js";

const BY_STATUS = { 401: "signedOut", 403: "forbidden", 404: "notFound", 409: "conflict", 413: "tooLarge", 422: "invalid", 429: "tooMany" };

/** Failure of a request. message: for people; status: 0 when the server was not reached; errors: {field: text}. */
export class ApiError extends Error {
  constructor(message, status, errors = {}, payload = null) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.errors = errors;
    this.payload = payload;
  }
}

export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]')?.content ?? "";
}

function requestOptions(method, body, signal) {
  const headers = { Accept: "application/json", "X-Requested-With": "fetch" };
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
  const plain = body === undefined || body instanceof FormData || body instanceof URLSearchParams;
  if (!plain) headers["Content-Type"] = "application/json";
  return { method, headers, body: plain ? body : JSON.stringify(body), signal, credentials: "same-origin" };
}

async function readJson(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (!type.includes("json")) return null;
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof SyntaxError) return null; // an empty body under a JSON content type
    throw error;
  }
}

/** Both shapes of the server, {field: text} and [{field, message}], become {field: text}. */
function flatErrors(errors) {
  if (Array.isArray(errors)) return Object.fromEntries(errors.map(({ field, message }) => [field, message]));
  const pairs = Object.entries(errors && typeof errors === "object" ? errors : {});
  return Object.fromEntries(pairs.map(([name, text]) => [name, Array.isArray(text) ? text.join(" ") : String(text)]));
}

function failure(response, payload) {
  const own = typeof payload?.message === "string" ? payload.message : typeof payload?.error === "string" ? payload.error : "";
  const errors = flatErrors(payload?.errors ?? (typeof payload?.message === "object" ? payload.message : null));
  const csrf = response.status === 400 && /csrf/i.test(own);
  const text = csrf ? t("expired") : own || Object.values(errors)[0] || t(BY_STATUS[response.status] ?? (response.status >= 500 ? "failed" : "invalid"));
  return new ApiError(text, response.status, errors, payload);
}

/** Send and read JSON. Throws ApiError; an aborted request throws the browser's AbortError. */
export async function api(path, { method = "GET", body, signal } = {}) {
  let response;
  try {
    response = await fetch(path, requestOptions(method.toUpperCase(), body, signal));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(t("offline"), 0);
  }
  // A session that ended answers an API call with the login page.
  if (response.redirected && new URL(response.url).pathname.startsWith("/login")) throw new ApiError(t("signedOut"), 401);
  const payload = await readJson(response);
  if (!response.ok) throw failure(response, payload);
  return payload;
}
