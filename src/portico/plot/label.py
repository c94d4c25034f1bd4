"""The label of an experiment above a figure: its name, the status of the figure, luminosity and energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portico.plot.style import styled, to_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["label"]

_SIZE: Final = 14.0
_LINE: Final = 22.0  # points between the axes and a title above the label


def label(
    figure: Figure,
    experiment: str = "",
    status: str = "",
    *,
    luminosity: float | None = None,
    energy: float | None = None,
) -> Figure:
    """Write the label of an experiment above a figure, as its papers have it: **CMS** *Simulation*, 41.6 /fb (13 TeV).

    It has the sizes of ``mplhep.label.exp_label(loc=0)``, follows the axes when the layout changes, and spans the first
    row of a figure with several panels. Titles move above it.

    Parameters
    ----------
    figure : Figure
        Is changed.
    experiment : str
        In bold letters.
    status : str
        In italic letters, for example ``Simulation``, ``Preliminary`` or ``Work in progress``.
    luminosity : float, optional
        In 1/fb.
    energy : float, optional
        Of the collisions in the centre of mass, in TeV.

    Returns
    -------
    Figure
        The same.

    Raises
    ------
    ValueError
        If luminosity or energy is not above 0.
    """
    if any(number is not None and not number > 0 for number in (luminosity, energy)):
        raise ValueError(f"luminosity {luminosity} and energy {energy}: give numbers above 0, in 1/fb and TeV, or none")
    with styled():
        first, last, row = _ends(figure)
        for axes in row:
            if title := axes.get_title(loc="left"):
                axes.set_title(title, loc="left", pad=_LINE, fontsize=axes.title.get_fontsize())
        above: dict[str, Any] = {"va": "baseline", "annotation_clip": False, "textcoords": "offset points"}
        start: Any = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 5)}
        for axes in row:  # all of a row keep the same space free
            axes.annotate(" ", **start, **above, size=1.3 * _SIZE)
        if text := _data(luminosity, energy):
            right: Any = {"xy": (1, 1), "xycoords": "axes fraction", "xytext": (0, 5)}
            last.annotate(text, **right, **above, ha="right", size=_SIZE / 1.1)
        if experiment:
            name = first.annotate(experiment, **start, **above, ha="left", weight="bold", size=1.3 * _SIZE)
            start = {"xy": (1, 0), "xycoords": name, "xytext": (5, 1)}
        if status:
            if experiment:  # the box of the name ends below its baseline
                above = {**above, "va": "bottom"}
            first.annotate(to_label(status), **start, **above, ha="left", style="italic", size=_SIZE)
    return figure


def _ends(figure: Figure) -> tuple[Axes, Axes, list[Axes]]:
    """Return the first and the last axes of the upper row of panels, and all in it."""
    figure.draw_without_rendering()
    boxes = [(axes, axes.get_window_extent()) for axes in figure.axes]
    top, height = max(box.y1 for _, box in boxes), min(box.height for _, box in boxes)
    row = sorted(((box.x0, n) for n, (_, box) in enumerate(boxes) if box.y1 > top - height / 2))
    ordered = [boxes[n][0] for _, n in row]
    return ordered[0], ordered[-1], ordered


def _data(luminosity: float | None, energy: float | None) -> str:
    """Write luminosity and energy."""
    words = []
    if luminosity is not None:
        number, unit = (luminosity, "fb") if luminosity >= 0.1 else (1000 * luminosity, "pb")
        words.append(rf"${number:.3g}\ \mathrm{{{unit}^{{-1}}}}$")
    if energy is not None:
        words.append(f"({energy:g} TeV)")
    return " ".join(words)
