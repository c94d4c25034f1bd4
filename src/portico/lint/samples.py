"""The samples of a script: what its frames read, and the names under which a step finds them."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from portico.files import is_remote
from portico.lint.script import Script
from portico.lint.trace import Trace
from portico.lint.values import Source

__all__ = ["Samples", "dataset_text", "samples_of"]

_VALID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_OF_NO_MEANING = {"", "d", "df", "rdf", "frame", "dataframe", "data_frame", "events", "t", "tree", "chain", "node"}
_DATA = re.compile(r"data|(?:^|_)run20\d\d|(?:egamma|muon|electron|jet|met)(?:parked|dataset)?_run", re.IGNORECASE)
_SIGNAL = re.compile(r"(?:^|_)sig(?:nals?)?(?:_|\d|$)", re.IGNORECASE)
_KEPT = (str, int, float, bool)


@dataclass(slots=True)
class _Entry:
    tree: str | None
    files: list[str]
    entries: int | None = None
    line: int = 0
    text: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Samples:
    """The samples of a script.

    Attributes
    ----------
    entries : dict
        What is written to ``datasets.yaml`` for each.
    labels : dict of int to str
        The expression of the sample's name at each call that makes a frame, by the identity of the call.
    one : bool
        Whether a single call makes the frame of all samples.
    by_hand : list of (int, str)
        What is left to do, with the line that it comes from.
    """

    entries: dict[str, _Entry] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    one: bool = True
    by_hand: list[tuple[int, str]] = field(default_factory=list)


def samples_of(script: Script, followed: Trace, folder: Path) -> Samples:
    """Return the samples that a script's frames read; local files are relative to ``folder``."""
    found = Samples()
    sites: dict[int, list[Source]] = {}
    for source in followed.evaluator.sources:
        if source.node is not None and source.kind != "other":
            sites.setdefault(id(source.node), []).append(source)
    found.one = len(sites) == 1 and all(len(sources) == 1 for sources in sites.values())
    for site, sources in sites.items():
        if sources[0].kind == "spec":
            _from_spec(sources[0], script, folder, found)
            found.labels[site] = ""
            found.one = found.one and len(sites) == 1
            continue
        names, found.labels[site] = _names(sources, script, found)
        for name, source in zip(names, sources, strict=True):
            found.entries.setdefault(name, _entry(source, script, folder, found))
    return found


def _names(sources: list[Source], script: Script, found: Samples) -> tuple[list[str], str]:
    """Return the names of the samples of a call, and the expression that gives them."""
    first = sources[0]
    keys = [source.key for source in sources if source.key is not None]
    if len(set(keys)) == len(sources) and isinstance(first.key_node, ast.expr):
        return _checked(keys, first.line, found), script.source(first.key_node)
    if len(sources) == 1:
        name = _unique(_name_of(first, script), first, found)
        return [name], f'"{name}"'
    for label in first.names:
        names = [source.names.get(label, "") for source in sources]
        if len({name for name in names if name}) == len(sources):
            return _checked(names, first.line, found), label
    what = "makes several frames, and neither a key nor a loop variable names them: give each sample in "
    found.by_hand.append((first.line, f"{what}datasets.yaml a name, and frame_of the same one"))
    return [f"line{first.line}_{number}" for number, _ in enumerate(sources)], f'"line{first.line}_0"'


def _checked(names: list[str], line: int, found: Samples) -> list[str]:
    for name in names:
        if not _VALID.fullmatch(name):
            found.by_hand.append((line, f"{name!r} cannot name a sample; use letters, digits, _ . + - in the script"))
    return [_clean(name) for name in names]


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name).lstrip(".+-") or "sample"


def _name_of(source: Source, script: Script) -> str:
    """Return the name of a sample: that of its variable, else that of its file, else that of the script."""
    name = re.sub(r"^(?:r?df|frame|rdataframe)_|_(?:r?df|frame)$", "", source.variable, flags=re.IGNORECASE)
    if name.lower() not in _OF_NO_MEANING:
        return _clean(name)
    stem = Path(source.files[0]).stem if source.files else script.path.stem
    return _clean(stem.replace("*", "").strip("_-.") or script.path.stem)


