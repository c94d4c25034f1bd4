"""The signal shape against scipy's Crystal Ball, toys with weights, straight lines, and shifted histograms."""

from __future__ import annotations

import json
from typing import Any

import hist
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from hnl.figures.signal import figure_of_resolution, figure_of_shapes
from hnl.fits.shape import PARAMETERS, ShapeFit, fit_histogram, fit_shape
from hnl.fits.signal import SignalShapes, cms_resolution, fit_signals, shape_shifts, window
from hnl.inputs.yields import Generated, Signal
from portico.analysis.dataset import Sample
from portico.errors import FitError

LOW, HIGH, MASS = 1.38, 1.62, 1.5
TRUE = {
    "mean": 1.5008, "width": 0.0105, "alpha_left": 1.5, "n_left": 4.0, "alpha_right": 1.7, "n_right": 5.0,
}  # fmt: skip
TAILS = {name: value for name, value in TRUE.items() if name not in ("mean", "width")}


def draw(rng: np.random.Generator, size: int, mass: float = MASS, width: float = TRUE["width"]) -> np.ndarray:
    """Each side from scipy's one-sided Crystal Ball, taken in the ratio of their areas."""
    offset = TRUE["mean"] - MASS
    halves, areas = [], []
    for alpha, n in ((TRUE["alpha_left"], TRUE["n_left"]), (TRUE["alpha_right"], TRUE["n_right"])):
        shape = stats.crystalball(alpha, n)
        halves.append(shape.ppf(rng.uniform(size=size) * shape.cdf(0)))  # below the mean
        areas.append(shape.cdf(0) / shape.pdf(0))
    left = rng.uniform(size=size) < areas[0] / sum(areas)
    return np.asarray(mass + offset + width * np.where(left, halves[0], -halves[1]))


# ---- fits


def test_many_events_give_the_true_shape() -> None:
    x = draw(np.random.default_rng(1), 60_000)
    fit = fit_shape(x, np.ones(len(x)), MASS, LOW, HIGH)
    for name in PARAMETERS:
        assert fit.values[name] == pytest.approx(TRUE[name], abs=4 * fit.errors[name]), name
    assert fit.errors["width"] < 0.02 * TRUE["width"]
    inside = np.count_nonzero((x >= LOW) & (x < HIGH))
    assert fit.effective_events == pytest.approx(inside)
    assert fit.notes == ()
    # and so its cumulative distribution is that of the events: Kolmogorov-Smirnov
    edges = np.linspace(LOW, HIGH, 4001)
    cumulative = np.concatenate([[0], np.cumsum(fit.ball.contents(edges, np.array([fit.ball.mean, fit.ball.width])))])
    kept = x[(x >= LOW) & (x < HIGH)]
    assert stats.kstest(kept, lambda at: np.interp(at, edges, cumulative)).pvalue > 1e-3


def test_pulls_of_weighted_events() -> None:
    """Weights as different as 0.2 and 3: errors of second derivatives alone would be 1.5 times too small."""
    rng, pulls = np.random.default_rng(2), []
    for _ in range(150):
        x = draw(rng, 700)
        fit = fit_shape(x, rng.choice([0.2, 1.0, 3.0], len(x)), MASS, LOW, HIGH, tails=TAILS)
        assert fit.tails == TAILS  # fewer than 500 effective events
        pulls.append([(fit.values[name] - TRUE[name]) / fit.errors[name] for name in ("mean", "width")])
    # 150 pulls: mean known to 0.08, standard deviation to 0.06
    np.testing.assert_allclose(np.mean(pulls, axis=0), 0.0, atol=0.3)
    np.testing.assert_allclose(np.std(pulls, axis=0), 1.0, atol=0.2)


def test_scaled_weights_change_nothing() -> None:
    x = draw(np.random.default_rng(3), 400)
    one, other = (fit_shape(x, np.full(len(x), weight), MASS, LOW, HIGH) for weight in (1.0, 1e-7))
    for name in ("mean", "width"):
        assert other.values[name] == pytest.approx(one.values[name], rel=1e-6)
        assert other.errors[name] == pytest.approx(one.errors[name], rel=1e-3)


