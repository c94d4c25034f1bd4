"""Figures of fits, limits and impacts: their artists against independent numbers, and the pictures as a whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from scipy import stats

from portico import plot
from portico.plot import fits
from portico.plot.fits import figure_of_fits
from portico.plot.impacts import figure_of_impacts
from portico.plot.limits import figure_of_bands
from portico.plot.panels import Panel, panels_of, poisson_interval
from portico.plot.plane import Curve, figure_of_plane
from portico.stats.fit import Fitter
from portico.stats.limit import Limit
from portico.stats.model import Channel, Component, Model, observation
from portico.stats.shapes import DoubleCrystalBall, Exponentials, Parameter, Template

FACTORS = (0.53, 0.72, 1.0, 1.4, 1.95)
MASS: dict[str, Any] = {"xlabel": "m(#mu#pi) (GeV)"}
PLANE: dict[str, Any] = {"xlabel": "m_{N} (GeV)", "ylabel": r"$|V_{\mu N}|^2$"}


def picture(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


def texts(figure: Figure) -> Iterator[Text]:
    """Texts that are seen, tick labels in the range of their axis among them."""
    hidden: set[int] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                hidden.add(id(tick.label2))
                if not low <= tick.get_loc() <= high:
                    hidden.add(id(tick.label1))
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            yield text


def assert_tidy(figure: Figure) -> None:
    """Assert that all texts lie on the canvas and on no other text."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    whole = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts(figure)]
    for name, box in boxes:
        assert whole.x0 <= box.x0 + 1 and box.x1 <= whole.x1 + 1, f"{name!r} leaves the canvas"  # noqa: PT018
        assert whole.y0 <= box.y0 + 1 and box.y1 <= whole.y1 + 1, f"{name!r} leaves the canvas"  # noqa: PT018
    for i, (name, box) in enumerate(boxes):
        small = Bbox.from_extents(box.x0 + 1, box.y0 + 1, box.x1 - 1, box.y1 - 1)
        for other, second in boxes[i + 1 :]:
            assert not small.overlaps(second), f"{name!r} lies on {other!r}"


def points_of(axes: Axes) -> np.ndarray[Any, Any]:
    """All vertices of lines, error bars and markers, in units of the axes; curves that are drawn as steps aside."""
    found = [np.asarray(line.get_xydata()) for line in axes.lines]
    for collection in axes.collections:
        if isinstance(collection, LineCollection):
            found += [np.asarray(segment) for segment in collection.get_segments()]
        if isinstance(collection, PathCollection):
            found.append(np.asarray(collection.get_offsets()))
    return np.concatenate([part for part in found if len(part)])


def legend_of(figure: Figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for legend in legends if legend is not None for text in legend.get_texts()]


@dataclass
class Row:
    name: str
    pull: float = 0.1
    sigma: float = 0.9
    up: float = 0.1
    down: float = -0.1


def test_untidy_figures_are_found() -> None:
    """What the tests below rely on."""
    figure = figure_of_impacts([Row("a")], poi_label="mu")
    figure.text(0.98, 0.5, "far too long to fit")
    with pytest.raises(AssertionError, match="leaves the canvas"):
        assert_tidy(figure)
    figure.texts[-1].set_position((0.2, 0.5))
    figure.text(0.21, 0.5, "b")
    with pytest.raises(AssertionError, match="lies on"):
        assert_tidy(figure)


# Fits


@dataclass
class Peak:
    """Bins of a falling background with a peak, and a smooth curve through them."""

    n: int = 40
    background: float = 2000.0
    signal: float = 100.0

    @property
    def edges(self) -> Any:
        return np.linspace(1.4, 1.6, self.n + 1)

    def contents(self, edges: Any) -> dict[str, Any]:
        u = (edges - 1.4) / 0.2
        falling = self.background * np.diff(-np.exp(-u)) / (1 - np.exp(-1))
        return {"background": falling, "signal": self.signal * np.diff(stats.norm.cdf(edges, 1.5, 0.012))}

    @property
    def curve(self) -> Any:
        fine = np.linspace(1.4, 1.6, 8 * self.n + 1)
        return (fine[1:] + fine[:-1]) / 2, {name: 8 * y for name, y in self.contents(fine).items()}

    def counts(self, seed: int = 5) -> Any:
        parts = self.contents(self.edges)
        return np.random.default_rng(seed).poisson(parts["background"] + parts["signal"]).astype(float)


# F. Garwood's intervals as tabulated by the CMS statistics committee (68.27%, central).
@pytest.mark.parametrize(
    ("n", "low", "high"), [(0, 0.0, 1.841), (1, 0.173, 3.300), (2, 0.708, 4.638), (3, 1.367, 5.918), (10, 6.89, 14.27)]
)
def test_intervals_of_few_events(n: int, low: float, high: float) -> None:
    found = poisson_interval(np.array([float(n)]))
    assert (found[0][0], found[1][0]) == pytest.approx((low, high), abs=6e-3 if n > 5 else 6e-4)


