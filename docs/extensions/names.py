"""Directive ``public-names``: everything that a module exports, from its docstrings."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.util.docutils import SphinxDirective


def public(module: str) -> list[tuple[str, str]]:
    """Return kind and name of what a module exports, but for dunder names."""
    found = importlib.import_module(module)
    names = [name for name in found.__all__ if not name.startswith("__")]
    return [(_kind(getattr(found, name)), name) for name in names]


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) else "data"


class PublicNames(SphinxDirective):
    """The public names of a module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return their descriptions."""
        module = self.arguments[0]
        lines = []
        for kind, name in public(module):
            members = ["   :members:"] if kind == "class" else []
            lines += [f".. auto{kind}:: {module}.{name}", *members, ""]
        return list(self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"])))


def fields(value: Any) -> str:
    """Return the arguments of a pydantic model: names, whose types are among its parameters."""
    names = [name if field.is_required() else f"{name}=..." for name, field in value.model_fields.items()]
    return f"(*, {', '.join(names)})"


def _signature(_app: Any, kind: str, _name: str, value: Any, *_others: Any) -> tuple[str, str] | None:
    if kind == "class" and issubclass(value, BaseModel) and value.model_fields:
        return fields(value), ""
    return None


def setup(app: Any) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True}
