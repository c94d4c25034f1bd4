"""The pages, and the blocks of code in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "SECURITY.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((REPOSITORY / "examples").rglob("*.md")),
]

_BLOCK = re.compile(r"(?:<!-- not run here: (?P<why>.+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
"""A comment before a block says why it is not executed, and who tests it instead."""


class Block(NamedTuple):
    """A block of code: its language, empty for commands, its line, and why it is not executed, if it is not."""

    language: str
    code: str
    line: int
    why: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text()
    return [
        Block(match["language"], match["code"], text.count("\n", 0, match.start("code")) + 1, match["why"] or "")
        for match in _BLOCK.finditer(text)
    ]


def commands(page: Path) -> list[str]:
    """Return the lines of a page that call a program of ours, without their comments."""
    lines = [line for block in blocks(page) if not block.language for line in block.code.splitlines()]
    return [line.partition(" #")[0].strip() for line in lines if line.startswith(("portico ", "hnl "))]
