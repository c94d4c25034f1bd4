"""Conversion of ROOT histograms and of tag-and-probe results to correction files, without ROOT."""

from __future__ import annotations

import gzip
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from portico.corrections.schema import content_of, pick, read_set
from portico.errors import ConfigError, nearest
from portico.files.buffered import refuse_unbinned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from correctionlib import schemav2
    from numpy.typing import NDArray

__all__ = ["Grid", "from_histogram", "to_correction", "write_corrections"]

VARIATION = "variation"
_HISTOGRAM = re.compile("TH[123][CSIFDL]")


@dataclass(frozen=True, slots=True)
class Grid:
    """Binned values with their variations.

    Parameters
    ----------
    inputs : tuple of str
        Names of the axes.
    edges : tuple of tuple of float
        Edges of the bins of each axis; the outermost may be infinite.
    nominal, up, down : array
        Values, with one dimension per axis.
    """

    inputs: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    nominal: NDArray[np.float64]
    up: NDArray[np.float64]
    down: NDArray[np.float64]

    def ordered(self, inputs: Sequence[str]) -> Grid:
        """Return the grid with its axes in another order.

        Raises
        ------
        ConfigError
            If ``inputs`` has other names than the axes.
        """
        if sorted(inputs) != sorted(self.inputs):
            raise ConfigError(f"the inputs are {', '.join(self.inputs)}, not {', '.join(inputs)}")
        axes = [self.inputs.index(name) for name in inputs]
        arrays = (np.transpose(values, axes) for values in (self.nominal, self.up, self.down))
        return Grid(tuple(inputs), tuple(self.edges[axis] for axis in axes), *arrays)

    def bin(self, index: Sequence[int]) -> str:
        """Return the name of a bin, for messages."""
        axes = zip(self.inputs, self.edges, index, strict=True)
        return ", ".join(f"{name} {edges[i]:g} to {edges[i + 1]:g}" for name, edges, i in axes)

    def filled(self, empty: float | None, where: str) -> Grid:
        """Return the grid with a value in its empty bins, which have neither content nor error.

        Raises
        ------
        ConfigError
            If there are empty bins but no value for them, or if a value is not finite.
        """
        for values in (self.nominal, self.up, self.down):
            if len(wrong := np.argwhere(~np.isfinite(values))):
                raise ConfigError(f"{where}: the value at {self.bin(wrong[0])} is {values[tuple(wrong[0])]}")
        holes = (self.nominal == 0) & (self.up == 0) & (self.down == 0)
        if not holes.any():
            return self
        if empty is None:
            first, count = self.bin(np.argwhere(holes)[0]), int(holes.sum())
            raise ConfigError(
                f"{where}: {count} bins are empty, the first at {first}; remove them from the histogram, or give them "
                "a value, for example: --empty 1"
            )
        nominal, up, down = (np.where(holes, empty, values) for values in (self.nominal, self.up, self.down))
        return replace(self, nominal=nominal, up=up, down=down)


def from_histogram(
    path: Path,
    histogram: str | None,
    inputs: Sequence[str],
    *,
    up: str | None = None,
    down: str | None = None,
    empty: float | None = None,
) -> Grid:
    """Read a histogram of one to three dimensions.

    Flow bins are ignored. Without histograms of variations, up and down are the value plus and minus the error.

    Parameters
    ----------
    path : Path
        A ROOT file.
    histogram : str, optional
        Its name in the file; by default the only one.
    inputs : sequence of str
        Names for its axes.
    up, down : str, optional
        Histograms of the varied values.
    empty : float, optional
        The value of empty bins; without it, empty bins are an error.

    Raises
    ------
    ConfigError
        If there is no such histogram, or if its axes do not match.
    """
    import uproot

    where = str(path)
    content_of(path)
    if (up is None) != (down is None):
        raise ConfigError(f"{where}: give histograms for both variations, up and down, or for neither")
    try:
        with uproot.open(path) as file:
            found = [n for n, c in file.classnames(cycle=False).items() if _HISTOGRAM.fullmatch(c)]
            if histogram is None and len(found) != 1:
                raise ConfigError(f"{where}: name the histogram; valid: {', '.join(found) or '(none)'}")
            grids = [_read(file, n or found[0], found, inputs, where) for n in (histogram, up, down)[: 3 if up else 1]]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: cannot be read: {' '.join(str(error).split())}") from error
    if len(grids) == 1:
        return grids[0].filled(empty, where)
    if any(grid.edges != grids[0].edges for grid in grids):
        raise ConfigError(f"{where}: '{up}' and '{down}' must have the same bins as the nominal histogram")
    return replace(grids[0], up=grids[1].nominal, down=grids[2].nominal).filled(empty, where)


