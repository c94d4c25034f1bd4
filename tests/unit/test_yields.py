"""Efficiencies at any lifetime against integrals and against the histograms of the selection; variations by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
from matplotlib.figure import Figure

from hnl.figures.signal import figure_of_efficiency
from hnl.inputs.variations import members_of, summed, variations
from hnl.inputs.yields import Generated, Signal, read_signal
from hnl.lifetime import tag, with_lifetimes
from hnl.select import FOLDER
from portico.analysis.dataset import Sample
from portico.errors import ConfigError, InputError
from portico.results.cutflow import Cutflow
from portico.results.view import Results
from tests.unit.test_select import ROOT, full, make_events, run, write_events

CTAUS = (10.0, 100.0, 1000.0)
DECAYS = {10.0: 40_000, 100.0: 60_000, 1000.0: 90_000}
NEAR_SCALE, FAR = 30.0, (20.0, 200.0)


def near(tau: float) -> float:
    """The fraction of decays selected with the probability 0.3 exp(-t/30 mm): the integral over exp(-t/tau)/tau."""
    return 0.3 * NEAR_SCALE / (NEAR_SCALE + tau)


def far(tau: float) -> float:
    """That of half of the decays between 20 and 200 mm."""
    return 0.5 * float(np.exp(-FAR[0] / tau) - np.exp(-FAR[1] / tau))


def toy(seed: int, scale: float = 1.0, cross_section: float = 1.0) -> Signal:
    """Decays at three lifetimes, selected by known functions of t, with corrections of mean 1."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("t", "weight", "selection", "sample")}
    samples = []
    for number, (ctau, full_size) in enumerate(DECAYS.items()):
        decays = int(scale * full_size)
        # As 1 / ctau, and per decay: the nominal weight of the demonstration.
        samples.append(Generated(f"ctau{ctau:g}", ctau, decays, cross_section * 1e3 / ctau / decays))
        t = rng.exponential(ctau, decays)
        for selection, chosen in (
            (1, rng.uniform(size=decays) < 0.3 * np.exp(-t / NEAR_SCALE)),
            (2, (t > FAR[0]) & (t < FAR[1]) & (rng.uniform(size=decays) < 0.5)),
        ):
            count = int(np.count_nonzero(chosen))
            parts["t"].append(t[chosen])
            parts["weight"].append(rng.uniform(0.5, 1.5, count) * samples[-1].event_weight)
            parts["selection"].append(np.full(count, selection))
            parts["sample"].append(np.full(count, number))
    t, weight, selection, sample = (np.concatenate(arrays) for arrays in parts.values())
    return Signal(1.0, tuple(samples), ("inclusive", "near", "far"), np.ones(len(t)), t, weight, selection, sample)


@pytest.fixture(scope="module")
def signal() -> Signal:
    return toy(1)


# ---- efficiencies


@pytest.mark.parametrize("ctau", [3.0, 10.0, 17.0, 100.0, 400.0, 1000.0])
def test_efficiency_is_the_integral(signal: Signal, ctau: float) -> None:
    found = signal.efficiency(ctau)
    for name, expected in (("near", near(ctau)), ("far", far(ctau))):
        assert found[name].value == pytest.approx(expected, abs=4 * found[name].error)
        assert found[name].error < 0.1 * expected
    assert found["inclusive"].value == found["inclusive"].effective_events == 0.0  # no event: 0 +- 0


def test_errors_are_the_spread_of_repeated_simulation() -> None:
    runs = [toy(seed, scale=0.01).efficiency(50.0) for seed in range(100, 400)]
    for name, expected in (("near", near(50.0)), ("far", far(50.0))):
        values = np.array([found[name].value for found in runs])
        assert values.mean() == pytest.approx(expected, abs=4 * values.std() / np.sqrt(len(values)))
        # a standard deviation of 300 values is known to 4%; the binomial part that is left out makes it a little less
        assert values.std() == pytest.approx(np.mean([found[name].error for found in runs]), rel=0.2)