@given(st.integers(0, 200_000))
def test_intervals_cover_what_they_should(n: int) -> None:
    """Independent of how they are found: n or more have 15.87% at the lower end, n or fewer at the upper one."""
    low, high = poisson_interval(np.array([float(n)]))
    assert stats.poisson.cdf(n, high[0]) == pytest.approx(stats.norm.sf(1), rel=1e-6)
    if n:
        assert stats.poisson.sf(n - 1, low[0]) == pytest.approx(stats.norm.sf(1), rel=1e-6)


def figure_of_fit(
    edges: Any, counts: Any, components: Any, *, xlabel: str, ylabel: str | None = None, **more: Any
) -> Figure:
    return fits.figure_of_fit(Panel(edges, counts, components, **more), xlabel=xlabel, ylabel=ylabel)


def test_data_curve_signal_and_pulls_are_drawn_as_given() -> None:
    peak = Peak()
    counts, parts = peak.counts(), peak.contents(peak.edges)
    figure = figure_of_fit(
        peak.edges, counts, parts, **MASS, curve=peak.curve, signal=("signal, 3x", 3 * peak.curve[1]["signal"])
    )
    top, bottom = figure.axes
    points = next(c for c in top.containers if c.get_label() == "data")
    middles = (peak.edges[1:] + peak.edges[:-1]) / 2
    np.testing.assert_allclose(points.lines[0].get_xydata(), np.column_stack([middles, counts]))
    bar = points.lines[2][0].get_segments()[0]
    assert bar[:, 1] == pytest.approx([v[0] for v in poisson_interval(counts[:1])])
    lines = {line.get_label(): line for line in top.lines}
    np.testing.assert_allclose(lines["fit"].get_ydata(), sum(peak.curve[1].values()))
    np.testing.assert_allclose(lines["signal, 3x"].get_ydata(), 3 * peak.curve[1]["signal"])
    nu = parts["background"] + parts["signal"]
    assert [bar.get_height() for bar in bottom.patches] == pytest.approx((counts - nu) / np.sqrt(nu))
    assert (top.get_ylabel(), bottom.get_xlabel()) == ("events / 5 MeV", r"m($\mu \pi $) (GeV)")
    assert legend_of(figure) == ["data", "background", "signal", "fit", "signal, 3x"]
    assert_tidy(figure)


def test_pulls_of_rare_events_are_joined() -> None:
    """Worked out by hand: bins join until 4 are expected, what is left joins the last, none joins across the blind."""
    edges, counts = np.arange(9.0), np.array([3.0, 0, 1, 9, 1, 1, 7, 2])
    nu = np.array([5.0, 2, 2, 1, 50, 2, 1, 6])
    figure = figure_of_fit(edges, counts, {"b": nu}, xlabel="x", blind=[(4.2, 4.8)])
    bars = [patch for patch in figure.axes[1].patches if hasattr(patch, "get_height") and patch.get_height() != 1]
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert spans == [(0, 1), (1, 4), (5, 8)]
    assert [bar.get_height() for bar in bars] == pytest.approx([-2 / 5**0.5, (10 - 5) / 5**0.5, (10 - 9) / 9**0.5])


def test_blinded_data_are_not_in_the_figure() -> None:
    peak = Peak()
    counts, window = peak.counts(), (1.471, 1.529)
    inside = (peak.edges[1:] > window[0]) & (peak.edges[:-1] < window[1])
    given_: dict[str, Any] = {**MASS, "curve": peak.curve, "blind": [window]}
    secret, other = counts.copy(), counts.copy()
    secret[inside], other[0] = 777.0, counts[0] + 5
    figures = [figure_of_fit(peak.edges, n, peak.contents(peak.edges), **given_) for n in (counts, secret, other)]
    first, second, third = map(picture, figures)
    assert first == second, "what is blinded changes the picture"
    assert first != third
    for figure in figures:
        for axes in figure.axes:
            marks = [line for line in axes.lines if line.get_marker() not in {"None", ""}]
            xs = np.concatenate([np.asarray(line.get_xdata()) for line in marks] or [np.zeros(0)])
            bars = [c.get_segments() for c in axes.collections if isinstance(c, LineCollection)]
            xs = np.concatenate([xs, *[segment[:, 0] for segments in bars for segment in segments]])
            assert not ((xs > window[0]) & (xs < window[1])).any()
        middles = np.array([b.get_x() + b.get_width() / 2 for b in figure.axes[1].patches if b.get_height() != 1])
        assert not ((middles > window[0]) & (middles < window[1])).any()
        assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["blinded"]
    # the shade covers every bin without data, and no other
    shade = next(p for p in figures[0].axes[0].patches if p.get_height() == 1)
    np.testing.assert_allclose(
        [shade.get_x(), shade.get_x() + shade.get_width()], [peak.edges[:-1][inside][0], peak.edges[1:][inside][-1]]
    )
    assert_tidy(figures[0])


