"""The style of figures, made from that of mplhep; labels written in TLatex; stamps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from portico.analysis.plotting import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "HATCHED", "SIZE", "new_axes", "new_figure", "settle", "stamp", "styled", "to_label"]

SIZE = (7.0, 5.0)
COLORS = PALETTE
HATCHED: dict[str, Any] = {"facecolor": "none", "edgecolor": "#555555", "hatch": "////", "linewidth": 0}
"""The look of a band of uncertainty."""

# mplhep's style is made for figures of 10 by 10 inches.
_SMALLER = {
    "font.size": 14, "axes.linewidth": 1.2, "lines.linewidth": 1.6, "lines.markersize": 4,
    "xtick.major.size": 7, "ytick.major.size": 7, "xtick.minor.size": 3.5, "ytick.minor.size": 3.5,
    "figure.figsize": SIZE, "figure.dpi": 100, "legend.fontsize": 11.5, "axes.titlesize": 13,
    "axes.titlelocation": "left",
    # Error bars that reach a legend go below it.
    "legend.frameon": True, "legend.framealpha": 0.85, "legend.facecolor": "white", "legend.edgecolor": "none",
    # The one font that every matplotlib has.
    "font.sans-serif": ["DejaVu Sans"], "mathtext.fontset": "dejavusans", "mathtext.default": "it",
}  # fmt: skip
_WORDS = {"it": "mathit", "bf": "mathbf", "rm": "mathrm", "bar": "overline"}
_MATH = re.compile(r"(?:#[A-Za-z]+(?:\{[^{}]*\})?|[A-Za-z0-9]*(?:[_^]\{[^{}]*\})+)+")
_COMMAND = re.compile(r"#([A-Za-z]+)")


@contextmanager
def styled() -> Iterator[None]:
    """Use the style for the figures made inside; settings are as before afterwards."""
    import matplotlib as mpl
    import mplhep

    settings: Any = {**mplhep.style.ROOT, **_SMALLER}
    with mpl.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, which belongs to no window."""
    from portico.plot.picture import Picture

    return Picture(figsize=(width, height), layout="constrained")


def new_axes(width: float = SIZE[0], height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """Return an empty figure and its axes."""
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def settle(figure: Figure, drawn: Iterable[object] = ()) -> Figure:
    """Fix what matplotlib would read from the settings only when it draws: the ticks. Stamp the notes of what is drawn.

    Histograms and cutflows of `portico.load` have a note if they were made with other options than those of now.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_ticks()
            axis.get_minor_ticks()
    notes = dict.fromkeys(str(note) for h in drawn if (note := getattr(h, "note", "")))
    return stamp(figure, ", ".join(notes)) if notes else figure


def stamp(figure: Figure, text: str) -> Figure:
    """Write a warning, such as ``PARTIAL``, in red across a figure.

    Parameters
    ----------
    figure : Figure
        Is changed.
    text : str
        A word or two.

    Returns
    -------
    Figure
        The same.
    """
    from matplotlib.patheffects import withStroke

    axes = figure.axes[0]
    axes.text(
        0.5, 0.5, to_label(text), transform=axes.transAxes, color="#bd1f01", alpha=0.55, rotation=25, ha="center",
        va="center", weight="bold", size=min(44.0, 620.0 / len(text)), zorder=10,
        path_effects=[withStroke(linewidth=3, foreground="white", alpha=0.55)],
    )  # fmt: skip
    return figure


@cache
def to_label(text: str) -> str:
    r"""Turn a title written for ROOT into one for matplotlib: ``#mu_{1}`` into ``$\mu_{1}$``.

    What is not a valid formula is shown as it is written.
    """
    from matplotlib.mathtext import MathTextParser

    def command(match: re.Match[str]) -> str:
        return rf"\{_WORDS.get(match[1], match[1])} "

    label = text if "$" in text else _MATH.sub(lambda match: f"${_COMMAND.sub(command, match[0])}$", text)
    try:
        parser: MathTextParser[Any] = MathTextParser("path")
        parser.parse(label)
    except ValueError:
        return text.replace("$", r"\$")
    return label
