"""Code within a line: long names may break after a separator, and options stay whole."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.writers.html5 import HTML5Translator

_LONG = 16
"""Characters of a word that fits into a narrow column of a table."""

_SEPARATOR = re.compile(r"(?<=\w)([/_:,=(\[{|]+(?=[A-Za-z_*{])|\.(?=\w{6}))")
"""After it a word may break; not before a suffix such as ``.py``."""

_OPTION = re.compile(r"--?[a-z][a-z-]*")


def word(text: str) -> str:
    """Return a word of code as HTML, given what is HTML already."""
    if _OPTION.fullmatch(text):
        return f'<span class="pre option">{text}</span>'
    if len(text) > _LONG:
        text = _SEPARATOR.sub(r"\1<wbr>", text)
    return f'<span class="pre">{text}</span>'


class Translator(HTML5Translator):
    """Sphinx's own, but for words of code within a line."""

    def visit_Text(self, node: nodes.Text) -> None:  # noqa: N802 (docutils calls it so)
        """Write a text."""
        before = len(self.body)
        super().visit_Text(node)
        if self.protect_literal_text:
            head, tail = '<span class="pre">', "</span>"
            self.body[before:] = [
                word(part.removeprefix(head).removesuffix(tail)) if part.startswith(head) else part
                for part in self.body[before:]
            ]


def setup(app: Any) -> dict[str, Any]:
    """Write HTML in this way."""
    app.set_translator("html", Translator)
    return {"parallel_read_safe": True}