def flat(value: float, n: int = 10) -> Any:
    return np.full(n, value)


@pytest.mark.parametrize(
    ("counts", "nu", "stacked"),
    [
        (flat(0), flat(0.0), True),
        (np.eye(10)[3], flat(0.0), False),
        (np.eye(10)[3], flat(1e-3), True),
        (flat(1e5), flat(1.001e5), False),
        (flat(0), flat(3.0), True),
        (None, flat(3.0), False),
        (flat(4.0), None, True),
    ],
    ids=["nothing", "no background", "one", "many", "no data", "before data", "no model"],
)
def test_any_number_of_events_is_drawn(counts: Any, nu: Any, stacked: bool) -> None:
    components = {} if nu is None else {"background": nu, "other": nu / 10}
    edges = np.linspace(0, 1, 11)
    figure = figure_of_fit(edges, counts, components, xlabel="x (mm)", title="t", notes=["a", "b"], stacked=stacked)
    assert_tidy(figure)
    top, bottom = figure.axes
    highest = 0.0 if counts is None else float(np.max(counts))
    assert top.get_ylim()[1] > max(highest, 0 if nu is None else 1.1 * nu[0])
    low, high = bottom.get_ylim()
    heights = [patch.get_height() for patch in bottom.patches]
    assert np.isfinite(heights).all()
    assert all(low <= height <= high for height in heights)


def test_events_where_none_are_expected_are_marked() -> None:
    figure = figure_of_fit(np.linspace(0, 1, 11), np.eye(10)[3], {"b": flat(0.0)}, xlabel="x")
    assert [line.get_marker() for line in figure.axes[1].lines if line.get_marker() != "None"] == ["^"]
    assert not figure.axes[1].patches


def test_empty_bins_and_pulls_of_few_events_are_left_empty() -> None:
    """No bars over bins without events, which would look like a barcode; no pull where less than 4 are expected."""
    counts = np.array([0.0, 0, 3, 0, 0, 12, 0, 0, 0, 1])
    nu = np.array([0.1, 0.1, 0.2, 0.1, 0.1, 10.0, 0.1, 0.1, 0.1, 0.1])
    figure = figure_of_fit(np.linspace(0, 1, 11), counts, {"b": nu}, xlabel="x", blind=[(0.41, 0.49)])
    top, bottom = figure.axes
    (bars,) = [c for c in top.collections if isinstance(c, LineCollection)]
    assert [segment[0, 0] for segment in bars.get_segments()] == pytest.approx([0.25, 0.55, 0.95])
    pulls = [patch for patch in bottom.patches if patch.get_height() != 1]
    assert [(p.get_x(), p.get_width()) for p in pulls] == [(0.5, 0.5)]
    empty = figure_of_fit(np.linspace(0, 1, 11), flat(0), {"b": flat(0.1)}, xlabel="x")
    assert [text.get_text() for text in empty.axes[0].texts] == ["no events"]
    assert not empty.axes[1].patches
    assert_tidy(empty)


def test_legend_and_notes_lie_above_the_data() -> None:
    peak = Peak(signal=400)
    figure = figure_of_fit(
        peak.edges, peak.counts(), peak.contents(peak.edges), **MASS, curve=peak.curve, title="A, opposite charge",
        signal=(r"signal, $\mu = 4$", 4 * peak.curve[1]["signal"]), band=0.05 * peak.curve[1]["background"],
        notes=[r"$\mu = 1.0 \pm 0.2$", r"$p = 0.3$"],
    )  # fmt: skip
    assert_tidy(figure)
    top = figure.axes[0]
    canvas = FigureCanvasAgg(figure)
    legend = top.get_legend()
    assert legend is not None
    boxes = [legend.get_window_extent(canvas.get_renderer()), top.texts[0].get_window_extent(canvas.get_renderer())]
    drawn = top.transData.transform(points_of(top)[:, :2])
    for box in boxes:
        within = (drawn > [box.x0, box.y0]).all(axis=1) & (drawn < [box.x1, box.y1]).all(axis=1)
        assert not within.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.array([1.0, 0.5])}, "do not rise"),
        ({"counts": flat(1.0, 3)}, r"data: .* \(10,\) is needed, not \(3,\)"),
        ({"components": {"b": flat(1.0, 3)}}, "component 'b'"),
        ({"band": flat(1.0, 3)}, "band"),
        ({"signal": ("s", flat(1.0, 3))}, "signal"),
        ({"curve": (np.arange(4.0), {"b": np.arange(3.0)})}, r"curve of 'b'.*\(4,\)"),
        ({"curve": (np.arange(4.0), {}), "edges": np.geomspace(1, 2, 11)}, "equal width"),
    ],
)
def test_arrays_that_do_not_agree_are_refused(change: dict[str, Any], message: str) -> None:
    sound: dict[str, Any] = {"edges": np.linspace(0, 1, 11), "counts": flat(1.0), "components": {"b": flat(1.0)}}
    with pytest.raises(ValueError, match=message):
        figure_of_fits([Panel(**{**sound, **change})], xlabel="x")
    with pytest.raises(ValueError, match=message):
        figure_of_fit(**{**sound, **change}, xlabel="x")


