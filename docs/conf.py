"""How the documentation is built: `make docs`, offline, with every warning an error."""

from __future__ import annotations

import pkgutil
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole

import milpcomp

project = "milpcomp"
author = "the milpcomp authors"
copyright = "the milpcomp authors; MIT licence"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

# Pages are Markdown; docstrings are reStructuredText whose single backticks name things: linked where this
# documentation has them, plain code elsewhere.
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
default_role = "named"

# Docstrings say in words what a parameter may be, so signatures stay readable and carry no types.
autodoc_typehints = "none"
autodoc_inherit_docstrings = False  # what a layer overrides is described once, at its contract
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Trusts", "notes_style")]

smartquotes_action = "D"  # dashes; quotes stay as they are typed
nitpicky = True
# Backticks also mark parameters, and modules, which have no page; other libraries have theirs elsewhere.
nitpick_ignore_regex = [("py:obj", r"(?!milpcomp\.).*"), ("py:class", r"torch\..*")]
nitpick_ignore = [("py:obj", module.name) for module in pkgutil.walk_packages(milpcomp.__path__, "milpcomp.")]

html_theme = "furo"
html_title = "milpcomp"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}


def named(name: str, rawtext: str, text: str, *rest: Any) -> Any:
    """Read a name in single backticks; classes are found in any module, as docstrings do not say in which."""
    return PyXRefRole()("py:obj", rawtext, f".{text}" if text[:1].isupper() else text, *rest)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what single backticks mean."""
    app.add_role("named", named)
    return {"parallel_read_safe": True}
