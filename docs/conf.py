"""The site: `make docs` builds it into build/site; every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "src")]

from portico import __version__  # noqa: E402 (of this checkout)

project = "Portico"
author = "The Portico developers"
project_copyright = "The Portico developers, BSD-3-Clause"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_click",
    "docs.extensions.breaks",
    "docs.extensions.commands",
    "docs.extensions.configuration",
    "docs.extensions.drawings",
    "docs.extensions.names",
    "docs.extensions.repository",
]
exclude_patterns = ["extensions"]
default_role = "literal"
highlight_language = "text"  # blocks of Python and YAML say so
smartquotes = False  # --option is not a dash
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
myst_fence_as_directive = ["layers", "mermaid"]
numpydoc_show_class_members = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = "Portico"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # a browser fetches no pages from a disk
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1b5e8a", "color-brand-content": "#1b5e8a"},
    "dark_css_variables": {"color-brand-primary": "#7cc0ee", "color-brand-content": "#7cc0ee"},
}