@cache
def fitted() -> tuple[Fitter, Any]:
    """Six channels: binned, unbinned, blinded, before data, of templates, and one without the signal."""
    rng, low, high = np.random.default_rng(2), 1.4, 1.6
    edges = tuple(np.linspace(low, high, 101))
    peak = DoubleCrystalBall(
        low=low, high=high, mean=1.5, width=0.012, alpha_left=1.5, n_left=3, alpha_right=1.5, n_right=4
    )
    signal = Component(name="signal", shapes=(peak,), events=20.0, strength="mu", effects={"lumi": (0.97, 1.03)})
    falling = Component(
        name="background", shapes=(Exponentials(low=low, high=high),), events=1.0, strength="n", floating=True
    )
    contents = falling.shapes[0].contents(np.array(edges), np.array([-1.0]))
    template = Component(name="background", shapes=(Template(low=low, high=high, bins=tuple(contents)),), events=500.0)

    def channel(name: str, components: tuple[Component, ...], **more: Any) -> Channel:
        return Channel(name=name, edges=edges, components=components, **more)

    counts = [tuple(map(float, rng.poisson(600 * contents))) for _ in range(5)]
    values = tuple(rng.uniform(low, high, 30).tolist())
    rate = [falling.model_copy(update={"strength": f"n{i}"}) for i in range(5)]
    model = Model(
        channels=(
            channel("binned", (signal, rate[0]), counts=counts[0]),
            channel("unbinned", (signal, rate[1]), values=values),
            channel("blinded", (signal, rate[2]), counts=counts[1], blind=((1.46, 1.54),)),
            channel("template", (signal, template), counts=counts[2]),
            channel("few", (signal, rate[3]), counts=tuple(float(i in {3, 70}) for i in range(100))),
            channel("control", (rate[4],), counts=counts[3]),
        ),
        parameters=(
            Parameter(name="mu", start=1.0, low=0.0, high=100.0),
            *(Parameter(name=f"n{i}", start=100.0, low=0.0, high=1e6, step=10.0) for i in range(5)),
        ),
    )
    fitter = Fitter(model, observation(model))
    return fitter, fitter.fit()


def test_panels_of_a_fit_hold_its_expectation() -> None:
    fitter, fit = fitted()
    panels = panels_of(fitter, fit, strength=5.0, label=r"signal, $\mu = 5$")
    inside = fitter.likelihood(fit.choice).expected(fit.values)
    for panel, channel, parts in zip(panels, fitter.model.channels, inside, strict=True):
        assert panel.title == channel.name
        assert panel.blind == channel.blind
        assert len(panel.edges) == 26
        assert panel.counts is not None
        assert panel.counts.sum() == (30 if channel.values is not None else sum(channel.counts or ()))
        for name, y in parts.items():
            np.testing.assert_allclose(panel.components[name].sum(), y.sum())
            if panel.curve is not None:  # per width of a drawn bin: its mean over them is the mean of the bins
                np.testing.assert_allclose(panel.curve[1][name].mean(), panel.components[name].mean(), rtol=1e-9)
        if channel.name == "control":
            assert panel.signal is None
        else:
            assert panel.signal is not None
            whole = fit.values["lumi"]
            expected = 5 * 20 * (1.03**whole if abs(whole) < 1e-9 else np.exp(np.log(1.03) * whole))
            assert panel.signal[1].sum() / len(panel.signal[1]) * 25 == pytest.approx(expected, rel=2e-3)
    assert (panels[3].curve is None) and (panels[0].curve is not None)  # noqa: PT018


@pytest.mark.parametrize(("bins", "drawn"), [(100, 25), (40, 40), (41, 41), (101, 101), (1, 1), (90, 30)])
def test_bins_are_joined_evenly(bins: int, drawn: int) -> None:
    edges = tuple(np.linspace(0, 1, bins + 1))
    shape = Template(low=0, high=1, bins=(1.0,) * bins)
    model = Model(
        channels=(
            Channel(
                name="c", edges=edges, counts=(2.0,) * bins,
                components=(Component(name="s", shapes=(shape,), events=1.0, strength="mu"),),
            ),
        ),
        parameters=(Parameter(name="mu", start=1.0, low=0.0, high=1e4),),
    )  # fmt: skip
    fitter = Fitter(model, observation(model))
    (panel,) = panels_of(fitter, fitter.fit({"mu": 1.0}), strength=1.0)
    assert len(panel.edges) - 1 == drawn
    assert panel.counts is not None
    assert panel.counts == pytest.approx(np.full(drawn, 2.0 * bins / drawn))
    assert panel.signal is not None
    assert panel.signal[1] == pytest.approx(np.full(drawn, 1 / drawn))
    assert panel.signal[0] == "signal, mu = 1"


