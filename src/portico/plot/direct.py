"""Names written on curves, each where it is on no other and farthest from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from portico.plot.bins import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Bbox

__all__ = ["write_names"]

_STEP: Final = 6.0  # pixels between points that are tried, and between those of curves to keep clear of
_GAP: Final = 4.0  # pixels between a curve and its name


def write_names(figure: Figure, axes: Axes, lines: Mapping[str, Sequence[Line2D]]) -> None:
    """Write names on curves, in their colours; a name that has no place is left out.

    Parameters
    ----------
    figure : Figure
        Complete: the layout and what is drawn decide where there is space.
    axes : Axes
        That have the curves.
    lines : mapping of str to sequence of Line2D
        By name: the pieces of each curve.
    """
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()
    frame = axes.get_window_extent().padded(-_GAP)
    of = {name: _inside(np.concatenate([_dense(axes, line) for line in of]), frame) for name, of in lines.items()}
    others = [_dense(axes, line) for line in axes.lines]
    others += [_dense(axes, path) for collection in axes.collections for path in collection.get_paths()
               if not np.any(collection.get_facecolor())]  # fmt: skip
    crowd = _inside(np.concatenate([np.zeros((0, 2)), *others]), frame)
    taken = [text.get_window_extent() for text in axes.texts]
    for name, pieces in lines.items():
        style: dict[str, Any] = {"size": 9, "color": pieces[0].get_color(), "ha": "center", "va": "center", "zorder": 9}
        text = axes.text(0, 0, name, path_effects=[withStroke(linewidth=2.5, foreground="white")], **style)
        size = np.array([text.get_window_extent().width, text.get_window_extent().height])
        rest = np.concatenate([np.zeros((0, 2)), *(points for other, points in of.items() if other != name)])
        place = _place(of[name], size, crowd, rest, taken, frame)
        if place is None:
            text.remove()
            continue
        x, y = axes.transData.inverted().transform(place)
        text.set_position((float(x), float(y)))
        taken.append(text.get_window_extent())


def _dense(axes: Axes, line: Any) -> Array:
    """Return points along a line or path in pixels, close to one another; of markers alone the markers."""
    given = line.get_xydata() if hasattr(line, "get_xydata") else line.vertices
    points: Array = np.asarray(axes.transData.transform(np.asarray(given, np.float64)))
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2 or (hasattr(line, "get_linestyle") and line.get_linestyle() == "None"):
        return points
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0.0, along[-1], min(int(along[-1] / _STEP) + 2, 10_000))
    return np.column_stack([np.interp(at, along, points[:, k]) for k in (0, 1)])


def _inside(points: Array, frame: Bbox) -> Array:
    return points[(points > [frame.x0, frame.y0]).all(axis=1) & (points < [frame.x1, frame.y1]).all(axis=1)]


def _place(own: Array, size: Array, crowd: Array, rest: Array, taken: Sequence[Bbox], frame: Bbox) -> Array | None:
    """Return the middle of a name: above or below a point of its curve, on as little as possible."""
    from matplotlib.transforms import Bbox

    best: tuple[float, float] = (np.inf, 0.0)
    found = None
    for point in own:
        for side in (1.0, -1.0):
            middle = np.array([point[0], point[1] + side * (size[1] / 2 + _GAP)])
            box = Bbox([middle - size / 2, middle + size / 2])
            if not (frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1):
                continue
            if any(box.padded(2).overlaps(other) for other in taken):
                continue
            below = (np.abs(crowd - middle) < size / 2 + 1).all(axis=1).sum()
            far = np.hypot(*(rest - middle).T).min(initial=200.0)
            if (score := (float(below), -float(far))) < best:
                best, found = score, middle
    return found
