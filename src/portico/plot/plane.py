"""The excluded region in a plane of two variables, such as mass and coupling, with published curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from portico.plot.bins import Array
from portico.plot.direct import write_names
from portico.plot.style import new_axes, settle, styled, to_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.path import Path

__all__ = ["Curve", "around", "figure_of_plane", "log_axis", "runs_of"]

_OBSERVED: Final = "#3f90da"
_FARTHEST: Final = 9.0  # decades of a limit that are drawn: no limit at all is as far
_FEW_DECADES: Final = 2.5
_NOT_EXCLUDED: Final = 0.02  # log10 of a limit
_FINE: Final = 16  # points of a contour between two of y
# Of published curves: colour and line change together, so that neighbours in the legend look different twice.
_COLORS: Final = (
    "#c77c02", "#832db6", "#bd1f01", "#5a8f29", "#8a5a44", "#d0529b", "#1b9aaa", "#717581", "#3b4cc0", "#7a7a00",
)  # fmt: skip
_STYLES: Final = ("-", "--", "-.")


@dataclass(frozen=True)
class Curve:
    """A curve in the plane of x and y, such as a published limit.

    Attributes
    ----------
    label : str
        In the legend.
    x, y : array of shape (n,)
        Points in order, in units of the axes; y above 0. One that is NaN makes a gap.
    closed : bool
        Whether the inside is excluded; otherwise everything above.
    """

    label: str
    x: Array
    y: Array
    closed: bool = False


def figure_of_plane(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    expected: Array,
    observed: Array | None = None,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    label: str = "",
    published: Sequence[Curve] = (),
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    logx: bool = False,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw the excluded region of a plane: where the upper limit on the signal strength is below 1.

    The logarithm of the limit is interpolated in x and log y, not around points without a limit; every point is marked.
    Beyond the first and last limits in y at an x these go on, but exclude nothing there.

    Parameters
    ----------
    x : array of shape (nx,)
        Rising, for example masses; at any distances.
    y : array of shape (ny,)
        Rising and above 0, for example couplings; the axis is logarithmic.
    expected : array of shape (5, nx, ny)
        log10 of the expected limits on the signal strength at -2, -1, 0, 1, 2 standard deviations; NaN where none was
        computed, infinity where nothing can be excluded.
    observed : array of shape (nx, ny), optional
        The same of the observed limit; none while blinded.
    xlabel, ylabel, title, label : str
        Of the axes, above them, and above the legend, for example the confidence level.
    published : sequence of Curve
        Those in the range of the axes are drawn, with the label up to its first comma written on them.
    xlim, ylim, logx
        Range of the axes, that of the points by default; logarithmic x axis.
    notes : sequence of str
        Lines below the legend.

    Raises
    ------
    ValueError
        If shapes do not agree, x or y do not rise, or are not above 0 on a logarithmic axis.
    """
    at, to = np.asarray(x, np.float64), np.asarray(y, np.float64)
    levels, seen = _checked(at, to, expected, observed, logx=logx)
    with styled():
        figure, axes = new_axes(10.4, 6.0)
        axes.set(yscale="log", xlabel=to_label(xlabel), ylabel=to_label(ylabel))
        if logx:
            log_axis(axes, float(np.log10(x[-1] / x[0])))
        axes.set(xlim=xlim or around(at, logx=logx), ylim=ylim or (to[0] / 1.5, to[-1] * 1.5), title=to_label(title))
        curves = _draw_published(axes, published)
        named = {**_draw_regions(axes, at, to, levels, seen), **_draw_points(axes, at, to, levels, seen)}
        _note_nothing_excluded(axes, levels, seen)
        _name(figure, {**named, **{name: lines[0] for name, lines in curves.items()}}, label, notes)
        write_names(figure, axes, {name.partition(",")[0]: lines for name, lines in curves.items()})
        return settle(figure)


