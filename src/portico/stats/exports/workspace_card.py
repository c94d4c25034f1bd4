"""A workspace of pyhf as a datacard of CMS Combine: a text, and a ROOT file with histograms.

Combine multiplies all signal by its own parameter of interest, ``r``, which takes the place of the workspace's.

- ``normsys`` is ``lnN``; a name that changes contents anywhere is ``shape``, with its factors in the histograms:
  Combine interpolates fractions and the integral, HistFactory contents, which is equal at -1, 0 and +1;
- other ``normfactor`` are ``rateParam`` with their range, ``lumi`` one with a line ``param``;
- ``staterror`` and ``shapesys`` are errors of the histograms with ``autoMCStats``: 0 where a channel has a
  ``staterror``, so that they are Gaussian; else a threshold that no bin reaches, so that they are Poisson, with
  effective events rounded to whole numbers.

A ``shapefactor`` has no form in a card of histograms. Parameters that are fixed are in the contents or left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from portico.errors import InputError
from portico.files.atomic import write_atomic
from portico.stats.shapes import Array
from portico.stats.workspace import Workspace

if TYPE_CHECKING:
    from hist import Hist

__all__ = ["workspace_card", "write_workspace_card"]

_POISSON: Final = 1e9  # effective events: a threshold that no bin reaches
_LINE: Final = "-" * 80


@dataclass
class _Column:
    channel: str
    process: str
    signal: bool
    events: Array
    errors: Array
    norms: dict[str, tuple[float, float]] = field(default_factory=dict)
    changes: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    factors: list[str] = field(default_factory=list)

    def varied(self, name: str) -> tuple[Array, Array]:
        """Contents at -1 and +1."""
        low, high = self.changes.get(name, (self.events, self.events))
        down, up = self.norms.get(name, (1.0, 1.0))
        return low * down, high * up


def workspace_card(workspace: Workspace, file: str) -> tuple[str, dict[str, Hist[Any]]]:
    """Return the text of a card, and its histograms by their path in the ROOT file.

    Parameters
    ----------
    workspace : Workspace
    file : str
        The ROOT file, as seen from the folder of the card.

    Raises
    ------
    InputError
        If the workspace has what a card cannot hold.
    """
    return _Writer(workspace, file).card()


def write_workspace_card(workspace: Workspace, path: Path) -> None:
    """Write a card and the ROOT file beside it. See `workspace_card`.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    import uproot

    text, histograms = workspace_card(workspace, path.with_suffix(".root").name)
    with write_atomic(path.with_suffix(".root")) as aside, uproot.recreate(aside) as opened:
        for name, histogram in histograms.items():
            opened[name] = histogram
    with write_atomic(path) as aside:
        aside.write_text(text, encoding="utf-8")


