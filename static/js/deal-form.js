/* The form of a new deal: says at once when the client is known already. */
import { debounce } from "./kit.js";

// Absent when the deal is made from a call: its number is known, though it may not be shown.
const field = document.getElementById("f-contact_phone");
const place = document.querySelector("[data-known]");
const call = place.dataset.known;

async function look() {
  if (!call && field.value.replace(/\D/g, "").length < 10) return place.replaceChildren();
  const asked = call ? `call=${call}` : `phone=${encodeURIComponent(field.value)}`;
  const response = await fetch(`/deals/known?${asked}`, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });
  if (response.ok && !response.redirected) place.innerHTML = await response.text();
  return undefined;
}

field?.addEventListener("input", debounce(look, 350));
if (call || field?.value) look();
