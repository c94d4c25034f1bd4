"""Pulls and impacts of nuisance parameters.

A pull is where the fit takes a nuisance parameter, in its standard deviations before the fit; its sigma after the fit
is below 1 where the data know more than its auxiliary measurement. The impact is the change of the parameter of
interest when the nuisance parameter is held at its best value plus or minus sigma, and all others are fitted again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from portico.errors import ConfigError, FitError, nearest
from portico.stats.asymptotic import asimov
from portico.stats.fit import Fit, Fitter
from portico.stats.model import Model, Observation, observation

__all__ = ["Impact", "pulls_and_impacts"]


@dataclass(frozen=True, slots=True)
class Impact:
    """One nuisance parameter.

    Attributes
    ----------
    name : str
    pull : float
        Its best value, in standard deviations before the fit.
    sigma : float
        Its uncertainty after the fit, in the same units.
    up, down : float
        Change of the parameter of interest with it held at `sigma` above and below its best value; nan where a fit
        failed.
    note : str
        Empty unless something is unusual: a parameter at a limit, a failed fit.
    """

    name: str
    pull: float
    sigma: float
    up: float
    down: float
    note: str = ""

    @property
    def size(self) -> float:
        """The larger of the two changes."""
        return max((abs(x) for x in (self.up, self.down) if not math.isnan(x)), default=0.0)


def pulls_and_impacts(
    model: Model, names: Sequence[str] = (), *, mu: float | None = None, penalty: float = 1.0
) -> list[Impact]:
    """Return pulls and impacts, the largest impact first.

    The choice between competing shapes is that of the best fit throughout, so that impacts do not jump. The parameter
    of interest may be negative here, whatever its lower bound.

    Parameters
    ----------
    model : Model
    names : sequence of str
        Nuisance parameters; all by default.
    mu : float, optional
        Take Asimov data of this strength instead of the data. While data are blinded this is done in any case, with 0
        by default: the Asimov data are made of the fit to what may be seen.
    penalty : float
        See `Fitter`.

    Raises
    ------
    ConfigError
        If a name is not one of the nuisance parameters.
    ValueError
        If a channel has no data.
    FitError
        If the fit does not converge or has no errors.
    """
    for name in names:
        if name not in model.nuisances:
            raise ConfigError(f"the model has no nuisance parameter '{name}'; {nearest(name, model.nuisances)}")
    if not model.nuisances:
        return []
    model, data, best = _best(model, mu, penalty)
    rows = []
    for name in names or model.nuisances:
        pull, sigma = best.values[name], best.errors[name]
        notes = [f"at a limit: {name}"] if name in best.at_limit else []
        if model.poi in best.at_limit:
            notes.append(f"at a limit: {model.poi}")
        changes = []
        for side, word in ((1, "up"), (-1, "down")):
            try:  # from the best fit each time, so that no order of parameters matters
                again = Fitter(model, data, penalty=penalty, choose=False, choice=best.choice, known=best.values)
                fit = again.fit({name: pull + side * sigma})
                changes.append(fit.values[model.poi] - best.values[model.poi])
            except FitError as error:
                changes.append(math.nan)
                notes.append(f"{word}: {error}")
        rows.append(Impact(name, pull, sigma, changes[0], changes[1], "; ".join(notes)))
    return sorted(rows, key=lambda row: -row.size)


def _best(model: Model, mu: float | None, penalty: float) -> tuple[Model, Observation, Fit]:
    """Return the model with a parameter of interest that may be negative, its data or Asimov data, and their fit."""
    high = model.all_parameters[model.poi].high
    model = model.with_poi_bounds(-high, high)
    data = observation(model)
    fitter = Fitter(model, data, penalty=penalty)
    if mu is None and model.observed:
        return model, data, fitter.fit(errors=True)
    seen = fitter.fit({model.poi: 0.0 if mu is None else mu})
    made = asimov(model, fitter, seen)
    again = Fitter(model, made, penalty=penalty, choose=False, choice=seen.choice, known=seen.values)
    return model, made, again.fit(errors=True)