def test_a_gaussian_has_the_errors_of_a_gaussian() -> None:
    """Tails so far out that they are not seen: width/sqrt(N) and width/sqrt(2 N)."""
    x = np.random.default_rng(4).normal(MASS, 0.01, 400)
    far = {"alpha_left": 4.0, "n_left": 20.0, "alpha_right": 4.0, "n_right": 20.0}
    fit = fit_shape(x, np.ones(400), MASS, LOW, HIGH, tails=far)
    assert fit.values["mean"] == pytest.approx(x.mean(), abs=0.05 * fit.errors["mean"])
    assert fit.values["width"] == pytest.approx(x.std(), rel=2e-3)
    assert fit.errors["mean"] == pytest.approx(x.std() / 20, rel=0.02)
    # of events whose own fourth moment is taken: sqrt((kurtosis - 1)/4)
    kurtosis = stats.kurtosis(x, fisher=False)
    assert fit.errors["width"] == pytest.approx(x.std() * np.sqrt((kurtosis - 1) / 4 / 400), rel=0.03)


def test_few_events_have_fewer_parameters() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(MASS, 0.01, 100)
    some = fit_shape(x, np.ones(100), MASS, LOW, HIGH, tails=TAILS)
    assert some.tails == TAILS
    assert some.notes == ("100 effective events, fewer than 500: tails are those of a better known shape",)
    assert "tails are default ones" in fit_shape(x, np.ones(100), MASS, LOW, HIGH).notes[0]
    x = rng.normal(MASS, 0.01, 20)
    few = fit_shape(x, np.ones(20), MASS, LOW, HIGH, tails=TAILS)
    assert few.notes == ("20 effective events, fewer than 30: symmetric default tails",)
    assert few.values["alpha_left"] == few.values["alpha_right"]
    assert few.values["n_left"] == few.values["n_right"]
    assert few.values["width"] == pytest.approx(0.01, rel=0.6)


def test_tails_that_are_not_there_are_told() -> None:
    x = np.random.default_rng(6).uniform(MASS - 0.02, MASS + 0.02, 2000)  # no tails at all
    fit = fit_shape(x, np.ones(len(x)), MASS, LOW, HIGH)
    assert any("cannot be determined" in note for note in fit.notes)
    assert np.isfinite(list(fit.errors.values())).all()


@pytest.mark.parametrize(
    ("mass", "weights", "message"),
    [
        ([], [], "0.0 effective events: too few for a shape"),
        ([1.5, 1.51], [1.0, 1.0], "2.0 effective events"),
        ([2.0] * 50, [1.0] * 50, "0.0 effective events"),
        ([1.49, 1.5, 1.51, 1.5], [1.0, 1.0, -1.0, 1.0], "weights that are negative"),
        ([1.49, 1.5, 1.51, 1.5], [1.0, 1.0, np.nan, 1.0], "not finite"),
    ],
)
def test_nothing_to_fit(mass: list[float], weights: list[float], message: str) -> None:
    with pytest.raises(FitError, match=message):
        fit_shape(np.array(mass), np.array(weights), MASS, LOW, HIGH)


def test_a_window_holds_the_mass() -> None:
    with pytest.raises(FitError, match=r"1\.6 to 1\.8 GeV, does not hold m_N = 1\.5"):
        fit_shape(np.array([1.7] * 9), np.ones(9), MASS, 1.6, 1.8)


def test_bins_and_events_agree() -> None:
    """Bins of a fifth of the width, as the histograms of the selection have, against the fit of the events."""
    x = draw(np.random.default_rng(7), 3000)
    x = x[(x >= LOW) & (x < HIGH)]
    sums, edges = np.histogram(x, 120, (LOW, HIGH))
    binned, fine = fit_histogram(edges, sums, sums, MASS), fit_shape(x, np.ones(len(x)), MASS, LOW, HIGH)
    for name in ("mean", "width"):
        assert binned.values[name] == pytest.approx(fine.values[name], abs=0.2 * fine.errors[name])