def _unique(name: str, source: Source, found: Samples) -> str:
    taken, number = found.entries, 2
    if name not in taken or (taken[name].text and taken[name].text == str(source.files)):
        return name
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _entry(source: Source, script: Script, folder: Path, found: Samples) -> _Entry:
    text = script.source(source.node) if source.node is not None else ""
    if source.kind == "entries":
        return _Entry(None, [], source.entries, source.line, text)
    files = [_placed(name, script, folder) for name in source.files or ()]
    if not files:
        what = "which files it reads is not known before the script runs: name them in datasets.yaml"
        if (source.line, what) not in found.by_hand:
            found.by_hand.append((source.line, what))
    return _Entry(source.tree, files, None, source.line, text)


def _placed(name: str, script: Script, folder: Path) -> str:
    """Return a file's name as ``datasets.yaml`` in ``folder`` needs it."""
    name = name.removeprefix("file://").removeprefix("file:")
    if is_remote(name) or Path(name).is_absolute() or name.startswith("~"):
        return name
    beside = script.path.parent / name
    elsewhere = not _matches(script.path.parent, name) and _matches(Path(), name)
    return os.path.relpath(name if elsewhere else beside, folder)


def _matches(folder: Path, name: str) -> bool:
    try:
        return (folder / name).exists() or any(folder.glob(name))
    except (NotImplementedError, OSError, ValueError):  # no path, or no pattern
        return False


def _from_spec(source: Source, script: Script, folder: Path, found: Samples) -> None:
    if source.spec is None:
        what = (
            "the file of FromSpec was not found: write its samples into datasets.yaml, its metadata under 'parameters'"
        )
        found.by_hand.append((source.line, what))
        return
    for name, content in source.spec.items():
        trees, files = content.get("trees", []), content.get("files", [])
        trees = [trees] if isinstance(trees, str) else trees
        files = [files] if isinstance(files, str) else files
        metadata = content.get("metadata", {})
        kept = {key: value for key, value in metadata.items() if isinstance(value, _KEPT)}
        if len(set(trees)) != 1 or len(kept) < len(metadata):
            found.by_hand.append((source.line, f"sample '{name}' of the specification: look at its trees and metadata"))
        placed = [_placed(str(file), script, folder) for file in files]
        found.entries[_clean(name)] = _Entry(str(trees[0]) if trees else None, placed, None, source.line, "", kept)


def scalar(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).split("\n")[0]


def _kind(name: str, entry: _Entry) -> str:
    category = str(entry.parameters.get("sample_category", ""))
    if _DATA.search(name) or category == "data":
        return "data"
    return "signal" if _SIGNAL.search(name) or _SIGNAL.search(category) else "background"


def dataset_text(samples: Samples, script: Script) -> str:
    """Return ``datasets.yaml``."""
    trees = [entry.tree for entry in samples.entries.values() if entry.tree]
    common = max(sorted(set(trees)), key=trees.count) if trees else None
    lines = [
        f"# The files that {script.path.name} reads. Portico's documentation lists the keys on the page 'YAML files'.",
        "# Check the kinds, which are guessed from the names: data, signal or background.",
    ]
    lines += [f"tree: {scalar(common)}"] if common else []
    lines += ["samples:"]
    for name, entry in samples.entries.items():
        lines += [f"  {scalar(name)}:"]
        lines += [f"    kind: {_kind(name, entry)}"]
        if entry.tree and entry.tree != common:
            lines += [f"    tree: {scalar(entry.tree)}"]
        if entry.entries is not None:
            lines += [f"    entries: {entry.entries}"]
        elif entry.files:
            lines += ["    files:", *(f"      - {scalar(file)}" for file in entry.files)]
        else:
            lines += [f"    files: [] # by hand, line {entry.line}: {entry.text}"]
        if entry.parameters:
            lines += ["    parameters:"]
            lines += [f"      {scalar(key)}: {scalar(value)}" for key, value in entry.parameters.items()]
    if not samples.entries:
        lines += ["  sample: # by hand", "    files: []"]
    return "\n".join(lines) + "\n"
