"""Links of the pages that leave the folder of the pages, to files of the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {"CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
"""Pages of the site that hold a file of the repository."""

_LINK = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)(#[^)]*)?\)")


def inside(text: str) -> str:
    """Return a page whose links lead to pages of the site, to a copy of a file, or nowhere if they name a folder."""

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        if target in PAGES:
            return f"[{label}]({PAGES[target]}{anchor})"
        if (REPOSITORY / target).is_dir():
            return label if label.startswith("`") else f"{label} (`{target}`)"
        return match[0]

    return _LINK.sub(link, text)


def _read(_app: Any, _page: str, source: list[str]) -> None:
    source[0] = inside(source[0])


def setup(app: Any) -> dict[str, Any]:
    """Change pages when they are read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
