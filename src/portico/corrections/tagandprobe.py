"""Reader of tag-and-probe results in the JSON format of the CMS muon group."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from portico.config import parse_json
from portico.corrections.convert import Grid, from_histogram
from portico.corrections.schema import content_of
from portico.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["from_tag_and_probe", "read_grid"]

_NUMBER = r"\s*([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|inf(?:inity)?))\s*"
_BIN = re.compile(rf"(\w+)\s*:\s*[\[(]{_NUMBER},{_NUMBER}[\])]", re.IGNORECASE)

_Bins = tuple[tuple[str, float, float], ...]


def read_grid(
    path: Path, source: str | None, inputs: Sequence[str], *, up: str | None = None, down: str | None = None,
    empty: float | None = None,
) -> Grid:  # fmt: skip
    """Read a histogram (``.root``) or results of tag and probe (``.json``); parameters as of the functions for each.

    Raises
    ------
    ConfigError
        If the file is of another type, an option is not for its type, or as the functions for each.
    """
    if path.suffix == ".root":
        return from_histogram(path, source, inputs, up=up, down=down, empty=empty)
    if path.suffix != ".json":
        raise ConfigError(f"{path}: must end in .root (histograms) or .json (tag and probe)")
    if up or down or empty is not None:
        raise ConfigError("--up, --down and --empty are for histograms; tag and probe has its errors in the file")
    return from_tag_and_probe(path, source, inputs)


def from_tag_and_probe(path: Path, entry: str | None = None, inputs: Sequence[str] = ()) -> Grid:
    """Read one tag-and-probe result.

    The layout is ``{"NUM_x_DEN_y": {"abseta_pt": {"abseta:[0,0.9]": {"pt:[2,3]": {"value": 1, ...}}}}}``. The innermost
    level has ``value``, and ``error`` or ``stat`` and ``syst``, which are added in quadrature. Keys that are not bins,
    such as ``binning``, are ignored.

    Parameters
    ----------
    path : Path
        A JSON file.
    entry : str, optional
        ``ENTRY/BINNING``, for example ``NUM_SoftID_DEN_TrackerMuons/abseta_pt``; by default the only one. The binning
        may be omitted if there is only one.
    inputs : sequence of str
        The axes in the desired order; by default as in the file.

    Raises
    ------
    ConfigError
        If there is no such entry, or if its bins do not form a complete grid.
    """
    where = str(path)
    try:
        loaded = parse_json(content_of(path))
    except ValueError as error:
        raise ConfigError(f"{where}: not valid JSON: {error}") from error
    found = _results(loaded, where)
    matching = [name for name in found if entry is None or name == entry or name.startswith(f"{entry}/")]
    if len(matching) != 1:
        wanted = f"no single entry '{entry}'" if entry else "several entries, choose one"
        raise ConfigError(f"{where}: {wanted}; {nearest(entry or '', found)}")
    grid = _grid(found[matching[0]], f"{where}: {matching[0]}")
    return grid.ordered(inputs) if inputs else grid


def _results(loaded: Any, where: str) -> dict[str, Any]:
    found = {}
    for name, binnings in loaded.items() if isinstance(loaded, dict) else ():
        for binning, content in binnings.items() if isinstance(binnings, dict) else ():
            if isinstance(content, dict) and any(_BIN.fullmatch(key) for key in content):
                found[f"{name}/{binning}"] = content
    if not found:
        layout = '{"NUM_x_DEN_y": {"abseta_pt": {"abseta:[0,0.9]": {"pt:[2,3]": {"value": 1, "error": 0.1}}}}}'
        raise ConfigError(f"{where}: no tag-and-probe results; their layout is {layout}")
    return found


def _cells(content: Mapping[str, Any], bins: _Bins, where: str) -> Iterator[tuple[_Bins, float, float]]:
    if "value" in content:
        yield bins, float(content["value"]), _error(content, f"{where}: {_name(bins)}")
        return
    for key, inside in content.items():
        if (match := _BIN.fullmatch(key)) and isinstance(inside, dict):
            yield from _cells(inside, (*bins, (match[1], float(match[2]), float(match[3]))), where)


def _error(cell: Mapping[str, Any], where: str) -> float:
    parts = [float(cell[name]) for name in ("stat", "syst") if name in cell]
    if "error" not in cell:
        if not parts:
            raise ConfigError(f"{where}: has no 'error', and neither 'stat' nor 'syst'; found {', '.join(cell)}")
        return math.hypot(*parts)
    total = float(cell["error"])
    if any(part > total * (1 + 1e-6) for part in parts):
        raise ConfigError(f"{where}: 'error' is {total:g}, smaller than 'stat' or 'syst': it is not the total error")
    return total


def _name(bins: _Bins) -> str:
    return ", ".join(f"{name} {low:g} to {high:g}" for name, low, high in bins)


def _grid(content: Mapping[str, Any], where: str) -> Grid:
    cells = {bins: (value, error) for bins, value, error in _cells(content, (), where)}
    names = {tuple(name for name, _, _ in bins) for bins in cells}
    if len(names) != 1:
        found = "; ".join(sorted(", ".join(variables) for variables in names))
        raise ConfigError(f"{where}: its bins have different variables: {found}")
    inputs = names.pop()
    axes = [sorted({(bins[axis][1], bins[axis][2]) for bins in cells}) for axis in range(len(inputs))]
    for name, axis in zip(inputs, axes, strict=True):
        for (_, end), (begin, _) in pairwise(axis):
            if end != begin:
                raise ConfigError(f"{where}: bins of {name} overlap or leave a gap between {end:g} and {begin:g}")
    values = np.zeros((2, *(len(axis) for axis in axes)))
    for index in np.ndindex(*values.shape[1:]):
        bins = tuple((name, *axis[i]) for name, axis, i in zip(inputs, axes, index, strict=True))
        if bins not in cells:
            raise ConfigError(f"{where}: has no bin {_name(bins)}; the file must have all combinations of bins")
        values[(slice(None), *index)] = cells[bins]
    edges = tuple((axis[0][0], *(high for _, high in axis)) for axis in axes)
    value, error = values
    return Grid(inputs, edges, value, value + error, value - error).filled(None, where)