# ---- shapes over masses


def known(mass: float, width: float, error: float = 1e-4, offset: float = 0.0, alpha: float = 1.5) -> ShapeFit:
    values = {"mean": mass + offset, "width": width, "alpha_left": alpha, "n_left": 5.0, "alpha_right": 2.0}
    errors = dict.fromkeys(PARAMETERS, 0.0) | {"mean": error, "width": error}
    return ShapeFit(mass, *window(mass), {**values, "n_right": 6.0}, errors, np.zeros((6, 6)), 1000.0)


@pytest.fixture
def shapes() -> SignalShapes:
    """Widths 1 MeV + 7 MeV m in `inclusive`; `near` is known at two of four masses."""
    fits: dict[float, dict[str, ShapeFit]] = {
        m: {"inclusive": known(m, 1e-3 + 7e-3 * m, offset=1e-3 * m, alpha=m)} for m in (1.0, 1.25, 1.5, 1.8)
    }
    fits[1.0]["near"], fits[1.5]["near"] = known(1.0, 0.010), known(1.5, 0.014)
    return SignalShapes(fits, ("inclusive", "near"))


def test_between_masses(shapes: SignalShapes) -> None:
    found = shapes.parameters(1.4, "inclusive")
    assert found["mean"] == pytest.approx(1.4 + 1.4e-3)
    assert found["width"] == pytest.approx(1e-3 + 7e-3 * 1.4)
    assert found["alpha_left"] == pytest.approx(1.4)
    ball = shapes.shape(1.4, "inclusive", 1.3, 1.5)
    assert (ball.low, ball.high, ball.n_right) == (1.3, 1.5, 6.0)
    assert ball.width == pytest.approx(found["width"])
    assert shapes.parameters(1.25, "inclusive") == pytest.approx(shapes.fits[1.25]["inclusive"].values)
    # at 1.4 from 1.25 with 0.4 and 1.5 with 0.6
    assert shapes.errors(1.4, "inclusive")["width"] == pytest.approx(1e-4 * np.hypot(0.4, 0.6))
    assert shapes.errors(1.0, "near")["width"] == pytest.approx(1e-4)


def test_errors_are_shifts_that_are_common_where_the_shape_is(shapes: SignalShapes) -> None:
    assert shapes.shifts(1.0, "near") == {"signal_mean_near": {"mean": 1e-4}, "signal_width_near": {"width": 1e-4}}
    assert shapes.shifts(1.25, "near") == shapes.shifts(1.25, "inclusive")
    assert list(shapes.shifts(1.25, "near")) == ["signal_mean_inclusive", "signal_width_inclusive"]
    assert list(shapes.shifts(1.1, "near")) == ["signal_mean_near", "signal_width_near"]  # from one of its own


def test_too_few_events_take_the_inclusive_shape(shapes: SignalShapes) -> None:
    assert shapes.parameters(1.25, "near")["width"] == shapes.fits[1.25]["inclusive"].values["width"]
    assert shapes.parameters(1.5, "near")["width"] == pytest.approx(0.014)
    assert [note for note in shapes.notes if "inclusive shape is used" in note] == [
        f"m_N = {m:g} GeV, near: fewer than 30 effective events, the inclusive shape is used" for m in (1.25, 1.8)
    ]


def test_beyond_the_masses_there_is_no_shape(shapes: SignalShapes) -> None:
    with pytest.raises(ValueError, match=r"known from 1 to 1\.8 GeV, not at m_N = 1\.9 GeV"):
        shapes.shape(1.9, "inclusive", 1.8, 2.0)
    with pytest.raises(ValueError, match="no signal shape of 'nere'; did you mean 'near'"):
        shapes.parameters(1.0, "nere")
    alone = SignalShapes({1.0: shapes.fits[1.0]}, shapes.selections)
    assert alone.parameters(1.0, "near")["width"] == pytest.approx(0.010)
    with pytest.raises(ValueError, match="known from 1 to 1 GeV"):
        alone.parameters(1.1, "near")
    with pytest.raises(FitError, match="'inclusive' is known at 1 masses; a line needs two"):
        alone.resolution()
    assert alone.to_json()["resolution"] is None


