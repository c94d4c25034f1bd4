"""The page of a comparison: one HTML file with tables of all differences and overlays of the histograms that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from markupsafe import Markup

from portico.analysis.blinding import open_bins
from portico.compare.bins import LAYERS
from portico.compare.model import KINDS, Comparison, Overlay
from portico.report.page import write_html
from portico.report.svg import Curve, curve, draw, horizontal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["write_comparison"]

COLORS: Final = {"first": "#3f90da", "second": "#bd1f01"}
_EXAMPLES = 12  # per difference on the page; the JSON has all
_MOST_ROWS = 500
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 74, 40, 8, 6, 14  # same left and right margins as the plot above


@dataclass(frozen=True, slots=True)
class _Drawn:
    address: str
    plot: Markup
    ratio: Markup


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write a comparison as one self-contained HTML file.

    Parameters
    ----------
    comparison : Comparison
        Result of `portico.compare.compare`.
    output : Path
        The file to write.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    return write_html(
        "comparison.html.j2", Path(output),
        c=comparison, kinds=KINDS, colors=COLORS, rows=list(_rows(comparison)), most=_EXAMPLES,
        differences=comparison.differences[:_MOST_ROWS], left_out=len(comparison.differences[_MOST_ROWS:]),
        drawn=list(_drawn(comparison.overlays)), left_undrawn=_undrawn(comparison),
    )  # fmt: skip


def _rows(comparison: Comparison) -> Iterator[tuple[str, str, object, dict[str, int]]]:
    """Return step, sample, tally and the number of differences of each kind."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for difference in comparison.differences:
        kinds = found.setdefault((difference.step, difference.sample), {})
        kinds[difference.kind] = kinds.get(difference.kind, 0) + difference.count
    for (step, sample), tally in comparison.tallies.items():
        yield step, sample, tally, found.get((step, sample), {})


def _undrawn(comparison: Comparison) -> int:
    """Count the histograms that differ but are not drawn: those with several axes, and those beyond the limit."""
    drawn = {(o.step, o.sample, o.name) for o in comparison.overlays if _is_line(o)}
    beyond = (d for d in comparison.differences if d.kind != "rounding" and d.what in _OF_BINS)
    differing = {(d.step, d.sample, d.product) for d in beyond}
    return len(differing - drawn)


_OF_BINS = {*LAYERS.values(), "axes", "moments"}


def _is_line(overlay: Overlay) -> bool:
    return all(len(product.meta["axes"]) == 1 for product in (overlay.first, overlay.second))


def _drawn(overlays: Sequence[Overlay]) -> Iterator[_Drawn]:
    for overlay in overlays:
        if not _is_line(overlay):
            continue
        curves = {"first": curve(overlay.first, overlay.blind), "second": curve(overlay.second, overlay.blind)}
        address = "/".join(part for part in (overlay.step, overlay.sample, overlay.name) if part)
        plot = Markup(draw(overlay.name, curves, COLORS, unit_area=False, blind=overlay.blind))  # noqa: S704 (draw escapes)
        below = ratio(curves["first"], curves["second"], overlay.blind)
        yield _Drawn(address, plot, Markup(below))  # noqa: S704 (numbers only)


def ratio(first: Curve, second: Curve, blind: Sequence[tuple[float, float]] = ()) -> str:
    """Draw second over first, bin by bin, as an SVG element; empty if the two have different bins.

    An arrow points upwards if the first is 0 and the second is not. Blinded bins are left out.
    """
    if not np.array_equal(first.edges, second.edges):
        return ""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where((first.values == 0) & (second.values == 0), 1.0, second.values / first.values)
    finite = np.isfinite(quotient)
    reach = max(float(np.abs(quotient[finite] - 1).max(initial=0.0)), 1e-12) * 1.1
    reach = min(reach, 2.0)
    x = horizontal(first.edges).at(first.edges)
    y = np.clip(
        (_TOP + _HEIGHT - _BOTTOM) / 2 - (quotient - 1) / reach * (_HEIGHT - _BOTTOM - _TOP) / 2,
        _TOP,
        _HEIGHT - _BOTTOM,
    )
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="second over first">',
        f'<path d="M{_LEFT} {_TOP}H{_WIDTH - _RIGHT}V{_HEIGHT - _BOTTOM}H{_LEFT}Z" class="frame"/>',
        f'<path d="M{_LEFT} {(_TOP + _HEIGHT - _BOTTOM) / 2}H{_WIDTH - _RIGHT}" class="tick"/>',
    ]
    for level, at in ((1 + reach, _TOP), (1.0, (_TOP + _HEIGHT - _BOTTOM) / 2), (1 - reach, _HEIGHT - _BOTTOM)):
        parts.append(f'<text x="{_LEFT - 4}" y="{at + 3:.1f}" class="y">{escape(_level(level))}</text>')
    line, arrows = [], []
    for i in np.flatnonzero(open_bins(first.edges, blind)):
        if finite[i]:
            line.append(f"M{x[i]:.1f} {y[i]:.1f}H{x[i + 1]:.1f}")
        else:
            middle = (x[i] + x[i + 1]) / 2
            arrows.append(f"M{middle:.1f} {_TOP + 10}V{_TOP + 2}m-2.5 4l2.5 -4l2.5 4")
    parts.append(f'<path d="{"".join(line)}" stroke="{COLORS["second"]}"/>')
    parts.append(f'<path d="{"".join(arrows)}" stroke="{COLORS["second"]}"/>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" class="label">second / first</text>')
    return "".join([*parts, "</svg>"])


def _level(value: float) -> str:
    """Format a value of the ratio, or its distance from 1 if that is small."""
    away = abs(value - 1)
    return f"{value:.1f}" if away >= 0.1 else f"{100 * (value - 1):+.2g}%" if away else "1"
