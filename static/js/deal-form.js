/* The form of a new deal: says at once when the client is known already. */
import { debounce } from "./kit.js";

const field = document.getElementById("f-contact_phone");
const place = document.querySelector("[data-known]");

async function look() {
  const digits = field.value.replace(/\D/g, "");
  if (digits.length < 10) return place.replaceChildren();
  const response = await fetch(`/deals/known?phone=${encodeURIComponent(field.value)}`, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });
  if (response.ok && !response.redirected) place.innerHTML = await response.text();
  return undefined;
}

field.addEventListener("input", debounce(look, 350));
if (field.value) look();