def log_axis(axes: Axes, decades: float) -> None:
    """Make the x axis logarithmic: with numbers at 1, 2, 5 over a few decades, with powers of ten over more."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    if decades < _FEW_DECADES:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def around(x: Array, *, logx: bool) -> tuple[float, float]:
    """Return a range a little wider than the points."""
    if logx:
        factor = max((x[-1] / x[0]) ** 0.04, 1.02)
        return x[0] / factor, x[-1] * factor
    room = 0.06 * (x[-1] - x[0]) or 0.05 * abs(x[0]) or 1.0
    return x[0] - room, x[-1] + room


def runs_of(of: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the first position of every run of true ones, and the one after its last."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], of, [False]]).astype(int)))
    yield from zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True)


def _name(figure: Figure, named: dict[str, Any], label: str, notes: Sequence[str]) -> None:
    """Write the legend beside the axes, where it covers nothing, and lines of text below it."""
    from matplotlib.lines import Line2D

    entries = {**named, **{to_label(line): Line2D([], [], linestyle="none") for line in notes}}
    figure.legend(
        entries.values(), entries.keys(), title=to_label(label) or None, loc="outside right upper", alignment="left",
        fontsize=9.5, title_fontsize=11,
    )  # fmt: skip


def _checked(x: Array, y: Array, expected: Array, observed: Array | None, *, logx: bool) -> tuple[Array, Array | None]:
    """Return the limits with infinity as a finite number, which contours need."""
    if not len(x) or not len(y) or not (np.diff(x) > 0).all() or not (np.diff(y) > 0).all():
        raise ValueError("x and y rise; sort the points and take each once")
    if y[0] <= 0 or (logx and x[0] <= 0):
        raise ValueError(f"x from {x[0]:g} and y from {y[0]:g}: only what is above 0 is on a logarithmic axis")
    bands = np.clip(np.asarray(expected, np.float64), -_FARTHEST, _FARTHEST)
    seen = None if observed is None else np.clip(np.asarray(observed, np.float64), -_FARTHEST, _FARTHEST)
    if bands.shape != (5, len(x), len(y)):
        raise ValueError(f"expected limits have the shape {(5, len(x), len(y))}, not {bands.shape}")
    if seen is not None and seen.shape != (len(x), len(y)):
        raise ValueError(f"observed limits have the shape {(len(x), len(y))}, not {seen.shape}")
    return bands, seen


def _draw_regions(axes: Axes, x: Array, y: Array, expected: Array, observed: Array | None) -> dict[str, Any]:
    """Draw contours where the limit is 1; return what to name in the legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    named: dict[str, Any] = {}
    half = 0.01 * abs(x[0]) or 0.01
    if len(x) == 1:  # a strip instead of a line
        x, expected = np.array([x[0] - half, x[0] + half]), np.repeat(expected, 2, axis=1)
        observed = None if observed is None else np.repeat(observed, 2, axis=0)
    if len(y) == 1:
        return named
    observed = None if observed is None else _finer(y, _continued(observed))
    expected, y = _finer(y, _continued(expected)), 10 ** _finer(y, np.log10(y))
    if observed is not None and (observed < 0).any():
        axes.contourf(x, y, observed.T, levels=[-2 * _FARTHEST, 0.0], colors=[_OBSERVED], alpha=0.3, zorder=3)
        axes.contour(x, y, observed.T, levels=[0.0], colors=[_OBSERVED], linewidths=2.0, zorder=4)
        named["observed"] = Patch(facecolor=_OBSERVED, alpha=0.4, edgecolor=_OBSERVED, linewidth=2)
    median = expected[2]
    if (median < 0).any():
        if observed is None:
            axes.contourf(x, y, median.T, levels=[-2 * _FARTHEST, 0.0], colors=["#717581"], alpha=0.2, zorder=3)
        axes.contour(x, y, median.T, levels=[0.0], colors=["black"], linestyles="--", linewidths=1.6, zorder=5)
        named["median expected"] = Line2D([], [], color="black", linestyle="--", linewidth=1.6)
    drawn = [band for band in (expected[1], expected[3]) if (band < 0).any()]
    for band in drawn:
        axes.contour(x, y, band.T, levels=[0.0], colors=["black"], linestyles=":", linewidths=1.2, zorder=5)
    if drawn:
        named[r"$\pm 1\sigma$ expected"] = Line2D([], [], color="black", linestyle=":", linewidth=1.2)
    return named


