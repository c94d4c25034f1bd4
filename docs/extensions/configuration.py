"""Directive ``configuration``: the keys of a YAML file from the model that reads it."""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from docs.extensions.fields import markdown, named


class Configuration(SphinxDirective):
    """Keys of the model ``module:name``; ``without`` names keys, or a constant of names, that nobody writes."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"without": str}

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        given = self.options.get("without", "")
        without = list(named(given)) if ":" in given else given.split()
        return list(self.parse_text_to_nodes(markdown(named(self.arguments[0]), without)))


def setup(app: Any) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("configuration", Configuration)
    return {"parallel_read_safe": True}
