/* Photos of a listing: full-size viewing, uploading by dragging, order, cover, kind, deletion. */
import { api, ApiError, confirmDialog, csrfToken, el, on, toast, tr } from "./kit.js";

const AT_ONCE = 2;
const MAX_BYTES = 25 * 1024 * 1024;

/* --- viewing --------------------------------------------------------------------------- */

function startViewer() {
  const box = document.getElementById("lightbox");
  if (!box) return;
  const image = box.querySelector("img");
  let ids = [];
  let place = 0;

  const show = (index) => {
    place = (index + ids.length) % ids.length;
    const url = `/listings/photo/${ids[place]}/large`;
    image.hidden = false;
    image.src = url;
    image.alt = tr("Фотография %(place)s из %(count)s", { place: place + 1, count: ids.length });
    box.querySelector("[data-full]").href = url;
    box.querySelector("[data-place]").textContent = `${place + 1} / ${ids.length}`;
    box.querySelectorAll("[data-step]").forEach((button) => (button.hidden = ids.length < 2));
  };

  on(document, "click", "[data-photo]", (event, button) => {
    ids = JSON.parse(button.closest("[data-gallery]").dataset.gallery);
    show(Number(button.dataset.photo));
    box.showModal();
  });
  on(box, "click", "[data-step]", (event, button) => show(place + Number(button.dataset.step)));
  on(box, "click", "[data-close]", () => box.close());
  box.addEventListener("click", (event) => event.target === box && box.close());
  box.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: ids.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}

/* --- uploading -------------------------------------------------------------------------- */

function uploadLine(file) {
  const bar = el("progress", { max: "100", value: "0", "aria-label": tr("Загрузка %(name)s", { name: file.name }) });
  const state = el("span", { class: "kv-muted" }, tr("в очереди"));
  const node = el("li", {}, el("b", {}, file.name), bar, state);
  return {
    node,
    progress(part) {
      bar.value = part * 100;
      state.textContent = part < 1 ? `${Math.round(part * 100)} %` : tr("обрабатывается");
    },
    fail(text) {
      node.classList.add("kv-upload-bad");
      bar.remove();
      state.replaceChildren(text);
      state.className = "kv-bad";
      const close = el("button", { type: "button", class: "kv-icon-btn", "aria-label": tr("Убрать строку") }, el("i", { class: "ti ti-x", "aria-hidden": "true" }));
      close.addEventListener("click", () => node.remove());
      node.append(close);
    },
    done: () => node.remove(),
  };
}

function refusal(request) {
  let body = null;
  try {
    body = JSON.parse(request.responseText);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error; // a proxy answered instead of us
  }
  if (body?.message) return body.message;
  return request.status === 413 ? tr("Файл слишком большой.") : tr("Не загрузилась. Повторите позже.");
}

/** fetch() does not tell how much has been sent, XMLHttpRequest does. */
function send(url, file, line) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("photo", file);
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", csrfToken());
    request.upload.addEventListener("progress", (event) => event.lengthComputable && line.progress(event.loaded / event.total));
    request.addEventListener("error", () => reject(new ApiError(tr("Нет связи с сервером. Повторите."), 0)));
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText).photo);
      else reject(new ApiError(refusal(request), request.status));
    });
    request.send(body);
  });
}

class PhotoManager {
  constructor(root) {
    this.root = root;
    this.url = root.dataset.url;
    this.list = root.querySelector("[data-shots]");
    this.queue = [];
    this.running = 0;
    this.changed = false;
  }

  start() {
    this.startDrop();
    on(this.list, "click", "[data-delete]", (event, button) => this.remove(button.closest("li")));
    on(this.list, "click", "[data-cover]", (event, button) => this.cover(button.closest("li")));
    on(this.list, "change", "[data-kind]", (event, select) => this.kind(select.closest("li"), select.value));
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.describe();
    const startSorting = () => window.Sortable?.create(this.list, { animation: 140, filter: "select, button", preventOnFilter: false, onEnd: () => this.saveOrder() });
    if (window.Sortable) startSorting();
    else window.addEventListener("load", startSorting, { once: true });
  }

  startDrop() {
    const input = this.root.querySelector("input[type=file]");
    input.addEventListener("change", () => {
      this.add([...input.files]);
      input.value = "";
    });
    // The whole card takes files, not only the frame: nobody has to aim.
    for (const type of ["dragover", "dragleave", "drop"]) {
      document.addEventListener(type, (event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        this.root.querySelector("[data-drop]").classList.toggle("over", type === "dragover");
        if (type === "drop") {
          openPhotos();
          this.add([...event.dataTransfer.files]);
        }
      });
    }
  }