def _read(file: Any, name: str, found: Sequence[str], inputs: Sequence[str], where: str) -> Grid:
    if name not in found:
        raise ConfigError(f"{where}: no histogram '{name}'; {nearest(name, found)}")
    stored = file[name]
    refuse_unbinned(stored)
    if len(inputs) != len(stored.axes):
        raise ConfigError(f"{where}: '{name}' has {len(stored.axes)} axes; give as many inputs, not {len(inputs)}")
    edges = tuple(tuple(float(edge) for edge in axis.edges()) for axis in stored.axes)
    value, error = np.asarray(stored.values(), float), np.asarray(stored.errors(), float)
    return Grid(tuple(inputs), edges, value, value + error, value - error)


def to_correction(
    grid: Grid, name: str, description: str, *, varied: bool = True, version: int = 1
) -> schemav2.Correction:
    """Convert a grid to a correction with its axes as inputs and, if varied, ``variation``: nominal, up or down.

    Values outside the bins are an error.
    """
    from correctionlib import schemav2

    edges = [[_edge(edge) for edge in axis] for axis in grid.edges]
    inputs = [{"name": axis, "type": "real"} for axis in grid.inputs]
    data = _binned(grid.inputs, edges, grid.nominal)
    if varied:
        others = {word: _binned(grid.inputs, edges, values) for word, values in (("up", grid.up), ("down", grid.down))}
        content = [{"key": word, "value": binned} for word, binned in {"nominal": data, **others}.items()]
        data = {"nodetype": "category", "input": VARIATION, "content": content}
        meaning = "nominal, up or down by one standard deviation"
        inputs.append({"name": VARIATION, "type": "string", "description": meaning})
    output = {"name": "value", "type": "real"}
    return schemav2.Correction.model_validate(
        {"name": name, "description": description, "version": version, "inputs": inputs, "output": output, "data": data}
    )


def _binned(inputs: Sequence[str], edges: list[Any], values: NDArray[np.float64]) -> dict[str, Any]:
    content = [float(value) for value in values.ravel()]
    if len(inputs) == 1:
        return {"nodetype": "binning", "input": inputs[0], "edges": edges[0], "content": content, "flow": "error"}
    return {"nodetype": "multibinning", "inputs": list(inputs), "edges": edges, "content": content, "flow": "error"}


def _edge(edge: float) -> float | str:
    return edge if math.isfinite(edge) else ("inf" if edge > 0 else "-inf")


def write_corrections(
    path: Path, corrections: Sequence[schemav2.Correction], description: str = "", *, add: bool = False
) -> None:
    """Write a file of corrections.

    Parameters
    ----------
    path : Path
        ``.json``, or ``.json.gz`` to compress it.
    corrections : sequence
        The corrections to write.
    description : str
        Description of the file.
    add : bool
        Keep other corrections of an existing file; those with the same name are replaced.

    Raises
    ------
    ConfigError
        If the file exists and ``add`` is false, or if its name has another ending.
    """
    from correctionlib import schemav2

    if not path.name.endswith((".json", ".json.gz")):
        raise ConfigError(f"{path}: the name of a correction file must end in .json or .json.gz")
    names = [correction.name for correction in corrections]
    kept: list[Any] = []
    compound = None
    if path.exists():
        if not add:
            raise ConfigError(f"{path}: this file exists; add to it with --add, or remove it")
        old = schemav2.CorrectionSet.model_validate(read_set(content_of(path), str(path)))
        kept = [correction for correction in old.corrections if correction.name not in names]
        description, compound = description or old.description or "", old.compound_corrections
    merged = schemav2.CorrectionSet(
        schema_version=2, description=description, corrections=[*kept, *corrections], compound_corrections=compound
    )
    text = merged.model_dump_json(indent=1, exclude_none=True).encode()
    loaded = read_set(text, str(path))
    for name in names:
        pick(loaded, name, str(path))
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text + b"\n")
