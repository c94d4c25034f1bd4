"""Families of backgrounds, and the number of terms of each, chosen by F-tests.

Within a family the order rises while twice the gain of log L by the next order is improbable without need for it: p
below 0.05 for chi2 with as many degrees of freedom as there are new parameters (S. S. Wilks, Ann. Math. Stat. 9 (1938)
60), as CMS does for H -> gamma gamma (Eur. Phys. J. C 74 (2014) 3076, arXiv:1407.0558). Of sums of exponentials or
powers the true distribution of the gain is narrower, since a fraction of 0 is a bound: the test asks for terms a
little too rarely. Which family is right is left to the fit, where those chosen here compete.

Where events are few the test cannot see what a polynomial lacks: of 100 events a straight line is taken for an
exponential, and signals are found up to 0.13 standard deviations too small. So the first degree that the test refuses
competes as well; its penalty keeps it back until the data, or a signal, ask for it. That halves the bias
(`bench/bias.py`). A refused order of a sum of exponentials or powers is none to fit: where the fraction of a term is 0
its slope can be anything.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from portico.errors import ConfigError, FitError, nearest
from portico.stats.fit import Fit, Fitter
from portico.stats.model import Channel, Component, Model, observation
from portico.stats.shapes import Bernstein, Exponentials, Parameter, PowerLaws, Shape

__all__ = ["KINDS", "Families", "Tried", "choose_families"]

#: Families, and the orders that are tried of each.
KINDS: Final[Mapping[str, tuple[int, int]]] = {"exponentials": (1, 3), "power_laws": (1, 3), "bernstein": (0, 5)}

_SHAPES: Final[Mapping[str, type[Any]]] = {
    "exponentials": Exponentials, "power_laws": PowerLaws, "bernstein": Bernstein,
}  # fmt: skip
_FEW: Final = 10  # events, below which orders stay the lowest
_SPARE: Final = 2  # events more than parameters
_LITTLE: Final = 0.1  # fraction of a new term
_APART: Final = 3.0  # slope of a new term from the others


@dataclass(frozen=True, slots=True)
class Tried:
    """One order of one family.

    Attributes
    ----------
    kind : str
    order : int
    nll : float
        -log L at the minimum, relative to the saturated model; nan where the fit failed.
    gain : float
        Twice the gain of log L over the order before; nan of the first.
    p : float
        Probability of so large a gain without need for the order; nan of the first.
    kept : bool
        Whether it is among those chosen.
    note : str
        Why it was not tried, or what went wrong.
    """

    kind: str
    order: int
    nll: float = math.nan
    gain: float = math.nan
    p: float = math.nan
    kept: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Families:
    """The families that compete in the fit of a channel.

    Attributes
    ----------
    shapes : tuple of Shape
        With the parameters of their fits as start values; the best after penalty is the first.
    tried : tuple of Tried
        All that was tried.
    """

    shapes: tuple[Shape, ...]
    tried: tuple[Tried, ...]


def choose_families(
    edges: Sequence[float] | npt.NDArray[np.float64],
    counts: Sequence[float] | npt.NDArray[np.float64],
    *,
    kinds: Sequence[str] = tuple(KINDS),
    max_order: Mapping[str, int] | None = None,
    p: float = 0.05,
    further: Collection[str] = ("bernstein",),
    blind: Sequence[tuple[float, float]] = (),
    penalty: float = 1.0,
) -> Families:
    """Choose the order of each family by likelihood-ratio tests on counts.

    With fewer than 10 events in bins that are looked at orders stay the lowest, with fewer than 3 (a slope would have
    no meaning) or none at all the only shape is flat: Bernstein of order 0, whatever the kinds.

    Parameters
    ----------
    edges : array of shape (bins + 1,)
    counts : array of shape (bins,)
    kinds : sequence of str
        Among ``exponentials``, ``power_laws`` (for windows above 0; elsewhere they are noted as impossible),
        ``bernstein``.
    max_order : mapping of str to int, optional
        Other highest orders than those of `KINDS`.
    p : float
        An order is taken if its gain has a smaller probability.
    further : collection of str
        Kinds of which the first order that is refused competes too.
    blind : sequence of (float, float)
        Intervals that are not looked at.
    penalty : float
        Of -2 log L for each parameter; only orders the result.

    Raises
    ------
    ConfigError
        For an unknown kind, an impossible order or p.
    ValueError
        If the counts do not fit the edges, are negative or not finite, or all bins are blinded.
    FitError
        If no fit of any family converges.
    """
    orders = _orders(kinds, max_order or {}, further, p)
    channel = _channel(Bernstein(low=edges[0], high=edges[-1], order=0), edges, counts, blind)
    seen = observation(_model(channel)).channels[0].weights  # 0 where blinded, so that start values know nothing either
    channel, events = channel.model_copy(update={"counts": tuple(map(float, seen))}), float(seen.sum())
    if events < 1 + _SPARE:
        note = f"{events:g} events: too few for anything but a flat shape"
        return Families(channel.components[0].shapes, (Tried("bernstein", 0, kept=True, note=note),))
    found: list[tuple[float, Shape]] = []
    tried: list[Tried] = []
    for kind, (lowest, highest) in orders.items():
        taken, rows = _rise(kind, range(lowest, highest + 1), channel, events, p, kind in further)
        tried += rows
        found += [(2 * fit.nll + penalty * len(shape.parameters), shape) for shape, fit in taken]
    if not found:
        notes = "; ".join(f"{row.kind} of order {row.order}: {row.note}" for row in tried if row.note)
        raise FitError(f"no family of backgrounds can be fitted to {events:g} events: {notes}")
    return Families(tuple(shape for _, shape in sorted(found, key=lambda pair: pair[0])), tuple(tried))


def _orders(
    kinds: Sequence[str], max_order: Mapping[str, int], further: Collection[str], p: float
) -> dict[str, tuple[int, int]]:
    for kind in [*kinds, *max_order, *further]:
        if kind not in KINDS:
            raise ConfigError(f"'{kind}' is not a family of backgrounds; {nearest(kind, KINDS)}")
    if not kinds:
        raise ConfigError(f"no family of backgrounds is given; valid: {', '.join(KINDS)}")
    if not 0 < p < 1:
        raise ConfigError(f"p = {p!r} of the choice between orders; it must lie between 0 and 1")
    orders = {}
    for kind in dict.fromkeys(kinds):
        lowest, highest = KINDS[kind]
        highest = max_order.get(kind, highest)
        most = 8 if kind == "bernstein" else 4
        if not lowest <= highest <= most:
            raise ConfigError(f"highest order {highest} of {kind}; it must lie between {lowest} and {most}")
        orders[kind] = (lowest, highest)
    return orders


def _rise(
    kind: str, orders: range, channel: Channel, events: float, p: float, further: bool
) -> tuple[list[tuple[Shape, Fit]], list[Tried]]:
    """Raise the order of one family while the gain is significant; a failed fit is noted and skipped."""
    best: tuple[Shape, Fit] | None = None
    refused: tuple[Shape, Fit] | None = None
    rows: list[Tried] = []
    kept = -1
    for order in orders:
        try:
            shape = _SHAPES[kind](low=channel.edges[0], high=channel.edges[-1], order=order)
            if order > orders[0] and (events < _FEW or events < len(shape.parameters) + _SPARE):
                rows.append(Tried(kind, order, note=f"{events:g} events are too few"))
                break
            found, fit = _best_fit(shape, None if best is None else best[0], channel)
        except (FitError, ValueError) as error:
            rows.append(Tried(kind, order, note=_reason(error)))
            continue
        gain = probability = math.nan
        if best is not None:
            new = len(found.parameters) - len(best[0].parameters)
            gain = 2 * (best[1].nll - fit.nll)
            probability = float(stats.chi2.sf(max(gain, 0.0), new))
        note = f"at a limit: {', '.join(name.rpartition('_')[2] for name in fit.at_limit)}" if fit.at_limit else ""
        rows.append(Tried(kind, order, fit.nll, gain, probability, note=note))
        if best is not None and probability >= p:
            refused = found, fit
            break
        best, kept = (found, fit), len(rows) - 1
    if best is None:
        return [], rows
    more = ["more terms might be needed"] if rows[kept].order == orders[-1] and rows[kept].p < p else []
    rows[kept] = replace(rows[kept], kept=True, note="; ".join(filter(None, [rows[kept].note, *more])))
    if refused is None or not further:
        return [best], rows
    rows[-1] = replace(rows[-1], kept=True)
    return [best, refused], rows


def _best_fit(shape: Shape, before: Shape | None, channel: Channel) -> tuple[Shape, Fit]:
    """Fit a shape from several starts; those made of the order before are at least as good as that one."""
    best: tuple[Shape, Fit] | None = None
    failure: FitError | None = None
    for starts in ([parameter.start for parameter in shape.parameters], *_raised(before, shape)):
        trial = shape.model_copy(update={"starts": tuple(starts)})
        part = channel.components[0].model_copy(update={"shapes": (trial,)})
        model = _model(channel.model_copy(update={"components": (part,)}))
        try:
            fit = Fitter(model, observation(model)).fit()
        except FitError as error:
            failure = error
            continue
        if best is None or fit.nll < best[1].nll:
            values = list(fit.values.values())[1:]
            best = shape.model_copy(update={"starts": tuple(values)}), fit
    if best is None:
        raise failure or FitError("no fit converges")
    return best


def _raised(before: Shape | None, shape: Shape) -> Iterator[list[float]]:
    """Start values of a shape that is one order above another, equal or close to it."""
    if before is None or getattr(before, "order", 0) + 1 != getattr(shape, "order", 0):
        return
    values = [parameter.start for parameter in before.parameters]
    if isinstance(before, Bernstein):  # the same polynomial in the basis of the next degree
        n = before.order + 1
        c, i = before.coefficients(np.array(values)), np.arange(n + 1)
        raised = np.append(0.0, c) * i / n + np.append(c, 0.0) * (1 - i / n)
        logarithms = np.log(raised)
        yield list(logarithms[1:] - logarithms[0])
    elif isinstance(before, Exponentials | PowerLaws):
        slopes, fractions = values[: before.order], values[before.order :]
        for apart in (-_APART, _APART):
            yield [*slopes, slopes[-1] + apart, *fractions, 1 - _LITTLE]


def _channel(shape: Shape, edges: Any, counts: Any, blind: Sequence[tuple[float, float]]) -> Channel:
    background = Component(name="background", shapes=(shape,), events=1.0, strength="events", floating=True)
    return Channel(
        name="channel", edges=tuple(map(float, edges)), counts=tuple(map(float, counts)), blind=tuple(blind),
        components=(background,),
    )  # fmt: skip


def _model(channel: Channel) -> Model:
    total = max(float(sum(channel.counts or ())), 1.0)
    events = Parameter(name="events", start=total, low=0.0, high=100 * total + 100, step=math.sqrt(total))
    return Model(channels=(channel,), parameters=(events,), poi="events")


def _reason(error: Exception) -> str:
    errors = getattr(error, "errors", None)  # of pydantic: without its frame
    text = errors()[0]["msg"] if callable(errors) else str(error)
    return str(text).removeprefix("Value error, ")
