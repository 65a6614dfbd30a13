/* Player of call recordings. The sound is asked for at the first press, one recording plays at a time. */
import { icon } from "./dom.js";
import { t } from "./texts.js";

const RATES = [1, 1.25, 1.5, 2];
const clock = (seconds) => `${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function parts(root) {
  const part = (name) => root.querySelector(`[data-player-${name}]`);
  return { audio: root.querySelector("audio"), play: part("play"), seek: part("seek"), time: part("time"), rate: part("rate"), error: part("error") };
}

function total(p) {
  return Number.isFinite(p.audio.duration) ? p.audio.duration : Number(p.time.dataset.total) || 0;
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

function toggle(p) {
  if (!p.audio.paused) return p.audio.pause();
  document.querySelectorAll("audio").forEach((other) => other !== p.audio && other.pause());
  p.error.hidden = true;
  // A refusal is shown by the "error" event; an interrupted start needs no words.
  return p.audio.play().catch((error) => {
    if (error.name !== "AbortError") p.error.hidden = false;
  });
}

function nextRate(p) {
  const rate = RATES[(RATES.indexOf(p.audio.playbackRate) + 1) % RATES.length];
  p.audio.playbackRate = rate;
  p.rate.textContent = `${String(rate).replace(".", ",")}×`;
}

export function enhancePlayer(root) {
  if (root.dataset.player === "ready") return;
  root.dataset.player = "ready";
  const p = parts(root);
  p.play.addEventListener("click", () => toggle(p));
  p.rate.addEventListener("click", () => nextRate(p));
  p.seek.addEventListener("input", () => {
    p.audio.currentTime = Number(p.seek.value);
  });
  for (const type of ["play", "pause", "ended"]) p.audio.addEventListener(type, () => showState(p));
  for (const type of ["timeupdate", "loadedmetadata"]) p.audio.addEventListener(type, () => showTime(p));
  p.audio.addEventListener("error", () => {
    p.error.hidden = false;
  });
}