def _continued(values: Array) -> Array:
    """Let the first and last limit at each x go on where there is none: without them the region would have a step."""

    def column(of: Array) -> Array:
        known = np.flatnonzero(np.isfinite(of))
        if not known.size:
            return of
        first, last = known[0], known[-1]
        ends = np.maximum(of[[first, last]], _NOT_EXCLUDED)
        return np.concatenate([np.full(first, ends[0]), of[first : last + 1], np.full(len(of) - last - 1, ends[1])])

    return np.asarray(np.apply_along_axis(column, -1, values))


def _finer(y: Array, values: Array) -> Array:
    """Interpolate along the last axis in log y: contours are straight in y itself."""
    steps = np.linspace(0, len(y) - 1, _FINE * (len(y) - 1) + 1)
    at = np.interp(steps, np.arange(len(y)), np.log10(y))
    return np.asarray(np.apply_along_axis(lambda column: np.interp(at, np.log10(y), column), -1, values))


def _draw_points(axes: Axes, x: Array, y: Array, expected: Array, observed: Array | None) -> dict[str, Any]:
    values = expected[2] if observed is None else np.where(np.isnan(observed), expected[2], observed)
    xs, ys = np.meshgrid(x, y, indexing="ij")
    style: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 2.6, "color": "#444444", "zorder": 6}
    kinds = {
        "excluded point": (values < 0, {}),
        "point not excluded": (values >= 0, {"markerfacecolor": "white", "markeredgewidth": 0.6}),
        "point without limit": (np.isnan(values), {"marker": "x", "markersize": 3, "markeredgewidth": 0.6}),
    }
    named: dict[str, Any] = {}
    for name, (chosen, more) in kinds.items():
        if chosen.any():
            named[name] = axes.plot(xs[chosen], ys[chosen], **{**style, **more})[0]
    return named


def _note_nothing_excluded(axes: Axes, expected: Array, observed: Array | None) -> None:
    """Write on the axes that nothing is excluded."""
    by_data, by_expectation = observed is not None and (observed < 0).any(), (expected[2] < 0).any()
    if not by_data and not by_expectation:
        text = "nothing excluded"
    elif observed is not None and not by_data:
        text = "nothing excluded by the data"
    elif not by_expectation:
        text = "nothing excluded in the expected median"
    else:
        return
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", size=13, zorder=8,
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "#999999", "linewidth": 0.8},
    )  # fmt: skip


def _draw_published(axes: Axes, curves: Sequence[Curve]) -> dict[str, list[Line2D]]:
    """Draw the curves that come into the axes; return their lines by label."""
    from matplotlib.patches import Polygon
    from matplotlib.transforms import Bbox

    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    frame = Bbox.from_extents(left, np.log10(bottom), right, np.log10(top))
    named: dict[str, list[Line2D]] = {}
    for curve in curves:
        number = len(named)
        style: dict[str, Any] = {"color": _COLORS[number % len(_COLORS)], "linestyle": _STYLES[number % len(_STYLES)]}
        for points in _pieces(curve):
            region = points
            if not curve.closed:
                high = 1e3 * max(top, float(points[:, 1].max()))
                region = np.vstack([points, [[points[-1, 0], high], [points[0, 0], high]]])
            if not _path(region).intersects_bbox(frame, filled=True):
                continue
            if len(points) > 1:
                axes.add_patch(Polygon(region, closed=True, facecolor="#94a4a2", alpha=0.12, linewidth=0, zorder=1))
            line = np.vstack([points, points[:1]]) if curve.closed else points
            marker = "*" if len(points) == 1 else ""
            drawn = axes.plot(*line.T, marker=marker, markersize=9, linewidth=1.3, zorder=2, **style)
            named.setdefault(to_label(curve.label), []).extend(drawn)
    return named


def _pieces(curve: Curve) -> Iterator[Array]:
    """Points of shape (n, 2) between the gaps of a curve."""
    points = np.column_stack([curve.x, curve.y]).astype(np.float64)
    good: npt.NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1) & (points[:, 1] > 0))
    for first, last in runs_of(good):
        yield points[first:last]


def _path(points: Array) -> Path:
    from matplotlib.path import Path

    return Path(np.column_stack([points[:, 0], np.log10(points[:, 1])]))
