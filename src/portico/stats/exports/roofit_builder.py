"""Builds RooFit objects from a model. `portico.stats.exports.roofit` describes the workspace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from portico import root
from portico.errors import InputError
from portico.stats.exports.chosen import Chosen
from portico.stats.model import Channel, Component, Points, shape_parameters
from portico.stats.shapes import Array, DoubleCrystalBall, Exponentials, PowerLaws, Shape, Template

__all__ = ["Builder", "coarse", "interpolated", "template_sum"]

# What of a component its density at the centres of bins may misplace: of 1, and in events unless it is signal. The
# first moves limits by as much; the second moves parameters of shapes by some hundredths of their errors.
_SHARE: Final = 0.005
_EVENTS: Final = 0.1
_INTEGRAL: Final = 1e-7  # relative precision of integrals over bins
_FAR: Final = 10.0  # bounds of parameters that have none: values away from their value, or
_FAR_STEPS: Final = 1000.0  # steps, whichever is more
_SIGMAS: Final = 10.0  # bounds of global observables
# Slopes and powers over a window reach 50, and exp overflows at 709. In a window that is narrow for its place, what
# RooFit integrates analytically would: there it is a function of the distance from the lower end, integrated
# numerically.
_STEEPEST: Final = 50.0
_EXPONENT: Final = 600.0


class Builder:
    """Builds the workspace of one model.

    Parameters
    ----------
    chosen : Chosen

    Attributes
    ----------
    workspace : RooWorkspace
    """

    def __init__(self, chosen: Chosen) -> None:
        self._root = root.load()
        self._chosen, self._model, self._safe, self._coarse = chosen, chosen.model, chosen.names, coarse(chosen)
        self.workspace = self._root.RooWorkspace("w", "w")
        messages = self._root.RooMsgService.instance()
        level = messages.globalKillBelow()
        messages.setGlobalKillBelow(self._root.RooFit.WARNING)
        try:
            self._build()
        finally:
            messages.setGlobalKillBelow(level)

    def _build(self) -> None:
        self._constant("one", 1.0)
        self._parameters()
        for channel in self._model.channels:
            self._observable(channel)
            for component in channel.components:
                self._component(channel, component)
            self._channel(channel)
        self._simultaneous()
        self._data()
        self._config()

    def _add(self, made: Any) -> Any:
        """Put an object into the workspace; what it depends on is there already."""
        name = made.GetName()
        if self.workspace.arg(name):  # RooFit would take the other one
            raise InputError(f"two things are called '{name}' in RooFit; rename a parameter, component or channel")
        self.workspace.Import(made, self._root.RooFit.RecycleConflictNodes(True), self._root.RooFit.Silence(True))
        return self.workspace.arg(name)

    def _list(self, names: Iterable[str]) -> Any:
        made = self._root.RooArgList()
        for name in names:
            made.add(self.workspace.arg(name))
        return made

    def _set(self, names: Iterable[str]) -> Any:
        return self._root.RooArgSet(self._list(names))

    def _constant(self, name: str, value: float) -> Any:
        made = self._root.RooRealVar(name, name, value)
        if value > 0:
            made.setRange(1e-3 * value, 1e3 * value)  # or RooFit warns of widths that may be negative
        made.setConstant(True)
        return self._add(made)

    def _formula(self, name: str, expression: str, names: Iterable[str]) -> Any:
        names = list(dict.fromkeys(names))
        if not names:
            return self._constant(name, float(self._root.TFormula(name, expression).Eval(0.0)))
        return self._add(self._root.RooFormulaVar(name, name, expression, self._list(names)))

    def _parameters(self) -> None:
        for name, parameter in self._chosen.parameters.items():
            value = min(max(self._chosen.values[name], parameter.low), parameter.high)
            # HS3 knows the roles of parameters only if they have bounds.
            far = max(_FAR_STEPS * parameter.step, _FAR * abs(value))
            low, high = max(parameter.low, value - far), min(parameter.high, value + far)
            made = self._root.RooRealVar(self._safe[name], name, value, low, high)
            made.setError(parameter.step)
            self._add(made)
        for name in self._model.nuisances:
            safe, center = self._safe[name], self._chosen.data.centers.get(name, 0.0)
            nominal = self._add(self._root.RooRealVar(f"nom_{safe}", name, center, center - _SIGMAS, center + _SIGMAS))
            nominal.setConstant(True)
            width = self.workspace.var("one")
            self._add(self._root.RooGaussian(f"{safe}_constraint", name, self.workspace.var(safe), nominal, width))

    def _observable(self, channel: Channel) -> None:
        name = f"x_{self._safe[channel.name]}"
        edges = np.array(channel.edges)
        made = self._root.RooRealVar(name, name, 0.5 * (edges[0] + edges[-1]), edges[0], edges[-1])
        if np.allclose(np.diff(edges), edges[1] - edges[0], rtol=1e-9):
            made.setBins(len(edges) - 1)
        else:
            made.setBinning(self._root.RooBinning(len(edges) - 1, edges))
        self._add(made)

    def _component(self, channel: Channel, component: Component) -> None:
        shape, safe = self._chosen.shape(channel, component), self._safe
        name, x = f"{safe[component.name]}_{safe[channel.name]}", self.workspace.var(f"x_{safe[channel.name]}")
        if isinstance(shape, Template):
            self._template(name, x, channel, shape)
        else:
            at = self._shape_values(channel, component, shape)
            density = f"{name}_density" if (channel.name, component.name) in self._coarse else name
            pdf = self._add(self._analytic(density, x, shape, at))
            if density != name:
                if pdf.InheritsFrom("RooAddPdf"):
                    pdf.fixCoefNormalization(self._root.RooArgSet(x))  # its integrals are taken before it is normalised
                self._add(self._root.RooBinSamplingPdf(name, name, x, pdf, _INTEGRAL))
        self._yields(name, component, shape)

    def _yields(self, name: str, component: Component, shape: Shape) -> None:
        factors, depends = [repr(component.events)], []
        if component.strength and component.strength != self._model.poi:
            factors.append(self._safe[component.strength])
            depends.append(self._safe[component.strength])
        if component.effects:
            logarithms = [(self._safe[nuisance], *_parts(*f)) for nuisance, f in component.effects.items()]
            factors.append(f"exp({' + '.join(interpolated(*part) for part in logarithms)})")
            depends += [nuisance for nuisance, _, _ in logarithms]
        if isinstance(shape, Template) and shape.changes:
            factors.append(f"{name}_sum")
            depends.append(f"{name}_sum")
        self._formula(f"{name}_norm", "*".join(factors), depends)
        if component.strength == self._model.poi:
            self._add(self._root.RooProduct(
                f"{name}_yield", name, self._list([self._safe[self._model.poi], f"{name}_norm"])
            ))  # fmt: skip

    def _shape_values(self, channel: Channel, component: Component, shape: Shape) -> list[Any]:
        """Return the parameters of a shape, shifted by nuisance parameters."""
        found = []
        for name, parameter in zip(shape_parameters(channel, component, shape), shape.parameters, strict=True):
            safe = self._safe[name]
            if not component.floating:
                self._constant(safe, parameter.start)
            shifts = {self._safe[n]: of[parameter.name] for n, of in component.shifts.items() if parameter.name in of}
            if shifts:
                terms = [safe, *(f"({by!r})*{nuisance}" for nuisance, by in shifts.items())]
                self._formula(f"{safe}_shifted", " + ".join(terms), [safe, *shifts])
                safe = f"{safe}_shifted"
            found.append(self.workspace.arg(safe))
        return found

    def _analytic(self, name: str, x: Any, shape: Shape, at: list[Any]) -> Any:
        match shape:
            case DoubleCrystalBall():
                return self._crystal_ball(name, x, shape, at)
            case Exponentials() | PowerLaws():
                return self._terms(name, x, shape, at)
            case _:
                return self._bernstein(name, x, at)

    def _crystal_ball(self, name: str, x: Any, shape: DoubleCrystalBall, at: list[Any]) -> Any:
        tails = {"alphaL": shape.alpha_left, "nL": shape.n_left, "alphaR": shape.alpha_right, "nR": shape.n_right}
        return self._root.RooCrystalBall(
            name, name, x, at[0], at[1], at[1], *(self._constant(f"{name}_{k}", v) for k, v in tails.items())
        )

    def _terms(self, name: str, x: Any, shape: Exponentials | PowerLaws, at: list[Any]) -> Any:
        powers = isinstance(shape, PowerLaws)
        low, high = (math.log(shape.low), math.log(shape.high)) if powers else (shape.low, shape.high)
        scale = math.log(shape.high / shape.low) if powers else high - low
        if _STEEPEST * max(abs(low), abs(high)) > _EXPONENT * scale:
            from_low = f"{x.GetName()}/{shape.low!r}" if powers else f"{x.GetName()} - ({shape.low!r})"
            x = self._formula(f"{name}_x", from_low, [x.GetName()])
        pdfs = []
        for i, slope in enumerate(at[: shape.order], 1):
            label = f"{name}_{'power' if powers else 'rate'}{i}"
            rate = self._formula(label, f"{slope.GetName()}/{scale!r}", [slope.GetName()])
            lists = (self._list(["one"]), self._list([rate.GetName()])) if powers else (rate,)
            kind = self._root.RooPowerSum if powers else self._root.RooExponential
            pdfs.append((f"{name}_term{i}", kind, lists))
        return self._sum(name, x, pdfs, at[shape.order :])

    def _sum(self, name: str, x: Any, pdfs: list[tuple[str, Any, tuple[Any, ...]]], fractions: list[Any]) -> Any:
        """Return the only term, or the sum with the fractions f_1 = q_1, f_2 = (1 - q_1) q_2, ...."""
        if len(pdfs) == 1:
            return pdfs[0][1](name, name, x, *pdfs[0][2])
        made = [self._add(kind(term, term, x, *of)).GetName() for term, kind, of in pdfs]
        names = [q.GetName() for q in fractions]
        coefficients = []
        for i, q in enumerate(names):
            rest = "".join(f"(1 - {before})*" for before in names[:i])
            coefficients.append(self._formula(f"{name}_share{i + 1}", rest + q, names[: i + 1]).GetName())
        return self._root.RooAddPdf(name, name, self._list(made), self._list(coefficients))

    def _bernstein(self, name: str, x: Any, at: list[Any]) -> Any:
        coefficients = ["one"]
        for i, logarithm in enumerate(at, 1):
            of = logarithm.GetName()
            coefficients.append(self._formula(f"{name}_c{i}", f"exp({of})", [of]).GetName())
        return self._root.RooBernstein(name, name, x, self._list(coefficients))

    def _template(self, name: str, x: Any, channel: Channel, shape: Template) -> None:
        if not shape.changes:
            hist = self._hist(f"{name}_bins", x, np.array(shape.bins))
            self._add(self._root.RooHistPdf(name, name, self._root.RooArgSet(x), hist, 0))
            return
        widths, nominal = np.diff(channel.edges), np.array(shape.bins)
        functions = {"nominal": nominal}
        for nuisance, (down, up) in shape.changes.items():
            functions |= {f"{self._safe[nuisance]}_low": np.array(down), f"{self._safe[nuisance]}_high": np.array(up)}
        for label, content in functions.items():  # a RooHistFunc is the content, not the density
            hist = self._hist(f"{name}_{label}_bins", x, content / widths / nominal.sum())
            self._add(self._root.RooHistFunc(f"{name}_{label}", label, self._root.RooArgSet(x), hist, 0))
        nuisances = [self._safe[n] for n in shape.changes]
        made = self._root.PiecewiseInterpolation(
            f"{name}_morphed", name, self.workspace.function(f"{name}_nominal"),
            self._list(f"{name}_{n}_low" for n in nuisances), self._list(f"{name}_{n}_high" for n in nuisances),
            self._list(nuisances),
        )  # fmt: skip
        made.setAllInterpCodes(4)  # additive, as `portico.stats.shapes.interpolation`
        made.setPositiveDefinite(True)
        self._add(made)
        self._add(self._root.RooRealSumPdf(name, name, self._list([f"{name}_morphed"]), self._list(["one"])))
        self._formula(f"{name}_sum", template_sum(shape, self._safe), nuisances)

    def _hist(self, name: str, x: Any, contents: Array) -> Any:
        made = self._root.RooDataHist(name, name, self._root.RooArgSet(x))
        for i, content in enumerate(contents):
            made.set(i, float(content), 0.0)
        self.workspace.Import(made, self._root.RooFit.Silence(True), self._root.RooFit.Embedded(True))
        return self.workspace.embeddedData(name)

    def _channel(self, channel: Channel) -> None:
        safe = self._safe[channel.name]
        names = [f"{self._safe[component.name]}_{safe}" for component in channel.components]
        yields = [
            f"{name}_yield" if component.strength == self._model.poi else f"{name}_norm"
            for name, component in zip(names, channel.components, strict=True)
        ]
        total = self._add(self._root.RooAddPdf(f"sum_{safe}", channel.name, self._list(names), self._list(yields)))
        used = {nuisance for component in channel.components for nuisance in component.nuisances}
        constraints = [f"{self._safe[n]}_constraint" for n in self._model.nuisances if n in used]
        self._add(self._root.RooProdPdf(f"model_{safe}", channel.name, self._list([total.GetName(), *constraints])))

    def _simultaneous(self) -> None:
        category = self._root.RooCategory("channel", "channel")
        for channel in self._model.channels:
            category.defineType(self._safe[channel.name])
        category = self._add(category)
        made = self._root.RooSimultaneous("simPdf", "simPdf", category)
        for channel in self._model.channels:
            safe = self._safe[channel.name]
            made.addPdf(self.workspace.pdf(f"model_{safe}"), safe)
        self._add(made)

    def _data(self) -> None:
        ws = self.workspace
        name = "asimovData" if self._chosen.blinded else "obsData"
        weight = self._root.RooRealVar("weight", "weight", 1.0)
        columns = self._set(["channel", *(f"x_{self._safe[channel.name]}" for channel in self._model.channels)])
        held = self._root.RooArgSet(columns, weight)
        made = self._root.RooDataSet(name, name, held, self._root.RooFit.WeightVar(weight))
        category = ws.cat("channel")
        for channel, points in zip(self._model.channels, self._chosen.data.channels, strict=True):
            safe = self._safe[channel.name]
            category.setLabel(safe)
            x = ws.var(f"x_{safe}")
            for at, events in zip(_positions(points), points.weights, strict=True):
                x.setVal(at)
                made.add(columns, float(events))
        ws.Import(made, self._root.RooFit.Silence(True))

    def _config(self) -> None:
        ws = self.workspace
        config = self._root.RooStats.ModelConfig("ModelConfig", ws)
        poi, names = self._safe[self._model.poi], [self._safe[name] for name in self._chosen.parameters]
        config.SetPdf("simPdf")
        config.SetParametersOfInterest(self._set([poi]))
        config.SetNuisanceParameters(self._set(name for name in names if name != poi))
        config.SetObservables(
            self._set(["channel", *(f"x_{self._safe[channel.name]}" for channel in self._model.channels)])
        )
        config.SetGlobalObservables(self._set(f"nom_{self._safe[n]}" for n in self._model.nuisances))
        config.SetSnapshot(self._set([poi]))
        ws.Import(config)
        ws.saveSnapshot("chosen", self._set(names))


def coarse(chosen: Chosen) -> set[tuple[str, str]]:
    """Return channels and components for which the density at the centres of bins is not good enough."""
    found = set()
    for channel, points in zip(chosen.model.channels, chosen.data.channels, strict=True):
        for component in channel.components:
            shape = chosen.shape(channel, component)
            if points.edges is None or isinstance(shape, Template):
                continue
            names = shape_parameters(channel, component, shape)
            values = np.array([
                chosen.values[name] if component.floating else parameter.start
                for name, parameter in zip(names, shape.parameters, strict=True)
            ])  # fmt: skip
            edges, events = points.edges, chosen.events[channel.name, component.name]
            central = shape.density(0.5 * (edges[1:] + edges[:-1]), values) * np.diff(edges)
            misplaced = float(np.abs(central - shape.contents(edges, values)).sum())
            signal = component.strength == chosen.model.poi
            if misplaced > _SHARE or (misplaced * events > _EVENTS and not signal):
                found.add((channel.name, component.name))
    return found


def interpolated(name: str, odd: float, even: float) -> str:
    """Return `portico.stats.shapes.interpolation` times two numbers as a formula."""
    line = f"({odd!r})*{name}"
    if abs(even) < 1e-12 * max(abs(odd), 1.0):
        return line
    t = name
    inner = f"{t}*{t}*(15.0 - 10.0*{t}*{t} + 3.0*{t}*{t}*{t}*{t})/8.0"
    return f"{line} + ({even!r})*(abs({t}) > 1.0 ? abs({t}) : {inner})"


def template_sum(shape: Template, safe: Mapping[str, str]) -> str:
    """Return the sum of the contents of a template over the nominal one as a formula.

    Contents below 0 are taken as 0: each bin that may fall below, within the bounds of nuisance parameters, is a term.
    """
    nominal = np.array(shape.bins)
    parts = [
        (safe[name], (np.array(up) - np.array(down)) / 2, (np.array(up) + np.array(down)) / 2 - nominal)
        for name, (down, up) in shape.changes.items()
    ]
    farthest = max(parameter.high for parameter in shape.parameters)
    lowest = nominal - farthest * sum(np.maximum(np.abs(odd) + np.abs(even), 0.0) for _, odd, even in parts)
    total = nominal.sum()

    def content(bins: Any) -> str:
        terms = [interpolated(n, float(o[bins].sum() / total), float(e[bins].sum() / total)) for n, o, e in parts]
        return " + ".join([repr(float(nominal[bins].sum() / total)), *terms])

    safe_bins = lowest >= 0
    return " + ".join([content(safe_bins), *(f"max(0.0, {content(i)})" for i in np.flatnonzero(~safe_bins))])


def _parts(down: float, up: float) -> tuple[float, float]:
    """Odd and even part of the logarithm of a factor."""
    return 0.5 * (math.log(up) - math.log(down)), 0.5 * (math.log(up) + math.log(down))


def _positions(points: Points) -> Array:
    if points.x is not None:
        return points.x
    edges = np.asarray(points.edges)
    return np.asarray(0.5 * (edges[1:] + edges[:-1]))
