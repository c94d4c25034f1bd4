"""Names that ROOT takes literally: links to files and folders whose own names could be patterns or URLs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from portico.files.remote import is_remote

__all__ = ["plain_name"]

_PLAIN = re.compile(r"[\w./+@-]+")  # nothing of patterns, of the parts of a URL, or of a shell's variables


def plain_name(path: str, scratch: Path) -> str:
    """Return a name of a file or folder that ROOT takes literally: a link to it if its own could be a pattern or a URL.

    Parameters
    ----------
    path : str
        An absolute path or a URL.
    scratch : Path
        Folder for the link.
    """
    if is_remote(path) or _PLAIN.fullmatch(path):
        return path
    link = scratch / f"input-{hashlib.sha256(path.encode()).hexdigest()[:16]}.root"
    if not link.is_symlink():
        link.symlink_to(Path(path).absolute())
    return str(link)
