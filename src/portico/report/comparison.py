"""The page of a comparison: one HTML file with tables of all differences and overlays of histograms with ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup

from portico.analysis.blinding import open_bins
from portico.compare.bins import LAYERS
from portico.compare.model import KINDS, Comparison, Difference, Overlay
from portico.report.page import write_html
from portico.report.svg import Axis, Curve, curve, draw, horizontal
from portico.results.product import Product, ProductKind

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["write_comparison"]

COLORS: Final = {"first": "#3f90da", "second": "#bd1f01"}
_EXAMPLES = 12  # per difference on the page; the JSON has all
_MOST_ROWS = 500
_WIDTH, _HEIGHT, _TOP, _BOTTOM = 300, 74, 6, 14  # as wide as the plot above
_OF_BINS = {*LAYERS.values(), "axes", "moments"}
_GROUPS: Final = {
    "different": "Histograms that differ",
    "rounding": "Histograms that are equal within the tolerance",
    "same": "Histograms that are the same bit for bit",
}


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
    first, second = _names(comparison)
    drawn: dict[str, list[_Drawn]] = {group: [] for group in _GROUPS}
    group_of = _group_of(comparison)
    for overlay in comparison.overlays:
        drawn[group_of(overlay)] += _drawn(overlay, first, second)
    return write_html(
        "comparison.html.j2", Path(output),
        c=comparison, kinds=KINDS, colors=COLORS, rows=list(_rows(comparison)), most=_EXAMPLES,
        differences=_shown(comparison, rounding=False), rounded=_shown(comparison, rounding=True),
        drawn=[(title, drawn[group]) for group, title in _GROUPS.items() if drawn[group]],
        left_undrawn=_undrawn(comparison),
    )  # fmt: skip


def _names(comparison: Comparison) -> tuple[str, str]:
    """Return names of the two sides for legends: the last parts of their paths that differ."""
    first, second = Path(comparison.first).parts, Path(comparison.second).parts
    for n in range(1, min(len(first), len(second)) + 1):
        if first[-n:] != second[-n:]:
            return "/".join(first[-n:]), "/".join(second[-n:])
    return "first", "second"


def _shown(comparison: Comparison, *, rounding: bool) -> tuple[Sequence[Difference], int]:
    """Return the differences of a table, and how many more there are."""
    found = [d for d in comparison.differences if (d.kind == "rounding") == rounding]
    return found[:_MOST_ROWS], len(found[_MOST_ROWS:])


def _rows(comparison: Comparison) -> Iterator[tuple[str, str, object, dict[str, int]]]:
    """Return step, sample, tally and the number of differences of each kind; what differs comes first."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for difference in comparison.differences:
        kinds = found.setdefault((difference.step, difference.sample), {})
        kinds[difference.kind] = kinds.get(difference.kind, 0) + difference.count
    rows = [(*names, tally, found.get(names, {})) for names, tally in comparison.tallies.items()]
    yield from sorted(rows, key=lambda row: not row[3].keys() - {"rounding"})


def _group_of(comparison: Comparison) -> Callable[[Overlay], str]:
    """Return what says of a histogram in which group it is drawn."""
    kinds: dict[tuple[str, str, str], set[str]] = {}
    for d in comparison.differences:
        kinds.setdefault((d.step, d.sample, d.product), set()).add(d.kind)

    def group(overlay: Overlay) -> str:
        found = kinds.get((overlay.step, overlay.sample, overlay.name), set())
        return "different" if found - {"rounding"} else "rounding" if found else "same"

    return group


def _undrawn(comparison: Comparison) -> int:
    """Count the histograms that differ and are not drawn."""
    there = {(o.step, o.sample, o.name) for o in comparison.overlays if list(_lines(o))}
    beyond = (d for d in comparison.differences if d.kind != "rounding" and d.what in _OF_BINS)
    return len({(d.step, d.sample, d.product) for d in beyond} - there)


def _lines(overlay: Overlay) -> Iterator[tuple[str, Product, Product]]:
    """Yield what is drawn of a histogram: itself, or its projections if it has several axes and nothing is blinded."""
    first, second = overlay.first, overlay.second
    axes = [len(product.meta["axes"]) for product in (first, second)]
    if axes == [1, 1]:
        yield "", first, second
    elif axes[0] == axes[1] and first.kind == second.kind == ProductKind.HISTOGRAM and not overlay.blind:
        for n in range(axes[0]):
            yield f" (projection on axis {n + 1})", _projection(first, n), _projection(second, n)