class _Writer:
    def __init__(self, workspace: Workspace, file: str) -> None:
        self._workspace, self._file = workspace, file
        config = workspace.model.config
        self._starts = dict(zip(config.par_names, config.suggested_init(), strict=True))
        self._bounds = dict(zip(config.par_names, config.suggested_bounds(), strict=True))
        self._fixed = {name for name, held in zip(config.par_names, config.suggested_fixed(), strict=True) if held}
        self._fixed.discard(workspace.poi)
        self._settings = {parameter["name"]: parameter for parameter in workspace.parameters}
        self._thresholds: dict[str, float] = {}
        self._constrained: dict[str, tuple[float, float]] = {}
        self._safe: dict[str, str] = {}

    def card(self) -> tuple[str, dict[str, Hist[Any]]]:
        columns = [
            self._column(channel["name"], sample)
            for channel in self._workspace.spec["channels"]
            for sample in channel["samples"]
        ]
        columns = [column for column in columns if column.events.any()]
        indices = self._indices(columns)
        shaping = sorted({name for column in columns for name in column.changes})
        names = list(dict.fromkeys(name for column in columns for name in (*column.norms, *column.changes)))
        histograms: dict[str, Hist[Any]] = {}
        observed = {
            entry["name"]: np.array(entry["data"], dtype=float) for entry in self._workspace.spec["observations"]
        }
        channels = list(dict.fromkeys(column.channel for column in columns))
        for name in channels:
            histograms[f"{self._named(name)}/data_obs"] = _histogram(observed[name], None)
        for column in columns:
            place = f"{self._named(column.channel)}/{column.process}"
            histograms[place] = _histogram(column.events, column.errors**2)
            for name in shaping:
                if name in column.changes or name in column.norms:
                    for side, values in zip(("Down", "Up"), column.varied(name), strict=True):
                        if not values.sum() > 0:
                            raise self._wrong(f"'{name}' leaves no events of '{column.process}' in '{column.channel}'")
                        histograms[f"{place}_{self._named(name)}{side}"] = _histogram(values, None)
        lines = [self._line(name, columns, shape=name in shaping) for name in names]
        return self._text(columns, indices, channels, observed, lines), histograms

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._workspace.where}: {what}, which a datacard cannot hold")

    def _named(self, name: str) -> str:
        """Return a name that Combine takes; different names stay different."""
        safe = re.sub(r"[^A-Za-z0-9_]", "_", name)
        safe = f"c_{safe}" if not safe or safe[0].isdigit() else safe
        if self._safe.setdefault(safe, name) != name:
            raise self._wrong(f"'{name}' and '{self._safe[safe]}' become one name, '{safe}'")
        return safe

    def _column(self, channel: str, sample: Mapping[str, Any]) -> _Column:
        events = np.array(sample["data"], dtype=float)
        errors = np.zeros(len(events))
        column = _Column(channel, sample["name"], False, events, errors)
        scale = 1.0
        for modifier in sample["modifiers"]:
            name, kind, data = modifier["name"], modifier["type"], modifier["data"]
            if kind in {"normfactor", "lumi"}:
                if name == self._workspace.poi:
                    column.signal = True
                elif name in self._fixed:
                    scale *= float(self._starts[name])
                else:
                    column.factors.append(name)
                    if kind == "lumi":
                        (mean,), (width,) = self._settings[name]["auxdata"], self._settings[name]["sigmas"]
                        self._constrained[name] = float(mean), float(width)
            elif kind in {"staterror", "shapesys"}:
                errors += np.where(events > 0, np.array(data, dtype=float), 0.0) ** 2
                poisson = _POISSON if kind == "shapesys" else 0.0
                self._thresholds[channel] = min(self._thresholds.get(channel, _POISSON), poisson)
            elif kind == "shapefactor":
                raise self._wrong(f"'{name}' in '{channel}' is a shapefactor, a free factor for each bin")
            elif name in self._workspace.beyond_pyhf:
                raise self._wrong(f"the constraint of '{name}' has a width of its own")
            elif name not in self._fixed and kind == "normsys":
                column.norms[name] = float(data["lo"]), float(data["hi"])
            elif name not in self._fixed:
                column.changes[name] = np.array(data["lo_data"], dtype=float), np.array(data["hi_data"], dtype=float)
        column.events, column.errors = events * scale, np.sqrt(errors) * scale
        column.changes = {name: (low * scale, high * scale) for name, (low, high) in column.changes.items()}
        column.process = self._named(column.process)
        if np.any(column.events < 0):
            raise self._wrong(f"'{sample['name']}' in '{channel}' has negative contents")
        return column

    def _line(self, name: str, columns: list[_Column], *, shape: bool) -> list[str]:
        entries = []
        for column in columns:
            if name not in column.norms and name not in column.changes:
                entries.append("-")
            elif shape:
                entries.append("1")
            else:
                low, high = column.norms[name]
                entries.append(f"{low:.10g}/{high:.10g}")
        return [self._named(name), "shape" if shape else "lnN", *entries]

    def _text(
        self, columns: list[_Column], indices: Mapping[str, int], channels: list[str], observed: Mapping[str, Array],
        lines: list[list[str]],
    ) -> str:  # fmt: skip
        rates = [
            f"{self._named(name)} rateParam {self._named(c.channel)} {c.process} {self._starts[name]:.10g} "
            f"[{self._bounds[name][0]:.10g},{self._bounds[name][1]:.10g}]"
            for c in columns for name in c.factors
        ]  # fmt: skip
        constraints = [
            f"{self._named(name)} param {mean:.10g} {width:.10g}" for name, (mean, width) in self._constrained.items()
        ]
        statistics = [
            f"{self._named(name)} autoMCStats {t:.10g} 1" for name, t in self._thresholds.items() if name in channels
        ]
        return "\n".join([
            f"# workspace {self._workspace.where}, measurement {self._workspace.measurement}",
            f"# r takes the place of {self._workspace.poi}",
            f"imax {len(channels)} channels", f"jmax {len(indices) - 1} processes minus one",
            f"kmax {len(lines) + len(constraints)} nuisance parameters", _LINE,
            f"shapes * * {self._file} $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC", _LINE,
            " ".join(["bin", *map(self._named, channels)]),
            " ".join(["observation", *(f"{observed[name].sum():.12g}" for name in channels)]), _LINE,
            " ".join(["bin", *(self._named(column.channel) for column in columns)]),
            " ".join(["process", *(column.process for column in columns)]),
            " ".join(["process", *(str(indices[column.process]) for column in columns)]),
            " ".join(["rate", *(f"{column.events.sum():.12g}" for column in columns)]), _LINE,
            *(" ".join(line) for line in lines), *rates, *constraints, *statistics,
        ]) + "\n"  # fmt: skip

    def _indices(self, columns: list[_Column]) -> dict[str, int]:
        """Number processes; one that is signal in some channels only has a name of its own there."""
        signal = {column.process for column in columns if column.signal}
        for column in columns:
            if not column.signal and column.process in signal:
                column.process = f"{column.process}_background"
        names = dict.fromkeys(column.process for column in columns if column.signal)
        others = dict.fromkeys(column.process for column in columns if not column.signal)
        return {name: -i for i, name in enumerate(names)} | {name: i for i, name in enumerate(others, 1)}


def _histogram(contents: Array, variances: Array | None) -> Hist[Any]:
    import hist

    axis = hist.axis.Regular(len(contents), 0, len(contents), name="x")
    if variances is None:
        return hist.Hist(axis, storage=hist.storage.Double(), data=contents)
    return hist.Hist(axis, storage=hist.storage.Weight(), data=np.stack([contents, variances], axis=-1))
