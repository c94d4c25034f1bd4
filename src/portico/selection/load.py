"""Reading of a ``selection.yaml``, with the options of a step in place of what is in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portico.config import parse, read_yaml
from portico.errors import ConfigError, nearest
from portico.selection.model import Selection

__all__ = ["SWITCHES", "load_selection"]

SWITCHES = ("weights", "shapes", "rules")
"""The keys whose entries can be switched on and off."""

_KEPT = 16
_loaded: dict[tuple[str, bytes, str], Selection] = {}  # a worker loads the same selection for every chunk


def load_selection(
    path: str | Path, cuts: Mapping[str, str] | None = None, switch: Mapping[str, bool] | None = None,
    histograms: Mapping[str, Mapping[str, Any]] | None = None,
) -> Selection:  # fmt: skip
    """Read a selection.

    Parameters
    ----------
    path : str or Path
        The YAML file.
    cuts : mapping of str to str, optional
        Expressions that replace those in the file, by ``event/NAME``, ``preselection/NAME`` or ``CATEGORY/NAME``.
    switch : mapping of str to bool, optional
        Weights, shapes and rules to switch on or off: ``weights`` for all of them, ``weights/NAME`` for one, which
        counts more.
    histograms : mapping of str to mapping, optional
        By name, keys of `Histogram` that replace those of the file, such as ``bins``; a new histogram needs a
        ``column`` and bins.

    Raises
    ------
    ConfigError
        If the file is missing or wrong, or if a cut to replace, an entry to switch or a histogram does not exist. The
        message names the key and the nearest valid one.
    """
    path = Path(path)
    key = (str(path), _content(path), json.dumps([cuts, switch, histograms], default=repr))
    if key not in _loaded:
        selection = parse(Selection, read_yaml(path), str(path))
        changed = {
            **_with_cuts(selection, cuts or {}, path),
            **_switched(selection, switch or {}, path),
            **_with_histograms(selection, histograms or {}, path),
        }
        given = selection.model_dump(exclude_unset=True)
        selection = parse(Selection, {**given, **changed}, f"{path} with options") if changed else selection
        if _content(path) != key[1]:  # written to meanwhile
            return selection
        _loaded[key] = selection
        for old in list(_loaded)[:-_KEPT]:
            _loaded.pop(old, None)
    return _loaded[key]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _with_cuts(selection: Selection, cuts: Mapping[str, str], path: Path) -> dict[str, Any]:
    own = {"event": dict(selection.event), "preselection": dict(selection.preselection)}
    categories = {name: dict(of) for name, of in selection.categories.items()}
    groups = [*own.items(), *categories.items()]  # a category may be named 'event', too
    for name, expression in cuts.items():
        group, _, cut = name.partition("/")
        found = [of for known, of in groups if known == group and cut in of]
        if not found:
            raise ConfigError(f"{path}: no cut '{name}'; {nearest(name, [f'{g}/{c}' for g, of in groups for c in of])}")
        if len(found) > 1:
            raise ConfigError(f"{path}: '{name}' is both a cut of the selection and of a category; rename the category")
        found[0][cut] = expression
    return {**own, "categories": categories} if cuts else {}


def _switched(selection: Selection, switch: Mapping[str, bool], path: Path) -> dict[str, Any]:
    given = selection.model_dump(exclude_unset=True)
    entries: dict[str, dict[str, Any]] = {group: given.get(group, {}) for group in SWITCHES}
    valid = [*SWITCHES, *(f"{group}/{name}" for group in SWITCHES for name in entries[group])]
    for name in sorted(switch, key=lambda name: "/" in name):  # one entry counts more than all of a kind
        if name not in valid:
            raise ConfigError(f"{path}: switch: no '{name}'; {nearest(name, valid)}")
        if not isinstance(switch[name], bool):
            raise ConfigError(f"{path}: switch: {name}: on or off, not {switch[name]!r}")
        group, _, one = name.partition("/")
        for entry in [one] if one else entries[group]:
            entries[group][entry]["enabled"] = switch[name]
    return {group: entries[group] for group in {name.partition("/")[0] for name in switch}}


def _with_histograms(
    selection: Selection, histograms: Mapping[str, Mapping[str, Any]], path: Path
) -> dict[str, list[dict[str, Any]]]:
    given = [histogram.model_dump(exclude_unset=True) for histogram in selection.histograms]
    names = [h.name or h.column.removeprefix(selection.candidates) or h.column for h in selection.histograms]
    for name, fields in histograms.items():
        if not isinstance(fields, Mapping):
            raise ConfigError(f"{path}: histograms: {name}: write {{bins: 50, range: [0, 5]}}, not {fields!r}")
        if name in names:
            old = given[names.index(name)]
            other = ("bins", "range") if "edges" in fields else ("edges",) if {"bins", "range"} & fields.keys() else ()
            given[names.index(name)] = {key: value for key, value in old.items() if key not in other} | dict(fields)
        elif "column" in fields:
            given.append({"name": name, **fields})
        else:
            raise ConfigError(f"{path}: no histogram '{name}', and a new one needs a column; {nearest(name, names)}")
    return {"histograms": given} if histograms else {}
