// The remembered theme, set before the first paint. Loaded by index.html as a plain script, because a module would
// run after the page was drawn in the other colours; the toggle itself is in header.js.
(function () {
  try {
    var theme = localStorage.getItem("watchkeeper.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch (error) {
    // Storage may be forbidden; then the page follows the system.
  }
})();
