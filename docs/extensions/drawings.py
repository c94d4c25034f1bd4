"""What the pages draw as text: the layers of the code, and the states of a chunk as a table of transitions."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

_TRANSITION = re.compile(r"^\s*(\w+) --> (\w+): (.+)$", re.MULTILINE)


class Layers(SphinxDirective):
    """Layers as they are written."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the text."""
        text = "\n".join(self.content)
        return [nodes.literal_block(text, text, language="text")]


class States(SphinxDirective):
    """A state diagram of Mermaid, as a table: the site needs no program that draws it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        found = _TRANSITION.findall("\n".join(self.content))
        if not found:
            raise self.error("no transition; write STATE --> STATE: CAUSE")
        rows = [f"| {start} | {cause} | {end} |".replace("_", " ") for start, end, cause in found]
        return list(self.parse_text_to_nodes("\n".join(["| state | what happens | then |", "|---|---|---|", *rows])))


def setup(app: Any) -> dict[str, Any]:
    """Add the directives."""
    app.add_directive("layers", Layers)
    app.add_directive("mermaid", States)
    return {"parallel_read_safe": True}
