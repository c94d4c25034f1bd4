"""Datacards of counts or histograms as pyhf workspaces, with the likelihood that Combine documents.

- ``lnN`` is a ``normsys``; ``lnU`` a free factor between 1/k and k, or a ``normsys`` without constraint;
- ``gmN`` on one process is a ``shapesys`` with N events; on several, or with N = 0, a free factor and a channel more,
  in which N events are observed and N times the factor are expected; ``gmM`` is such a factor as well;
- ``shape`` is a ``normsys`` for the integral and a ``histosys`` for the fractions; ``shapeN``, which interpolates the
  logarithms of the fractions, is taken as ``shape``, with which it agrees at -1, 0 and +1; ``shapeU`` has no
  constraint;
- ``rateParam`` is a free factor, not below 0, with a ``param`` one with a Gaussian constraint, and a product of them if
  it is a formula that multiplies; ``trG`` is one with a Gaussian constraint;
- ``autoMCStats``: see `portico.stats.exports.card_statistics`.

Interpolations are those of pyhf: polynomial codes 4 and 4p. Groups say nothing about the likelihood. A factor with a
Gaussian constraint is a modifier ``lumi`` under its own name, which pyhf fits and its schema does not foresee.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from portico.stats.exports.card_content import Card, Column, ShapeSource, Systematic
from portico.stats.exports.card_histograms import Histograms
from portico.stats.exports.card_rates import Rates
from portico.stats.exports.card_statistics import Simulated, statistics
from portico.stats.shapes import Array

__all__ = ["POI", "card_to_pyhf", "translated"]

#: Combine's parameter of interest.
POI: Final = "r"
_RATES, _DATA, _LEAST_DATA = 0.01, 0.005, 0.01  # how far rates, and observations, may be from integrals, in Combine
_GAMMA: Final = 0.05  # and N times the scale of gmN from rates
_UNCHANGED: Final = 1e-3  # of an integral, which Combine takes as none
_FLAT: Final = 1e4  # standard deviations: a constraint that does nothing between -1 and 1
_WIDEST: Final = 7.0  # standard deviations of trG

_Modifier = dict[str, Any]


def card_to_pyhf(
    card: Card, folder: Path, *, poi: str = POI, mass: float | str = "120", opaque: Collection[str] | None = None
) -> dict[str, Any]:
    """Return a datacard as a pyhf workspace.

    Parameters
    ----------
    card : Card
        Its notes get what was translated in another way than Combine does.
    folder : Path
        Where the files of its histograms are.
    poi : str
        Name of the strength of all signal.
    mass : float or str
        What ``$MASS`` stands for.
    opaque : collection of str, optional
        Of a card that RooFit holds in part: see `portico.stats.exports.card_rates.Rates`. What nothing here depends on
        may have a meaning there, and is not noted.

    Raises
    ------
    InputError
        If a file or histogram is missing or does not fit the card, or the card has what a workspace cannot say:
        parametric shapes, formulas that do not multiply.
    """
    return _Translation(card, folder, poi, mass, opaque).workspace()


def translated(
    card: Card, folder: Path, *, mass: float
) -> tuple[dict[str, Any], tuple[str, ...], dict[str, tuple[str, Sequence[float]]]]:
    """Return a datacard as a pyhf workspace, notes, and the axes of its histograms. See `card_to_pyhf`."""
    translation = _Translation(card, folder, POI, mass)
    return translation.workspace(), tuple(card.notes), translation.axes


class _Translation:
    """The making of one workspace."""

    def __init__(
        self, card: Card, folder: Path, poi: str, mass: float | str, opaque: Collection[str] | None = None
    ) -> None:
        self._card, self._poi, self._whole = card, poi, opaque is None
        self._histograms = Histograms(card, folder, mass)
        self._wrong = self._histograms.wrong
        self._settings: dict[str, dict[str, Any]] = {poi: {"inits": [1.0], "bounds": [[0.0, 1000.0]]}}
        self._rates = Rates(card, poi, self._settings, opaque or ())
        self._controls: dict[str, tuple[float, float]] = {}  # expected for a factor of 1, and observed

    @property
    def axes(self) -> dict[str, tuple[str, Sequence[float]]]:
        """Title and bin edges of the axes of channels with histograms."""
        return {name: (title, edges.tolist()) for name, (title, edges) in self._histograms.axes.items()}

    def workspace(self) -> dict[str, Any]:
        """Return all of it."""
        self._refuse()
        if self._whole and not any(c.rate or self._counted_elsewhere(at) for at, c in self._signals()):
            what = "all rates of signal, with indices of 0 and below, are 0: there is nothing to limit"
            raise self._wrong(what, self._card.row("rate"))
        channels, observations = [], []
        for name in self._card.bins:
            data = self._data(name)
            samples = self._samples(name, len(data))
            if not samples:
                what, row = f"channel '{name}' expects nothing from any process", self._card.row("rate")
                if any(data):
                    raise self._wrong(f"{what}, and has {sum(data):g} events", row)
                self._card.notes.append(f"line {row}: {what} and has no events: it says nothing, and was left out")
                continue
            channels.append({"name": name, "samples": samples})
            observations.append({"name": name, "data": data})
        for name, (expected, events) in self._controls.items():
            sample = {"name": name, "data": [expected], "modifiers": [self._free(name)]}
            channels.append({"name": f"control_{name}", "samples": [sample]})
            observations.append({"name": f"control_{name}", "data": [events]})
        if self._whole:
            self._unused()
        parameters = [{"name": name, **setting} for name, setting in self._settings.items()]
        measurement = {"name": "datacard", "config": {"poi": self._poi, "parameters": parameters}}
        return {
            "channels": channels, "observations": observations, "measurements": [measurement], "version": "1.0.0",
        }  # fmt: skip

    def _refuse(self) -> None:
        card = self._card
        for name, kind in card.loose.items():
            if kind == "discrete":
                raise self._wrong(f"'{name}' is a discrete, a choice of shapes, which is not read", card.lines[name])
        for systematic in card.systematics:
            if systematic.kind == "shapeN" and any(systematic.entries):
                card.notes.append(
                    f"line {systematic.line}: '{systematic.name}' is shapeN, whose logarithms Combine interpolates; it "
                    "is taken as shape, with the same templates at -1, 0 and +1"
                )

    def _signals(self) -> list[tuple[int, Column]]:
        return [(at, column) for at, column in enumerate(self._card.columns) if column.index <= 0]

    def _unused(self) -> None:
        """Note parameters that nothing depends on; they have no part in the likelihood."""
        for of in self._card.constraints:
            if of.name not in self._rates.used:
                self._card.notes.append(f"line {of.line}: nothing depends on the param '{of.name}'")
        for rate in self._card.rate_parameters:
            if not (rate.bin or rate.formula or rate.source or rate.name in self._rates.used):
                self._card.notes.append(f"line {rate.line}: nothing depends on '{rate.name}'")
        for name, line in self._card.lines.items():
            if name not in self._settings:
                self._card.notes.append(f"line {line}: nothing depends on the flatParam '{name}'")

    def _data(self, channel: str) -> list[float]:
        observed = self._card.observations.get(channel, -1.0)
        source = self._histograms.source("data_obs", channel)
        if source is None:
            if observed < 0:
                what = f"channel '{channel}' has no observation and no histogram of data"
                raise self._wrong(what, self._card.row("observation", "bin"))
            return [observed]
        contents = self._histograms.read(source, "data_obs", channel).events
        total = float(contents.sum())
        if observed != -1 and abs(observed - total) > (_DATA * observed if observed else _LEAST_DATA):
            what = f"the observation of channel '{channel}'"
            raise self._wrong(f"{what} is {observed:g}, the integral of its histogram {total:g}", source.line)
        return [float(n) for n in contents]

    def _samples(self, channel: str, bins: int) -> list[dict[str, Any]]:
        """Return the samples of a channel, with statistical uncertainties where the card asks for them."""
        samples, simulated = [], []
        for at, column in enumerate(self._card.columns):
            if column.bin != channel or (column.rate == 0 and not self._counted_elsewhere(at)):
                continue
            contents, errors, source = self._contents(column, bins)
            if not contents.any():
                continue
            sample, free = self._sample(at, column, contents, source)
            samples.append(sample)
            scale = np.sum(sample["data"]) / contents.sum()
            simulated.append(
                Simulated(column.process, column.index <= 0, free, np.array(sample["data"]), errors * scale)
            )
        if (flags := self._card.statistics.get(channel)) is not None:
            found = statistics(channel, simulated, flags)
            for sample in samples:
                sample["modifiers"] += found[sample["name"]]
        return samples

    def _counted_elsewhere(self, at: int) -> bool:
        """Whether a line gmN gives a column of rate 0 its events."""
        return any(s.kind == "gmN" and s.entries[at] is not None for s in self._card.systematics)

    def _contents(self, column: Column, bins: int) -> tuple[Array, Array, ShapeSource | None]:
        """Return contents and errors, scaled to the rate, and where the shapes are."""
        source = self._histograms.source(column.process, column.bin)
        where = f"process '{column.process}' in channel '{column.bin}'"
        if source is None:
            if column.rate < 0:
                raise self._wrong(f"{where} has a rate of -1 and no histogram", self._card.row("rate"))
            if bins != 1:
                raise self._wrong(f"{where} has no histogram, its data have {bins} bins", self._card.row("process"))
            return np.array([column.rate or 1.0]), np.zeros(1), None
        found = self._histograms.read(source, column.process, column.bin)
        if len(found.events) != bins:
            raise self._wrong(f"{where} has {len(found.events)} bins, its data {bins}", source.line)
        total = float(found.events.sum())
        if column.rate > 0 and abs(column.rate - total) > _RATES * max(column.rate, 1.0):
            raise self._wrong(
                f"the rate of {where} is {column.rate:g}, the integral of its histogram {total:g}", source.line
            )
        if total < 0:
            raise self._wrong(f"{where}: the integral of its histogram is {total:g}", source.line)
        if negative := int(np.sum(found.events < 0)):
            self._card.notes.append(f"line {source.line}: {where} has {negative} bins below 0, which are taken as 0")
        scale = column.rate / total if column.rate > 0 and total > 0 else 1.0
        return np.maximum(found.events, 0.0) * scale, np.sqrt(found.variances) * scale, source

    def _sample(
        self, at: int, column: Column, contents: Array, source: ShapeSource | None
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return a sample without statistical uncertainties, and the names of free factors on it."""
        modifiers = [self._free(self._poi)] if column.index <= 0 else []
        scale, rates = self._rates.of(column)
        modifiers += rates
        norms: dict[str, tuple[float, float]] = {}
        changes: list[tuple[str, Array, Array]] = []
        for systematic in self._card.systematics:
            if (entry := systematic.entries[at]) is None:
                continue
            if systematic.kind == "gmN":
                found, contents = self._gamma(systematic, entry[1], column, contents)
                modifiers += found
        for systematic in self._card.systematics:
            if (entry := systematic.entries[at]) is None or systematic.kind == "gmN":
                continue
            name, factors = systematic.name, entry
            if systematic.kind[:5] == "shape":
                if self._is_shape(systematic, column, source):
                    factors, *sides = self._shape(systematic, entry[1], column, source, contents)
                    changes.append((name, sides[0], sides[1]))
                elif entry[0] == entry[1]:  # of lnN, see `Systematic.optional`
                    factors = 1 / entry[1], entry[1]
            elif systematic.kind in {"gmM", "trG"}:
                modifiers.append(self._factor(systematic, entry[1]))
                continue
            elif systematic.kind == "lnU" and (one := self._one_range(systematic)) is not None:
                self._settings[name] = {"inits": [1.0], "bounds": [list(one)]}
                modifiers.append(self._free(name))
                continue
            self._keep(systematic)
            before = norms.get(name, (1.0, 1.0))
            norms[name] = before[0] * factors[0], before[1] * factors[1]
        free = tuple(modifier["name"] for modifier in modifiers if modifier["type"] in {"lumi", "normfactor"})
        contents = contents * scale
        modifiers += [
            {"name": name, "type": "normsys", "data": {"hi": up, "lo": down}}
            for name, (down, up) in norms.items() if (down, up) != (1.0, 1.0)
        ]  # fmt: skip
        modifiers += _histosys(changes, contents, scale)
        return {"name": column.process, "data": [float(n) for n in contents], "modifiers": modifiers}, free

    def _keep(self, systematic: Systematic) -> None:
        """Keep what is special about the constraint of a nuisance parameter."""
        if systematic.kind in {"lnU", "shapeU"}:
            self._settings[systematic.name] = {"inits": [0.0], "bounds": [[-1.0, 1.0]], "sigmas": [_FLAT]}
        if systematic.name in self._card.frozen:
            self._settings.setdefault(systematic.name, {"inits": [0.0]})["fixed"] = True

    def _one_range(self, systematic: Systematic) -> tuple[float, float] | None:
        """Return the range of a free factor if a line lnU has the same entry for all that it changes."""
        entries = {entry for entry in systematic.entries if entry is not None}
        if len(entries) > 1 or systematic.name in self._card.frozen:
            return None
        (entry,) = entries
        return min(*entry, 1.0), max(*entry, 1.0)

    def _factor(self, systematic: Systematic, width: float) -> _Modifier:
        """Return the modifier of gmM or trG, whose width is the same for all that it changes."""
        name, line = systematic.name, systematic.line
        if len({entry for entry in systematic.entries if entry is not None}) > 1:
            raise self._wrong(f"'{name}' has different entries, which a workspace cannot hold", line)
        fixed = {"fixed": True} if name in self._card.frozen else {}
        if systematic.kind == "gmM":
            if width >= 1:
                raise self._wrong(f"'{name}': a relative uncertainty of {width:g} is not read, only below 1", line)
            events = width**-2
            self._controls[name] = events, events - 1
            self._settings[name] = {"inits": [1.0], "bounds": [[0.0, 1 + 10 * width]], **fixed}
            return self._free(name)
        bounds = [[max(1 - _WIDEST * abs(width), 0.0), 1 + _WIDEST * abs(width)]]
        constraint = {"auxdata": [1.0], "sigmas": [abs(width)]}
        self._settings[name] = {"inits": [1.0], "bounds": bounds, **constraint, **fixed}
        return {"name": name, "type": "lumi", "data": None}

    def _gamma(
        self, systematic: Systematic, scale: float, column: Column, contents: Array
    ) -> tuple[list[_Modifier], Array]:
        """Return the modifier of gmN, and the contents: the scale times N, whatever the rate is."""
        name, events, total = systematic.name, systematic.events, float(contents.sum())
        rate = column.rate if column.rate >= 0 else total
        if abs(scale * events - rate) > max(_GAMMA * max(rate, 1.0), scale):
            where = f"'{column.process}' in '{column.bin}'"
            raise self._wrong(
                f"'{name}': {events} times {scale:g} is {scale * events:g}, the rate of {where} is {rate:g}",
                systematic.line,
            )
        contents = contents / total * scale * max(events, 1)
        frozen = name in self._card.frozen
        if frozen and events:
            return [], contents
        if events > 0 and len(contents) == 1 and sum(entry is not None for entry in systematic.entries) == 1:
            return [{"name": name, "type": "shapesys", "data": [float(contents[0]) / math.sqrt(events)]}], contents
        self._controls[name] = float(max(events, 1)), float(events)
        reach = max(100.0, 10.0 * events) if not events else 100.0
        self._settings[name] = {"inits": [1.0], "bounds": [[0.0, reach]], **({"fixed": True} if frozen else {})}
        return [self._free(name)], contents

    def _is_shape(self, systematic: Systematic, column: Column, source: ShapeSource | None) -> bool:
        if source is None:
            if systematic.optional:
                return False
            raise self._wrong(
                f"'{systematic.name}' changes shapes, and '{column.process}' has no histogram", systematic.line
            )
        known = self._name_of(systematic, column)
        return not systematic.optional or self._histograms.has(source, column.process, column.bin, known)

    @staticmethod
    def _name_of(systematic: Systematic, column: Column) -> str:
        return systematic.histograms.get((column.bin, column.process), systematic.name)

    def _shape(
        self, systematic: Systematic, size: float, column: Column, source: ShapeSource | None, contents: Array
    ) -> tuple[tuple[float, float], Array, Array]:
        """Return factors and contents at -1 and +1: the size is the power of factors, and multiplies changes."""
        assert source is not None  # noqa: S101 (see _is_shape)
        name, nominal = systematic.name, self._histograms.read(source, column.process, column.bin).events
        known = self._name_of(systematic, column)
        sides = [
            self._histograms.read(source, column.process, column.bin, f"{known}{side}").events
            for side in ("Down", "Up")
        ]
        totals = [float(side.sum()) for side in sides]
        if not (min(totals) > 0 and nominal.sum() > 0):
            raise self._wrong(f"'{name}': a histogram of '{column.process}', '{column.bin}' is empty", systematic.line)
        factors = [total / float(nominal.sum()) for total in totals]
        if all(abs(factor - 1) < _UNCHANGED for factor in factors):
            factors = [1.0, 1.0]
        whole = contents.sum()
        changed = [
            np.maximum(contents + size * (side / total - nominal / nominal.sum()) * whole, 0.0)
            for side, total in zip(sides, totals, strict=True)
        ]
        return (factors[0] ** size, factors[1] ** size), changed[0], changed[1]

    @staticmethod
    def _free(name: str) -> _Modifier:
        return {"name": name, "type": "normfactor", "data": None}


def _histosys(changes: list[tuple[str, Array, Array]], contents: Array, scale: float) -> list[_Modifier]:
    """Return one histosys for each parameter; two lines of one name add their changes."""
    found: dict[str, tuple[Array, Array]] = {}
    for name, low, high in changes:
        before = found.get(name, (contents, contents))
        found[name] = before[0] + low * scale - contents, before[1] + high * scale - contents
    return [
        {
            "name": name, "type": "histosys",
            "data": {"hi_data": [float(n) for n in high], "lo_data": [float(n) for n in low]},
        }
        for name, (low, high) in found.items()
    ]  # fmt: skip