def test_merged_samples_know_more_than_one(signal: Signal) -> None:
    """The sample generated at 100 mm, counted by hand, agrees and has the larger error."""
    own = (signal.sample == 1) & (signal.selection == 2)
    weights = signal.weight[own] / (signal.samples[1].event_weight * DECAYS[100.0])
    merged = signal.efficiency(100.0)["far"]
    error = np.sqrt((weights**2).sum())
    assert merged.value == pytest.approx(weights.sum(), abs=4 * error)
    assert merged.error < 0.9 * error


def test_the_cross_section_does_not_matter(signal: Signal) -> None:
    for name, found in toy(1, cross_section=1e-7).efficiency(20.0).items():
        assert found.value == pytest.approx(signal.efficiency(20.0)[name].value, rel=1e-12)


def test_one_sample_has_the_weight_of_one() -> None:
    """(tau0/tau) exp[t (1/tau0 - 1/tau)] / N for every event, written out."""
    t, c = np.array([1.0, 5.0, 30.0]), np.array([0.9, 1.0, 1.2])
    zero = np.zeros(3, np.int64)
    alone = Signal(1.0, (Generated("a", 10.0, 200.0, 0.5),), ("inclusive",), np.ones(3), t, 0.5 * c, zero, zero)
    w = c * (10 / 4) * np.exp(t * (1 / 10 - 1 / 4)) / 200
    found = alone.efficiency(4.0)["inclusive"]
    assert found.value == pytest.approx(w.sum(), rel=1e-12)
    assert found.error == pytest.approx(np.sqrt((w**2).sum()), rel=1e-12)
    assert found.effective_events == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-12)


def test_a_scan_is_its_points_and_a_window_counts_inside(signal: Signal) -> None:
    ctaus = np.geomspace(1, 1000, 5)
    assert signal.efficiencies(ctaus) == [signal.efficiency(ctau) for ctau in ctaus]
    assert signal.efficiency(20.0, window=(0.9, 1.1)) == signal.efficiency(20.0)
    assert signal.efficiency(20.0, window=(1.1, 1.2))["far"].value == 0.0


def test_below_the_shortest_lifetime_fewer_events_are_effective(signal: Signal) -> None:
    """At 0.5 mm 2e-18 of all decays are far: the few beyond 20 mm carry it, and the number is still right."""
    found = signal.efficiency(0.5)["far"]
    assert found.value == pytest.approx(far(0.5), abs=4 * found.error)
    assert 100 < found.effective_events < 0.1 * signal.efficiency(20.0)["far"].effective_events
    small = toy(3, scale=0.002).efficiency(0.5)["far"]
    assert 0 < small.effective_events < 10
    assert np.isfinite(small.error)


@pytest.mark.parametrize("ctau", [0.0, -1.0, np.nan, np.inf])
def test_a_lifetime_is_a_length(signal: Signal, ctau: float) -> None:
    with pytest.raises(ValueError, match="lifetimes must be in mm and above 0"):
        signal.efficiency(ctau)


def test_beyond_the_longest_lifetime_only_if_asked(signal: Signal) -> None:
    with pytest.raises(ValueError, match="m_N = 1 GeV: ctau 1001 mm is above 1000 mm, the longest that was generated"):
        signal.efficiencies([20.0, 1001.0])
    assert signal.efficiency(1001.0, extrapolate=True)["near"].value > 0
    with pytest.raises(ValueError, match="no selection 'nearer' of signal; there are inclusive, near, far"):
        signal.chosen("nearer")


def test_figure_of_efficiency() -> None:
    figure = figure_of_efficiency(toy(3, scale=0.002), [0.3, 30.0, 100.0])
    assert isinstance(figure, Figure)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["near", "far"]
    assert axes.get_xscale() == "log"
    solid = next(line for line in axes.lines if line.get_label() == "far").get_ydata()
    assert np.isnan(np.asarray(solid)).tolist() == [True, False, False]  # too few events at 0.3 mm


