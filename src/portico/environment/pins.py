"""The versions that an image pins, from the list beside its Python, and what is installed instead of them."""

from __future__ import annotations

import hashlib
import re
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["LIST", "pins"]

LIST = "requirements-lock.txt"
"""The list of versions from which images are built; a copy of it lies in the folder of the image's Python."""

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)")


@cache
def pins(prefix: str = sys.prefix) -> dict[str, Any]:
    """Describe the image of this process; empty where no list lies beside its Python.

    Parameters
    ----------
    prefix : str
        The folder of the Python environment.

    Returns
    -------
    dict
        ``digest``: of the list; ``pinned``: the version of each package that the image pins, of those that are
        installed; ``wrong``: the versions of packages that are installed instead.
    """
    try:
        text = (Path(prefix) / LIST).read_text(encoding="utf-8")
    except OSError:
        return {}
    found = (_PIN.match(line) for line in text.splitlines())
    listed = {_normal(match[1]): match[2] for match in found if match is not None}
    here = {_normal(one.name): one.version for one in metadata.distributions(path=_folders(prefix))}
    pinned = {name: version for name, version in listed.items() if name in here}
    wrong = {name: here[name] for name, version in pinned.items() if here[name] != version}
    return {"digest": hashlib.sha256(text.encode()).hexdigest()[:12], "pinned": pinned, "wrong": wrong}


def _folders(prefix: str) -> list[str]:
    return [str(path) for path in sorted(Path(prefix).glob("lib/python3*/site-packages"))]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
