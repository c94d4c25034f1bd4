"""Histograms in a notebook that fill while chunks come in.

The last picture is part of the notebook's output: see `portico.monitor.notebook`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from html import escape
from typing import TYPE_CHECKING

from portico.analysis.blinding import Blinding
from portico.errors import ConfigError, MissingExtra, PorticoError, nearest
from portico.interactive.watch import ENDED, Watch
from portico.monitor.notebook import Shown
from portico.results.kinds import KINDS
from portico.results.view import Results

if TYPE_CHECKING:
    from portico.interactive.fill import Fill

__all__ = ["Live", "page"]

_SECONDS = 0.25  # between two pictures, and four times as long as one takes to draw
_FEW = 4
_CARD = "width:340px;max-width:100%;margin:4px 4px 0 0;background:#fff;border-radius:4px"
"""A picture is as in a publication, on white, whatever the notebook's theme is."""


class Live:
    """A display that follows a fill until it ends.

    Parameters
    ----------
    fill : Fill
        What is shown.
    watch : Watch
        Tells when something changes.
    products, samples : sequence of str
        What to show, as `Fill.show` takes it.

    Raises
    ------
    MissingExtra
        If there is no IPython.
    ConfigError
        If this is not a notebook, or there is no such sample.
    """

    def __init__(self, fill: Fill, watch: Watch, products: Sequence[str], samples: Sequence[str]) -> None:
        if absent := [name for name in samples if name not in fill.samples]:
            raise ConfigError(f"{fill.wanted}: no sample '{absent[0]}'; {nearest(absent[0], fill.samples)}")
        self._fill, self._watch, self._products, self._samples = fill, watch, products, samples or fill.samples
        analysis = fill.wanted.analysis
        kinds = {name: sample.kind for name, sample in analysis.dataset.samples.items()}
        self._blinding = Blinding.from_manifest({"blind": {} if fill.unblind else analysis.blind, "samples": kinds})
        self._shown = _shown(*self._draw())
        self._thread = threading.Thread(target=self._follow, name="portico display", daemon=True)
        self._thread.start()

    def join(self, seconds: float = 5.0) -> None:
        """Wait until the last picture is shown."""
        self._thread.join(seconds)

    def _follow(self) -> None:
        seen = 0
        while True:
            seen = self._watch.next_change(seen)
            ended, began = self._fill.state in ENDED, time.monotonic()
            try:
                self._shown.update(*self._draw())
            except PorticoError as error:
                self._shown.update(f"<pre>{escape(str(error))}</pre>", str(error))
            if ended:
                return
            time.sleep(max(_SECONDS, 4 * (time.monotonic() - began)))

    def _draw(self) -> tuple[str, str]:
        found, title = self._fill.partial(), self._fill.describe()
        results = {name: found[name] for name in self._samples if name in found}
        return page(title, results, self._products, self._blinding), title


def page(title: str, results: Mapping[str, Results], products: Sequence[str], blinding: Blinding) -> str:
    """Return HTML with a picture of each product, the samples over one another.

    Parameters
    ----------
    title : str
        Stands above.
    results : mapping of str to Results
        By sample.
    products : sequence of str
        Names or patterns of histograms of one axis; the first few if there are none.
    blinding : Blinding
        Intervals in which data are not shown.
    """
    from portico.plot.style import COLORS
    from portico.report.svg import curve, describe, draw, picture

    colors = dict(zip(results, itertools.cycle(COLORS), strict=False))
    names = _chosen(results, products)
    pictures = []
    for name in names:
        having = {sample: of.products[name] for sample, of in results.items() if name in of}
        curves = {sample: curve(product, blinding.of(name, [sample])) for sample, product in having.items()}
        mark = "PARTIAL" if any(results[sample].note for sample in having) else ""
        shaded = blinding.of(name, having)
        drawn = picture(draw(name, curves, colors, unit_area=len(having) > 1, mark=mark, blind=shaded))
        words = f'alt="{escape(name)}" title="{escape(describe(name, curves))}"'
        pictures.append(f'<img {words} src="{drawn}" style="{_CARD}">')
    legend = " ".join(f'<span style="color:{colors[name]}">&#9632;</span> {escape(name)}' for name in results)
    head = f"<div><b>{escape(title)}</b></div><div>{legend}</div>"
    if results and products and not names:
        head += f"<div>no one-dimensional histogram matches {escape(', '.join(products))}</div>"
    return f"<div>{head}{''.join(pictures)}</div>"


def _chosen(results: Mapping[str, Results], patterns: Sequence[str]) -> list[str]:
    drawn = dict.fromkeys(
        name
        for of in results.values()
        for name, product in of.products.items()
        if KINDS[product.kind].bins and len(product.meta["axes"]) == 1
        and product.meta.get("variation", ["", "nominal"])[1] == "nominal"
    )  # fmt: skip
    if not patterns:
        return list(drawn)[:_FEW]
    return [name for pattern in patterns for name in drawn if fnmatchcase(name, pattern)]


def _shown(html: str, text: str) -> Shown:
    """Show HTML in a notebook, to be updated."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError as error:
        raise MissingExtra("notebook", "a display that follows a fill") from error
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        raise ConfigError("show() needs a notebook; here, wait() shows the progress, and partial() the results so far")
    return Shown(html, text)
