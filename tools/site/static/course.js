// What is wider than the page scrolls by itself: let the keyboard reach it, and say what it is.
function reachable() {
  for (const part of document.querySelectorAll("pre, .table-wrapper, .text_html, .formula-line, .sig")) {
    if (part.scrollWidth > part.clientWidth) {
      part.tabIndex = 0;
    } else {
      part.removeAttribute("tabindex");
    }
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
document.addEventListener("toggle", reachable, true);
