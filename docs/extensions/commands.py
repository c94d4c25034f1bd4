"""Help of commands as sphinx-click hands it on: paragraphs that click does not wrap become blocks of code."""

from __future__ import annotations

import re
from typing import Any

_BAR = "| "
_ADDRESS = re.compile(r"(?<=\w)@(?=\w)")
"""What would become a link to write a mail: RUN@previous."""


def as_code(lines: list[str]) -> list[str]:
    """Return lines of reStructuredText in which each block that click leaves alone is literal."""
    made: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if not line.startswith(_BAR):
            made.append(_ADDRESS.sub(r"\@", line))
            continue
        text = line.removeprefix(_BAR)
        if before.startswith(_BAR):
            made.append(f"    {text}")
        elif text.endswith(":"):  # the words above the block
            made += [f"{text}:", ""]
        else:
            made += ["::", "", f"    {text}"]
    return made


def _process(_app: Any, _context: Any, lines: list[str]) -> None:
    lines[:] = as_code(lines)


def setup(app: Any) -> dict[str, Any]:
    """Change help when it is read."""
    for part in ("description", "epilog", "options"):
        app.connect(f"sphinx-click-process-{part}", _process)
    return {"parallel_read_safe": True}
