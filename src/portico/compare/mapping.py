"""The mapping: names of our histograms, trees and columns in the output of another program."""

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
    """One of our trees and the corresponding tree of the other program.

    Parameters
    ----------
    ours : str
        ``STEP/SAMPLE/PRODUCT``; may contain ``{sample}``.
    theirs : str
        Path of the tree in their file, or ``STEP/SAMPLE/PRODUCT`` of a run; may contain ``{sample}``.
    files : tuple of str
        Files with the tree, if it is not in the file that is compared: paths relative to the mapping, with ``*`` as
        wildcard; may contain ``{sample}``.
    columns : mapping of str to str
        Columns to compare, from our names to theirs; if empty, all columns that both have.
    key : mapping of str to str
        Columns that identify an event, from our names to theirs.
    candidate : tuple of str
        Our columns that identify the chosen candidate, with ``*`` as wildcard.
    choose : mapping of str to float
        Of our lists, the element to compare, by columns and their values: ``{selection: 0}`` makes a tree with a list
        over selections one with a value per event. Events without such an element are left out.
    """

    ours: str
    theirs: str
    files: tuple[str, ...] = ()
    columns: dict[str, str] = Field(default_factory=dict)
    key: dict[str, str] = Field(default_factory=dict)
    candidate: tuple[str, ...] = ()
    choose: dict[str, float] = Field(default_factory=dict)


class Mapping(Model):
    """Names on the other side.

    Parameters
    ----------
    histograms : mapping of str to str
        From our ``STEP/SAMPLE/PRODUCT`` to their path; both may contain ``{sample}`` and ``{product}``.
    trees : tuple of TreeEntry
        Trees.
    key : tuple of str
        Columns that identify an event, in trees without a key of their own.
    candidate : tuple of str
        Columns that identify the chosen candidate, in trees without their own.
    folder : Path
        Folder of the mapping's file.
    """

    histograms: dict[str, str] = Field(default_factory=dict)
    trees: tuple[TreeEntry, ...] = ()
    key: tuple[str, ...] = ()
    candidate: tuple[str, ...] = ()
    folder: Path = Path()

    @property
    def names_products(self) -> bool:
        """Whether the mapping names products; then only these are compared."""
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
            raise ConfigError(f"{path}: '{{{unknown[0]}}}' is not a field; valid: {{step}}, {{sample}}, {{product}}")
        if set(_FIELD.findall(theirs)) - set(_FIELD.findall(ours)):
            raise ConfigError(f"{path}: '{theirs}' has fields that are missing in '{ours}'; use the same in both")
    return mapping


def expand(pattern: str, theirs: str, addresses: Iterable[str]) -> list[tuple[str, str]]:
    """Return every address that matches a pattern, with its name on the other side."""
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
