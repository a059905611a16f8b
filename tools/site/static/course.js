// What is wider than the page scrolls by itself: let the keyboard reach it, and say what it is.
function reachable() {
  for (const part of document.querySelectorAll("pre, .table-wrapper, .text_html, .formula-line, .sig, .figure")) {
    const wider = part.scrollWidth > part.clientWidth;
    part.classList.toggle("wider", wider);
    if (wider) {
      part.tabIndex = 0;
    } else {
      part.removeAttribute("tabindex");
    }
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
document.addEventListener("toggle", reachable, true);

// The theme has two regions at the sides and tells neither by name.
const sides = { ".sidebar-drawer": "Pages of the site", ".toc-drawer": "Contents of this page" };
for (const [side, name] of Object.entries(sides)) {
  document.querySelector(side)?.setAttribute("aria-label", name);
}
