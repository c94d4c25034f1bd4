"""Creation of a new analysis: a small one that runs at once, as a starting point."""

from __future__ import annotations

import keyword
import re
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from portico.cpp import KEYWORDS
from portico.errors import ConfigError, PorticoError

__all__ = ["create"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PLACEHOLDER = "@NAME@"


def create(name: str, parent: Path) -> list[Path]:
    """Make the folder ``parent / name`` with an analysis of generated events.

    Parameters
    ----------
    name : str
        Small letters, digits and underscores, beginning with a letter: it becomes a C++ namespace.
    parent : Path
        Where to make it.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    ConfigError
        If the name cannot be used, or something of that name exists.
    PorticoError
        If the folder cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' cannot name an analysis; use small letters, digits and _, such as 'mysearch'")
    if (
        name in sys.stdlib_module_names
        or keyword.iskeyword(name)
        or name in KEYWORDS | {"portico", "hnl", "std", "toy"}
    ):
        raise ConfigError(f"'{name}' is taken by something else; choose another name, such as 'my_{name}'")
    target = parent / name
    if target.exists():
        raise ConfigError(f"{target}: exists already and is not overwritten; choose another name")
    written: list[Path] = []
    try:
        _copy(resources.files("portico") / "template", target, name, written)
    except OSError as error:
        raise PorticoError(f"{target}: cannot be written: {error.strerror or error}") from error
    return written


def _copy(source: Traversable, target: Path, name: str, written: list[Path]) -> None:
    target.mkdir()
    for item in sorted(source.iterdir(), key=lambda item: item.name):
        if item.name in {"__pycache__", "__init__.py"}:
            continue
        path = target / item.name.removesuffix(".in")
        if item.is_dir():
            _copy(item, path, name, written)
        else:
            path.write_text(item.read_text(encoding="utf-8").replace(_PLACEHOLDER, name), encoding="utf-8")
            written.append(path)