def test_resolution_is_the_line(shapes: SignalShapes) -> None:
    found = shapes.resolution()
    assert (found.offset, found.slope) == (pytest.approx(1e-3), pytest.approx(7e-3))
    assert found.chi2 == pytest.approx(0.0, abs=1e-9)
    assert found.ndof == 2
    # ordinary least squares of points with the same error: var(slope) = sigma^2 / sum (m - mean)^2
    masses = np.array(shapes.masses)
    spread = ((masses - masses.mean()) ** 2).sum()
    assert found.to_json()["slope"]["error"] == pytest.approx(1e-4 / np.sqrt(spread))
    value, error = found.at(masses.mean())
    assert value == pytest.approx(1e-3 + 7e-3 * masses.mean())
    assert error == pytest.approx(1e-4 / 2)
    near = shapes.resolution("near")  # two points: the line through them
    assert (near.slope, near.ndof) == (pytest.approx(0.008), 0)
    # arXiv:2403.04584: 6.98e-4 + 7.78e-3 m
    assert cms_resolution(1.5) == pytest.approx(0.012368)


def made(mass: float, sizes: tuple[int, int, int], seed: int) -> Signal:
    """Candidates with the width 0.7% of the mass: inclusive, wide (three halves of it) and rare."""
    rng = np.random.default_rng(seed)
    widths = (0.007 * mass, 0.0105 * mass, 0.007 * mass)
    x = [draw(rng, size, mass, width) for size, width in zip(sizes, widths, strict=True)]
    total = sum(sizes)
    selection = np.repeat(np.arange(3), sizes)
    one = Generated("a", 10.0, 1e6, 0.01)
    names = ("inclusive", "wide", "rare")
    weight = rng.uniform(0.008, 0.012, total)
    return Signal(mass, (one,), names, np.concatenate(x), np.ones(total), weight, selection, np.zeros(total, np.int64))


@pytest.fixture(scope="module")
def fitted() -> tuple[dict[float, Signal], SignalShapes]:
    sizes = {1.0: (3000, 800, 5), 1.25: (3000, 300, 5), 1.5: (3000, 300, 5), 1.8: (300, 40, 5)}
    signals = {mass: made(mass, size, seed) for seed, (mass, size) in enumerate(sizes.items())}
    return signals, fit_signals(signals)


def test_fit_signals(fitted: tuple[dict[float, Signal], SignalShapes]) -> None:
    _, shapes = fitted
    assert shapes.masses == (1.0, 1.25, 1.5, 1.8)
    for mass in shapes.masses:
        inclusive, wide = shapes.fits[mass]["inclusive"], shapes.fits[mass]["wide"]
        assert inclusive.values["width"] == pytest.approx(0.007 * mass, abs=4 * inclusive.errors["width"])
        assert wide.values["width"] == pytest.approx(0.0105 * mass, abs=4 * wide.errors["width"])
        assert "rare" not in shapes.fits[mass]
    tails = [shapes.fits[mass]["inclusive"].tails for mass in shapes.masses]
    assert shapes.fits[1.25]["wide"].tails == tails[1]  # 300 events
    assert shapes.fits[1.0]["wide"].tails != tails[0]  # 800 events
    assert tails[3] == tails[2]  # too few at 1.8 GeV: those of 1.5 GeV
    resolution = shapes.resolution()
    assert resolution.at(1.4)[0] == pytest.approx(0.0098, abs=4 * resolution.at(1.4)[1])
    others = SignalShapes({m: fits for m, fits in shapes.fits.items() if m != 1.25}, shapes.selections)
    error = np.hypot(others.errors(1.25, "inclusive")["width"], shapes.fits[1.25]["inclusive"].errors["width"])
    assert others.parameters(1.25, "inclusive")["width"] == pytest.approx(
        shapes.fits[1.25]["inclusive"].values["width"], abs=4 * error
    )
    text = json.dumps(shapes.to_json())
    assert "rare: fewer than 30 effective events" in text
    assert json.loads(text)["resolution"]["slope"]["cms"] == 7.78e-3


