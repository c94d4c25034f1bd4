"""Figures: what they show, what they refuse, and that they leave matplotlib's state alone."""

from __future__ import annotations

import io
import math
import subprocess
import sys

import hist
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from portico import plot
from portico.results.cutflow import Cutflow
from portico.results.hists import histogram_to_hist
from portico.results.product import Product, ProductKind


def gauss(n: int, mean: float = 1.0, weight: float = 1.0, label: str = "m(#mu#pi) (GeV)") -> hist.Hist:
    h = hist.Hist(hist.axis.Regular(40, 0, 2, label=label), storage=hist.storage.Weight(), label="N mass")
    h.fill(np.random.default_rng(7).normal(mean, 0.3, n), weight=weight)
    return h


def size(figure: Figure) -> float:
    """Draw a figure, and say how far it is from a blank one."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return float(np.asarray(canvas.buffer_rgba())[..., :3].std())


def pixels(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


def test_histogram_shows_bins_errors_names_and_what_is_out_of_range() -> None:
    h = gauss(2000, mean=1.8)
    figure = plot.histogram(h)
    axes = figure.axes[0]
    assert axes.get_xlabel() == r"m($\mu \pi $) (GeV)"
    assert axes.get_ylabel() == "events / 0.05 GeV"
    assert axes.get_title(loc="left") == "N mass"
    outside = h.values(flow=True).sum() - h.values().sum()
    assert [text.get_text() for text in axes.texts] == [f"out of range: above {outside:g}"]
    bars = axes.containers[0].lines[2][0].get_segments()
    peak = int(np.argmax(h.values()))
    assert bars[peak][1][1] - bars[peak][0][1] == pytest.approx(2 * np.sqrt(h.values()[peak]))
    assert size(figure) > 0


def test_histogram_of_a_product_as_a_run_gives_it() -> None:
    axis = {
        "bins": 4,
        "low": 0.0,
        "high": 4.0,
        "edges": None,
        "title": "n",
        "labels": {"1": "a", "2": "b", "3": "c", "4": "d"},
    }
    values = np.array([0.0, 1, 2, 3, 4, 0])
    meta = {"class": "TH1D", "name": "h", "title": "named", "axes": [axis]}
    product = Product(
        ProductKind.HISTOGRAM,
        meta,
        {"values": values, "sumw2": np.zeros(0), "stats": np.zeros(13), "entries": np.array([10.0])},
    )
    figure = plot.histogram(histogram_to_hist(product))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b", "c", "d"]


def test_flow_as_bins_widens_the_axis() -> None:
    figure = plot.histogram(gauss(100), flow="bins", log=True)
    assert figure.axes[0].get_xlim() == pytest.approx((-0.05, 2.05))
    assert figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize("log", [False, True])
def test_empty_histogram_is_drawn(log: bool) -> None:
    assert size(plot.histogram(gauss(0), log=log)) > 0
    assert size(plot.overlay({"a": gauss(0)}, log=log)) > 0
    assert size(plot.stack({"a": gauss(0)}, data=gauss(0), log=log)) > 0


def test_overlay_scales_to_unit_area_and_names_empty_samples() -> None:
    figure = plot.overlay({"signal_1": gauss(100), "data": gauss(5000), "none": gauss(0)})
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["signal_1", "data", "none (empty)"]
    areas = [np.sum(patch.get_data().values) * 0.05 for patch in figure.axes[0].patches]
    assert areas[:2] == pytest.approx([1.0, 1.0])


def test_stack_adds_backgrounds_and_compares_with_data() -> None:
    first, second, data = gauss(1000, 0.8), gauss(500, 1.2, 2.0), gauss(2000)
    figure = plot.stack({"qcd": first, "dy": second}, signals={"m_{N} = 1 GeV": gauss(50)}, data=data)
    upper, lower = figure.axes
    np.testing.assert_allclose(upper.patches[1].get_data().values, first.values() + second.values())
    legend = {text.get_text() for text in upper.get_legend().get_texts()}
    assert {"qcd", "dy", "data", "$m_{N}$ = 1 GeV"} <= legend
    assert lower.get_ylabel() == "data / bkg"
    assert upper.get_xlabel() == ""
    assert size(figure) > 0


@pytest.mark.parametrize("values", [[-1.0, -2.0, 1.0], [1.0, math.nan, 2.0], [1.0, math.inf, 2.0], [0.0, 0.0, 0.0]])
def test_odd_contents_are_drawn(values: list[float]) -> None:
    """Sums below 0, and contents that are no numbers, as bins of infinite weights have."""
    h, other = (hist.Hist(hist.axis.Regular(3, 0, 3), storage=hist.storage.Weight()) for _ in range(2))
    h.view()["value"], h.view()["variance"] = values, np.abs(values)
    other.fill([0.5, 1.5])
    for log in (False, True):
        for figure in (plot.histogram(h, log=log), plot.histogram(h, log=log, density=True),
                       plot.overlay({"h": h, "other": other}, log=log), plot.stack({"h": h}, data=other, log=log),
                       plot.stack({"h": other}, data=h, log=log)):  # fmt: skip
            bottom, top = figure.axes[0].get_ylim()
            assert bottom < top
            assert pixels(figure)


@pytest.mark.parametrize("interval", [(1.24, 0.76), (1.0, 1.0), (0.76, math.nan)])
def test_an_interval_that_would_hide_nothing_is_refused(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="hides nothing; write"):
        plot.histogram(gauss(100), blind=[interval])
    with pytest.raises(ValueError, match="hides nothing; write"):
        plot.stack({"b": gauss(100)}, data=gauss(100), blind=[interval])


@pytest.mark.parametrize("log", [False, True])
def test_blinded_data_are_not_drawn(log: bool) -> None:
    blind = [(0.76, 1.24)]
    loud, quiet = gauss(100), gauss(100)
    inside = (loud.axes[0].edges[1:] > 0.76) & (loud.axes[0].edges[:-1] < 1.24)
    loud.view().value[inside] = loud.view().variance[inside] = 1e4
    pictures = []
    for data in (loud, quiet):
        stacked = plot.stack({"b": gauss(100)}, data=data, log=log, blind=blind)
        points = [line for line in stacked.axes[0].lines if line.get_marker() == "o"]
        assert len(points[0].get_xdata()) == (~inside & (loud.values() > 0)).sum()
        assert len(stacked.axes) == 2
        pictures += [pixels(stacked), pixels(plot.histogram(data, log=log, blind=blind, density=True))]
    assert pictures[:2] == pictures[2:]
    assert pictures[1] != pixels(plot.histogram(quiet, log=log, density=True))


def test_stack_of_different_bins_is_refused() -> None:
    other = hist.Hist(hist.axis.Regular(10, 0, 2), storage=hist.storage.Weight())
    with pytest.raises(ValueError, match="different bins"):
        plot.stack({"a": gauss(10), "b": other})
    with pytest.raises(ValueError, match="nothing to draw"):
        plot.stack({})
    with pytest.raises(ValueError, match="no histogram"):
        plot.overlay({})


def test_heatmap_and_profile() -> None:
    x = np.random.default_rng(3).random(1000)
    flat = hist.Hist(hist.axis.Regular(10, 0, 0.9, label="x"), hist.axis.Regular(10, 0, 1, label="#eta"))
    flat.fill(x, x**2)
    figure = plot.heatmap(flat, log=True)
    assert figure.axes[0].get_ylabel() == r"$\eta $"
    assert figure.axes[0].get_title(loc="right").startswith("out of range")
    means = hist.Hist(hist.axis.Regular(5, 0, 1, label="p_{T} (GeV)"), storage=hist.storage.Mean())
    means.fill(x, sample=2 * x)
    figure = plot.profile(means)
    assert figure.axes[0].get_xlabel() == "$p_{T}$ (GeV)"
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), means.values())
    with pytest.raises(ValueError, match="2 are needed"):
        plot.heatmap(gauss(1))
    with pytest.raises(ValueError, match="1 is needed"):
        plot.histogram(flat)


def test_cutflow_shows_fractions() -> None:
    flow = Cutflow(("two muons", "mass"), (100, 40), (40, 10))
    figure = plot.cutflow({"a": flow})
    assert [patch.get_width() for patch in figure.axes[0].patches] == pytest.approx([0.4, 0.1])
    with pytest.raises(ValueError, match="different cuts"):
        plot.cutflow({"a": flow, "b": Cutflow(("other",), (1,), (1,))})


def test_bins_of_very_different_widths_have_a_logarithmic_axis() -> None:
    h = hist.Hist.new.Var(np.geomspace(0.25, 250, 61), label="m (GeV)").Double().fill([3.1, 91.0])
    for figure in (plot.overlay({"a": h}), plot.histogram(h)):
        assert figure.axes[0].get_xscale() == "log"
    assert plot.histogram(gauss(3)).axes[0].get_xscale() == "linear"


def test_spectrum_marks_regions() -> None:
    h = hist.Hist(hist.axis.Variable(np.geomspace(0.3, 200, 60), label="m (GeV)"))
    h.fill(np.random.default_rng(1).normal(91, 2, 500))
    figure = plot.spectrum(h, regions=[plot.Region("Z", 80, 100)])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["Z"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    with pytest.raises(ValueError, match="cannot be logarithmic"):
        plot.spectrum(gauss(3))


def test_stamp_is_written() -> None:
    figure = plot.stamp(plot.histogram(gauss(5)), "PARTIAL")
    assert "PARTIAL" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("m(#mu#mu) (GeV)", r"m($\mu \mu $) (GeV)"),
        ("p_{T}", "$p_{T}$"),
        ("C_Hnl_mass", "C_Hnl_mass"),
        (r"$\tau$", r"$\tau$"),
        ("5 $ of #nonsense{", r"5 \$ of #nonsense{"),
        ("#doesnotexist", "#doesnotexist"),
        ("$^$", r"\$^\$"),
    ],
)
def test_labels_written_for_root(title: str, expected: str) -> None:
    assert plot.to_label(title) == expected


def test_settings_are_left_as_they_were() -> None:
    before = dict(mpl.rcParams)
    plot.histogram(gauss(5))
    assert dict(mpl.rcParams) == before


def test_no_figure_is_registered_and_root_is_not_loaded() -> None:
    code = (
        "import hist, sys; from portico import plot\n"
        "plot.histogram(hist.Hist(hist.axis.Regular(3, 0, 1)))\n"
        "import matplotlib.pyplot as plt\n"
        "assert plt.get_fignums() == [] and 'ROOT' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_same_histogram_gives_the_same_picture() -> None:
    pictures = []
    for _ in range(2):
        buffer = io.BytesIO()
        plot.overlay({"a": gauss(100)}).savefig(buffer, format="png")
        pictures.append(buffer.getvalue())
    assert pictures[0] == pictures[1]


def test_small_densities_are_seen_on_a_logarithmic_axis() -> None:
    """Bins far below 1, as those of a density: the axis begins below the smallest of them."""
    histograms = {"a": gauss(2000) / 1e6, "b": gauss(500, mean=0.5) / 1e6}
    low, high = plot.overlay(histograms, density=False, log=True).axes[0].get_ylim()
    values = np.concatenate([h.values() for h in histograms.values()])
    assert 0 < low < values[values > 0].min()
    assert values.max() < high < 100 * values.max()