# ---- what the selection wrote


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Results], dict[str, Sample]]:
    """Two samples of one mass through the real selection with a weight per candidate, also at other lifetimes."""
    ROOT.gInterpreter.Declare(f'#include "{FOLDER / "include" / "lifetime.h"}"')
    folder = tmp_path_factory.mktemp("yields")
    merged = {"merge_ctau": (10.0, 100.0), "merge_decays": (300 / 0.02, 200 / 0.004)}
    fields = full().model_dump(exclude_unset=True)
    fine = [entry for entry in fields["histograms"] if entry.get("name") == "Hnl_mass_fine"]
    weight = {
        "expression": "1.0 + {variation} * C_mu_Ds_pt", "nominal": "0.02", "variations": {"up": "0.03", "down": "0.0"},
    }  # fmt: skip
    # Compiles in a fifth of the time that all weights take.
    small = {"histograms": fine, "rules": {"mass": fields["rules"]["mass"]}, "shapes": {}, "weights": {"pt": weight}}
    results, samples = {}, {}
    for name, ctau, size, efficiency, sigma in (("a", 10.0, 300, 0.02, 5.0), ("b", 100.0, 200, 0.004, 0.7)):
        rng = np.random.default_rng(size)
        events = make_events(size, seed=size)
        for event in events:
            event["C_Hnl_gen_l_prop"] = np.full(event["nCand"], rng.exponential(ctau), np.float32)
        samples[name] = Sample(
            name=name, kind="signal", cross_section=sigma, luminosity=0.003, processed_events=size,
            filter_efficiency=efficiency, parameters={"mass": 1.5, "ctau": ctau, **merged},
        )  # fmt: skip
        selection, sample = with_lifetimes(full().replace(**small), samples[name], [20.0, 70.0, 100.0])
        path = write_events(folder / f"{name}.root", events)
        _, results[name] = run(path, folder / name, sample, selection)
    return results, samples


def test_efficiency_is_that_of_the_reweighted_histograms(
    selected: tuple[dict[str, Results], dict[str, Sample]],
) -> None:
    """Sum and sum of squares, in every selection: the two were written apart from each other."""
    results, samples = selected
    signal = read_signal(results, samples)[1.5]
    assert len(signal.categories) == 6
    assert signal.shortest == 10.0
    assert signal.longest == 100.0
    for ctau in (20.0, 70.0, 100.0):
        found = signal.efficiency(ctau)
        for name in signal.selections:
            total = squares = 0.0
            for key, sample in samples.items():
                h = results[key].variations(f"{name}_Hnl_mass_fine")[f"lifetime:{tag(ctau)}"].sum(flow=True)
                luminosity = 1000 * (sample.cross_section or 0) * (sample.luminosity or 0)
                total += h.value / luminosity
                squares += h.variance / luminosity**2
            assert found[name].value == pytest.approx(total, rel=1e-9)
            assert found[name].error == pytest.approx(np.sqrt(squares), rel=1e-9)
    assert signal.efficiency(20.0)["inclusive"].value > 0


def test_variations_of_the_real_selection(selected: tuple[dict[str, Results], dict[str, Sample]]) -> None:
    results, samples = selected
    found = variations(results, samples, 1.5, "inclusive")
    assert set(found) == {"pt"}
    assert found["pt"][0] < 0.9 < 1.03 < found["pt"][1]
    scale = {name: 1000 * 0.003 * s.cross_section * s.filter_efficiency for name, s in samples.items()}
    sizes = {"a": 300, "b": 200}
    for side, factor in zip(("down", "up"), found["pt"], strict=True):
        sums = [
            sum(
                results[name].variations("inclusive_Hnl_mass_fine")[variation].sum(flow=True).value
                / (scale[name] / sizes[name])
                for name in "ab"
            )
            for variation in (f"pt:{side}", "nominal")
        ]
        assert factor == pytest.approx(sums[0] / sums[1], rel=1e-9)


# ---- bad input, with a selection made by hand


class Fake(dict[str, Any]):
    """As Results: every histogram is named NAME, or NAME@VARIATION."""

    def variations(self, name: str) -> dict[str, Any]:
        return {key.partition("@")[2] or "nominal": h for key, h in self.items() if key.partition("@")[0] == name}


