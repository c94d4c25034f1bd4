"""Inference on the signal strength of a model: limits, CLs of given strengths, and the best fit, in one call."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats

from portico.errors import ConfigError, InputError
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at
from portico.stats.counting import ASYMPTOTIC_FROM
from portico.stats.fit import Fit
from portico.stats.histfactory import ASIMOV
from portico.stats.limit import CLs, Limit
from portico.stats.model import Model
from portico.stats.shapes import Array
from portico.stats.toy_limits import cls_of
from portico.stats.toys import with_expectation
from portico.stats.workspace import PyhfProfiles, Workspace, using
from portico.workflow.chunk_loop import Reporter

__all__ = ["Inference", "Toys", "fewest_background", "infer"]

_BULK: Final = 0.9  # of the signal of a channel: the bins where signal is expected
_NONE: Final = 1e-6  # events
_SHARE: Final = 0.05  # of all signal; channels with less contribute little


@dataclass(frozen=True, slots=True)
class Toys:
    """Options of toys, see `portico.stats.toy_step.run_toys`.

    Attributes
    ----------
    number : int
        Toys of each hypothesis, for each strength.
    folder : Path
        Run folder; toys that are already there are used.
    on : str
    workers : int, optional
    seed : int
    reporter : Reporter, optional
    """

    number: int
    folder: Path
    on: str = "local"
    workers: int | None = None
    seed: int = 1
    reporter: Reporter | None = None


@dataclass(frozen=True, slots=True)
class Inference:
    """Results on the parameter of interest of a model.

    Attributes
    ----------
    poi : str
    cl : float
        Confidence level of the limits.
    limit : Limit
    points : tuple of CLs
        At the strengths that were asked for.
    best : float, optional
        Best-fit strength, not negative; None while blinded.
    p_value, significance : float, optional
        Of the background-only hypothesis (q_0 of arXiv:1007.1727); always asymptotic.
    why : str
        Why this method was chosen for the limits.
    notes : tuple of str
        Warnings, such as parameters at a limit of their range.
    """

    poi: str
    cl: float
    limit: Limit
    points: tuple[CLs, ...]
    best: float | None
    p_value: float | None
    significance: float | None
    why: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, see `portico.stats.limit`."""
        return {
            "poi": self.poi, "cl": self.cl, "method": self.limit.method, "why": self.why,
            "limit": self.limit.to_json(),
            "cls": [cls.to_json() for cls in self.points],
            "best": self.best, "p_value": self.p_value, "significance": self.significance, "notes": list(self.notes),
        }  # fmt: skip


def infer(
    model: Model | Workspace,
    *,
    cl: float = 0.95,
    mus: Sequence[float] = (),
    backend: str = "numpy",
    blind: bool = False,
    toys: Toys | None = None,
) -> Inference:
    """Compute limits on the parameter of interest, CLs of given strengths, and the best fit.

    Parameters
    ----------
    model : Model or Workspace
    cl : float
        Confidence level, between 0 and 1.
    mus : sequence of float
        Strengths above 0.
    backend : {"numpy", "jax", "minuit"}
        For workspaces; a `Model` is always fitted with iminuit.
    blind : bool
        Give expected numbers only. The data of a workspace are not used; the background of a `Model` is still fitted to
        its data outside the blinded intervals.
    toys : Toys, optional
        Throw toys instead of using the asymptotic formulae. Their fits use numpy for workspaces, iminuit for a `Model`.

    Raises
    ------
    ConfigError
        If a confidence level or strength is out of range, or toys are too few.
    InputError
        If there is no signal, or no background, where the asymptotic formulae do not hold.
    FitError
        If fits do not converge.
    """
    check(cl, mus)
    with using(backend) if isinstance(model, Workspace) else nullcontext():
        profiles = profiles_of(model, backend=backend, blind=blind)
        where, fewest = fewest_background(profiles)
        if toys is None:
            limit, points, notes = _asymptotic(profiles, cl, mus, where, fewest)
            why = f"at least {fewest:.3g} background events are expected where signal is"
            return _inference(model, cl, limit, points, profiles, "toys were not asked for" if notes else why, notes)
    limit, points = _with_toys(model, cl, mus, blind, toys)
    why = f"{toys.number:,} of each hypothesis and strength; {fewest:.3g} background events expected where signal is"
    return _inference(model, cl, limit, points, profiles, why, [])


def _asymptotic(
    profiles: ModelProfiles | PyhfProfiles, cl: float, mus: Sequence[float], where: str, fewest: float
) -> tuple[Limit, tuple[CLs, ...], list[str]]:
    if fewest < _NONE:
        raise InputError(
            f"channel '{where}' expects no background where signal is: asymptotic formulae have no meaning there; use "
            "toys (--toys 1000)"
        )
    limit = asymptotic_limit(profiles, cl=cl)
    points = tuple(cls_at(profiles, mu) for mu in mus)
    few = (
        f"channel '{where}' expects {fewest:.2g} background events where signal is: below {ASYMPTOTIC_FROM:g} "
        "asymptotic limits are too low; use toys (--toys 1000)"
    )
    return limit, points, [few] if fewest < ASYMPTOTIC_FROM else []


def _with_toys(
    model: Model | Workspace, cl: float, mus: Sequence[float], blind: bool, toys: Toys
) -> tuple[Limit, tuple[CLs, ...]]:
    from portico.stats.toy_step import run_toys, toy_limit

    options: dict[str, Any] = {
        "on": toys.on, "workers": toys.workers, "seed": toys.seed, "blind": blind, "reporter": toys.reporter,
    }  # fmt: skip
    limit = toy_limit(model, toys.folder / "limit", toys=toys.number, cl=cl, **options)
    if not mus:
        return limit, ()
    thrown = run_toys(model, mus, toys.number, toys.folder / "points", **options)
    return limit, tuple(cls_of(statistics) for statistics in thrown)