def test_six_categories_in_one_figure() -> None:
    fitter, fit = fitted()
    panels = [
        replace(panel, title=f"category {panel.title}", notes=(r"$\mu = 0.1$", "p = 0.3"))
        for panel in panels_of(fitter, fit, strength=5.0, label=r"signal, $\mu = 5$")
    ]
    figure = figure_of_fits(panels, **MASS)
    assert len(figure.axes) == 12
    assert legend_of(figure) == ["data", "signal", "background", "fit", r"signal, $\mu = 5$"]
    assert [axes.texts[0].get_text() for axes in figure.axes[::2]] == [panel.title for panel in panels]
    backgrounds = [
        {tuple(c.get_facecolor()[0]) for c in axes.collections if c.get_label() == "background"}
        for axes in figure.axes[::2]
        if axes.texts[0].get_text() != "category template"
    ]
    assert all(colors == backgrounds[0] for colors in backgrounds), "a component has two colours"
    assert_tidy(figure)
    assert len(figure_of_fits(panels[:1], **MASS).axes) == 2
    with pytest.raises(ValueError, match="no fit to draw"):
        figure_of_fits([], **MASS)


# Labels


@pytest.mark.parametrize("title", ["", "m = 1 GeV"])
def test_a_label_is_above_the_axes(title: str) -> None:
    figure = figure_of_bands([1.0, 2.0], [limit(1.0)] * 2, xlabel="x", ylabel="y", title=title)
    assert plot.label(figure, "CMS", "Simulation", luminosity=41.6, energy=13.6) is figure
    assert_tidy(figure)
    (axes,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    whole = axes.get_window_extent()
    assert list(boxes) == [" ", r"$41.6\ \mathrm{fb^{-1}}$ (13.6 TeV)", "CMS", "Simulation"]
    name, status, right = boxes["CMS"], boxes["Simulation"], boxes[r"$41.6\ \mathrm{fb^{-1}}$ (13.6 TeV)"]
    assert whole.x0 == pytest.approx(name.x0, abs=3)
    assert right.x1 == pytest.approx(whole.x1, abs=3)
    assert name.x1 < status.x0 < name.x1 + 20
    assert all(whole.y1 - 2 < box.y0 < whole.y1 + 12 for box in boxes.values())
    if title:
        assert axes.title.get_text() == "" and axes.get_title(loc="left") == title  # noqa: PT018


def test_a_label_spans_the_first_row_of_panels() -> None:
    fitter, fit = fitted()
    figure = plot.label(figure_of_fits(panels_of(fitter, fit), **MASS), "CMS", luminosity=0.0011)
    assert_tidy(figure)
    found = [(n, text.get_text()) for n, axes in enumerate(figure.axes) for text in axes.texts[1:]]
    assert [pair for pair in found if "pb" in pair[1] or pair[1] == "CMS"] == [
        (0, "CMS"), (4, r"$1.1\ \mathrm{pb^{-1}}$")
    ]  # fmt: skip
    tops = [figure.axes[n].get_window_extent().y1 for n in (0, 2, 4)]
    assert tops == pytest.approx([tops[0]] * 3, abs=1)
    with pytest.raises(ValueError, match="above 0"):
        plot.label(figure, luminosity=0.0)


# Limits


def limit(median: float, observed: float | None = None) -> Limit:
    return Limit("asymptotic", observed, tuple(median * factor for factor in FACTORS))


def test_bands_and_lines_are_the_limits() -> None:
    x, limits = [1.2, 1.0, 1.1], [limit(2.0, 3.0), limit(1.0, 0.5), limit(1.5, 1.6)]
    figure = figure_of_bands(x, limits, xlabel="m_{N} (GeV)", ylabel="limit on #mu", label="95% CL", reference=1.0)
    axes = figure.axes[0]
    named = {artist.get_label(): artist for artist in [*axes.lines, *axes.collections]}
    np.testing.assert_allclose(named["observed"].get_xydata(), [[1.0, 0.5], [1.1, 1.6], [1.2, 3.0]])
    np.testing.assert_allclose(named["median expected"].get_xydata(), [[1.0, 1.0], [1.1, 1.5], [1.2, 2.0]])
    for name, low, high in (("68% expected", 0.72, 1.4), ("95% expected", 0.53, 1.95)):
        (path,) = named[name].get_paths()
        box = path.get_extents()
        assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((1.0, 1.0 * low, 1.2, 2.0 * high))
    references = [line for line in axes.lines if line.get_label().startswith("_child")]
    assert [line.get_ydata()[0] for line in references] == [1.0]
    assert axes.get_yscale() == "log"
    assert_tidy(figure)


def test_missing_limits_are_a_gap() -> None:
    x = np.linspace(1, 1.8, 12)
    limits: list[Limit | None] = [limit(1 + i / 10, 1.2) for i in range(12)]
    for i in (5, 6, 8):
        limits[i] = None
    limits[11] = Limit("asymptotic", None, (0.5, 0.7, float("inf"), float("inf"), float("inf")))
    figure = figure_of_bands(x, limits, xlabel="x", ylabel="y", label="95% CL")
    axes = figure.axes[0]
    spans = [c.get_paths()[0].get_extents() for c in axes.collections if c.get_zorder() == 1]
    gap = x[1] - x[0]
    assert [(box.x0, box.x1) for box in spans] == [
        pytest.approx((x[0], x[4])), pytest.approx((x[7] - gap / 4, x[7] + gap / 4)), pytest.approx((x[9], x[10]))
    ]  # fmt: skip
    (crosses,) = [line for line in axes.lines if line.get_label() == "no limit"]
    np.testing.assert_allclose(crosses.get_xdata(), x[[5, 6, 8, 11]])
    seen = next(line for line in axes.lines if line.get_label() == "observed")
    assert np.isnan(np.asarray(seen.get_ydata()))[[5, 6, 8, 11]].all()
    assert_tidy(figure)


@pytest.mark.parametrize(
    ("limits", "logx", "logy"),
    [
        ([None], True, True),
        ([limit(3.0)], True, True),
        ([limit(3.0, 2.0)], False, False),
        ([limit(3.0, 2.0), None], True, False),
        ([None, None], False, True),
    ],
)
def test_few_limits_are_drawn(limits: list[Limit | None], logx: bool, logy: bool) -> None:
    x = [1.0, 2.5][: len(limits)]
    assert_tidy(figure_of_bands(x, limits, xlabel="x", ylabel="y", logx=logx, logy=logy, title="t", label="95% CL"))


def test_bands_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(ValueError, match=r"1 limits for 2 values"):
        figure_of_bands([1.0, 2.0], [limit(1.0)], xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="at least one"):
        figure_of_bands([], [], xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="x = -1 cannot be"):
        figure_of_bands([-1.0], [limit(1.0)], xlabel="x", ylabel="y", logx=True)


X, Y = np.array([1.0, 1.25, 1.5, 1.8]), np.geomspace(1e-6, 1e-3, 20)
LOW, HIGH = -5.3 + 0.5 * (X - 1), -3.8 - 0.2 * (X - 1)  # log10 of the edges of what the median excludes


def edges_excluded(shift: float = 0.0) -> Any:
    """log10 of a limit that is 0 at both edges exactly, linear in x and log y near each."""
    at = np.log10(Y)[None, :]
    return np.maximum(LOW[:, None] - at, at - HIGH[:, None]) + shift


def plane(shift: float = 0.0) -> Any:
    return np.array([edges_excluded(shift + np.log10(factor)) for factor in FACTORS])


def contour(figure: Figure, style: str) -> Any:
    """Vertices of the contours that are drawn with a style and no filling."""
    styles = {"observed": 2.0, "median": 1.6, "sigma": 1.2}
    found = []
    for collection in figure.axes[0].collections:
        if isinstance(collection, QuadContourSet) and not collection.filled:
            paths = collection.get_paths() if collection.get_linewidths()[0] == styles[style] else []
            found += [path.vertices for path in paths if len(path.vertices)]
    return np.concatenate(found) if found else np.zeros((0, 2))


def test_contours_of_the_plane_lie_where_the_limit_is_one() -> None:
    figure = figure_of_plane(X, Y, plane(), edges_excluded(0.1), **PLANE, label="95% CL", notes=["a note"])
    for style, shifts in (("observed", [0.1]), ("median", [0.0]), ("sigma", [np.log10(0.72), np.log10(1.4)])):
        x, y = contour(figure, style).T
        lower = np.array([np.interp(x, X, LOW) + shift for shift in shifts])
        upper = np.array([np.interp(x, X, HIGH) - shift for shift in shifts])
        distance = np.abs(np.log10(y) - np.concatenate([lower, upper])).min(axis=0)
        assert distance.max() < 0.01
        middle = -4.6
        for side in (np.log10(y) < middle, np.log10(y) > middle):
            assert (x[side].min(), x[side].max()) == pytest.approx((1.0, 1.8))
    assert legend_of(figure) == [
        "observed", "median expected", r"$\pm 1\sigma$ expected", "excluded point", "point not excluded", "a note"
    ]  # fmt: skip
    assert list(figure.axes[0].texts) == []
    assert_tidy(figure)


def test_points_say_what_is_excluded_and_what_was_not_computed() -> None:
    observed = edges_excluded()
    observed[1, 7], observed[2, 8] = np.nan, np.inf
    expected = plane()
    expected[:, 1, 7] = np.nan
    figure = figure_of_plane(X, Y, expected, observed, **PLANE)
    drawn = {line.get_markerfacecolor(): line for line in figure.axes[0].lines if line.get_marker() == "o"}
    (lost,) = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    np.testing.assert_allclose(lost.get_xydata(), [[X[1], Y[7]]])
    excluded = np.argwhere(observed < 0)
    np.testing.assert_allclose(drawn["#444444"].get_xydata(), [[X[i], Y[j]] for i, j in excluded])
    assert [X[2], Y[8]] in drawn["white"].get_xydata().tolist()
    assert len(drawn["white"].get_xdata()) + len(excluded) + 1 == observed.size


@pytest.mark.parametrize(
    ("expected", "observed", "said"),
    [
        (3.0, 3.0, "nothing excluded"),
        (3.0, None, "nothing excluded"),
        (np.nan, None, "nothing excluded"),
        (np.inf, np.inf, "nothing excluded"),
        (0.0, 3.0, "nothing excluded by the data"),
        (3.0, 0.0, "nothing excluded in the expected median"),
        (0.0, None, None),
    ],
)
def test_nothing_excluded_is_said(expected: float, observed: float | None, said: str | None) -> None:
    seen = None if observed is None else edges_excluded(observed)
    figure = figure_of_plane(X, Y, plane(expected), seen, **PLANE)
    assert [text.get_text() for text in figure.axes[0].texts] == ([said] if said else [])
    assert_tidy(figure)


def test_the_region_has_no_step_where_limits_end() -> None:
    """At the last x there is no limit at large y: its last one goes on, excluding nothing, and the border with it."""
    expected = np.broadcast_to(np.array([-1.0, -1.0, -1.0, 0.5])[:, None], (4, 20)).copy()
    expected[3, 12:] = np.nan
    figure = figure_of_plane(X, Y, np.array([expected] * 5), None, **PLANE)
    x, y = contour(figure, "median").T
    assert x == pytest.approx(np.full(len(x), 1.7))
    assert [y.min(), y.max()] == pytest.approx([Y[0], Y[-1]])
    expected[3] = -1.0
    expected[3, 12:] = np.nan
    x, y = contour(figure_of_plane(X, Y, np.array([expected] * 5), None, **PLANE), "median").T
    assert y.min() >= Y[11]
    assert x[y > Y[12]] == pytest.approx(np.full((y > Y[12]).sum(), 1.8), abs=0.01)  # what is not known is not excluded


def test_one_mass_and_one_coupling_are_drawn() -> None:
    figure = figure_of_plane(X[:1], Y, plane()[:, :1], edges_excluded()[:1], **PLANE, logx=True)
    y = contour(figure, "median")[:, 1]
    assert np.log10([y.min(), y.max()]) == pytest.approx([LOW[0], HIGH[0]], abs=0.01)
    assert_tidy(figure)
    assert contour(figure_of_plane(X, Y[9:10], plane()[:, :, 9:10], None, **PLANE), "median").size == 0


def test_published_curves_are_drawn_and_named_if_they_come_into_the_axes() -> None:
    box = np.array([1.1, 1.4, 1.4, 1.1]), np.array([1e-5, 1e-5, 1e-4, 1e-4])
    curves = [
        Curve("closed", *box, closed=True),
        Curve("far below", box[0], box[1] * 1e-6, closed=True),
        Curve("open, from below", np.array([0.5, 3.0]), np.array([1e-9, 1e-8])),  # excludes all above
        Curve("with a gap", np.array([1.0, 1.2, np.nan, 1.5, 1.7]), np.array([1e-4, 1e-4, np.nan, 1e-4, 1e-4])),
        Curve("around", np.array([0.1, 9, 9, 0.1]), np.array([1e-9, 1e-9, 1, 1]), closed=True),
        Curve("a point", np.array([1.6]), np.array([2e-5])),
        Curve("nothing", np.array([np.nan]), np.array([1.0])),
        Curve("left", np.array([0.2, 0.4]), np.array([1e-5, 1e-5])),
    ]
    figure = figure_of_plane(X, Y, plane(), None, **PLANE, published=curves)
    names = legend_of(figure)
    assert names[-5:] == ["closed", "open, from below", "with a gap", "around", "a point"]
    axes = figure.axes[0]
    (xmin, xmax), (ymin, ymax) = axes.get_xlim(), axes.get_ylim()
    assert xmin > 0.9 and xmax < 1.9 and ymin > 1e-7 and ymax < 1e-2  # noqa: PT018
    lines = [line for line in axes.lines if line.get_zorder() == 2]
    assert sum(len(line.get_xdata()) == 2 for line in lines) == 3  # two pieces beside the gap, and the open one
    assert all(isinstance(line, Line2D) and line.get_clip_on() for line in lines)
    colors = {line.get_label(): line for line in lines}
    written = {text.get_text(): text for text in axes.texts}
    assert set(written) == {"closed", "with a gap", "a point"}  # of the others the edges are outside
    assert len({line.get_color() for line in colors.values()}) == 5
    for text in written.values():
        x, y = axes.transData.transform(text.get_position())
        own = [line for line in lines if line.get_color() == text.get_color() and visible(axes, line)]
        assert min(np.hypot(*(dense(axes, line) - [x, y]).T).min() for line in own) < 15
    assert_tidy(figure)


def dense(axes: Axes, line: Line2D) -> Any:
    """Points along a line in pixels."""
    points = axes.transData.transform(np.asarray(line.get_xydata(), float))
    parts = [a + (b - a) * np.linspace(0, 1, 2000)[:, None] for a, b in pairwise(points)]
    return np.concatenate([*parts, points])


def visible(axes: Axes, line: Line2D) -> bool:
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inside = axes.transData.inverted().transform(dense(axes, line))
    return bool(((inside > [low, bottom]) & (inside < [high, top])).all(axis=1).any())


def test_plane_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="x from 0"):
        figure_of_plane(X - 1, Y, plane(), None, **PLANE, logx=True)
    for x, y, expected, observed, message in (
        (X[::-1], Y, plane(), None, "rise"),
        (X, Y - Y[0], plane(), None, "above 0"),
        (X, Y, plane()[:3], None, r"\(5, 4, 20\), not \(3, 4, 20\)"),
        (X, Y, plane(), np.zeros((2, 2)), r"\(4, 20\), not \(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            figure_of_plane(x, y, expected, observed, **PLANE)


# Impacts


def rows(n: int) -> list[Row]:
    rng = np.random.default_rng(4)
    names = ["muon trigger", "pileup", "stat_C_{1}", "background_exponentials1_slope1_of_category_5", "5$ of #it"]
    return [
        Row(f"{names[i % 5]}_{i}", rng.normal(), rng.uniform(0.4, 1.1), s, -0.8 * s)
        for i, s in enumerate(rng.normal(0, 0.1, n))
    ]


def test_impacts_are_ranked_and_drawn_as_given() -> None:
    given_rows = rows(30)
    figure = figure_of_impacts(given_rows, poi_label=r"$\mu$", title="after the fit", note=r"$\hat\mu = 0.5$")
    left, right = figure.axes
    ranked = sorted(given_rows, key=lambda row: -abs(row.up))[:20]
    points = left.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xydata(), [[row.pull, i] for i, row in enumerate(ranked)])
    bars = left.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([bar[1][0] - bar[0][0] for bar in bars], [2 * row.sigma for row in ranked])
    up, down = right.containers
    assert [bar.get_width() for bar in up] == pytest.approx([row.up for row in ranked])
    assert [bar.get_width() for bar in down] == pytest.approx([row.down for row in ranked])
    assert left.get_ylim()[0] > left.get_ylim()[1], "the largest is not on top"
    assert right.get_xlabel() == r"impact on $\mu$"
    assert figure.get_supxlabel() == "the 20 largest of 30"
    names = [label.get_text() for label in left.get_yticklabels()]
    assert len(set(names)) == 20
    assert_tidy(figure)


def test_parameters_without_a_number_are_named_not_drawn() -> None:
    broken = [Row("no fit", up=float("nan")), Row("no error", sigma=float("inf"))]
    figure = figure_of_impacts([*rows(3), *broken], poi_label="mu")
    assert figure.get_supxlabel() == "2 without a number: no fit, no error"
    assert len(figure.axes[0].get_yticks()) == 3
    assert_tidy(figure)
    assert figure_of_impacts(broken, poi_label="mu").axes[1].containers[0].patches == []
    assert_tidy(figure_of_impacts([Row("alone", up=0.0, down=0.0)], poi_label="mu"))


@pytest.mark.parametrize(("some", "most"), [([], 20), ([Row("a")], 0)])
def test_no_impacts_are_refused(some: list[Row], most: int) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        figure_of_impacts(some, poi_label="mu", most=most)


def test_the_figures_are_as_vectors_too() -> None:
    figure = figure_of_plane(X, Y, plane(), edges_excluded(), **PLANE, published=[Curve("a", X, 1e-5 * X)])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf")
    assert buffer.getvalue().startswith(b"%PDF")
    assert b"/Subtype /Image" not in buffer.getvalue()
