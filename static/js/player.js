/* Player of call recordings. The sound is asked for at the first press, one recording plays at a time, the speed is remembered.
   Keys inside the player: space plays and stops, arrows go five seconds back and forth. */
import { icon } from "./dom.js";
import { t } from "./texts.js";

const RATES = [1, 1.25, 1.5, 2];
const REMEMBERED = "kv-play-rate";
const STEP = 5;
const clock = (seconds) => `${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function parts(root) {
  const part = (name) => root.querySelector(`[data-player-${name}]`);
  return { root, audio: root.querySelector("audio"), play: part("play"), seek: part("seek"), time: part("time"), rate: part("rate"), error: part("error") };
}

function total(p) {
  return Number.isFinite(p.audio.duration) ? p.audio.duration : Number(p.time.dataset.total) || 0;
}

function rememberedRate() {
  try {
    const rate = Number(localStorage.getItem(REMEMBERED));
    return RATES.includes(rate) ? rate : 1;
  } catch (error) {
    if (error instanceof DOMException) return 1; // storage is forbidden
    throw error;
  }
}

function remember(rate) {
  try {
    localStorage.setItem(REMEMBERED, String(rate));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
  }
}

function showState(p) {
  p.play.replaceChildren(icon(p.audio.paused ? "player-play" : "player-pause"));
  p.play.setAttribute("aria-label", p.audio.paused ? t("play") : t("pause"));
}

function showTime(p) {
  const whole = total(p);
  if (whole) p.seek.max = String(Math.ceil(whole));
  p.seek.value = String(p.audio.currentTime);
  p.seek.setAttribute("aria-valuetext", clock(p.audio.currentTime));
  p.time.textContent = p.audio.currentTime > 0 ? `${clock(p.audio.currentTime)} / ${clock(whole)}` : clock(whole);
}

function setRate(p, rate) {
  // The default one, too: loading a sound sets the speed back to it.
  p.audio.defaultPlaybackRate = rate;
  p.audio.playbackRate = rate;
  p.rate.textContent = `${String(rate).replace(".", ",")}×`;
}

function toggle(p) {
  if (!p.audio.paused) return p.audio.pause();
  document.querySelectorAll("audio").forEach((other) => other !== p.audio && other.pause());
  document.querySelectorAll("[data-player-open]").forEach((other) => delete other.dataset.playerOpen);
  p.root.dataset.playerOpen = "";
  p.error.hidden = true;
  setRate(p, rememberedRate());
  // A refusal is shown by the "error" event; an interrupted start needs no words.
  return p.audio.play().catch((error) => {
    if (error.name !== "AbortError") p.error.hidden = false;
  });
}

function nextRate(p) {
  const rate = RATES[(RATES.indexOf(p.audio.playbackRate) + 1) % RATES.length];
  remember(rate);
  setRate(p, rate);
  document.dispatchEvent(new CustomEvent("kv:play-rate", { detail: rate }));
}

/** Moving before the first press only marks where to begin: nothing is loaded for it. */
function seek(p, seconds) {
  p.audio.currentTime = Math.min(Math.max(seconds, 0), total(p));
  if (p.audio.readyState === 0) p.seek.value = String(p.audio.currentTime);
}

function onKey(event, p) {
  const step = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP }[event.key];
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("a, [data-player-rate]")) return;
  // On its own button a space is a press already.
  if (event.key === " " && !event.target.closest("[data-player-play]")) toggle(p);
  else if (step) seek(p, p.audio.currentTime + step);
  else return;
  event.preventDefault();
}

export function enhancePlayer(root) {
  if (root.dataset.player === "ready") return;
  root.dataset.player = "ready";
  const p = parts(root);
  setRate(p, rememberedRate());
  root.addEventListener("keydown", (event) => onKey(event, p));
  p.play.addEventListener("click", () => toggle(p));
  p.rate.addEventListener("click", () => nextRate(p));
  document.addEventListener("kv:play-rate", (event) => setRate(p, event.detail));
  p.seek.addEventListener("input", () => seek(p, Number(p.seek.value)));
  for (const type of ["play", "pause", "ended"]) p.audio.addEventListener(type, () => showState(p));
  for (const type of ["timeupdate", "loadedmetadata"]) p.audio.addEventListener(type, () => showTime(p));
  p.audio.addEventListener("error", () => {
    p.error.hidden = false;
  });
}
