"""Fits to the distribution of one variable: data, the expected events of each component, and pulls below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from portico.plot.bins import UNIT, Array, shade
from portico.plot.panels import Panel, equal_widths, poisson_interval
from portico.plot.plane import runs_of
from portico.plot.style import COLORS, HATCHED, new_figure, settle, styled, to_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["figure_of_fit", "figure_of_fits"]

_LEAST: Final = 4.0  # expected events of a pull: below, neighbouring bins are joined
_PULLS: Final = (3.5, 6.5)  # the least and the most that the axis of pulls shows
_RATIO: Final = 1.0  # the most that the axis of ratios shows from 1
_SIGNAL: Final = "#bd1f01"
_FILLS: Final = ("#92dadd", "#ffa90e", "#b9ac70", "#94a4a2", "#832db6", "#a96b59")


def figure_of_fit(panel: Panel, *, xlabel: str, ylabel: str | None = None) -> Figure:
    """Draw data with their expectation, and pulls below.

    Data have the central 68% interval of a Poisson mean (`poisson_interval`); empty bins are left empty. A pull is
    (n - nu)/sqrt(nu); bins are joined with their neighbours until they have 4 expected events, and where that is not
    reached there is no pull, only a mark where far more events are seen than expected.

    Parameters
    ----------
    panel : Panel
    xlabel : str
        With the unit in brackets at its end, for example ``m (GeV)``.
    ylabel : str, optional
        "events" over the width of a bin by default.

    Raises
    ------
    ValueError
        If shapes do not agree, or a curve is given for bins of different widths.
    """
    panel.check()
    with styled():
        figure = new_figure(7.0, 6.2)
        top, _ = _draw(figure, panel, xlabel, ylabel, _colors([panel]))
        entries = _entries(top)
        columns = 2 if len(entries) > 3 else 1
        top.legend(entries.values(), entries.keys(), loc="upper left", ncols=columns, fontsize=10.5)
        _headroom(top, panel, max(-(-len(entries) // columns), len(_notes(panel))))
        return settle(figure)


def figure_of_fits(panels: Sequence[Panel], *, xlabel: str, ylabel: str | None = None, columns: int = 3) -> Figure:
    """Draw fits in several channels in one figure, with one legend above them.

    Parameters
    ----------
    panels : sequence of Panel
        Row by row.
    xlabel, ylabel : str
        As of `figure_of_fit`.
    columns : int
        How many lie in a row.

    Raises
    ------
    ValueError
        If there are none, shapes do not agree, or a curve is given for bins of different widths.
    """
    if not panels:
        raise ValueError("there is no fit to draw; give at least one panel")
    for panel in panels:
        panel.check()
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with styled():
        figure = new_figure(4.6 * columns, 4.3 * rows + 0.5)
        parts = figure.subfigures(rows, columns, squeeze=False).ravel()
        named: dict[str, Any] = {}
        for part, panel in zip(parts, panels, strict=False):
            top, _ = _draw(part, panel, xlabel, ylabel, _colors(panels), small=True)
            named = {**named, **_entries(top)}
            _headroom(top, panel, len(_notes(panel)) + 1, height=2.4)
        named = _data_first(named)
        figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=min(len(named), 2 * columns))
        return settle(figure)


def _entries(axes: Axes) -> dict[str, Any]:
    """Artists by their label in the legend, data first."""
    handles, labels = axes.get_legend_handles_labels()
    return _data_first(dict(zip(labels, handles, strict=True)))


def _data_first(named: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(named.items(), key=lambda pair: pair[0] != "data"))


def _colors(panels: Sequence[Panel]) -> dict[str, str]:
    """Return a colour for each component, the same in all panels."""
    names = dict.fromkeys(name for panel in panels for name in panel.drawn[1])
    marked = {panel.highlight: _SIGNAL for panel in panels if panel.highlight}
    return {**{name: _FILLS[number % len(_FILLS)] for number, name in enumerate(names)}, **marked}


def _draw(
    figure: Figure | SubFigure,
    panel: Panel,
    xlabel: str,
    ylabel: str | None,
    colors: Mapping[str, str],
    *,
    small: bool = False,
) -> tuple[Axes, Axes]:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    _draw_expected(top, panel, colors)
    _draw_data(top, panel)
    for axes in (top, bottom):
        shade(axes, [(panel.edges[first], panel.edges[last]) for first, last in runs_of(~panel.seen)])
    (_draw_ratio if panel.ratio else _draw_pulls)(bottom, panel)
    top.tick_params(labelbottom=False)
    top.set_ylabel(to_label(ylabel) if ylabel is not None else _per_bin(panel.edges, xlabel))
    if small and panel.title:
        top.text(0.04, 0.96, to_label(panel.title), transform=top.transAxes, va="top", size=10.5, weight="bold")
    else:
        top.set_title(to_label(panel.title))
    bottom.set(xlabel=to_label(xlabel), xlim=(panel.edges[0], panel.edges[-1]))
    bottom.set_ylabel("data / total" if panel.ratio else "pull")
    bottom.yaxis.label.set(ha="center", y=0.5)
    if notes := _notes(panel):
        text = "\n".join(to_label(line) for line in [""] * small + notes)  # below the title
        top.text(0.96, 0.96, text, transform=top.transAxes, ha="right", va="top", size=9 if small else 10.5)
    if small:
        from matplotlib.ticker import MaxNLocator

        bottom.xaxis.set_major_locator(MaxNLocator(5))
        for axes in (top, bottom):
            axes.minorticks_off()
            axes.tick_params(labelsize=11)
            axes.xaxis.label.set_size(12)
            axes.yaxis.label.set_size(12)
    return top, bottom


def _notes(panel: Panel) -> list[str]:
    empty = panel.counts is not None and not np.asarray(panel.counts)[panel.seen].any()
    return [*panel.notes, *(["no events"] if empty else [])]


def _draw_expected(axes: Axes, panel: Panel, colors: Mapping[str, str]) -> None:
    edges = panel.edges if panel.curve is None else None
    x, parts = panel.drawn
    total = np.zeros(len(x))
    for number, (name, values) in enumerate(parts.items()):
        style: dict[str, Any] = {"color": colors[name], "label": to_label(name)}
        above = total + np.asarray(values)
        if panel.stacked and edges is not None:
            axes.stairs(above, edges, baseline=total, fill=True, alpha=0.7, linewidth=0, **style)
        elif panel.stacked:
            axes.fill_between(x, total, above, alpha=0.7, linewidth=0, **style)
        else:
            _line(axes, x, values, edges, linestyle=("--", "-.", ":")[number % 3], **style)
        total = above
    if panel.band is not None:
        hatched: dict[str, Any] = {**HATCHED, "label": "uncertainty"}
        low, high = np.maximum(total - panel.band, 0.0), total + panel.band
        if edges is not None:
            axes.stairs(high, edges, baseline=low, fill=True, **hatched)
        else:
            axes.fill_between(x, low, high, **hatched)
    if parts:
        _line(axes, x, total, edges, color=COLORS[0], label="_nolegend_" if panel.ratio else "fit", zorder=3)
    if panel.signal is not None:
        label, values = panel.signal
        _line(axes, x, values, edges, color=_SIGNAL, linestyle="--", label=to_label(label), zorder=3)


def _line(axes: Axes, x: Array, values: Array, edges: Array | None, **style: Any) -> None:
    if edges is not None:
        axes.stairs(values, edges, baseline=None, **style)
    else:
        axes.plot(x, values, **style)


def _draw_data(axes: Axes, panel: Panel) -> None:
    if panel.counts is None:
        return
    seen = panel.seen
    centers, counts = ((panel.edges[1:] + panel.edges[:-1]) / 2)[seen], np.asarray(panel.counts, np.float64)[seen]
    low, high = poisson_interval(counts)
    filled = counts > 0
    points: dict[str, Any] = {"color": "black", "markersize": 3.5, "elinewidth": 1.0, "zorder": 5}
    errors = [(counts - low)[filled], (high - counts)[filled]]
    axes.errorbar(centers[filled], counts[filled], errors, fmt="o", label="data", **points)


def _joined(panel: Panel) -> Iterator[tuple[int, int]]:
    """Bins to be seen, joined with their neighbours where few events are expected."""
    total = panel.total
    for first, last in runs_of(panel.seen):
        groups, begin = [], first
        for end in range(first + 1, last + 1):
            if total[begin:end].sum() >= _LEAST:
                groups.append((begin, end))
                begin = end
        if begin < last:  # the rest goes to the last group
            start = groups.pop()[0] if groups else begin
            groups.append((start, last))
        yield from groups


def _draw_pulls(axes: Axes, panel: Panel) -> None:
    axes.axhline(0, color="black", linewidth=0.8)
    least, most = _PULLS
    groups = list(_joined(panel)) if panel.counts is not None else []
    nu = np.array([panel.total[a:b].sum() for a, b in groups])
    n = np.array([np.asarray(panel.counts)[a:b].sum() for a, b in groups])
    with np.errstate(divide="ignore", invalid="ignore"):
        pulls = np.where((nu > 0) | (n > 0), (n - nu) / np.sqrt(np.maximum(nu, 0.0)), 0.0)
    far = np.abs(pulls[nu >= _LEAST]).max(initial=0.0)
    limit = min(max(least, 1.15 * far), most)
    lows, highs = (np.array([panel.edges[g[i]] for g in groups]) for i in (0, 1))
    enough = nu >= _LEAST
    axes.bar(
        lows[enough], np.clip(pulls, -limit, limit)[enough], (highs - lows)[enough], align="edge", color=COLORS[3],
        linewidth=0,
    )  # fmt: skip
    beyond = np.abs(pulls) > limit  # where few events are expected there is a mark alone
    for x, pull in zip(((lows + highs) / 2)[beyond], pulls[beyond], strict=True):
        axes.plot(x, np.sign(pull) * 0.82 * limit, "^" if pull > 0 else "v", color=_SIGNAL, markersize=5)
    axes.set_ylim(-limit, limit)
    axes.set_yticks([-2, 0, 2] if limit < 4.5 else [-4, 0, 4])
    for first, last in runs_of(~panel.seen):  # the pulls leave room for the word
        low, high = panel.edges[first], panel.edges[last]
        narrow = (high - low) < 0.25 * (panel.edges[-1] - panel.edges[0])
        axes.text(
            (low + high) / 2, 0.0, "blinded", ha="center", va="center", rotation=90 if narrow else 0, size=9,
            color="#333333", backgroundcolor="#eeeeee", zorder=6,
        )  # fmt: skip


def _draw_ratio(axes: Axes, panel: Panel) -> None:
    total, edges = panel.total, panel.edges
    there = total > 0
    scale = np.where(there, total, 1.0)
    axes.axhline(1, color="black", linewidth=0.8)
    if panel.band is not None:
        share = np.where(there, panel.band / scale, 0.0)
        axes.stairs(1 + share, edges, baseline=np.maximum(1 - share, 0.0), fill=True, **HATCHED)
    limit = 0.2
    if panel.counts is not None:
        seen = panel.seen & there & (np.asarray(panel.counts) > 0)
        centers, counts = ((edges[1:] + edges[:-1]) / 2)[seen], np.asarray(panel.counts, np.float64)[seen]
        low, high = poisson_interval(counts)
        ratio, lower, upper = counts / scale[seen], (counts - low) / scale[seen], (high - counts) / scale[seen]
        limit = float(np.clip(1.1 * np.max(np.abs(ratio - 1) + np.maximum(lower, upper), initial=0.0), limit, _RATIO))
        axes.errorbar(centers, ratio, [lower, upper], fmt="o", color="black", markersize=3.5, elinewidth=1.0)
        for x, value in zip(centers[np.abs(ratio - 1) > limit], ratio[np.abs(ratio - 1) > limit], strict=True):
            axes.plot(x, 1 + np.sign(value - 1) * 0.9 * limit, "^" if value > 1 else "v", color=_SIGNAL, markersize=5)
    axes.set_ylim(1 - limit, 1 + limit)


def _per_bin(edges: Array, xlabel: str) -> str:
    if not equal_widths(edges):
        return "events / bin"
    unit = match[1] if (match := UNIT.search(xlabel)) else ""
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    if unit == "GeV" and width < 0.1:
        unit, width = "MeV", 1000 * width
    return f"events / {width:.3g} {to_label(unit)}".rstrip() if unit else "events / bin"


def _headroom(axes: Axes, panel: Panel, lines: int, height: float = 3.8) -> None:
    """Leave space above what is drawn for lines of text; `height` is that of the axes in inches."""
    parts = [np.asarray(y) for y in panel.drawn[1].values()]
    drawn = [np.sum(parts, axis=0) if parts else np.zeros(1)]
    if panel.band is not None:
        drawn.append(drawn[0] + panel.band)
    if panel.signal is not None:
        drawn.append(np.asarray(panel.signal[1]))
    if panel.counts is not None and panel.seen.any():
        seen = np.asarray(panel.counts)[panel.seen]
        drawn.append(np.where(seen > 0, poisson_interval(seen)[1], 0.0))
    highest = max((float(np.nanmax(y, initial=1e-9)) for y in drawn), default=1.0)
    free = min((0.24 * lines + 0.25) / height, 0.6)
    axes.set_ylim(0.0, highest / (1.0 - free))
