"""Figures of a fit of any model: each channel before and after the fit, and pulls with impacts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from portico.plot.bins import Array
from portico.plot.fits import figure_of_fit
from portico.plot.impacts import figure_of_impacts
from portico.plot.panels import Panel
from portico.stats.impacts import Impact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from portico.stats.fitted import Fitted, FittedChannel

__all__ = ["figures_of_fitted"]

_MOST: Final = 6  # samples of a channel that have a colour of their own


def figures_of_fitted(fitted: Fitted) -> dict[str, Figure]:
    """Return figures by the names of files without their ends.

    ``prefit_CHANNEL`` and ``postfit_CHANNEL`` show data over the stacked samples, with the uncertainty of their sum,
    and the ratio below; ``impacts`` the pulls of constrained parameters, with impacts if the fit has them.

    Parameters
    ----------
    fitted : Fitted
    """
    found = {}
    for channel in fitted.channels:
        name = re.sub(r"[^\w.-]", "_", channel.name)
        for when, after in (("prefit", False), ("postfit", True)):
            panel = _panel(channel, after=after)
            label = channel.label or ("bin" if np.array_equal(channel.edges, np.arange(len(channel.edges))) else "x")
            found[f"{when}_{name}"] = figure_of_fit(panel, xlabel=label)
    pulled = [of for of in fitted.parameters if np.isfinite(of.pull) and np.isfinite(of.constraint) and not of.fixed]
    rows = list(fitted.impacts) or [Impact(of.name, of.pull, of.constraint, 0.0, 0.0) for of in pulled]
    if rows:
        value = fitted.parameters[0]
        best = f"{fitted.poi} = {value.value:.3g}" + (f" ± {value.error:.2g}" if np.isfinite(value.error) else "")
        found["impacts" if fitted.impacts else "pulls"] = figure_of_impacts(
            rows, poi_label=fitted.poi, most=30, title=best, pulls_only=not fitted.impacts
        )
    return found


def _panel(channel: FittedChannel, *, after: bool) -> Panel:
    events = channel.after if after else channel.before
    background = {name: bins for name, bins in events.items() if name not in channel.signals}
    ranked = sorted(background, key=lambda name: float(background[name].sum()))
    others = ranked[: -_MOST + 1] if len(ranked) > _MOST else []
    parts: dict[str, Array] = {}
    if others:
        parts[f"{len(others)} others"] = np.sum([background[name] for name in others], axis=0)
    parts |= {name: background[name] for name in ranked[len(others) :]}
    signal = " + ".join(channel.signals)
    if signal:
        parts[signal] = np.sum([events[name] for name in channel.signals], axis=0)
    return Panel(
        channel.edges, channel.observed, parts, channel.name, channel.blind,
        notes=("after the fit" if after else "before the fit",),
        band=channel.after_errors if after else channel.before_errors, ratio=True, highlight=signal,
    )  # fmt: skip
