"""Links of the pages that leave the folder of the pages, to files of the repository."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = {"CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
"""Pages of the site that hold a file of the repository."""

_LINK = re.compile(r"\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)")
_WHOLE = re.compile(r"^```\{include\} \.\./(\w+\.md)\n")


def inside(text: str, folder: Path = DOCS) -> str:
    """Return a page whose links lead to pages of the site, to a copy of a file, or nowhere if they name a folder.

    Parameters
    ----------
    text : str
        The page.
    folder : Path
        Where it lies, to which its links are relative.
    """

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        path = (folder / target).resolve()
        if label == path.name and path.suffix == ".md":
            label = ""  # the title of the page
        if path.parent == DOCS or not path.is_relative_to(REPOSITORY) or not path.exists():
            return f"[{label}]({path.name}{anchor})" if path.parent == DOCS else match[0]
        name = str(path.relative_to(REPOSITORY))
        if name in PAGES:
            return f"[{label}]({PAGES[name]}{anchor})"
        if path.is_dir():
            return label if label.startswith("`") else f"{label} (`{name}`)"
        return f"[{label}]({os.path.relpath(path, DOCS)})"

    return _LINK.sub(link, text)


def _read(app: Any, _page: str, source: list[str]) -> None:
    if whole := _WHOLE.match(source[0]):
        path = REPOSITORY / whole[1]
        app.env.note_dependency(str(path))
        source[0] = inside(path.read_text(), REPOSITORY)
    else:
        source[0] = inside(source[0])


def setup(app: Any) -> dict[str, Any]:
    """Change pages when they are read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
