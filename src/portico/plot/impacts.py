"""Pulls of nuisance parameters, and their impacts on the parameter of interest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from portico.plot.style import COLORS, new_figure, settle, styled, to_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from portico.stats.impacts import Impact

__all__ = ["figure_of_impacts"]

_LONGEST: Final = 34  # characters of a name that are shown


def figure_of_impacts(
    rows: Sequence[Impact], *, poi_label: str, most: int = 20, title: str = "", note: str = "",
    pulls_only: bool = False,
) -> Figure:  # fmt: skip
    """Draw pulls with their errors on the left, and impacts on the right, the largest impact first.

    Parameters
    ----------
    rows : sequence of Impact
        Of those with an impact that is not a number only the names are given, below the figure.
    poi_label : str
        Of the parameter of interest.
    most : int
        How many are drawn.
    title, note : str
        Above the left and the right part.
    pulls_only : bool
        Leave the impacts out, and draw the largest pulls.

    Raises
    ------
    ValueError
        If there are none, or `most` is below 1.
    """
    if not rows or most < 1:
        raise ValueError(f"there is nothing to draw: at most {most} of {len(rows)} nuisance parameters")
    known = [row for row in rows if all(map(math.isfinite, (row.pull, row.sigma, row.up, row.down)))]
    ranked = sorted(known, key=lambda row: -abs(row.pull) if pulls_only else -max(abs(row.up), abs(row.down)))[:most]
    with styled():
        figure = new_figure(6.0 if pulls_only else 9.0, 1.9 + 0.27 * max(len(ranked), 3))
        columns = figure.subplots(1, 1 if pulls_only else 2, sharey=True, squeeze=False)[0]
        left, right = columns[0], columns[-1]
        _draw_pulls(left, ranked)
        if not pulls_only:
            _draw_impacts(right, ranked, poi_label)
        left.set_yticks(range(len(ranked)), [_short(row.name) for row in ranked], fontsize=9.5)
        for axes in columns:
            axes.tick_params(axis="y", which="both", left=False, right=False)
            axes.tick_params(axis="x", labelsize=11)
            axes.xaxis.label.set_size(13)
        left.set_ylim(max(len(ranked), 1) - 0.4, -0.6)
        left.set_title(to_label(title))
        right.set_title(to_label(note), loc="right", fontsize=12)
        _tell_rest(figure, rows, known, len(ranked))
        return settle(figure)


def _draw_pulls(axes: Axes, rows: Sequence[Impact]) -> None:
    at, pulls, errors = np.arange(len(rows)), [row.pull for row in rows], [row.sigma for row in rows]
    axes.axvspan(-1, 1, color="#94a4a2", alpha=0.2, linewidth=0)
    axes.axvline(0, color="#717581", linewidth=0.8)
    axes.errorbar(pulls, at, xerr=errors, fmt="o", color="black", markersize=4, elinewidth=1.2)
    far = max((abs(pull) + error for pull, error in zip(pulls, errors, strict=True)), default=1.0)
    limit = max(2.2, 1.1 * far)
    axes.set(xlim=(-limit, limit), xlabel=r"$(\hat\theta - \theta_0) / \sigma_0$")


def _draw_impacts(axes: Axes, rows: Sequence[Impact], poi_label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    at = np.arange(len(rows))
    style: dict[str, Any] = {"height": 0.7, "linewidth": 0.8}
    axes.axvline(0, color="#717581", linewidth=0.8)
    axes.barh(
        at, [row.up for row in rows], facecolor=COLORS[0], edgecolor=COLORS[0],
        label=r"$+1\sigma$", alpha=0.75, **style,
    )  # fmt: skip
    axes.barh(
        at, [row.down for row in rows], facecolor="none", edgecolor=COLORS[2], hatch="/////",
        label=r"$-1\sigma$", **style,
    )  # fmt: skip
    limit = 1.15 * max((max(abs(row.up), abs(row.down)) for row in rows), default=0.0) or 1.0
    axes.set(xlim=(-limit, limit), xlabel=f"impact on {to_label(poi_label)}")
    axes.xaxis.set_major_locator(MaxNLocator(5, prune="both"))  # its first label would meet the last one of the pulls
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)


def _short(name: str) -> str:
    """Leave out the middle of a long name: names often differ at the end."""
    half = _LONGEST // 2
    return to_label(name) if len(name) <= _LONGEST else f"{name[:half]}…{name[-half:]}".replace("$", r"\$")


def _tell_rest(figure: Figure, rows: Sequence[Impact], known: Sequence[Impact], drawn: int) -> None:
    lines = []
    if drawn < len(known):
        lines.append(f"the {drawn} largest of {len(known)}")
    missing = [row.name for row in rows if row not in known]
    if missing:
        named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        lines.append(f"{len(missing)} without a number: {named}")
    if lines:
        figure.supxlabel("; ".join(lines).replace("$", r"\$"), fontsize=10, color="#555555", x=0.99, ha="right")
