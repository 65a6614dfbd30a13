/* Blocking on purpose and tiny: the page must not flash in the wrong theme. */
(function () {
  var saved = null;
  try { saved = localStorage.getItem("theme"); } catch (error) { saved = null; /* storage may be forbidden: follow the system */ }
  var dark = saved ? saved === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
})();
