"""The messages of the program, as the source has them: every text, with what is put into it left open."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
OPEN = "\0"


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else OPEN for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        if left or right:
            return (left or OPEN) + (right or OPEN)
    return None


@cache
def templates() -> tuple[str, ...]:
    """Return all texts of `portico` and `hnl` but docstrings."""

    def texts() -> Iterator[str]:
        for path in sorted(SRC.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.expr) and (text := _text(node)) and "\n\n" not in text:
                    yield " ".join(text.split(" "))

    return tuple(dict.fromkeys(texts()))


def is_said(message: str) -> bool:
    """Whether the program says this, with anything for ``...``."""
    fixed = re.compile(".*".join(map(re.escape, message.split("..."))), re.DOTALL)
    return any(fixed.search(text) for text in templates())