def test_fit_signals_needs_events() -> None:
    with pytest.raises(FitError, match="no signal sample"):
        fit_signals({})
    with pytest.raises(FitError, match=r"m_N = 1 GeV has .* effective events: too few for a shape"):
        fit_signals({1.0: made(1.0, (2, 2, 2), 1)})


def test_figures(fitted: tuple[dict[float, Signal], SignalShapes]) -> None:
    signals, shapes = fitted
    figure = figure_of_shapes(signals[1.8], shapes)
    assert [axes.texts[0].get_text() for axes in figure.axes[::2]] == ["wide", "rare (inclusive shape)"]
    pulls = [bar.get_height() for bar in figure.axes[1].patches]
    assert 0.2 < np.mean(np.square(pulls)) < 3
    lines = figure_of_resolution(shapes)
    legend = [text.get_text() for text in lines.axes[0].get_legend().get_texts()]
    assert {"CMS, arXiv:2403.04584", "inclusive", "wide"} < set(legend)
    for drawn in (figure, lines, figure_of_resolution(SignalShapes({1.8: shapes.fits[1.8]}, shapes.selections))):
        assert isinstance(drawn, Figure)
        FigureCanvasAgg(drawn).draw()


# ---- shifts


class Fake(dict[str, Any]):
    """As Results: every histogram is named NAME, or NAME@VARIATION."""

    def variations(self, name: str) -> dict[str, Any]:
        return {key.partition("@")[2] or "nominal": h for key, h in self.items() if key.partition("@")[0] == name}


def test_shifts_are_those_that_were_made() -> None:
    """Masses 1 per mille up and down, and stretched about the mean by 5%: the same events, in bins of 2 MeV."""
    x = draw(np.random.default_rng(8), 4000)
    stretched = {side: x.mean() + (1 + sign * 0.05) * (x - x.mean()) for side, sign in (("up", 1), ("down", -1))}
    moved = {
        "": x, "@scale:up": x * 1.001, "@scale:down": x * 0.999,
        "@smear:up": stretched["up"], "@smear:down": stretched["down"],
    }  # fmt: skip
    results = {"a": Fake()}
    for name, values in moved.items():
        for selection, kept in (("inclusive", values), ("rare", values[:10])):
            h = hist.Hist(hist.axis.Regular(1000, 0, 2), storage=hist.storage.Weight())
            results["a"][f"{selection}_Hnl_mass_fine{name}"] = h.fill(kept, weight=0.3)
    sample = Sample(
        name="a", kind="signal", cross_section=1.0, luminosity=1.0, processed_events=10.0,
        parameters={"mass": 1.5, "ctau": 1.0},
    )  # fmt: skip
    found = shape_shifts(results, {"a": sample}, 1.5, "inclusive", nuisances=("scale", "smear"))
    assert found["scale"]["mean"] == pytest.approx(1.5e-3, rel=0.03)
    assert found["scale"]["width"] == pytest.approx(1e-3 * TRUE["width"], abs=3e-3 * TRUE["width"])
    assert found["smear"]["mean"] == pytest.approx(0.0, abs=5e-5)
    assert found["smear"]["width"] == pytest.approx(0.05 * TRUE["width"], rel=0.05)
    notes: list[str] = []
    rare = shape_shifts(results, {"a": sample}, 1.5, "rare", nuisances=("scale",), notes=notes)
    assert rare["scale"] == found["scale"]
    assert notes == ["m_N = 1.5 GeV, rare: fewer than 30 effective events, the shape moves as the inclusive one"]
    with pytest.raises(ValueError, match="no variation 'muon_pt:up' of the N mass"):
        shape_shifts(results, {"a": sample}, 1.5, "inclusive")
    with pytest.raises(ValueError, match=r"no signal sample of m_N = 1\.6 GeV"):
        shape_shifts(results, {"a": sample}, 1.6, "inclusive")
