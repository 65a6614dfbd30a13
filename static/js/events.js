/* News from the server: one EventSource a tab, polling when streams do not pass. Each message becomes the document event `kv:<type>`. */
import { api } from "./api.js";

const POLL_MS = 4000;
const RETRY_STREAM_MS = 120000;
const HIDDEN_MS = 60000;
const FAILURES_BEFORE_POLLING = 2;
const BACKOFF_MS = [1000, 2000, 5000, 10000, 30000];

export class EventFeed {
  constructor(url, { pollUrl = "/api/v1/events/poll", target = document } = {}) {
    Object.assign(this, { url, pollUrl, target, source: null, timer: 0, failures: 0, last: null, polling: false, online: null, pollSince: 0 });
  }

  start() {
    document.addEventListener("visibilitychange", () => this.onVisibility());
    window.addEventListener("pagehide", () => this.stop());
    window.addEventListener("pageshow", (event) => event.persisted && this.connect());
    this.connect();
  }

  onVisibility() {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) this.hiddenTimer = setTimeout(() => this.stop(), HIDDEN_MS);
    else if (!this.source && !this.timer) this.connect();
  }

  stop() {
    clearTimeout(this.timer);
    this.source?.close();
    Object.assign(this, { source: null, timer: 0, polling: false });
  }

  connect() {
    this.stop();
    const url = new URL(this.url, window.location.href);
    if (this.last !== null) url.searchParams.set("since", this.last);
    this.source = new EventSource(url, { withCredentials: true });
    this.source.addEventListener("open", () => this.onOpen());
    this.source.addEventListener("message", (event) => this.onMessage(event));
    this.source.addEventListener("error", () => this.onStreamError());
  }

  onOpen() {
    // A gap between two connections may have swallowed something: pages reload what they show.
    if (this.online === false) this.emit("resync", {});
    this.failures = 0;
    this.setOnline(true);
  }

  onMessage(event) {
    this.take(event.data, event.lastEventId);
  }

  take(text, id) {
    let message;
    try {
      message = JSON.parse(text);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      console.warn("events: a message that is not JSON was skipped");
      return;
    }
    this.pass(message, id);
  }

  /** message: {id, kind, data}; `type` is taken for `kind` as well. */
  pass(message, id) {
    if (id || message.id) this.last = String(id || message.id);
    const kind = message.kind ?? message.type;
    if (kind) this.emit(kind, message.data ?? message);
  }

  onStreamError() {
    this.source?.close();
    this.source = null;
    this.failures += 1;
    this.setOnline(false);
    if (this.failures >= FAILURES_BEFORE_POLLING) {
      this.pollSince = Date.now();
      this.poll();
    } else {
      this.later(() => this.connect(), BACKOFF_MS[this.failures - 1]);
    }
  }

  later(work, milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(work, milliseconds);
  }

  async poll() {
    this.polling = true;
    try {
      const answer = await api(`${this.pollUrl}?since=${encodeURIComponent(this.last ?? "")}`);
      if (!this.polling) return;
      this.takePolled(answer);
      this.setOnline(true);
      this.failures = FAILURES_BEFORE_POLLING;
    } catch (error) {
      if (error.status === 401) return this.stop(); // signed out: the next click shows the login page
      this.failures += 1;
      this.setOnline(false);
    }
    const again = Date.now() - this.pollSince > RETRY_STREAM_MS;
    const index = Math.min(this.failures - FAILURES_BEFORE_POLLING, BACKOFF_MS.length - 1);
    this.later(() => (again ? this.connect() : this.poll()), Math.max(POLL_MS, this.failures > FAILURES_BEFORE_POLLING ? BACKOFF_MS[index] : 0));
  }

  takePolled(answer) {
    for (const message of answer.events ?? []) this.pass(message);
    if (answer.last !== undefined && answer.last !== null) this.last = String(answer.last);
    if (answer.resync) this.emit("resync", {});
  }

  setOnline(online) {
    if (this.online === online) return;
    this.online = online;
    this.emit(online ? "online" : "offline", {});
  }

  emit(type, detail) {
    this.target.dispatchEvent(new CustomEvent(`kv:${type}`, { detail }));
  }
}

export function startEvents() {
  const url = document.body.dataset.eventsUrl;
  if (!url || window.kvEvents) return;
  window.kvEvents = new EventFeed(url);
  window.kvEvents.start();
}
