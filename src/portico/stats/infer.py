"""Inference on the signal strength of a model: limits, CLs of given strengths, and the best fit, in one call."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats

from portico.errors import ConfigError, FitError, InputError
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at
from portico.stats.counting import Count, counting_cls, counting_limit
from portico.stats.few import ASYMPTOTIC_FROM, effective_events
from portico.stats.fit import Fit
from portico.stats.histfactory import ASIMOV
from portico.stats.limit import BANDS, QUANTILES, CLs, Limit
from portico.stats.model import Model
from portico.stats.model_file import AnyModel
from portico.stats.roofit.model import RooFitModel
from portico.stats.roofit.profiles import RooFitProfiles
from portico.stats.toy_limits import cls_of
from portico.stats.toys import with_expectation
from portico.stats.workspace import Workspace, using
from portico.stats.workspace_profiles import PyhfProfiles
from portico.workflow.chunk_loop import Reporter

__all__ = ["Inference", "Toys", "deciding_events", "infer"]

AnyProfiles = ModelProfiles | PyhfProfiles | RooFitProfiles

_NONE: Final = 1e-6  # events
_EXACT_BINS, _EXACT_EVENTS = 4, 500.0  # up to which the exact construction takes less than a second
_TOYS: Final = "use toys (--toys 1000)"
_WEIGHTS: Final = 100  # the largest of a bin in the exact construction


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
        """Return the JSON form, see `portico.stats.limit`; ``quantiles`` are those of the expected values."""
        return {
            "poi": self.poi, "cl": self.cl, "method": self.limit.method, "why": self.why,
            "limit": self.limit.to_json(), "quantiles": list(QUANTILES),
            "cls": [cls.to_json() for cls in self.points],
            "best": self.best, "p_value": self.p_value, "significance": self.significance, "notes": list(self.notes),
        }  # fmt: skip


def infer(
    model: AnyModel,
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
    model : Model, Workspace or RooFitModel
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
        Throw toys instead of using the asymptotic formulae. Their fits use numpy for workspaces, iminuit for a `Model`,
        Minuit for a `RooFitModel`.

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
    with using(backend) if backend == "jax" and isinstance(model, Workspace) else nullcontext():
        profiles = profiles_of(model, backend=backend, blind=blind)
        limit = _named(model, profiles, cl)
        points = tuple(cls_at(profiles, mu) for mu in mus)
        fewest, where = deciding_events(profiles, limit.median)
    few = f"about {fewest:.3g} effective background events, mostly in channel '{where}'"
    if toys is not None:
        limit, points = _with_toys(model, cl, mus, blind, toys)
        why = f"{toys.number:,} of each hypothesis and strength; {few}"
        return _inference(model, cl, limit, points, profiles, why, [])
    if fewest >= ASYMPTOTIC_FROM:
        why = f"about {fewest:.3g} effective background events"
        return _inference(model, cl, limit, points, profiles, why, [])
    if counts := _exact_counts(profiles):
        note = f"asymptotic formulae would give {_both(limit)}"
        limit, points = _exactly(counts, cl, mus)
        return _inference(model, cl, limit, points, profiles, f"exact probabilities, for {few}", [note])
    if fewest < _NONE:
        words = f"channel '{where}' expects no background where signal is: asymptotic formulae have no meaning there"
        raise InputError(f"{words}; {_TOYS}")
    note = f"{few}: below {ASYMPTOTIC_FROM:g} asymptotic limits are too low; {_TOYS}"
    return _inference(model, cl, limit, points, profiles, "toys were not asked for", [note])


def _named(model: AnyModel, profiles: AnyProfiles, cl: float) -> Limit:
    """Return the asymptotic limit; where there is none, name the parameters that change events as the strength does."""
    try:
        return asymptotic_limit(profiles, cl=cl)
    except FitError as error:
        like = [group for group in _degenerate(profiles) if model.poi in group]
        if not like:
            raise
        raise FitError(f"{error}; {_alike(like[0])}") from None


def _both(limit: Limit) -> str:
    observed = "" if limit.observed is None else f"{limit.observed:.4g} observed and "
    return f"{observed}{limit.median:.4g} expected"


def _exact_counts(profiles: AnyProfiles) -> list[Count]:
    """Return the bins as counts if nothing but the strength is free and probabilities are quick; nothing otherwise."""
    if not isinstance(profiles, PyhfProfiles) or not profiles.fitter.only_poi:
        return []
    events, data = profiles.events(), profiles.data if profiles.observed else None
    signal, background = (np.concatenate([of[i] for of in events.values()]) for i in (0, 1))
    seen: list[Any] = [None] * len(signal) if data is None else data[: len(signal)].tolist()
    if len(signal) > _EXACT_BINS or float(background.sum()) > _EXACT_EVENTS:
        return []
    if np.any(signal < 0) or any(n is not None and n != round(n) for n in seen):
        return []
    return [
        Count(f"bin {i + 1}", float(b), 0.0, float(s), 0.0, None if n is None else round(n))
        for i, (s, b, n) in enumerate(zip(signal, background, seen, strict=True))
    ]


def _exactly(counts: Sequence[Count], cl: float, mus: Sequence[float]) -> tuple[Limit, tuple[CLs, ...]]:
    limit = counting_limit(counts, cl=cl, weights=_WEIGHTS)
    return limit, tuple(counting_cls(counts, mu, weights=_WEIGHTS) for mu in mus)


def _with_toys(
    model: AnyModel, cl: float, mus: Sequence[float], blind: bool, toys: Toys
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
        raise ConfigError(f"confidence level {cl:g}: it must lie between 0 and 1, for example 0.95")
    for mu in mus:
        if not (math.isfinite(mu) and mu > 0):
            raise ConfigError(f"mu = {mu:g}: CLs needs a finite strength above 0")


def profiles_of(model: AnyModel, *, backend: str = "numpy", blind: bool = False) -> AnyProfiles:
    """Return the profile likelihoods of a model of either kind.

    A `Model` without data takes the expectation at the start values as data, and has no observed results.

    Raises
    ------
    FitError
        If the fits to the data do not converge.
    """
    if isinstance(model, Workspace):
        return PyhfProfiles(model, backend=backend, blind=blind)
    if isinstance(model, RooFitModel):
        return RooFitProfiles(model, blind=blind)
    profiles = ModelProfiles(with_expectation(model))
    if blind or not model.observed:
        profiles.best = None
    return profiles


def deciding_events(profiles: AnyProfiles, mu: float) -> tuple[float, str]:
    """Return the number of effective background events of a limit, and the channel that this depends on most.

    See `portico.stats.few`; the hypotheses are the Asimov data, and the fit to them with a strength.
    """
    if isinstance(profiles, PyhfProfiles):
        without, with_signal = profiles.hypotheses(mu)
        names = [name for name, part in profiles.events().items() for _ in part[0]]
    else:
        found = profiles.hypotheses(mu)
        without, with_signal = (np.concatenate([of[i] for of in found.values()]) for i in (0, 1))
        names = [name for name, of in found.items() for _ in of[0]]
    number, at = effective_events(without, with_signal)
    return number, names[at] if at < len(names) else "auxiliary measurements"


def _inference(
    model: AnyModel, cl: float, limit: Limit, points: tuple[CLs, ...],
    profiles: AnyProfiles, why: str, notes: Sequence[str],
) -> Inference:  # fmt: skip
    best, background = profiles.best, profiles.background
    lines = [*notes, *limit.notes, *_rising(points), *(_alike(group) for group in _degenerate(profiles))]
    lines += [*_limits_reached({"without signal": background, "of the best fit": best}, model.poi)]
    if isinstance(model, RooFitModel):
        lines += model.notes
    if isinstance(model, Workspace):
        lines += [*model.notes, *_notes_on_measurement(model)]
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


def _rising(points: Sequence[CLs]) -> list[str]:
    """Note where CLs rises with the strength, by more than the precision of fits or toys."""
    ordered = sorted(points, key=lambda cls: cls.mu)
    found = []
    for cls, more in pairwise(ordered):
        pairs = [("CLs", cls.observed, more.observed, more.uncertainty or 0.0)]
        median = BANDS.index(0)
        error = more.expected_uncertainties[median] if more.expected_uncertainties else 0.0
        pairs.append(("expected CLs", cls.expected[median], more.expected[median], error))
        for name, lower, higher, error in pairs:
            if lower is not None and higher is not None and higher > lower * 1.01 + 1e-4 + 3 * error:
                found.append(
                    f"{name} rises from {lower:.4g} at {cls.mu:g} to {higher:.4g} at {more.mu:g}: the likelihood has "
                    "several minima"
                )
    return found


def _degenerate(profiles: AnyProfiles) -> list[list[str]]:
    """Return groups of parameters that change the expected events in one way only; of all but models of Portico."""
    if isinstance(profiles, RooFitProfiles):
        return profiles.degenerate()
    if not isinstance(profiles, PyhfProfiles):
        return []
    return profiles.fitter.degenerate(profiles.background.values)


def _alike(group: Sequence[str]) -> str:
    return (
        f"{', '.join(group[:-1])} and {group[-1]} are degenerate: a change of one is undone by the others, so that "
        "only their bounds tell them apart; fix all but one of them"
    )


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
