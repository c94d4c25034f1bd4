"""Datacards of counts or histograms as pyhf workspaces, so that other tools can repeat their limits.

Sources of uncertainty are translated so that the likelihood stays what Combine documents:

- ``lnN`` is a ``normsys``; ``lnU`` a free factor between 1/k and k;
- ``gmN`` on one process is a ``shapesys`` with N events; on several, or with N = 0, a free factor and a channel more,
  in which N events are observed and N times the factor are expected;
- ``shape`` is a ``normsys`` for the integral and a ``histosys`` for the fractions; ``shapeN``, which interpolates the
  logarithms of the fractions, is taken as ``shape``, with which it agrees at -1, 0 and +1;
- ``rateParam`` is a free factor, not below 0; ``autoMCStats`` a ``staterror``, which holds where it is one Gaussian
  parameter for a bin.

Interpolations are those of pyhf: polynomial codes 4 and 4p. Groups say nothing about the likelihood.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from portico.errors import InputError, nearest
from portico.stats.exports.card import Card, Column, ShapeSource, Systematic
from portico.stats.shapes import Array, interpolation

__all__ = ["card_to_pyhf"]

_HIGHEST: Final = 1000.0  # of factors without a range, over their value
_AGREE: Final = 1e-3  # rates and integrals, relative
_NOTHING: Final = 2e-6  # events; Combine itself takes 1e-6 for a rate of 0 with gmN


def card_to_pyhf(card: Card, folder: Path, *, poi: str = "r", mass: str = "120") -> dict[str, Any]:
    """Return a datacard as a pyhf workspace.

    Parameters
    ----------
    card : Card
    folder : Path
        Where the files of its histograms are.
    poi : str
        Name of the strength of all signal.
    mass : str
        What ``$MASS`` stands for.

    Raises
    ------
    InputError
        If a file or histogram is missing or does not fit the card, or the card has what a workspace cannot say:
        parametric shapes, ``param`` and ``flatParam``, formulas.
    """
    return _Translation(card, folder, poi, mass).workspace()


class _Histograms:
    """Histograms of the files beside a card, each file opened once."""

    def __init__(self, card: Card, folder: Path, mass: str) -> None:
        self._card, self._folder, self._mass = card, folder, mass
        self._known: dict[tuple[str, str], tuple[Array, Array, Array]] = {}
        self._paths: dict[str, list[str]] = {}

    def source(self, process: str, channel: str) -> ShapeSource | None:
        """Return where the shapes of a process are; None for a counting experiment."""
        for wanted in ((process, channel), ("*", channel), (process, "*"), ("*", "*")):
            for source in self._card.shapes:
                if (source.process, source.bin) == wanted:
                    return None if source.file == "FAKE" else source
        if self._card.shapes:
            raise self.wrong(f"no line of shapes is for process '{process}' in channel '{channel}'")
        return None

    def read(self, source: ShapeSource, process: str, channel: str, systematic: str = "") -> tuple[Array, Array]:
        """Return contents and variances of a histogram."""
        pattern = source.varied if systematic else source.nominal
        if not pattern:
            raise self.wrong(f"'{systematic}' needs the names of varied histograms", source.line)
        path = pattern
        for word, value in (("SYSTEMATIC", systematic), ("PROCESS", process), ("CHANNEL", channel)):
            path = path.replace(f"${word}", value)
        path = path.replace("$MASS", self._mass)
        contents, variances, edges = self._load(source, path)
        nominal_edges = self._known.setdefault((channel, ""), (contents, variances, edges))[2]
        if not np.allclose(edges, nominal_edges) if len(edges) == len(nominal_edges) else True:
            raise self.wrong(f"histogram '{path}' has other bins than the others of channel '{channel}'", source.line)
        return contents, variances

    def _load(self, source: ShapeSource, path: str) -> tuple[Array, Array, Array]:
        import uproot

        if (source.file, path) in self._known:
            return self._known[source.file, path]
        if ":" in path:
            raise self.wrong(f"'{path}' is in a RooWorkspace; histograms are needed here", source.line)
        try:
            with uproot.open(self._folder / source.file) as file:
                names = self._paths.setdefault(source.file, file.keys(cycle=False))
                if path not in names:
                    raise self.wrong(f"{source.file} has no histogram '{path}'; {nearest(path, names)}", source.line)
                histogram = file[path]
                contents, edges = (np.asarray(values, dtype=np.float64) for values in histogram.to_numpy())
                found = (contents, np.asarray(histogram.variances(), dtype=np.float64), edges)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise self.wrong(f"{source.file}: '{path}' cannot be read: {error}", source.line) from error
        if not np.all(np.isfinite(found[0])):
            raise self.wrong(f"{source.file}: '{path}' has contents that are no numbers", source.line)
        self._known[source.file, path] = found
        return found

    def wrong(self, what: str, line: int = 0) -> InputError:
        """Return an error of the card."""
        return InputError(f"{self._card.where}{f', line {line}' if line else ''}: {what}")


class _Translation:
    """The making of one workspace."""

    def __init__(self, card: Card, folder: Path, poi: str, mass: str) -> None:
        self._card, self._poi = card, poi
        self._histograms = _Histograms(card, folder, mass)
        self._wrong = self._histograms.wrong
        self._factors: dict[str, tuple[float, float, float]] = {poi: (1.0, 0.0, _HIGHEST)}
        self._controls: dict[str, int] = {}

    def workspace(self) -> dict[str, Any]:
        """Return all of it."""
        self._refuse()
        channels, observations = [], []
        for name in self._card.bins:
            data = self._data(name)
            samples = [
                self._sample(at, column, len(data))
                for at, column in enumerate(self._card.columns)
                if column.bin == name and (column.rate != 0 or self._uncounted(at))
            ]
            if not samples:
                raise self._wrong(f"channel '{name}' expects nothing from any process")
            channels.append({"name": name, "samples": samples})
            observations.append({"name": name, "data": data})
        for name, events in self._controls.items():
            factor = {"name": name, "type": "normfactor", "data": None}
            sample = {"name": name, "data": [float(max(events, 1))], "modifiers": [factor]}
            channels.append({"name": f"control_{name}", "samples": [sample]})
            observations.append({"name": f"control_{name}", "data": [float(events)]})
        parameters = [
            {"name": name, "inits": [start], "bounds": [[low, high]]}
            for name, (start, low, high) in self._factors.items()
        ]
        measurement = {"name": "datacard", "config": {"poi": self._poi, "parameters": parameters}}
        return {
            "channels": channels, "observations": observations, "measurements": [measurement], "version": "1.0.0",
        }  # fmt: skip

    def _refuse(self) -> None:
        card = self._card
        for constraint in card.constraints:
            raise self._wrong(f"'{constraint.name}' is a param, which a workspace has not", constraint.line)
        for name, kind in card.loose.items():
            raise self._wrong(f"'{name}' is a {kind}, which a workspace has not")
        for rate in card.rate_parameters:
            if rate.formula:
                raise self._wrong(f"'{rate.name}' is a formula, which a workspace cannot hold", rate.line)
            if rate.name == self._poi:
                raise self._wrong(f"'{rate.name}' is the strength of all signal already; rename it", rate.line)

    def _data(self, channel: str) -> list[float]:
        observed = self._card.observations.get(channel, -1.0)
        source = self._histograms.source("data_obs", channel)
        if source is None:
            if observed < 0:
                raise self._wrong(f"channel '{channel}' has no observation and no histogram of data")
            return [observed]
        contents, _ = self._histograms.read(source, "data_obs", channel)
        self._agree(observed, contents, f"the observation of channel '{channel}'", source.line)
        return [float(n) for n in contents]

    def _agree(self, number: float, contents: Array, what: str, line: int) -> None:
        integral = float(contents.sum())
        if number != -1 and abs(number - integral) > max(_AGREE * abs(integral), _NOTHING):
            raise self._wrong(f"{what} is {number:g}, the integral of its histogram {integral:g}", line)

    def _uncounted(self, at: int) -> bool:
        """Whether the rate of a column is 0 because nothing was counted elsewhere."""
        return any(s.kind == "gmN" and s.events == 0 and s.entries[at] is not None for s in self._card.systematics)

    def _sample(self, at: int, column: Column, bins: int) -> dict[str, Any]:
        source = self._histograms.source(column.process, column.bin)
        where = f"process '{column.process}' in channel '{column.bin}'"
        if source is None:
            if column.rate < 0:
                raise self._wrong(f"{where} has a rate of -1 and no histogram")
            contents, variances = np.array([column.rate]), np.zeros(1)
        else:
            contents, variances = self._histograms.read(source, column.process, column.bin)
            self._agree(column.rate, contents, f"the rate of {where}", source.line)
        if len(contents) != bins:
            raise self._wrong(f"{where} has {len(contents)} bins, its data {bins}")
        modifiers = [self._free(self._poi)] if column.index <= 0 else []
        for rate in self._card.rate_parameters:
            if (rate.bin, rate.process) == (column.bin, column.process):
                reach = _HIGHEST * max(abs(rate.value), 1.0)
                self._factors[rate.name] = rate.value, max(rate.low, 0.0), min(rate.high, reach)
                modifiers.append(self._free(rate.name))
        for systematic in self._card.systematics:
            if (entry := systematic.entries[at]) is not None:
                found, contents = self._effect(systematic, entry, column, source, contents)
                modifiers += found
        modifiers += self._statistics(column, variances)
        return {"name": column.process, "data": [float(n) for n in contents], "modifiers": modifiers}

    def _effect(
        self,
        systematic: Systematic,
        entry: tuple[float, float],
        column: Column,
        source: ShapeSource | None,
        contents: Array,
    ) -> tuple[list[dict[str, Any]], Array]:
        """Modifiers of one entry, and the contents, which those of gmN without events elsewhere are not in the card."""
        name, (down, up) = systematic.name, entry
        if systematic.kind == "lnN":
            return [{"name": name, "type": "normsys", "data": {"hi": up, "lo": down}}], contents
        if systematic.kind == "lnU":
            low, high = min(down, up), max(down, up)
            if self._factors.setdefault(name, (1.0, low, high)) != (1.0, low, high):
                raise self._wrong(f"'{name}' has different ranges, which a workspace cannot hold", systematic.line)
            return [self._free(name)], contents
        if systematic.kind == "gmN":
            return self._gamma(systematic, up, column, contents)
        if source is None:
            raise self._wrong(f"'{name}' changes shapes, and '{column.process}' has no histogram", systematic.line)
        return self._shape(systematic, up, column, source, contents), contents

    def _gamma(
        self, systematic: Systematic, scale: float, column: Column, contents: Array
    ) -> tuple[list[dict[str, Any]], Array]:
        name, events = systematic.name, systematic.events
        self._agree(
            scale * events, contents, f"N times the scale of '{name}' for '{column.process}'", systematic.line
        )  # fmt: skip
        if events > 0 and len(contents) == 1 and sum(entry is not None for entry in systematic.entries) == 1:
            uncertainty = float(contents[0]) / math.sqrt(events)
            return [{"name": name, "type": "shapesys", "data": [uncertainty]}], contents
        self._controls[name] = events
        self._factors[name] = 1.0, 0.0, 100.0
        return [self._free(name)], contents if events else np.full(len(contents), scale / len(contents))

    def _shape(
        self, systematic: Systematic, size: float, column: Column, source: ShapeSource, contents: Array
    ) -> list[dict[str, Any]]:
        name, total = systematic.name, float(contents.sum())
        down, up = (
            self._histograms.read(source, column.process, column.bin, f"{name}{side}")[0] for side in ("Down", "Up")
        )
        if not (down.sum() > 0 and up.sum() > 0 and total > 0):
            raise self._wrong(f"'{name}': a histogram of '{column.process}', '{column.bin}' is empty", systematic.line)
        fractions = [side / side.sum() for side in (down, contents, up)]
        logarithms = [math.log(float(side.sum()) / total) for side in (down, up)]

        def at(theta: float) -> tuple[Array, float]:
            rise, bend = interpolation(theta)
            odd, even = (fractions[2] - fractions[0]) / 2, (fractions[2] + fractions[0]) / 2 - fractions[1]
            factor = math.exp(rise * (logarithms[1] - logarithms[0]) / 2 + bend * (logarithms[1] + logarithms[0]) / 2)
            return np.maximum(fractions[1] + rise * odd + bend * even, 0.0) * total, factor

        (low, below), (high, above) = at(-size), at(size)
        data = {"hi_data": [float(n) for n in high], "lo_data": [float(n) for n in low]}
        return [
            {"name": name, "type": "normsys", "data": {"hi": above, "lo": below}},
            {"name": name, "type": "histosys", "data": data},
        ]

    def _statistics(self, column: Column, variances: Array) -> list[dict[str, Any]]:
        flags = self._card.statistics.get(column.bin)
        if flags is None or flags.threshold < 0:
            return []
        self._check_threshold(column.bin, flags.threshold, flags.include_signal, flags.line)
        uncertainties = [float(u) for u in np.sqrt(variances)]
        if not any(u > 0 for u in uncertainties):
            return []
        return [{"name": f"statistics_{column.bin}", "type": "staterror", "data": uncertainties}]

    def _check_threshold(self, channel: str, threshold: float, include_signal: bool, line: int) -> None:
        parts = [
            self._histograms.read(source, column.process, channel)
            for column in self._card.columns
            if column.bin == channel and column.rate != 0 and (column.index > 0 or include_signal)
            if (source := self._histograms.source(column.process, channel)) is not None
        ]
        if not parts:
            return
        for at, (events, variance) in enumerate(np.sum(parts, axis=0).T, 1):
            if variance > 0 and round(events**2 / variance) <= threshold:
                raise self._wrong(
                    f"channel '{channel}', bin {at}: {events**2 / variance:.3g} effective events are not above the "
                    f"threshold {threshold:g}; a parameter for each process is not translated, use a threshold of 0",
                    line,
                )

    @staticmethod
    def _free(name: str) -> dict[str, Any]:
        return {"name": name, "type": "normfactor", "data": None}