def filled(content: float) -> hist.Hist[Any]:
    h = hist.Hist(hist.axis.Regular(2, 0, 2), storage=hist.storage.Weight())
    if content:
        h.fill([1.0], weight=[content])
    return h


def fake_sample(**fields: Any) -> Sample:
    numbers = {"cross_section": 2.0, "luminosity": 0.5, "processed_events": 10.0, "filter_efficiency": 0.1}
    return Sample(name="a", kind="signal", **{**numbers, "parameters": {"mass": 1.0, "ctau": 10.0}, **fields})


def write_tree(path: Path, **columns: Any) -> Path:
    default = {
        "C_Hnl_mass": [[1.0, 1.1], [0.9]], "C_Hnl_gen_l_prop": [[3.0, 3.0], [7.0]], "weight": [[1.0, 1.0], [2.0]],
        "selection": [[0, 1], [0]],
    }  # fmt: skip
    arrays = {name: ak.Array(values) for name, values in {**default, **columns}.items() if values is not None}
    with uproot.recreate(path) as file:
        file.mktree("candidates", {name: str(array.type).split(" * ", 1)[1] for name, array in arrays.items()})
        file["candidates"].extend(arrays)
    return path


def fake_results(path: Path, passed: tuple[int, int] = (2, 1)) -> Fake:
    cutflows = {f"cutflow_{n}": Cutflow(("a",), (5,), (p,)) for n, p in zip(("inclusive", "far"), passed, strict=True)}
    return Fake(candidates=[str(path)], **cutflows)


def test_what_is_read(tmp_path: Path) -> None:
    path = write_tree(tmp_path / "a.root")
    signal = read_signal({"a": fake_results(path)}, {"a": fake_sample(), "lost": fake_sample()})[1.0]
    assert signal.selections == ("inclusive", "far")
    assert signal.candidate_mass.tolist() == [1.0, 1.1, 0.9]
    assert signal.proper_length.tolist() == [3.0, 3.0, 7.0]
    assert signal.selection.tolist() == [0, 1, 0]
    # 2 pb x 0.5/fb x 1000 x 0.1 / 10 events = 10
    assert signal.correction == pytest.approx([0.1, 0.1, 0.2])
    assert signal.samples == (Generated("a", 10.0, 100.0, 10.0),)
    assert signal.efficiency(10.0)["far"].value == pytest.approx(0.1 / 100)
    assert read_signal({}, {"a": fake_sample()}) == {}


@pytest.mark.parametrize(
    ("columns", "passed", "message"),
    [
        ({"C_Hnl_gen_l_prop": None}, (2, 1), "no column 'C_Hnl_gen_l_prop' among the candidates"),
        ({"C_Hnl_gen_l_prop": [[3.0, 3.0], [-7.0]]}, (2, 1), "has no generated decay length"),
        ({"weight": [[1.0, 1.0], [np.nan]]}, (2, 1), "or no weight"),
        ({}, (2, 2), r"the tree has \[2, 1\] choices, the cutflows of .* say \[2, 2\]"),
    ],
)
def test_bad_trees(tmp_path: Path, columns: dict[str, Any], passed: tuple[int, int], message: str) -> None:
    path = write_tree(tmp_path / "a.root", **columns)
    with pytest.raises(InputError, match=message):
        read_signal({"a": fake_results(path, passed)}, {"a": fake_sample()})


def test_bad_samples(tmp_path: Path) -> None:
    results = {"a": fake_results(write_tree(tmp_path / "a.root"))}
    with pytest.raises(InputError, match="wrote no tree 'candidates'"):
        read_signal({"a": Fake(cutflow_inclusive=1)}, {"a": fake_sample()})
    with pytest.raises(ConfigError, match="the parameter 'mass' is missing"):
        read_signal(results, {"a": fake_sample(parameters={"ctau": 1.0})})
    with pytest.raises(ConfigError, match="cannot be normalised: cross_section = None"):
        read_signal(results, {"a": fake_sample(cross_section=None)})
    with pytest.raises(ConfigError, match=r"ctau must be in mm and above 0, not 0\.0"):
        read_signal(results, {"a": fake_sample(parameters={"mass": 1.0, "ctau": 0})})
    merged = {"mass": 1.0, "ctau": 10.0, "merge_ctau": (10.0,), "merge_decays": (103.0,)}
    with pytest.raises(ConfigError, match="merge_decays says 103 decays at 10 mm, but processed events"):
        read_signal(results, {"a": fake_sample(parameters=merged)})
    # Half of a partial run: processed events are less, merge_decays are not.
    merged["merge_decays"] = (200.0,)
    read_signal(results, {"a": fake_sample(parameters=merged, completeness=0.5)})


