"""Panels of fits: data, the expected events of each component, and curves through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from portico.analysis.blinding import open_bins
from portico.plot.bins import Array

if TYPE_CHECKING:
    from portico.stats.fit import Fit, Fitter
    from portico.stats.model import Channel

__all__ = ["Panel", "equal_widths", "panels_of", "poisson_interval"]

_LEVEL: Final = 0.15865525393145707  # of a standard normal distribution, beyond one standard deviation


@dataclass(frozen=True, slots=True)
class Panel:
    """A fit in one channel as it is drawn.

    Attributes
    ----------
    edges : array of shape (n + 1,)
        Of the bins of the data, in units of x.
    counts : array of shape (n,), optional
        Observed events; none before there are data.
    components : mapping of str to array of shape (n,)
        Expected events in the same bins. The first lies at the bottom.
    title : str
        Above the axes.
    blind : sequence of (float, float)
        Intervals of x: data of the bins that touch one are not drawn.
    signal : (str, array), optional
        A label, which says the strength, and events: in the bins, or at the points of `curve`. Drawn as a line from 0,
        part of no sum.
    notes : sequence of str
        Lines of text.
    curve : (array of shape (m,), mapping of str to array of shape (m,)), optional
        Points of x, and by component the events per width of a bin of the data there: drawn instead of steps. The bins
        are then of equal width.
    band : array, optional
        Uncertainty of the total, of the shape of the curve or else of the bins.
    stacked : bool
        Components on top of one another; otherwise each is a line from 0.
    ratio : bool
        Data over the total below, with the band, instead of pulls; of bins, not of a curve.
    highlight : str
        A component in the colour of signals.
    """

    edges: Array
    counts: Array | None
    components: Mapping[str, Array]
    title: str = ""
    blind: Sequence[tuple[float, float]] = ()
    signal: tuple[str, Array] | None = None
    notes: Sequence[str] = ()
    curve: tuple[Array, Mapping[str, Array]] | None = None
    band: Array | None = None
    stacked: bool = True
    ratio: bool = False
    highlight: str = ""

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Whether each bin may be shown: none of a blinded interval is in it."""
        return open_bins(self.edges, self.blind)

    @property
    def total(self) -> Array:
        """Expected events of all components, of shape (n,)."""
        return np.asarray(np.sum([np.zeros(len(self.edges) - 1), *self.components.values()], axis=0))

    @property
    def drawn(self) -> tuple[Array, Mapping[str, Array]]:
        """Points and components as they are drawn: the curve, or else the bins."""
        return self.curve if self.curve is not None else ((self.edges[1:] + self.edges[:-1]) / 2, self.components)

    def check(self) -> None:
        """Raise ValueError if shapes do not agree, or a curve is given for bins of different widths."""
        bins = len(self.edges) - 1
        if bins < 1 or not (np.diff(self.edges) > 0).all():
            raise ValueError("bin edges do not rise; give at least two, the lowest first")
        points = bins if self.curve is None else len(self.curve[0])
        given = [("data", self.counts, bins), ("band", self.band, points)]
        given += [(f"component '{name}'", values, bins) for name, values in self.components.items()]
        if self.signal is not None:
            given.append(("signal", self.signal[1], points))
        if self.curve is not None:
            if not equal_widths(self.edges):
                raise ValueError("a curve is drawn over bins of equal width; leave it out to draw steps")
            given += [(f"curve of '{name}'", values, points) for name, values in self.curve[1].items()]
        for name, values, size in given:
            if values is not None and np.shape(values) != (size,):
                raise ValueError(f"{name}: an array of shape ({size},) is needed, not {np.shape(values)}")


def panels_of(
    fitter: Fitter, fit: Fit, *, strength: float | None = None, label: str | None = None, most: int = 40, fine: int = 8
) -> list[Panel]:
    """Return a panel for each channel of the model of a fit.

    Parameters
    ----------
    fitter : Fitter
        Of the model and its data.
    fit : Fit
        Its result.
    strength : float, optional
        Of the parameter of interest: draw the components that it multiplies once more with this strength, as the
        signal.
    label : str, optional
        Of the signal.
    most : int
        Bins of the data that are drawn: of more, as many neighbours are joined as divide their number evenly.
    fine : int
        Points of the curve in a bin. Channels with templates, or with bins of different widths, are drawn in steps.
    """
    model, likelihood = fitter.model, fitter.likelihood(fit.choice)
    channels = model.channels
    bins = [np.array(channel.edges) for channel in channels]
    joined = [_neighbours(len(edges) - 1, most) for edges in bins]
    smooth = [
        equal_widths(edges) and not any(shape.kind == "template" for k in channel.components for shape in k.shapes)
        for channel, edges in zip(channels, bins, strict=True)
    ]
    ends = [np.linspace(e[0], e[-1], fine * (len(e) - 1) + 1) if ok else e for e, ok in zip(bins, smooth, strict=True)]
    inside, drawn = likelihood.expected(fit.values), likelihood.expected(fit.values, ends)
    signals = likelihood.expected({**fit.values, model.poi: 0.0 if strength is None else strength}, ends)
    named = label or f"signal, {model.poi} = {strength or 0.0:.3g}"
    panels = []
    for i, channel in enumerate(channels):
        by = joined[i]
        scale = by * fine if smooth[i] else 1
        of_signal = [signals[i][k.name] for k in channel.components if k.strength == model.poi]
        signal = np.sum(of_signal, axis=0) if smooth[i] or not of_signal else _join(np.sum(of_signal, axis=0), by)
        curve = ((ends[i][1:] + ends[i][:-1]) / 2, {name: scale * y for name, y in drawn[i].items()})
        panel = Panel(
            edges=bins[i][::by],
            counts=_counts(channel, bins[i][::by]),
            components={name: _join(y, by) for name, y in inside[i].items()},
            title=channel.name,
            blind=channel.blind,
            signal=(named, scale * signal) if of_signal and strength is not None else None,
            curve=curve if smooth[i] else None,
        )
        panels.append(panel)
    return panels


def _neighbours(bins: int, most: int) -> int:
    """Return how many neighbours are joined; 1 where that would leave too few bins."""
    by = next(k for k in range(1, bins + 1) if bins % k == 0 and bins <= k * most)
    return by if 4 * bins >= by * most else 1


def _join(values: Array, by: int) -> Array:
    return np.asarray(values.reshape(-1, by).sum(axis=1))


def _counts(channel: Channel, edges: Array) -> Array | None:
    if channel.values is not None:
        return np.histogram(np.array(channel.values), edges)[0].astype(np.float64)
    if channel.counts is None:
        return None
    return _join(np.array(channel.counts, np.float64), len(channel.counts) // (len(edges) - 1))


def poisson_interval(counts: Array) -> tuple[Array, Array]:
    """Return the central 68.3% interval of a Poisson mean (F. Garwood, Biometrika 28 (1936) 437).

    Parameters
    ----------
    counts : array
        Not negative; not whole numbers are allowed.

    Returns
    -------
    low, high : array
        Of the same shape; `low` is 0 for 0 events.
    """
    from scipy import stats

    n = np.asarray(counts, np.float64)
    low = np.where(n > 0, stats.gamma.ppf(_LEVEL, np.maximum(n, 1e-12)), 0.0)
    return low, np.asarray(stats.gamma.isf(_LEVEL, n + 1.0))


def equal_widths(edges: Array) -> bool:
    """Return whether all bins have one width."""
    widths = np.diff(edges)
    return bool(np.allclose(widths, widths[0], rtol=1e-6))