def _projection(product: Product, axis: int) -> Product:
    """Return the sums of a histogram over all axes but one, flow bins included."""
    shape = [other["bins"] + 2 for other in product.meta["axes"]]
    order: Any = "C" if product.meta["class"].startswith("THn") else "F"  # as portico.results.hists
    over = tuple(n for n in range(len(shape)) if n != axis)
    arrays = dict(product.arrays)
    squares = arrays["sumw2"] if arrays["sumw2"].size else np.abs(arrays["values"])
    for name, cells in (("values", arrays["values"]), ("sumw2", squares)):
        arrays[name] = cells.reshape(shape, order=order).sum(axis=over)
    return replace(product, meta={**product.meta, "axes": [product.meta["axes"][axis]]}, arrays=arrays)


def _drawn(overlay: Overlay, first: str, second: str) -> Iterator[_Drawn]:
    address = "/".join(part for part in (overlay.step, overlay.sample, overlay.name) if part)
    colors = {first: COLORS["first"], second: COLORS["second"]}
    for words, a, b in _lines(overlay):
        curves = {first: curve(a, overlay.blind), second: curve(b, overlay.blind)}
        plot = draw(overlay.name, curves, colors, unit_area=False, blind=overlay.blind, legend=True)
        below = ratio(curves[first], curves[second], overlay.blind)
        yield _Drawn(address + words, Markup(plot), Markup(below))  # noqa: S704 (draw escapes; numbers only)


def ratio(first: Curve, second: Curve, blind: Sequence[tuple[float, float]] = ()) -> str:
    """Draw second over first with errors, bin by bin, as an SVG element; empty if the two have different bins.

    The errors are those of two independent samples. An arrow points upwards if the first is 0 and the second is not.
    Blinded bins are left out, and bins that are empty on both sides.
    """
    if not np.array_equal(first.edges, second.edges):
        return ""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = second.values / first.values
        errors = np.abs(quotient) * np.hypot(first.errors / first.values, second.errors / second.values)
    empty = (first.values == 0) & (second.values == 0)
    shown = np.isfinite(quotient) & open_bins(first.edges, blind)
    errors = np.where(np.isfinite(errors), errors, 0.0)
    away = np.abs(quotient[shown] - 1)
    reach = max(float(away.max(initial=0.0)), float(np.median(errors[shown])) if shown.any() else 0.0) or 0.1
    x, y = horizontal(first.edges), Axis(1 - min(1.1 * reach, 2.0), 1 + min(1.1 * reach, 2.0), _HEIGHT - _BOTTOM, _TOP)
    ends, middles = x.at(first.edges), (x.at(first.edges[1:]) + x.at(first.edges[:-1])) / 2
    high, middle, low = (np.clip(y.at(quotient + sign * errors), _TOP, _HEIGHT - _BOTTOM) for sign in (1, 0, -1))
    one = float(y.at(1.0))
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="second over first">',
        f'<rect x="{x.start}" y="{_TOP}" width="{x.end - x.start}" height="{_HEIGHT - _BOTTOM - _TOP}" class="frame"/>',
        f'<path d="M{x.start} {one:.1f}H{x.end}" class="tick"/>',
        f'<text transform="translate(9 {_TOP}) rotate(-90)" class="y">ratio</text>',
    ]
    levels = (y.high, 1.0, y.low)
    parts += [f'<text x="{x.start - 4}" y="{y.at(at) + 3:.1f}" class="y">{_level(at)}</text>' for at in levels]
    bars = "".join(f"M{middles[i]:.1f} {high[i]:.1f}V{low[i]:.1f}" for i in np.flatnonzero(shown & (errors > 0)))
    line = "".join(f"M{ends[i]:.1f} {middle[i]:.1f}H{ends[i + 1]:.1f}" for i in np.flatnonzero(shown))
    infinite = np.flatnonzero(~shown & ~empty & open_bins(first.edges, blind))
    arrows = "".join(f"M{middles[i]:.1f} {_TOP + 10}V{_TOP + 2}m-2.5 4l2.5 -4l2.5 4" for i in infinite)
    parts.append(f'<path d="{bars}" stroke="{COLORS["second"]}" class="error"/>')
    parts.append(f'<path d="{line}{arrows}" stroke="{COLORS["second"]}"/>')
    parts.append(f'<text x="{x.end}" y="{_HEIGHT - 3}" class="label">second / first</text>')
    return "".join([*parts, "</svg>"])


def _level(value: float) -> str:
    """Format a value of the ratio, or its distance from 1 if that is small."""
    away = abs(value - 1)
    if away >= 0.1 or not away:
        return f"{value:.1f}" if away else "1"
    return f"{100 * (value - 1):+.2g}%" if away >= 1e-5 else f"{value - 1:+.0e}"
