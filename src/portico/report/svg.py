"""Small pictures of histograms as SVG text, for comparisons and notebooks, which may have hundreds."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from portico.analysis.blinding import open_bins
from portico.plot.bins import UNIT, drawn_edges, is_logarithmic, tell_ends
from portico.report.labels import to_plain
from portico.results.hists import effective_entries, profile_means
from portico.results.kinds import KINDS
from portico.results.product import Product

__all__ = ["Axis", "Curve", "curve", "describe", "draw", "horizontal", "number", "picture", "to_text"]

Array = npt.NDArray[np.float64]
_WIDTH, _HEIGHT = 300, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 20, 32
_FEW = 50
_LONGEST = 80
_SCRIPT = re.compile(r"([_^])\{([^{}]*)\}")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Curve:
    """A histogram of one sample, ready to be drawn.

    Parameters
    ----------
    edges, values, errors : array
        Edges, contents and errors of the bins in range.
    total : float
        Sum of weights in range.
    outside : float
        Sum of weights in the flow bins.
    entries : float
        Number of fills.
    label : str
        Title of the x axis.
    ticks : tuple of str
        Names of the bins, if all have one.
    ylabel : str
        What a value is.
    """

    edges: Array
    values: Array
    errors: Array
    total: float
    outside: float
    entries: float
    label: str
    ticks: tuple[str, ...]
    ylabel: str = ""


def curve(product: Product, blind: Sequence[tuple[float, float]] = ()) -> Curve:
    """Return the curve of a histogram or profile with one axis; a profile gives its means.

    Bins that touch a blinded interval are empty, and are left out of the sums.
    """
    axis = product.meta["axes"][0]
    bins = axis["bins"]
    edges = np.array(axis["edges"], np.float64) if axis["edges"] else np.linspace(axis["low"], axis["high"], bins + 1)
    values = np.array(product.arrays["values"], np.float64)
    squares = np.asarray(product.arrays["sumw2"], np.float64)
    if KINDS[product.kind].bins == "means":
        weights = np.asarray(product.arrays["bin_entries"], np.float64)
        effective, option = effective_entries([product]), product.meta.get("option", "")
        found = profile_means(values, squares, weights, effective, option)
        values, errors = (np.where(np.isnan(of), 0.0, of) for of in found)
    else:
        errors = np.sqrt(squares if squares.size else np.abs(values))
    hidden = ~open_bins(edges, blind, flow=True)
    values[hidden], errors[hidden] = 0.0, 0.0
    inside = slice(1, bins + 1)
    label = axis["title"] + tell_ends(edges)
    ticks = tuple(axis["labels"].get(str(i), "") for i in range(1, bins + 1)) if len(axis["labels"]) == bins else ()
    with np.errstate(invalid="ignore"):  # contents may be infinite
        total, everything = float(values[inside].sum()), float(values.sum())
    outside = 0.0 if KINDS[product.kind].bins == "means" else everything - total
    entries = float(product.arrays["entries"][0])
    drawn = drawn_edges(edges)
    ylabel = _per_bin(drawn, axis["title"]) if KINDS[product.kind].bins == "contents" else "mean"
    return Curve(drawn, values[inside], errors[inside], total, outside, entries, label, ticks, ylabel)


def _per_bin(edges: Array, title: str) -> str:
    widths = np.diff(edges)
    if (unit := UNIT.search(title)) is None or not np.allclose(widths, widths[0], rtol=1e-6):
        return "events / bin"
    return f"events / {widths[0]:.3g} {unit[1]}"


def draw(
    name: str,
    curves: Mapping[str, Curve],
    colors: Mapping[str, str],
    *,
    unit_area: bool,
    mark: str = "",
    blind: Sequence[tuple[float, float]] = (),
    legend: bool = False,
) -> str:
    """Draw the curves of one product, a colour per sample, as an SVG element.

    Parameters
    ----------
    name : str
        Name of the product.
    curves : mapping of str to Curve
        Curves with the same bins, by sample.
    colors : mapping of str to str
        Colours by sample.
    unit_area : bool
        Scale each curve to unit sum, so that shapes can be compared.
    mark : str
        A warning to print on the picture.
    blind : sequence of (float, float)
        Intervals without data, which are shaded.
    legend : bool
        Name the curves in the picture, and draw the first one broad, so that it is seen below one that is equal.
    """
    first = next(iter(curves.values()))
    fitting = {s: c for s, c in curves.items() if np.array_equal(c.edges, first.edges) and c.values.any()}
    scaled = {s: _scaled(c, unit_area) for s, c in fitting.items()}
    # Scaled to unit area, curves with a few events would dwarf all others: they may exceed the frame.
    many = [scaled[s][0] for s in scaled if curves[s].entries >= _FEW] if unit_area else []
    shown = many or [values for values, _ in scaled.values()]
    highest = max((float(values.max()) for values in shown), default=0.0)
    lowest = min((float(values.min()) for values in shown), default=0.0)
    x = horizontal(first.edges)
    top = highest * (1.15 + 0.12 * len(curves) * legend)
    y = Axis(min(lowest * 1.15, 0.0), top if highest > 0 else 1.0, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(name)}">',
        f"<title>{escape(describe(name, curves))}</title>",
        f'<text x="{_LEFT}" y="13" class="name"{_squeeze(name, _WIDTH - _LEFT - _RIGHT, 6.3)}>{escape(name)}</text>',
        f'<text transform="translate(9 {_TOP}) rotate(-90)" class="y">{_ylabel(first, unit_area)}</text>',
        *(_shade(interval, x, y) for interval in blind),
        _frame(x, y, first),
    ]
    for n, (sample, (values, errors)) in enumerate(scaled.items()):
        color, broad = colors[sample], ' class="broad"' if legend and n == 0 and len(scaled) > 1 else ""
        parts.append(f'<path d="{_steps(first.edges, values, x, y)}" stroke="{color}"{broad}/>')
        parts.append(f'<path d="{_bars(first.edges, values, errors, x, y)}" stroke="{color}" class="error"/>')
    parts += [_entry(n, sample, colors[sample]) for n, sample in enumerate(curves if legend else ())]
    if not scaled:
        parts.append(f'<text x="{(_LEFT + _WIDTH) // 2}" y="{_HEIGHT // 2}" class="empty">no entries</text>')
    if mark:
        parts.append(f'<text x="{_WIDTH - _RIGHT - 4}" y="{_TOP + 12}" class="mark">{escape(mark)}</text>')
    return "".join([*parts, "</svg>"])


def _scaled(c: Curve, unit_area: bool) -> tuple[Array, Array]:
    norm = 1 / c.total if unit_area and c.total and math.isfinite(c.total) else 1.0
    return _drawn(c.values) * norm, _drawn(c.errors) * norm


def _ylabel(first: Curve, unit_area: bool) -> str:
    return to_text(f"fraction of {first.ylabel}" if unit_area else first.ylabel)


def _entry(n: int, name: str, color: str) -> str:
    """Return a line of the legend."""
    x, y = _WIDTH - _RIGHT - 6, _TOP + 12 + 12 * n
    broad = "" if n else ' class="broad"'
    line = f'<path d="M{x - 18} {y - 3}H{x}" stroke="{color}"{broad}/>'
    return f'{line}<text x="{x - 23}" y="{y}" class="label">{escape(_cut(name, 36))}</text>'


def number(value: float) -> str:
    """Return a number beside an axis."""
    return re.sub(r"e([+-])0?(\d)", lambda m: f"e{m[1].replace('+', '')}{m[2]}", f"{value:.4g}")


def picture(drawn: str) -> str:
    """Return what `draw` returned as an address that an image can have: a picture of its own, with its style.

    Unlike an SVG element in a page, it is shown where HTML is sanitised, and its style touches nothing else.
    """
    size = f'xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"'
    head, _, rest = drawn.replace("<svg ", f"<svg {size} ", 1).partition(">")
    text = _NOT_XML.sub("", f"{head}><style>{_style()}</style>{rest}")
    return "data:image/svg+xml;base64," + b64encode(text.encode()).decode("ascii")


@cache
def _style() -> str:
    return (files("portico.report") / "templates" / "plot.css").read_text(encoding="utf-8")


def _drawn(numbers: Array) -> Array:
    """Return numbers with 0 for those that have no place in a picture; the sum in its title tells of them."""
    return np.where(np.isfinite(numbers), numbers, 0.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """A map from values between ``low`` and ``high`` to picture units between ``start`` and ``end``."""

    low: float
    high: float
    start: int
    end: int
    log: bool = False

    def at(self, value: float | Array) -> Array:
        """Return where values lie."""
        if self.log:
            part = np.log(value / self.low) / math.log(self.high / self.low)
            return np.asarray(self.start + part * (self.end - self.start))
        return np.asarray(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start))

    def ticks(self, count: int) -> list[float]:
        """Return round values, at most one more than ``count``."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) < 5 else (1,)
            return [m * 10.0**d for d in decades for m in steps if self.low <= m * 10.0**d <= self.high]
        step = 10 ** math.floor(math.log10((self.high - self.low) / count))
        step *= next((m for m in (1, 2, 5) if (self.high - self.low) / (step * m) <= count), 10)
        return [i * step for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def horizontal(edges: Array) -> Axis:
    """Return the x axis of a picture; logarithmic if the widths of the bins suggest it."""
    return Axis(float(edges[0]), float(edges[-1]), _LEFT, _WIDTH - _RIGHT, is_logarithmic(edges))


def _frame(x: Axis, y: Axis, first: Curve) -> str:
    parts = [f'<rect x="{x.start}" y="{y.end}" width="{x.end - x.start}" height="{y.start - y.end}" class="frame"/>']
    for value in y.ticks(4):
        at = y.at(value)
        parts.append(f'<path d="M{x.start} {at:.1f}h4" class="tick"/>')
        parts.append(f'<text x="{x.start - 4}" y="{at + 3:.1f}" class="y">{number(value)}</text>')
    if first.ticks:
        middles = x.at((first.edges[1:] + first.edges[:-1]) / 2)
        width = (x.end - x.start) / len(first.ticks)
        every = max(1, math.ceil(len(first.ticks) * 40 / (x.end - x.start)))
        longest = max(4, int(width * every / 5))
        shown: Sequence[tuple[float, str]] = [
            (float(at), text if len(text) <= longest else text[: longest - 1] + "…")
            for at, text in list(zip(middles, first.ticks, strict=True))[::every]
        ]
    else:
        shown = [(float(x.at(value)), number(value)) for value in x.ticks(6)]
    for position, text in shown:
        parts.append(f'<path d="M{position:.1f} {y.start}v-4" class="tick"/>')
        inside = min(position, _WIDTH - 2.6 * len(text))  # half as wide as it is
        parts.append(f'<text x="{inside:.1f}" y="{y.start + 11}" class="x">{escape(text)}</text>')
    squeezed = _squeeze(first.label, _WIDTH - _RIGHT - 4)
    parts.append(f'<text x="{x.end}" y="{_HEIGHT - 6}" class="label"{squeezed}>{to_text(_cut(first.label))}</text>')
    return "".join(parts)


def _shade(interval: tuple[float, float], x: Axis, y: Axis) -> str:
    low, high = (float(x.at(min(max(end, x.low), x.high))) for end in interval)
    return (
        f'<rect x="{low:.1f}" y="{y.end}" width="{high - low:.1f}" height="{y.start - y.end}" class="blind">'
        "<title>blinded: data are not shown</title></rect>"
    )


def _cut(label: str, longest: int = _LONGEST) -> str:
    return label if len(label) <= longest else label[: longest - 1] + "…"


def _squeeze(label: str, room: int, wide: float = 5.4) -> str:
    """Return the attributes that squeeze a long label into the picture; a character is about so many units wide."""
    return f' textLength="{room}" lengthAdjust="spacingAndGlyphs"' if wide * len(_cut(label)) > room else ""


def _steps(edges: Array, values: Array, x: Axis, y: Axis) -> str:
    right, level = x.at(edges), np.clip(y.at(values), y.end, y.start)
    parts = [f"M{right[0]:.1f} {float(y.at(0.0)):.1f}"]
    previous = None
    for position, height in zip(right[1:], level, strict=True):
        text = f"{height:.1f}"
        if text != previous:
            parts.append(f"V{text}")
        parts.append(f"H{position:.1f}")
        previous = text
    return "".join([*parts, f"V{float(y.at(0.0)):.1f}"])


def _bars(edges: Array, values: Array, errors: Array, x: Axis, y: Axis) -> str:
    middles = (x.at(edges[1:]) + x.at(edges[:-1])) / 2
    top, bottom = np.clip(y.at(values + errors), y.end, y.start), np.clip(y.at(values - errors), y.end, y.start)
    return "".join(f"M{m:.1f} {t:.1f}V{b:.1f}" for m, t, b in zip(middles, top, bottom, strict=True) if b - t > 1)


def describe(name: str, curves: Mapping[str, Curve]) -> str:
    """Return the entries and sums of the curves of one product in words, a line each."""
    lines = [
        f"{s}: {c.entries:g} entries, sum {c.total:.6g}" + (f", out of range {c.outside:.6g}" if c.outside else "")
        for s, c in curves.items()
    ]
    return "\n".join([name, *lines])


def to_text(title: str) -> str:
    """Convert a ROOT title to SVG text: Greek letters, sub- and superscripts. Everything else is escaped."""
    parts, end, plain = [], 0, to_plain(title)
    for match in _SCRIPT.finditer(plain):
        down = 3 if match[1] == "_" else -4
        parts.append(escape(plain[end : match.start()]))
        parts.append(
            f'<tspan dy="{down}" font-size="80%">{escape(match[2])}</tspan><tspan dy="{-down}">&#8203;</tspan>'
        )
        end = match.end()
    return "".join([*parts, escape(plain[end:])])
