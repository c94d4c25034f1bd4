"""The hypotheses of one mass of N: the model of the N mass in all categories, the couplings, and the limit at each.

A point is a coupling |V|^2. Yield and lifetime both move with it: the expected signal of a category is

    N_prod BR(Ds -> mu N) BR(N -> mu pi) eff(ctau),   BR(Ds -> mu N) ~ |V|^2,   ctau ~ 1/|V|^2,

with N_prod of `hnl.normalisation` and eff of `hnl.inputs.yields`. Limits are on mu, which multiplies the signal at this
lifetime. A coupling is excluded where the limit on mu is below 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from portico.config import Model as Strict
from portico.config import parse, parse_json
from portico.errors import ConfigError
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at
from portico.stats.counting import Count, counting_cls, counting_limit
from portico.stats.limit import CLs, Limit
from portico.stats.model import Component, Model

__all__ = ["Hypothesis", "Point", "WindowCounts", "Yield", "evaluate", "read_hypotheses"]

SIGNAL: Final = "signal"
_SMALLEST: Final = 1e-9  # expected events, below which no limit is computed


class Yield(Strict):
    """Expected signal in one category.

    Attributes
    ----------
    events : float
        In the fit window.
    statistical : float
        Relative uncertainty of the simulation.
    effective_events : float
        Number of unweighted events with the same relative uncertainty.
    """

    events: float
    statistical: float
    effective_events: float


class Point(Strict):
    """One coupling.

    Attributes
    ----------
    coupling_squared : float
        |V|^2.
    ctau : float
        Proper decay length in mm.
    yields : dict of str to Yield
        By category.
    """

    coupling_squared: float
    ctau: float
    yields: dict[str, Yield]

    @property
    def events(self) -> float:
        """Expected signal in all categories."""
        return sum(found.events for found in self.yields.values())


class WindowCounts(Strict):
    """Counts of one category in the window around the mass, with the background estimated from the sidebands.

    Attributes
    ----------
    background, uncertainty : float
        Expected background in the window.
    observed : int, optional
        None while blinded, or without data.
    signal_fraction : float
        Fraction of the signal in the fit window that is in the counting window.
    systematic : float
        Relative uncertainty of the signal other than the simulation's.
    """

    background: float
    uncertainty: float
    observed: int | None
    signal_fraction: float
    systematic: float


class Hypothesis(Strict):
    """One mass of N.

    Attributes
    ----------
    mass : float
        In GeV.
    window : (float, float)
        Counting window in GeV, which is blinded.
    method : {"asymptotic", "counting"}
    why : str
        Why this method was chosen.
    model : Model, optional
        Channels of the fit, with 1 expected signal event each; None without data.
    counts : dict of str to WindowCounts
        By category.
    points : tuple of Point
        Rising in |V|^2.
    notes : tuple of str
        Caveats on the inputs.
    """

    mass: float
    window: tuple[float, float]
    method: Literal["asymptotic", "counting"]
    why: str
    model: Model | None
    counts: dict[str, WindowCounts]
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """Part of the names of files: 1.25 GeV is ``m1p25``."""
        return f"m{self.mass:g}".replace(".", "p")

    def each(self) -> Iterator[Hypothesis]:
        """Yield the hypothesis with each of its points alone."""
        for point in self.points:
            yield self.model_copy(update={"points": (point,), "notes": ()})

    def model_at(self, point: Point) -> Model:
        """Return the model with the signal of a point.

        Raises
        ------
        ValueError
            If there is no model, because there are no data.
        """
        if self.model is None:
            raise ValueError(f"m_N = {self.mass:g} GeV: no data, and so no model of them")
        channels = []
        for channel in self.model.channels:
            found = point.yields[channel.name]
            parts = [_with_signal(part, channel.name, found) for part in channel.components]
            channels.append(channel.model_copy(update={"components": tuple(parts)}))
        return self.model.model_copy(update={"channels": tuple(channels)})

    def counts_at(self, point: Point) -> list[Count]:
        """Return the counts of all categories with the signal of a point."""
        found = []
        for name, counted in self.counts.items():
            signal = point.yields[name].events * counted.signal_fraction
            error = signal * point.yields[name].statistical
            found.append(
                Count(
                    name, counted.background, counted.uncertainty, signal, error, counted.observed, counted.systematic
                )
            )
        return found


def _with_signal(part: Component, channel: str, found: Yield) -> Component:
    if part.name != SIGNAL:
        return part
    effects = dict(part.effects)
    if found.statistical > 0:
        effects[f"signal_statistics_{channel}"] = (1 / (1 + found.statistical), 1 + found.statistical)
    return part.model_copy(update={"events": found.events, "effects": effects})


def evaluate(hypothesis: Hypothesis, point: Point, cl: float) -> tuple[Limit, CLs] | None:
    """Return the limits on mu, and CLs of mu = 1; None where no signal is expected at all.

    Raises
    ------
    FitError
        If fits do not converge.
    """
    if point.events < _SMALLEST:
        return None
    if hypothesis.method == "counting":
        counts = hypothesis.counts_at(point)
        return counting_limit(counts, cl=cl), counting_cls(counts, 1.0)
    profiles = ModelProfiles(hypothesis.model_at(point))
    return asymptotic_limit(profiles, cl=cl), cls_at(profiles, 1.0)


def read_hypotheses(path: str) -> list[Hypothesis]:
    """Read ``hypotheses.json`` of `hnl.search.search`.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    try:
        content = parse_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, list):
        raise ConfigError(f"{path}: no list of hypotheses; it is written by hnl.search")
    return [parse(Hypothesis, item, f"{path}: hypothesis {number}") for number, item in enumerate(content)]


def named(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Return the values of -2, -1, 0, 1, 2 standard deviations with names of columns."""
    return zip(("m2", "m1", "median", "p1", "p2"), values, strict=True)
