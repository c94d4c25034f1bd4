"""Datacards with functions as a plan, in JSON, of what is to be built of RooFit objects.

A channel whose shapes are histograms is translated to a workspace of pyhf and to HS3, as any other card; RooFit reads
that. In a channel with functions, each process is a pdf of a RooWorkspace, whose events are (arXiv:2404.06614, section
3.2) the rate, times ``PDF_norm`` of the same workspace if there is one, times the factors of the lines below:

- ``lnN``: exp(x ln k), with ``down/up`` interpolated between them as Combine documents it; ``lnU`` with x free between
  -1 and 1; ``trG``: 1 + width x; ``gmN``: scale times events with the Poisson constraint of N;
- ``rateParam``: a free parameter, any formula, or an object of a RooWorkspace.

``param`` constrains a parameter by a Gaussian function, with two widths if it has them; all other parameters of the
functions float in their ranges unless they are constant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from portico.stats.exports.card_content import Card, RateParameter, ShapeSource, Systematic
from portico.stats.exports.card_histograms import Histograms
from portico.stats.exports.card_rates import Rates
from portico.stats.exports.card_workspace import POI, card_to_pyhf
from portico.stats.exports.workspace_hs3 import workspace_hs3
from portico.stats.workspace import Workspace

__all__ = ["has_functions", "plan_of"]

_CLOSE: Final = 0.05  # N times the scale of gmN from the rate

_Json = dict[str, Any]


def has_functions(card: Card) -> bool:
    """Whether a card needs RooFit: shapes in a RooWorkspace, formulas that do not multiply, two widths of a factor."""
    return any(":" in source.nominal for source in card.shapes) or bool(Rates(card, POI, {}).beyond)


def plan_of(card: Card, folder: Path, *, mass: float) -> _Json:
    """Return the plan of a card; its notes get what was translated in another way than Combine does.

    Parameters
    ----------
    card : Card
    folder : Path
        Where its files are.
    mass : float
        What ``$MASS`` stands for, and the value of ``MH`` in its workspaces.

    Raises
    ------
    InputError
        If the card has what RooFit alone cannot hold, with its line.
    """
    return _Planning(card, folder, mass).plan()


class _Planning:
    def __init__(self, card: Card, folder: Path, mass: float) -> None:
        self._card, self._folder, self._mass = card, folder, mass
        self._histograms = Histograms(card, folder, mass)
        self._wrong = self._histograms.wrong
        self._nuisances: dict[str, _Json] = {}

    def plan(self) -> _Json:
        card = self._card
        for name, kind in card.loose.items():
            if kind == "discrete":
                raise self._wrong(
                    f"'{name}' is a discrete, which chooses among the shapes of a RooMultiPdf: such a choice is "
                    "not read here", card.lines[name],
                )  # fmt: skip
        functions = [name for name in card.bins if self._is_of_functions(name)]
        channels = [self._channel(name) for name in functions]
        used = {name for channel in channels for process in channel["processes"] for name in process["factors"]}
        histograms, opaque, binned = self._of_histograms([name for name in card.bins if name not in functions])
        binned_channels = [of["name"].removeprefix("obsData_") for of in histograms["data"]] if histograms else []
        there = [*functions, *binned_channels]  # without channels that expect nothing, with what counts elsewhere
        return {
            "poi": POI, "mass": self._mass, "channels": channels,
            "order": sorted(there, key=lambda name: card.bins.index(name) if name in card.bins else len(card.bins)),
            "nuisances": self._nuisances, "histograms": histograms, "opaque": sorted(opaque),
            "arguments": [self._argument(of) for of in self._arguments().values()], "used": sorted(used | binned),
            "constraints": [
                {"name": of.name, "mean": of.mean, "down": of.down, "up": of.up, "line": of.line, "bounds": of.bounds}
                for of in card.constraints
            ],
            "notes": list(card.notes), "loose": dict(card.lines), "frozen": dict(card.frozen),
        }  # fmt: skip

    # channels

    def _is_of_functions(self, channel: str) -> bool:
        """Whether the shapes of a channel are in RooWorkspaces."""
        named = [("data_obs", 0), *((c.process, c.rate) for c in self._card.columns if c.bin == channel and c.rate)]
        sources = {process: self._histograms.source(process, channel) for process, _ in named}
        inside = {process: source is not None and ":" in source.nominal for process, source in sources.items()}
        if any(inside.values()) and not all(inside.values()):
            other = next(process for process, there in inside.items() if not there)
            source = sources[other]
            raise self._wrong(
                f"channel '{channel}' has functions, and '{other}' is not in a RooWorkspace: one variable cannot "
                "describe both", source.line if source is not None else self._card.row("process"),
            )  # fmt: skip
        return any(inside.values())

    def _channel(self, name: str) -> _Json:
        if (flags := self._card.statistics.get(name)) is not None:
            self._card.notes.append(f"line {flags.line}: autoMCStats has no meaning for the functions of '{name}'")
        data = self._histograms.source("data_obs", name)
        assert data is not None  # noqa: S101 (see _is_of_functions)
        processes = [self._process(at) for at, c in enumerate(self._card.columns) if c.bin == name and c.rate != 0]
        if not processes:
            raise self._wrong(f"channel '{name}' expects nothing from any process", self._card.row("rate"))
        return {
            "name": name, "data": self._place(data, "data_obs", name), "processes": processes,
            "observed": self._card.observations.get(name, -1.0),
        }  # fmt: skip

    def _place(self, source: ShapeSource, process: str, channel: str) -> _Json:
        file, path = self._histograms.place(source, process, channel)
        workspace, _, name = path.partition(":")
        return {"file": self._file(file), "workspace": workspace, "object": name, "line": source.line}

    def _file(self, name: str) -> str:
        beside = self._folder / name
        return str((beside if beside.exists() or not Path(name).exists() else Path(name)).absolute())

    def _process(self, at: int) -> _Json:
        column = self._card.columns[at]
        source = self._histograms.source(column.process, column.bin)
        assert source is not None  # noqa: S101 (see _is_of_functions)
        found: _Json = {
            "name": column.process, "signal": column.index <= 0, "rate": column.rate,
            **self._place(source, column.process, column.bin), "effects": [], "linear": [], "gamma": None,
            "factors": [
                of.name for of in self._card.rate_parameters if (of.bin, of.process) == (column.bin, column.process)
            ],
        }  # fmt: skip
        for systematic in self._card.systematics:
            if (entry := systematic.entries[at]) is not None:
                self._effect(found, systematic, entry)
        return found

    def _effect(self, found: _Json, systematic: Systematic, entry: tuple[float, float]) -> None:
        """Add what a line does to a process."""
        name, kind, line = systematic.name, systematic.kind, systematic.line
        if kind == "gmM" or (kind[:5] == "shape" and not systematic.optional):
            what = "a gamma distribution" if kind == "gmM" else "it changes a shape"
            raise self._wrong(f"'{name}' is {kind}: {what}, which is not read for '{found['name']}', a function", line)
        if kind == "gmN":
            if found["gamma"] is not None:
                raise self._wrong(f"'{found['name']}' has two lines of gmN, here '{name}'", line)
            rate = found["rate"]
            if rate >= 0 and abs(entry[1] * systematic.events - rate) > max(_CLOSE * max(rate, 1.0), entry[1]):
                raise self._wrong(
                    f"'{name}': {systematic.events} times {entry[1]:g} is not the rate of '{found['name']}', {rate:g}",
                    line,
                )
            found["gamma"], found["rate"] = name, entry[1]
            self._keep(name, {"kind": "poisson", "events": systematic.events}, line)
        elif kind == "trG":
            found["linear"].append({"name": name, "width": entry[1]})
            self._keep(name, {"kind": "normal"}, line)
        else:
            if kind[:5] == "shape" and entry[0] == entry[1]:  # of lnN, see `Systematic.optional`
                entry = 1 / entry[1], entry[1]
            found["effects"].append({"name": name, "down": math.log(entry[0]), "up": math.log(entry[1])})
            self._keep(name, {"kind": "flat" if kind in {"lnU", "shapeU"} else "normal"}, line)

    def _keep(self, name: str, nuisance: _Json, line: int) -> None:
        if self._nuisances.setdefault(name, {**nuisance, "line": line})["kind"] != nuisance["kind"]:
            raise self._wrong(f"'{name}' has two kinds of constraints", line)

    # what channels share

    def _arguments(self) -> dict[str, RateParameter]:
        found: dict[str, RateParameter] = {}
        for of in self._card.rate_parameters:
            found.setdefault(of.name, of)
        return found

    def _argument(self, of: RateParameter) -> _Json:
        file, _, workspace = of.source.partition(":")
        expression, _, names = of.formula.rpartition(" ")
        limits = [None if math.isinf(x) else x for x in (of.low, of.high)]
        return {
            "name": of.name, "line": of.line, "value": of.value, "low": limits[0], "high": limits[1],
            "expression": expression or of.formula, "names": names.split(",") if of.formula else [],
            "file": self._file(file) if of.source else "", "workspace": workspace,
        }  # fmt: skip

    def _of_histograms(self, bins: list[str]) -> tuple[_Json | None, set[str], set[str]]:
        """Return the channels of histograms as HS3, the formulas in them, and all factors that they use."""
        if not bins:
            return None, set(), set()
        part = self._part(bins)
        opaque = Rates(part, POI, {}).beyond
        spec = card_to_pyhf(part, self._folder, mass=self._mass, opaque=opaque)
        self._card.notes[:] = part.notes
        self._check_shared(spec)
        settings = tuple(spec["measurements"][0]["config"]["parameters"])
        workspace = Workspace(self._card.where, spec, "datacard", POI, settings)
        content = workspace_hs3(workspace, prefix="")
        for part_of in ("analyses", "likelihoods", "misc"):
            content.pop(part_of)
        modifiers = [m for c in spec["channels"] for s in c["samples"] for m in s["modifiers"]]
        return content, opaque, {m["name"] for m in modifiers if m["type"] in {"normfactor", "lumi"}}

    def _part(self, bins: list[str]) -> Card:
        """Return the card of some channels."""
        card = self._card
        kept = [at for at, column in enumerate(card.columns) if column.bin in bins]
        systematics = [replace(of, entries=tuple(of.entries[at] for at in kept)) for of in card.systematics]
        return replace(
            card, bins=bins, columns=[card.columns[at] for at in kept],
            systematics=[of for of in systematics if any(entry is not None for entry in of.entries)],
            rate_parameters=[of for of in card.rate_parameters if not of.bin or of.bin in bins],
            statistics={name: of for name, of in card.statistics.items() if name in bins}, loose={}, lines={},
        )  # fmt: skip

    def _check_shared(self, spec: Mapping[str, Any]) -> None:
        """Refuse nuisance parameters that histograms and functions share and hold in different ways."""
        kinds = {m["name"]: m["type"] for c in spec["channels"] for s in c["samples"] for m in s["modifiers"]}
        for name, nuisance in self._nuisances.items():
            if name in kinds and (nuisance["kind"] != "normal" or kinds[name] not in {"normsys", "histosys"}):
                raise self._wrong(
                    f"'{name}' changes channels of histograms and channels of functions, which is read for lnN and "
                    "shapes only", nuisance["line"],
                )  # fmt: skip