def check(cl: float, mus: Sequence[float]) -> None:
    """Refuse confidence levels and strengths out of range.

    Raises
    ------
    ConfigError
    """
    if not 0 < cl < 1:
        raise ConfigError(f"confidence level {cl:g}: it lies between 0 and 1, for example 0.95")
    for mu in mus:
        if not (math.isfinite(mu) and mu > 0):
            raise ConfigError(f"mu = {mu:g}: CLs is that of a finite strength above 0")


def profiles_of(
    model: Model | Workspace, *, backend: str = "numpy", blind: bool = False
) -> ModelProfiles | PyhfProfiles:
    """Return the profile likelihoods of a model of either kind.

    A `Model` without data takes the expectation at the start values as data, and has no observed results.

    Raises
    ------
    FitError
        If the fits to the data do not converge.
    """
    if isinstance(model, Workspace):
        return PyhfProfiles(model, backend=backend, blind=blind)
    profiles = ModelProfiles(with_expectation(model))
    if blind or not model.observed:
        profiles.best = None
    return profiles


def fewest_background(profiles: ModelProfiles | PyhfProfiles) -> tuple[str, float]:
    """Return the channel with the fewest background events where its signal is, and their number.

    Where signal is: in the bins with the most signal that hold 90% of it together. Channels with less than 5% of all
    signal are left out.
    """
    events = profiles.events() if isinstance(profiles, PyhfProfiles) else _events(profiles)
    total = sum(float(signal.sum()) for signal, _ in events.values())
    found = {
        name: _background_at_signal(signal, background)
        for name, (signal, background) in events.items()
        if signal.sum() > 0 and signal.sum() >= _SHARE * total
    }
    if not found:
        raise InputError("no signal is expected where data are: there is no limit on its strength")
    name = min(found, key=lambda of: found[of])
    return name, found[name]


def _background_at_signal(signal: Array, background: Array) -> float:
    order = np.argsort(-signal, kind="stable")
    bins = int(np.searchsorted(np.cumsum(signal[order]), _BULK * signal.sum() * (1 - 1e-12))) + 1
    return float(background[order[:bins]].sum())


def _events(profiles: ModelProfiles) -> dict[str, tuple[Array, Array]]:
    """Return expected signal for a strength of 1 and background of each channel of a `Model`."""
    from portico.stats.fit import Fitter

    model, fit = profiles.model, profiles.background
    likelihood = Fitter(model, profiles.asimov).likelihood(fit.choice)
    with_signal = likelihood.expected({**fit.values, model.poi: 1.0})
    found = {}
    for channel, parts in zip(model.channels, with_signal, strict=True):
        signal, background = np.zeros(len(channel.edges) - 1), np.zeros(len(channel.edges) - 1)
        for component in channel.components:
            into = signal if component.strength == model.poi else background
            into += parts[component.name]
        found[channel.name] = signal, background
    return found


def _inference(
    model: Model | Workspace, cl: float, limit: Limit, points: tuple[CLs, ...],
    profiles: ModelProfiles | PyhfProfiles, why: str, notes: Sequence[str],
) -> Inference:  # fmt: skip
    best, background = profiles.best, profiles.background
    lines = [*notes, *_limits_reached({"without signal": background, "of the best fit": best}, model.poi)]
    if isinstance(model, Workspace):
        lines += _notes_on_measurement(model)
    if isinstance(model, Model) and not model.has_data:
        lines.append("there are no data: expected numbers are those of the start values of all parameters")
    if isinstance(profiles, PyhfProfiles):
        lines += profiles.fitter.notes
    if best is None:
        return Inference(model.poi, cl, limit, points, None, None, None, why, tuple(lines))
    significance = math.sqrt(max(background.objective - best.objective, 0.0))
    p_value = float(stats.norm.sf(significance))
    return Inference(model.poi, cl, limit, points, best.values[model.poi], p_value, significance, why, tuple(lines))


def _notes_on_measurement(workspace: Workspace) -> list[str]:
    """Note which of several measurements was taken, whether data are Asimov data, and settings that pyhf ignores."""
    notes, names = [], [measurement["name"] for measurement in workspace.spec["measurements"]]
    if len(names) > 1:
        notes.append(f"measurement '{workspace.measurement}' was taken, of {', '.join(names)}")
    if workspace.measurement.startswith(ASIMOV):
        notes.append(f"observed limits are not from data: the data of the workspace are {workspace.measurement}")
    known = workspace.model.config.parameters
    for name in (parameter["name"] for parameter in workspace.parameters):
        if name not in known and name != "lumi":  # which workspaces made of XML always have
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            notes.append(f"measurement '{workspace.measurement}' sets '{name}', which the model does not have{hint}")
    return notes


def _limits_reached(fits: Mapping[str, Fit | None], poi: str) -> list[str]:
    """Note which parameters ended at a bound, where the fit does not respect their full constraint."""
    reached: dict[tuple[str, ...], list[str]] = {}
    for which, fit in fits.items():
        if fit is not None and (names := tuple(name for name in fit.at_limit if name != poi)):
            reached.setdefault(names, []).append(which)
    return [
        f"in the fit {' and in that '.join(which)} at a limit of its range: {', '.join(names)}"
        for names, which in reached.items()
    ]
