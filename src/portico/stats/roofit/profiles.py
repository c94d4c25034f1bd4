"""Profile likelihoods of models of RooFit, for the formulae of `portico.stats.asymptotic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from portico.stats.degenerate import degenerate_groups
from portico.stats.fit import Fit
from portico.stats.roofit.model import RooFitModel
from portico.stats.shapes import Array

__all__ = ["RooFitProfiles"]

_IMPROVED: Final = 1e-3  # of -2 log L, by which a better best fit changes results
_STEP: Final = 1e-3  # of a parameter, or of a tenth of its range, for derivatives
_LEAST: Final = 1e-6  # events in a bin


class RooFitProfiles:
    """Profiles of a model of RooFit: see `portico.stats.asymptotic.Profiles`.

    Parameters
    ----------
    model : RooFitModel
        Its parameter of interest is bounded below by 0.
    blind : bool
        Do not use the data: the background is that of the start values.

    Attributes
    ----------
    background : Fit
        With a strength of 0.
    best : Fit, optional
        None while blinded.
    several_minima : bool
        Whether the likelihood may have several minima.

    Raises
    ------
    FitError
        If the fits to the data do not converge.
    """

    def __init__(self, model: RooFitModel, *, blind: bool = False) -> None:
        self.model, self.poi, self._session = model, model.poi, model.session
        start = model.start
        self.unit, self.improved = self._unit(start), 0
        self.several_minima = bool(self._session.about["sided"])
        self.best: Fit | None = None
        if blind:
            self.background = Fit({**start, self.poi: 0.0}, 0.0, 0.0, ())
        else:
            self.background, _ = self._session.fit("obs", {self.poi: 0.0}, [start], fresh=True)
            near = {**self.background.values, self.poi: self.unit}
            best, _ = self._session.fit("obs", {}, [near, {**start, self.poi: self.unit}])
            self.best = min(self.background, best, key=lambda fit: fit.objective)
        self._session.ask("asimov", values=dict(self.background.values))
        held, _ = self._session.fit("asimov", {self.poi: 0.0}, [self.background.values], fresh=blind)
        free, _ = self._session.fit("asimov", {}, [{**held.values, self.poi: 0.1 * self.unit}])
        self._free_asimov = min(held.objective, free.objective)
        self._fits: dict[tuple[str, float], Fit] = {}
        self._last: dict[str, Mapping[str, float]] = {}

    def _unit(self, start: Mapping[str, float]) -> float:
        signal, background = self._both({**start, self.poi: 0.0})
        seen = signal > 0
        information = float(np.sum(signal[seen] ** 2 / np.maximum(background[seen], 1.0)))
        return information**-0.5 if information > 0 else 1.0

    def _both(self, at: Mapping[str, float]) -> tuple[Array, Array]:
        """Return the events that a strength of 1 adds, and those without it."""
        background = self._all({**at, self.poi: 0.0})
        return self._all({**at, self.poi: 1.0}) - background, background

    def _events(self, at: Mapping[str, float]) -> dict[str, Array]:
        found = self._session.ask("events", values=dict(at))
        names = [channel["name"] for channel in self._session.about["channels"]]
        return {name: np.sum(list(of.values()), axis=0) for name, of in zip(names, found, strict=True)}

    @property
    def observed(self) -> bool:
        """Whether the data are used."""
        return self.best is not None

    def statistics(self, mu: float) -> tuple[float, float]:
        """Return q~_mu of the data (of the Asimov data while blinded) and of the Asimov data of mu = 0."""
        of_asimov = self.of_asimov(mu)
        if self.best is None:
            return of_asimov, of_asimov
        if self.best.values[self.poi] >= mu:
            return 0.0, of_asimov
        fixed = self.conditional("obs", mu)
        if fixed.objective < self.best.objective:
            again, _ = self._session.fit("obs", {}, [fixed.values])
            better = min(fixed, again, key=lambda fit: fit.objective)
            self.improved += better.objective < self.best.objective - _IMPROVED
            self.best = better
        return max(fixed.objective - self.best.objective, 0.0), of_asimov

    def of_asimov(self, mu: float) -> float:
        """Return q~_mu of the Asimov data of mu = 0 alone."""
        return max(self.conditional("asimov", mu).objective - self._free_asimov, 0.0)

    def conditional(self, which: str, mu: float) -> Fit:
        """Fit ``obs`` or ``asimov`` data with a fixed strength, from where the last such fit ended and from others."""
        if (which, mu) not in self._fits:
            others = [self.background.values, *([self.best.values] if which == "obs" and self.best else [])]
            starts = [self._last[which]] if which in self._last else []
            fit, _ = self._session.fit(which, {self.poi: mu}, [*starts, *others])
            self._fits[which, mu], self._last[which] = fit, fit.values
        return self._fits[which, mu]

    def degenerate(self) -> list[list[str]]:
        """Return groups of free parameters whose changes cancel in all expected events, with signal in them.

        A parameter with a constraint is in none. Where a channel has several variables, of which only the sum of all
        events is known here, nothing is looked for.
        """
        about = self._session.about
        if any(channel["summed"] for channel in about["channels"]):
            return []
        at = {**self.background.values, self.poi: max(self.background.values[self.poi], self.unit)}
        free = [of for of in about["parameters"] if not of["constant"] and of["constraint"] is None]
        expected, columns = self._all(at), list[Array]()
        for of in free:
            value, sides = at[of["name"]], [of[key] for key in ("low", "high")]
            reach = 0.1 * (sides[1] - sides[0]) if None not in sides and of["name"] != self.poi else 0.0
            step = _STEP * (max(abs(value), reach) or 1.0)
            low, high = (
                value if side is not None and sign * (side - value) < step and of["name"] != self.poi
                else value + sign * step
                for sign, side in zip((-1, 1), sides, strict=True)
            )  # fmt: skip
            moved = [self._all({**at, of["name"]: place}) for place in (low, high)]
            columns.append((moved[1] - moved[0]) / (high - low))
        slopes = np.stack(columns, axis=1)
        groups = degenerate_groups(slopes.T @ (slopes / np.maximum(expected, _LEAST)[:, None]))
        return [[free[i]["name"] for i in group] for group in groups]

    def _all(self, at: Mapping[str, float]) -> Array:
        return np.concatenate(list(self._events(at).values()))

    def hypotheses(self, mu: float) -> dict[str, tuple[Array, Array]]:
        """Return expected events without signal, and those of the fit to them with a strength, by channel."""
        without = self._events(self.background.values)
        with_signal = self._events(self.conditional("asimov", mu).values)
        return {name: (events, with_signal[name]) for name, events in without.items()}
