"""The picture of a step's scaling: its time, and its efficiency, over the number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from portico.plot.bins import Array
from portico.plot.style import COLORS, new_figure, settle, styled, to_label
from portico.scaling.law import Interval
from portico.scaling.result import Prediction, Row, Scaling, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure_of_scaling"]

_BEYOND: Final = 4.0
_POINTS: Final = 40


def figure_of_scaling(of: Scaling, predictions: Sequence[Prediction] = ()) -> Figure:
    """Draw measured times with the law fitted to them on the left, and the efficiency of the whole input on the right.

    Parameters
    ----------
    of : Scaling
        The measurements.
    predictions : sequence of Prediction
        Drawn on the left.
    """
    with styled():
        figure = new_figure(11.0, 4.9)
        left, right = figure.subplots(1, 2)
        most = max(row.workers for row in of.rows)
        numbers = np.geomspace(1, max(_BEYOND * most, *(p.busy for p in predictions), 2), _POINTS)
        _draw_times(left, of, predictions, numbers)
        _draw_efficiency(right, of, np.geomspace(1, _BEYOND * most, _POINTS))
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
            axes.set_xlabel("workers")
        left.set_title(to_label(f"{of.record.analysis}: {of.record.step}, on {of.record.on}"))
        return settle(figure)


def _draw_times(axes: Axes, of: Scaling, predictions: Sequence[Prediction], numbers: Array) -> None:
    sizes: dict[float, list[Row]] = {}
    for row in of.rows:
        sizes.setdefault(float(getattr(row, of.unit)), []).append(row)
    for color, (volume, rows) in zip(COLORS * len(sizes), sizes.items(), strict=False):
        _band(axes, numbers, [of.law.predict(n, volume) for n in numbers], color)
        _points(axes, rows, [(row.seconds, min(row.times), max(row.times)) for row in rows], color,
                str(Volume(volume, of.unit)))  # fmt: skip
    for color, p in zip(COLORS[len(sizes) :] + COLORS, predictions, strict=False):
        error = [[p.seconds.value - p.seconds.low], [p.seconds.high - p.seconds.value]]
        axes.errorbar([p.busy], [p.seconds.value], yerr=error, fmt="s", color=color, markerfacecolor="white",
                      label=f"{Volume(p.volume, of.unit)}, predicted")  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylabel("time (s)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.3)
    axes.legend(title="input, with the law fitted", title_fontsize=11.5)


def _draw_efficiency(axes: Axes, of: Scaling, numbers: Array) -> None:
    whole = max(row.chunks for row in of.rows)
    rows = [row for row in of.rows if row.chunks == whole]
    volume = float(getattr(rows[0], of.unit))
    one = of.law.seconds(1, volume)
    _band(axes, numbers, [_efficiency(n, one, of.law.predict(n, volume)) for n in numbers], COLORS[0], "law")
    alone = [one / row.workers for row in rows]
    measured = [(a / r.seconds, a / max(r.times), a / min(r.times)) for a, r in zip(alone, rows, strict=True)]
    _points(axes, rows, measured, "black", "measured")
    axes.axhline(1.0, color="#717581", linewidth=1.0, linestyle="--")
    top = max(1.0, *(high for _, _, high in measured))
    axes.set(ylim=(0, 1.3 * top), ylabel="speed-up / workers")
    fraction = of.law.serial_fraction
    axes.legend(title=f"serial part: {100 * fraction.low:.2g}% to {100 * fraction.high:.2g}%", title_fontsize=11.5)


def _efficiency(workers: float, one: float, time: Interval) -> Interval:
    return Interval(one / workers / time.value, one / workers / time.high, one / workers / max(time.low, 1e-12))


def _band(axes: Axes, numbers: Array, intervals: Sequence[Interval], color: str, label: str | None = None) -> None:
    axes.plot(numbers, [i.value for i in intervals], color=color, label=label)
    axes.fill_between(numbers, [i.low for i in intervals], [i.high for i in intervals], color=color, alpha=0.2,
                      linewidth=0)  # fmt: skip


def _points(
    axes: Axes, rows: Sequence[Row], measured: Sequence[tuple[float, float, float]], color: str, label: str
) -> None:
    """Draw values with their lowest and highest."""
    values, low, high = (np.array(column) for column in zip(*measured, strict=True))
    style: dict[str, Any] = {"fmt": "o", "color": color, "label": label}
    axes.errorbar([row.workers for row in rows], values, yerr=[values - low, high - values], **style)
