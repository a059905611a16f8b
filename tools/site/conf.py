"""How Sphinx turns the pages laid out by tools/build_site.py into the site. Nothing is executed, nothing is fetched."""

import sys
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import NbElementRenderer
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from formulas import formula  # noqa: E402

WIDE = 560  # figures of more pixels scroll on narrow screens rather than shrink until nothing can be read

project = "rdistill"
author = "the rdistill authors"
project_copyright = "the rdistill authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"  # a name between single backticks
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of a class are described in it, not as objects of their own
exclude_patterns = ["**/.ipynb_checkpoints"]
nb_execution_mode = "off"  # pages show the outputs that the notebooks hold
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables and links in what cells show
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False

html_theme = "furo"
html_title = "rdistill"
html_static_path = ["static"]
html_css_files = ["course.css"]
html_js_files = [(name, {"defer": "defer"}) for name in ("course.js", "quiz.js", "play.js")]
html_copy_source = False
html_show_sphinx = True
html_math_renderer = "drawn"
# Browsers let no page read another one where pages lie on a disk, so results come without an excerpt.
html_show_search_summary = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def _inline(translator, node: nodes.math) -> None:
    translator.body.append(formula(node.astext(), inline=True))
    raise nodes.SkipNode


def _display(translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula-line">{formula(node.astext(), inline=False)}</div>\n')
    raise nodes.SkipNode


def _framed(render_image):
    def render(self, data):
        framed = []
        for image in render_image(self, data):
            about = data.output_metadata.get(data.mime_type, {})
            image["alt"] = about.get("alt", image.get("alt", ""))
            chart = data.mime_type == "image/png"
            looks = {"chart": chart, "wide": int(about.get("width", 0)) > WIDE, about.get("class"): "class" in about}
            framed.append(nodes.container("", image, classes=["figure", *(name for name, yes in looks.items() if yes)]))
        return framed

    return render


def _with_levels(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """The theme calls the captions of its menu headings; screen readers ask of which level."""
    if tree := context.get("furo_navigation_tree"):
        context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app: Sphinx) -> None:
    """Formulas are drawn now; figures keep the alt text of their output, which MyST-NB alone would drop, in a frame that scrolls."""
    app.connect("html-page-context", _with_levels, priority=900)
    app.add_html_math_renderer("drawn", (_inline, None), (_display, None))
    NbElementRenderer.render_image = _framed(NbElementRenderer.render_image)