  add(files) {
    for (const file of files) {
      const line = uploadLine(file);
      this.root.querySelector("[data-uploads]").append(line.node);
      if (file.size > MAX_BYTES) line.fail(tr("Больше 25 МБ: уменьшите и загрузите снова."));
      else this.queue.push({ file, line });
    }
    this.pump();
  }

  pump() {
    while (this.running < AT_ONCE && this.queue.length) {
      this.running += 1;
      this.upload(this.queue.shift());
    }
    if (!this.running && this.changed) this.refreshGallery();
  }

  async upload({ file, line }) {
    try {
      const photo = await send(this.url, file, line);
      line.done();
      this.insert(photo);
      this.changed = true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      line.fail(error.message);
    } finally {
      this.running -= 1;
      this.pump();
    }
  }

  insert(photo) {
    const node = this.root.querySelector("template[data-shot]").content.firstElementChild.cloneNode(true);
    node.dataset.id = photo.id;
    node.dataset.position = photo.position;
    node.querySelector("img").src = photo.thumb;
    node.querySelector("[data-kind]").value = photo.kind;
    // Two uploads at once may end in the other order: the place is the server's.
    const after = [...this.list.children].find((other) => Number(other.dataset.position ?? -1) > photo.position);
    this.list.insertBefore(node, after ?? null);
    this.describe();
  }

  describe() {
    const shots = [...this.list.children];
    shots.forEach((node, index) => {
      node.tabIndex = 0;
      const name = index ? tr("Снимок %(place)s из %(count)s", { place: index + 1, count: shots.length }) : tr("Снимок 1 из %(count)s, обложка", { count: shots.length });
      node.setAttribute("aria-label", name);
    });
    this.root.querySelector("[data-shots-hint]").hidden = shots.length < 2;
    const count = document.querySelector('[data-count="pictures"]');
    if (count) count.textContent = shots.length ? String(shots.length) : "";
  }

  ids() {
    return [...this.list.children].map((node) => Number(node.dataset.id));
  }

  async saveOrder() {
    this.describe();
    [...this.list.children].forEach((node, index) => (node.dataset.position = index));
    await this.act(() => api(`${this.url}/order`, { method: "PUT", body: { ids: this.ids() } }));
    await this.refreshGallery();
  }

  async cover(node) {
    this.list.prepend(node);
    await this.saveOrder();
  }

  async kind(node, kind) {
    await this.act(() => api(`${this.url}/${node.dataset.id}`, { method: "PATCH", body: { kind } }));
  }

  async remove(node) {
    if (!(await confirmDialog(tr("Удалить фотографию? Вернуть её будет нельзя."), { ok: tr("Удалить"), danger: true }))) return;
    if (!(await this.act(() => api(`${this.url}/${node.dataset.id}`, { method: "DELETE" })))) return;
    node.remove();
    this.describe();
    await this.refreshGallery();
  }

  key(event) {
    const node = event.target;
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (node.parentElement !== this.list || !step) return;
    event.preventDefault();
    const other = step < 0 ? node.previousElementSibling : node.nextElementSibling;
    if (!other) return;
    if (step < 0) other.before(node);
    else other.after(node);
    node.focus();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.saveOrder(), 600);
  }

  async act(work) {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(error.message, { tone: "bad" });
      return false;
    }
  }

  /** The gallery above and the portals' verdicts are the server's: they are taken from a fresh page. */
  async refreshGallery() {
    this.changed = false;
    const response = await fetch(window.location.pathname, { credentials: "same-origin" });
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const id of ["gallery", "ads"]) {
      const fresh = page.getElementById(id);
      if (fresh) document.getElementById(id)?.replaceWith(document.adoptNode(fresh));
    }
  }
}

function openPhotos() {
  const tab = document.getElementById("tab-pictures");
  if (!tab) return;
  window.tabler?.Tab.getOrCreateInstance(tab).show();
  document.getElementById("photos").scrollIntoView({ block: "center" });
}

startViewer();
const root = document.getElementById("photos");
if (root) {
  new PhotoManager(root).start();
  on(document, "click", "[data-open-photos]", (event) => {
    event.preventDefault();
    openPhotos();
    if (event.target.closest(".kv-drop")) root.querySelector("input[type=file]").click();
  });
}