# ---- variations


def fake_variations(**contents: float) -> dict[str, Fake]:
    """Sample a with contents by variation; the nominal one is called ``nominal``."""
    product = "far_Hnl_mass_fine"
    return {"a": Fake({product if n == "nominal" else f"{product}@{n}": filled(c) for n, c in contents.items()})}


def test_factors_are_ratios_of_sums_and_each_event_counts_the_same() -> None:
    """Sample b has a tenth of the weight per event; its sums count ten times as much."""
    a = {"far_Hnl_mass_fine": filled(10.0), "far_Hnl_mass_fine@id:up": filled(11.0)}
    b = {"far_Hnl_mass_fine": filled(3.0), "far_Hnl_mass_fine@id:up": filled(3.3)}
    down = {"far_Hnl_mass_fine@id:down": filled(8.0)}, {"far_Hnl_mass_fine@id:down": filled(3.0)}
    results = {"a": Fake({**a, **down[0]}), "b": Fake({**b, **down[1]})}
    samples = {"a": fake_sample(), "b": fake_sample(cross_section=0.2).model_copy(update={"name": "b"})}
    found = variations(results, samples, 1.0, "far")
    assert found == {"id": (pytest.approx((0.8 + 3.0) / (1.0 + 3.0)), pytest.approx(1.1))}
    contents, variances = summed(results, members_of(results, samples, 1.0), "far_Hnl_mass_fine")["nominal"]
    assert contents.tolist() == [0.0, 0.0, pytest.approx(4.0), 0.0]
    assert variances[2] == pytest.approx(1.0**2 + 3.0**2)


def test_odd_variations_are_told() -> None:
    notes: list[str] = []
    results = fake_variations(**{"nominal": 10.0, "x:up": 0.0, "x:down": 200.0, "y:up": 12.5, "lifetime:ctau_20": 50.0})
    found = variations(results, {"a": fake_sample()}, 1.0, "far", notes=notes)
    assert found == {"x": (10.0, 0.1), "y": (pytest.approx(0.8), pytest.approx(1.25))}
    assert notes == [
        "m_N = 1 GeV, far, x up: the yield changes by 0, taken as 0.1",
        "m_N = 1 GeV, far, x down: the yield changes by 20, taken as 10",
        "m_N = 1 GeV, far, y: no variation down, taken as one over that up",
    ]


def test_no_events_no_variations() -> None:
    notes: list[str] = []
    results = fake_variations(**{"nominal": 0.0, "x:up": 0.0, "x:down": 0.0})
    assert variations(results, {"a": fake_sample()}, 1.0, "far", notes=notes) == {"x": (1.0, 1.0)}
    assert notes == ["m_N = 1 GeV, far: no simulated signal, and so no variations of it"]


def test_bad_histograms() -> None:
    results = fake_variations(**{"nominal": 1.0, "x:up": 1.0})
    samples = {"a": fake_sample(), "b": fake_sample().model_copy(update={"name": "b"})}
    with pytest.raises(ValueError, match=r"no signal sample of m_N = 1\.2 GeV; there are 1"):
        variations(results, samples, 1.2, "far")
    with pytest.raises(InputError, match="sample 'a': no histogram 'near_Hnl_mass_fine'"):
        variations(results, samples, 1.0, "near")
    results["b"] = fake_variations(nominal=1.0)["a"]
    with pytest.raises(InputError, match="not every sample of this mass has the variation 'x:up'"):
        variations(results, samples, 1.0, "far")
