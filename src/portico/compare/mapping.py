"""The mapping: which histogram and tree of another program is which of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from portico.config import Model, parse, read_yaml
from portico.errors import ConfigError

__all__ = ["Mapping", "TreeEntry", "expand", "load_mapping"]

_FIELD = re.compile(r"\{(\w*)\}")
_FIELDS = ("step", "sample", "product")


class TreeEntry(Model):
    """One of our trees and theirs.

    Parameters
    ----------
    ours : str
        ``STEP/SAMPLE/PRODUCT``; may hold ``{sample}``.
    theirs : str
        Path of the tree in their file, or ``STEP/SAMPLE/PRODUCT`` if they are a run; may hold ``{sample}``.
    files : tuple of str
        Files that hold it, if it is not in the file that is compared: paths relative to the mapping, ``*`` for any
        letters; may hold ``{sample}``.
    columns : mapping of str to str
        Our names of the columns to compare, to theirs; all that both have if empty.
    key : mapping of str to str
        Columns that identify an event, ours to theirs.
    candidate : tuple of str
        Our columns that tell which candidate was chosen, ``*`` for any letters.
    """

    ours: str
    theirs: str
    files: tuple[str, ...] = ()
    columns: dict[str, str] = Field(default_factory=dict)
    key: dict[str, str] = Field(default_factory=dict)
    candidate: tuple[str, ...] = ()


class Mapping(Model):
    """What is called what.

    Parameters
    ----------
    histograms : mapping of str to str
        ``STEP/SAMPLE/PRODUCT`` of ours to the path of theirs; both may hold ``{sample}`` and ``{product}``.
    trees : tuple of TreeEntry
        Trees.
    key : tuple of str
        Columns that identify an event in all trees that say nothing else.
    candidate : tuple of str
        Columns that tell which candidate was chosen, likewise.
    folder : Path
        Where the file lies.
    """

    histograms: dict[str, str] = Field(default_factory=dict)
    trees: tuple[TreeEntry, ...] = ()
    key: tuple[str, ...] = ()
    candidate: tuple[str, ...] = ()
    folder: Path = Path()

    @property
    def names_products(self) -> bool:
        """Whether only what is named is compared."""
        return bool(self.histograms or self.trees)


def load_mapping(path: str | Path) -> Mapping:
    """Read a mapping.

    Raises
    ------
    ConfigError
        If the file is missing or wrong.
    """
    content = read_yaml(Path(path))
    if "folder" in content:
        raise ConfigError(f"{path}: unknown key 'folder'; valid: candidate, histograms, key, trees")
    mapping = parse(Mapping, {**content, "folder": Path(path).parent}, str(path))
    files = ((tree.ours, file) for tree in mapping.trees for file in tree.files)
    for ours, theirs in [*mapping.histograms.items(), *((t.ours, t.theirs) for t in mapping.trees), *files]:
        unknown = [name for text in (ours, theirs) for name in _FIELD.findall(text) if name not in _FIELDS]
        if unknown:
            raise ConfigError(f"{path}: '{{{unknown[0]}}}' is no field; valid: {{step}}, {{sample}}, {{product}}")
        if set(_FIELD.findall(theirs)) - set(_FIELD.findall(ours)):
            raise ConfigError(f"{path}: '{theirs}' has fields that '{ours}' has not")
    return mapping


def expand(pattern: str, theirs: str, addresses: Iterable[str]) -> list[tuple[str, str]]:
    """Return every address that fits a pattern, and what it is called on the other side."""
    parts = re.split(r"(\{\w+\})", pattern)
    fields: list[str] = []
    expression = ""
    for part in parts:
        name = part[1:-1]
        if not (part.startswith("{") and name in _FIELDS):
            expression += re.escape(part)
        elif name in fields:
            expression += f"(?P={name})"
        else:
            fields.append(name)
            expression += f"(?P<{name}>{'.+' if name == 'product' else '[^/]+'})"
    found = []
    for address in addresses:
        match = re.fullmatch(expression, address)
        if match is not None:
            found.append((address, _FIELD.sub(lambda m, match=match: match[m[1]], theirs)))  # type: ignore[misc]
    return found
