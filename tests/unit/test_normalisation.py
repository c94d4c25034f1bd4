"""The normalisation: closure on a toy with known numbers, the template fit against iminuit's, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import hnl
from hnl.control_fit import control_fit
from hnl.fits.mass import Shape, fit_mass, splot_weights
from hnl.fits.prompt import fit_prompt, produced_fraction
from hnl.inputs.control import PROMPT_FRACTION, read_simulation
from hnl.normalisation import BRANCHING_RATIOS, _shares, normalisation, signal_events
from portico.analysis.dataset import Sample, load_dataset
from portico.errors import ConfigError, FitError, InputError

# Of the demonstration: cross sections in pb, luminosities in 1/fb.
CROSS_SECTION, FILTER, PROCESSED = 505.6, 0.004136, 3000
SEARCH, CONTROL = 0.001112, 1.8
PASS = {"prompt": 0.33, "b": 0.28}  # of the events that are generated, by origin
CORRECTION = 0.93
VARIATIONS = {"trigger": (0.98, 1.03), "muon_id": (0.99, 1.01)}
FIT_ERRORS = "the decay length of the Ds"


def lengths(rng: np.random.Generator, kind: str, count: int) -> np.ndarray:
    """Decay lengths in cm, near those of the demonstration."""
    power, mean = {"prompt": (2.2, 0.027), "b": (2.5, 0.052), "other": (1.0, 0.04)}[kind]
    return rng.gamma(power, mean / power, count)


class Fake(dict[str, Any]):
    """What a step gave for a sample: a file of candidates and a histogram with variations."""

    def variations(self, name: str) -> dict[str, Any]:
        return {"nominal": self[name], **self["varied"]}


def write(path: Path, columns: dict[str, np.ndarray], weight: np.ndarray) -> Fake:
    """Write candidates: every event has a second one, which was not chosen, before or after the chosen one."""
    count = len(weight)
    first = np.arange(count) % 2 == 0

    def paired(values: np.ndarray, other: float) -> ak.Array:
        rows = np.stack([values, np.full_like(values, other)], axis=1)
        rows[~first] = rows[~first][:, ::-1]
        return ak.unflatten(rows.ravel(), np.full(count, 2))

    event = {"run": np.full(count, 7, np.uint32), "lumi": np.arange(count, dtype=np.uint32) // 100 + 1,
             "event": np.arange(count, dtype=np.uint64)}  # fmt: skip
    tree = {name: paired(values, 0) for name, values in columns.items()}
    tree |= {"selection": paired(np.zeros(count, np.int32), -1), "weight": paired(weight, 1e6)}
    with uproot.recreate(path) as file:
        file["candidates"] = {**event, **tree}
    axis = hist.axis.Regular(80, 1.7, 2.1)
    nominal = hist.Hist(axis).fill(columns["C_Ds_mass"], weight=weight)
    sides = {f"{n}:{side}": f for n, pair in VARIATIONS.items() for side, f in zip(("down", "up"), pair, strict=True)}
    varied = {name: nominal * factor for name, factor in sides.items()}
    return Fake(candidates=[str(path)], inclusive_Ds_mass=nominal, varied=varied)


def peak(rng: np.random.Generator, count: int, mean: float = 1.96835) -> np.ndarray:
    return rng.normal(mean, 0.0098 * np.where(rng.uniform(size=count) < 0.6, 1.0, 1.6))


def simulated(rng: np.random.Generator, path: Path) -> Fake:
    """Simulated Ds, one in twenty of them not matched."""
    prompt = rng.binomial(PROCESSED, PROMPT_FRACTION)
    passed = {"prompt": rng.binomial(prompt, PASS["prompt"]), "b": rng.binomial(PROCESSED - prompt, PASS["b"])}
    count = sum(passed.values())
    others = count // 20
    mass = np.append(peak(rng, count), rng.uniform(1.75, 2.15, others))
    length = np.concatenate([*(lengths(rng, kind, n) for kind, n in passed.items()), lengths(rng, "other", others)])
    matched = np.arange(count + others) < count
    flags = ("C_mu1_Phi_isPhiDaughter", "C_mu2_Phi_isPhiDaughter", "C_pi_isDsDaughter")
    columns = {"C_Ds_mass": mass.astype(np.float32), "C_Ds_lxy_prop": length.astype(np.float32),
               "C_mu2_Phi_hasBAncestor": (np.arange(count + others) >= passed["prompt"]).astype(np.int16),
               **{flag: matched.astype(np.int16) for flag in flags}}  # fmt: skip
    one = CROSS_SECTION * SEARCH * 1000 * FILTER / PROCESSED
    return write(path, columns, one * rng.normal(CORRECTION, 0.1, count + others))


def measured(rng: np.random.Generator, path: Path) -> Fake:
    """Data: Ds, as many as were produced with the efficiency of simulation, D+ and background."""
    decays = CROSS_SECTION * 1000 * CONTROL * FILTER * CORRECTION
    shares = {"prompt": PROMPT_FRACTION, "b": 1 - PROMPT_FRACTION}
    found = {kind: rng.poisson(decays * share * PASS[kind]) for kind, share in shares.items()}
    count, dplus, background = sum(found.values()), rng.poisson(400), rng.poisson(300)
    mass = [peak(rng, count), peak(rng, dplus, 1.86966), rng.uniform(1.6, 2.3, background)]
    length = [*(lengths(rng, kind, n) for kind, n in found.items()), lengths(rng, "other", dplus + background)]
    order = rng.permutation(count + dplus + background)
    columns = {"C_Ds_mass": np.concatenate(mass)[order].astype(np.float32),
               "C_Ds_lxy_prop": np.concatenate(length)[order].astype(np.float32)}  # fmt: skip
    return write(path, columns, np.ones(len(order)))


def sample_of(name: str, **parameters: Any) -> Sample:
    if name == "data":
        return Sample(name=name, kind="data", luminosity=SEARCH, parameters={"luminosity": CONTROL, **parameters})
    return Sample(
        name=name, kind="background", entries=PROCESSED, cross_section=CROSS_SECTION, luminosity=SEARCH,
        processed_events=PROCESSED, filter_efficiency=FILTER, parameters={"process": "control", **parameters},
    )  # fmt: skip


SAMPLES = {"data": sample_of("data"), "control": sample_of("control")}


class Made:
    """Results, the files of the fit, and the normalisation of them."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(12)
        self.results = {"data": measured(rng, folder / "data.root"), "control": simulated(rng, folder / "control.root")}
        fitted = control_fit(self.results, SAMPLES)
        self.fit = fitted["fit"]
        (folder / "summary.json").write_text(json.dumps({"fit": self.fit}))
        with uproot.recreate(folder / "splot.root") as file:
            file["splot"] = fitted["splot"]
        self.options = {"fit": str(folder / "summary.json"), "splot": str(folder / "splot.root")}
        self.returned = normalisation(self.results, SAMPLES, **self.options)
        self.found: dict[str, Any] = json.loads(json.dumps(self.returned["normalisation"], allow_nan=False))

    def again(self, samples: dict[str, Sample], **options: Any) -> dict[str, Any]:
        return dict(normalisation(self.results, samples, **{**self.options, **options})["normalisation"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("normalisation"))


# ---- closure


def test_the_ds_that_were_produced_are_found(made: Made) -> None:
    """Within the errors, which are as large as the numbers of events say."""
    true = CROSS_SECTION * 1000 * SEARCH / (0.045 * 2.86e-4)
    found = made.found["produced_Ds"]
    assert found["simulation"] == pytest.approx(true, rel=1e-12)
    assert abs(found["value"] - true) < 3 * found["error"]
    data, selected = CROSS_SECTION * 1000 * CONTROL * FILTER * CORRECTION * 0.3014, PROCESSED * 0.3014
    assert found["error"] / true == pytest.approx(math.hypot(1.05 / data**0.5, 1 / selected**0.5), rel=0.1)
    for origin, share in (("prompt", PROMPT_FRACTION), ("b", 1 - PROMPT_FRACTION)):
        assert abs(found[origin]["value"] - share * true) < 3 * found[origin]["error"], origin
        assert found[origin]["error"] < 0.25 * found[origin]["value"], origin


def test_the_efficiency_is_that_of_all_decays(made: Made) -> None:
    efficiency = made.found["efficiency"]
    passed = PROMPT_FRACTION * PASS["prompt"] + (1 - PROMPT_FRACTION) * PASS["b"]
    assert abs(efficiency["value"] - passed * FILTER * CORRECTION) < 3 * efficiency["statistical"]
    assert efficiency["statistical"] / efficiency["value"] == pytest.approx((passed * PROCESSED) ** -0.5, rel=0.05)
    assert efficiency["corrections"] == pytest.approx(CORRECTION, abs=0.02)
    for origin in ("prompt", "b"):
        one = efficiency[origin]
        assert abs(one["value"] - PASS[origin] * FILTER * CORRECTION) < 3.5 * one["statistical"], origin
    systematic = dict(efficiency["systematic"])
    down, up = systematic.pop("prompt_fraction")
    assert systematic == {n: pytest.approx(list(pair)) for n, pair in VARIATIONS.items()}
    prompt = made.found["prompt_fraction"]
    off = math.hypot(prompt["error"], prompt["value"] - prompt["simulation"])
    assert (up - down) / 2 * efficiency["value"] == pytest.approx(
        off * (efficiency["prompt"]["value"] - efficiency["b"]["value"]), rel=1e-12
    )


def test_numbers_agree_with_each_other(made: Made) -> None:
    """The formulae, from what is printed."""
    found = made.found
    ds, efficiency, produced, prompt = (found[n] for n in ("Ds", "efficiency", "produced_Ds", "prompt_fraction"))
    assert ds["value"] == made.fit["yields"]["Ds"]["value"]
    assert found["luminosity"] == {"control": CONTROL, "search": SEARCH}
    ratio = 0.045 * 2.86e-4 * CONTROL / SEARCH
    assert produced["value"] == pytest.approx(ds["value"] / (efficiency["value"] * ratio), rel=1e-12)
    relative = math.hypot(ds["error"] / ds["value"], efficiency["statistical"] / efficiency["value"])
    assert produced["error"] == pytest.approx(produced["value"] * relative, rel=1e-12)
    phi = prompt["selected"]["value"]
    shares = (("prompt", phi), ("b", 1 - phi))
    by_origin = [ds["value"] * share / (efficiency[o]["value"] * ratio) for o, share in shares]
    assert [produced[o]["value"] for o in ("prompt", "b")] == pytest.approx(by_origin, rel=1e-12)
    assert prompt["value"] == pytest.approx(by_origin[0] / sum(by_origin), rel=1e-12)
    assert abs(prompt["value"] - PROMPT_FRACTION) < 3 * prompt["error"] < 0.3
    assert prompt["p_value"] > 1e-3
    assert prompt["simulation"] == pytest.approx(PROMPT_FRACTION)
    assert found["notes"] == []
    assert made.returned.keys() == {"normalisation", "prompt"}
    assert len(made.returned["prompt"].axes) == 2


def test_wrong_decay_lengths_of_a_template_are_in_the_error_of_the_prompt_fraction(made: Made) -> None:
    """Data whose b hadrons fly further than those of simulation, by the share that was allowed for."""
    exact = made.again(SAMPLES, stretch=0.0)["prompt_fraction"]
    assert exact["systematic"] == {"prompt_decay_length": 0.0, "b_decay_length": 0.0}
    assert exact["error"] < made.found["prompt_fraction"]["error"]
    moved = [made.again(SAMPLES, stretch=share)["prompt_fraction"] for share in (0.05, 0.1)]
    for name, small in moved[0]["systematic"].items():
        assert small > 0
        assert moved[1]["systematic"][name] == pytest.approx(2 * small, rel=0.5), name
    with pytest.raises(ConfigError, match=r"stretch = 0\.7; it is a share from 0 to 0\.5"):
        made.again(SAMPLES, stretch=0.7)


def test_the_resolution_is_compared_with_that_of_simulation(made: Made) -> None:
    found = made.found["resolution"]
    assert abs(found["ratio"] - 1) < 3 * found["error"] < 0.3  # the same widths were drawn
    assert found["uncertainty"] == pytest.approx(math.hypot(found["error"], found["ratio"] - 1), rel=1e-12)


def test_signal_of_each_origin(made: Made) -> None:
    produced = made.found["produced_Ds"]
    assert signal_events(made.found, 1e-4, 2e-3) == pytest.approx(2e-7 * produced["value"])
    assert signal_events(made.found, 1e-4, 2e-3, "prompt") == pytest.approx(2e-7 * produced["prompt"]["value"])
    assert signal_events(made.found, 1e-4, 2e-3, "b") == pytest.approx(2e-7 * produced["b"]["value"])
    with pytest.raises(ValueError, match=r"origin 'beauty'; .*valid: all, b, prompt"):
        signal_events(made.found, 1e-4, 2e-3, "beauty")


def test_a_fraction_below_zero_counts_as_none_and_is_told(made: Made) -> None:
    rng = np.random.default_rng(1)
    fit = fit_prompt(sideband_data(rng, 0.5), template(rng, "prompt"), template(rng, "b"))
    notes: list[str] = []
    simulation = read_simulation(made.results, [SAMPLES["control"]], "C_Ds_lxy_prop")
    shares = _shares(replace(fit, fraction=-0.02, error=0.04), simulation, notes)
    assert {name: share.to_json() for name, share in shares.items()} == {
        "prompt": {"value": 0.0, "error": 0.04}, "b": {"value": 1.0, "error": 0.04},
    }  # fmt: skip
    assert notes == ["the fitted prompt fraction is -0.020 +- 0.040, taken as 0"]


def test_two_samples_of_one_origin_each_are_one_of_both(made: Made, tmp_path: Path) -> None:
    """As made for each origin alone, with its own cross section."""
    with uproot.open(made.results["control"]["candidates"][0]) as file:
        whole = file["candidates"].arrays()
    is_b = ak.any(whole.C_mu2_Phi_hasBAncestor > 0, axis=1)
    results, samples = {"data": made.results["data"]}, {"data": SAMPLES["data"]}
    for origin, mine, share in (("prompt", ~is_b, PROMPT_FRACTION), ("b", is_b, 1 - PROMPT_FRACTION)):
        with uproot.recreate(tmp_path / f"{origin}.root") as file:
            file["candidates"] = {name: whole[name][mine] for name in whole.fields if not name.startswith("n")}
        results[origin] = Fake(made.results["control"], candidates=[str(tmp_path / f"{origin}.root")])
        samples[origin] = sample_of(origin, origin=origin).model_copy(update={"cross_section": share * CROSS_SECTION})
    found = normalisation(results, samples, **made.options)["normalisation"]
    for name in ("value", "prompt", "b"):
        assert found["efficiency"][name] == pytest.approx(made.found["efficiency"][name], rel=1e-6), name
    assert found["prompt_fraction"]["value"] == pytest.approx(made.found["prompt_fraction"]["value"], rel=1e-6)


def test_constants_are_those_of_the_simulation() -> None:
    folder = Path(hnl.__file__).parent
    pools = json.loads((folder / "pools" / "pools.json").read_text())["ds"]
    sigma = {name: pools[name]["ds_cross_section_pb"] for name in ("hardccbar", "hardbbbar")}
    assert sigma["hardccbar"] / sum(sigma.values()) == pytest.approx(PROMPT_FRACTION, abs=1e-5)
    decays = math.prod(ratio.value for ratio, _ in BRANCHING_RATIOS.values())
    cross_section = load_dataset(folder / "datasets.yaml")["control"].cross_section
    assert cross_section == pytest.approx(sum(sigma.values()) * decays, rel=1e-3)


# ---- the template fit


def sideband_data(rng: np.random.Generator, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Ds over background in the peak with weight 1, and sidebands four times as wide with weight -1/4."""
    prompt, beauty, below, beside = rng.poisson([1200 * fraction, 1200 * (1 - fraction), 150, 600])
    length = [lengths(rng, "prompt", prompt), lengths(rng, "b", beauty), lengths(rng, "other", below + beside)]
    weight = np.ones(prompt + beauty + below + beside)
    weight[-beside:] = -0.25
    return np.concatenate(length), weight


def template(rng: np.random.Generator, kind: str, count: int = 450) -> tuple[np.ndarray, np.ndarray]:
    count = rng.poisson(count)
    return lengths(rng, kind, count), rng.normal(0.93, 0.2, count)


def test_the_prompt_fraction_is_unbiased_and_its_error_right() -> None:
    rng, true = np.random.default_rng(31), 0.4
    fits = [fit_prompt(sideband_data(rng, true), template(rng, "prompt"), template(rng, "b")) for _ in range(150)]
    pulls = [(fit.fraction - true) / fit.error for fit in fits]
    assert abs(np.mean(pulls)) < 0.25  # three standard deviations of the mean
    assert 0.82 < np.std(pulls) < 1.18
    assert stats.kstest([fit.p_value for fit in fits], "uniform").pvalue > 1e-3
    rich = [template(rng, kind, 45_000) for kind in ("prompt", "b")]
    more = [fit_prompt(sideband_data(rng, true), *rich) for _ in range(5)]
    assert np.mean([fit.error for fit in more]) < 0.75 * np.mean([fit.error for fit in fits]), "simulation counts"


def test_the_fit_is_that_of_iminuit(monkeypatch: pytest.MonkeyPatch) -> None:
    from iminuit import Minuit, cost

    monkeypatch.setattr(cost, "poisson_chi2", cost._poisson_chi2_np)  # not compiled, which takes ten seconds
    rng = np.random.default_rng(6)
    data, prompt, beauty = sideband_data(rng, 0.6), template(rng, "prompt"), template(rng, "b")
    fit = fit_prompt(data, prompt, beauty)
    open_edges = [-np.inf, *fit.edges[1:-1], np.inf]
    pairs = []
    for length, weight in (data, prompt, beauty):
        number = np.digitize(length, open_edges) - 1
        pairs.append([[np.sum(weight[number == i] ** power) for power in (1, 2)] for i in range(len(fit.edges) - 1)])
    function = cost.Template(pairs[0], fit.edges, pairs[1:], name=("prompt", "b"), method="da")
    minuit = Minuit(function, prompt=600, b=600)
    minuit.tol = 1e-3
    minuit.migrad().hesse()
    p, b = minuit.values
    gradient = np.array([b, -p]) / (p + b) ** 2
    assert fit.fraction == pytest.approx(p / (p + b), abs=1e-3 * fit.error)
    assert fit.error == pytest.approx(math.sqrt(gradient @ np.array(minuit.covariance) @ gradient), rel=0.01)
    assert fit.total == pytest.approx(p + b, rel=1e-4)
    assert fit.chi2 == pytest.approx(minuit.fval, abs=1e-3)
    assert fit.ndof == len(fit.edges) - 3
    np.testing.assert_allclose(fit.pulls, function.pulls((p, b)), atol=1e-3)
    assert fit.data.sum() == pytest.approx(data[1].sum())
    np.testing.assert_allclose(fit.components.sum(axis=1), (p, b), rtol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5), st.integers(60, 3000))
def test_every_bin_has_simulation(seed: int, stretch: float, count: int) -> None:
    """Also far out and below zero, where the bins are open."""
    rng = np.random.default_rng(seed)
    prompt, beauty = (
        (np.append(stretch * lengths(rng, kind, count), [-0.05, 3.0]), rng.uniform(0.5, 1.5, count + 2))
        for kind in ("prompt", "b")
    )
    data = np.append(stretch * lengths(rng, "b", 2000), rng.uniform(-1, 5, 20))
    try:
        fit = fit_prompt((data, np.ones(2020)), prompt, beauty)
    except FitError as error:
        assert FIT_ERRORS in str(error)  # noqa: PT017 (it may also succeed)
        return
    assert (fit.templates.sum(axis=0) > 0).all()
    assert fit.templates.sum(axis=1) == pytest.approx([1, 1])
    assert fit.data.sum() == pytest.approx(2020)
    numbers = [np.digitize(length, fit.edges[1:-1]) for length, _ in (prompt, beauty)]
    for i in range(len(fit.edges) - 1):
        weight = np.concatenate([w[n == i] for (_, w), n in zip((prompt, beauty), numbers, strict=True)])
        assert weight.sum() ** 2 >= 20 * (weight**2).sum() * (1 - 1e-9)


@given(st.floats(0, 1), st.floats(0.2, 5), st.floats(0, 0.2), st.floats(0, 0.3))
def test_the_fraction_of_all_produced(phi: float, ratio: float, error: float, ratio_error: float) -> None:
    fraction, spread = produced_fraction((phi, error), (ratio, ratio_error))
    assert 0 <= fraction <= 1
    # a thousand produced, by hand: those selected are f eff_prompt and (1 - f) eff_b
    assert phi == pytest.approx(fraction * ratio / (fraction * ratio + 1 - fraction), abs=1e-9)
    h = 1e-6

    def at(a: float, b: float) -> float:
        return produced_fraction((phi + a, 0), (ratio + b, 0))[0]

    slopes = [(at(a, b) - at(-a, -b)) / (2 * h) for a, b in ((h, 0.0), (0.0, h))]
    assert spread == pytest.approx(math.hypot(slopes[0] * error, slopes[1] * ratio_error), rel=1e-4, abs=1e-9)


def test_what_cannot_be_fitted_is_told() -> None:
    rng = np.random.default_rng(2)
    data, prompt, beauty = sideband_data(rng, 0.5), template(rng, "prompt"), template(rng, "b")

    def first(pair: tuple[np.ndarray, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
        return pair[0][:count], pair[1][:count]

    with pytest.raises(FitError, match=rf"{FIT_ERRORS}: template of Ds from b: worth \d+.\d events of weight 1"):
        fit_prompt(data, prompt, first(beauty, 40))
    with pytest.raises(FitError, match=r"data: worth 0.0 events"):
        fit_prompt(first(data, 0), prompt, beauty)
    with pytest.raises(FitError, match="data and simulation suffice for 1 bins, 4 are needed"):
        fit_prompt(data, (0.001 + 0 * prompt[0], prompt[1]), (0.001 + 0 * beauty[0], beauty[1]))
    negative = np.where(prompt[0] < 0.01, -0.05, prompt[1])
    near = (np.append(beauty[0], np.full(60, 0.001)), np.append(beauty[1], np.ones(60)))
    with pytest.raises(FitError, match=r"template of prompt Ds: a content of -\d.* from 0 .* weights are negative"):
        fit_prompt(data, (prompt[0], negative), near)
    holes = np.where((data[0] > 0.02) & (data[0] < 0.03), -0.1, 1.0)
    with pytest.raises(FitError, match=r"data: a content of -.* cm; there are too few events for their weights"):
        fit_prompt((data[0], holes), prompt, beauty)
    with pytest.raises(FitError, match="not a finite number"):
        fit_prompt((np.append(data[0], np.nan), np.append(data[1], 1.0)), prompt, beauty)
    with pytest.raises(FitError, match=r"a fraction of prompt Ds of .*: the simulated templates are not those"):
        fit_prompt((lengths(rng, "b", 5000) * 1.8, np.ones(5000)), prompt, beauty)
    with pytest.raises(ValueError, match=r"decay lengths of shape \(2,\) and weights of shape \(3,\)"):
        fit_prompt((np.ones(2), np.ones(3)), prompt, beauty)


def test_a_mass_without_background_is_fitted() -> None:
    """No event beside the peaks: the likelihood would fall without end towards negative background."""
    rng = np.random.default_rng(17)
    mass = np.concatenate([peak(rng, 900), peak(rng, 500, 1.86966)])
    mass = mass[(mass > 1.83) & (mass < 2.01)]
    fit = fit_mass(mass, Shape(core=0.6, tail=1.6))
    assert (fit.values["background"], fit.errors["background"]) == (0, 0)
    assert fit.minos.keys() == {"Ds", "Dplus"}
    assert fit.values["Ds"] + fit.values["Dplus"] == pytest.approx(len(mass), rel=1e-4)
    assert fit.values["Ds"] == pytest.approx(np.sum(mass > 1.92), abs=5)
    weights = splot_weights(mass, fit)
    assert weights.sum() == pytest.approx(fit.values["Ds"], rel=1e-3)
    assert weights[mass > 1.95].min() > 0.99


# ---- what is refused


def test_without_a_luminosity_of_its_own_that_of_the_dataset_is_taken_and_told(made: Made) -> None:
    found = made.again({**SAMPLES, "data": Sample(name="data", kind="data", luminosity=SEARCH)})
    assert found["luminosity"] == {"control": SEARCH, "search": SEARCH}
    assert "no parameter 'luminosity'; taken as that of the dataset, 0.001112 /fb" in found["notes"][0]
    assert found["produced_Ds"]["value"] == pytest.approx(made.found["produced_Ds"]["value"] * CONTROL / SEARCH)
    half = SAMPLES["data"].model_copy(update={"completeness": 0.5})
    assert made.again({**SAMPLES, "data": half})["luminosity"]["control"] == CONTROL / 2


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"data": Sample(name="data", kind="data")}, "the control data data have no common luminosity; give"),
        ({"data": sample_of("data", luminosity=0)}, "'data': the parameter 'luminosity' must be above 0"),
        ({"data": sample_of("data", luminosity="much")}, "'data': the parameter 'luminosity' is 'much'; it must"),
        ({"control": sample_of("control", meson="Dplus")}, "needs data of the control channel .* a simulated sample"),
        ({"control": sample_of("control", origin="beauty")}, "parameter 'origin' is 'beauty'; .*valid: all, b, prompt"),
        ({"control": sample_of("control", origin="b")}, "holds Ds of origin 'prompt', but by its parameters none was"),
        ({"control": sample_of("control", prompt_fraction=1.5)}, "'prompt_fraction' is 1.5; it must be between"),
        (
            {"control": sample_of("control").model_copy(update={"entries": None, "files": ("a.root",)})},
            "sample 'control': the parameter 'prompt_fraction' is missing",
        ),
        (
            {"control": sample_of("control").model_copy(update={"luminosity": None})},
            "control: simulated samples need one luminosity above 0",
        ),
        (
            {"control": sample_of("control").model_copy(update={"processed_events": None})},
            "sample 'control' .* cannot be normalised: processed_events = None",
        ),
    ],
)
def test_samples_that_cannot_be_normalised(made: Made, samples: dict[str, Sample], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made.again({**SAMPLES, **samples})


def test_files_that_are_not_of_this_fit(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    for content, message in (
        ("{}", r"summary.json: not the summary of a fit .* \(KeyError: 'fit'\); give the step: files"),
        ("not json", "not the summary of a fit"),
        (json.dumps({"fit": {**made.fit, "data": ["other"]}}), "other were fitted from 1.75 .* the data here are data"),
        (json.dumps({"fit": {**made.fit, "range": [1.8, 2.1]}}), r"were fitted from 1.8 to 2.1 GeV"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            made.again(SAMPLES, fit=str(path))
    empty = {**made.fit, "yields": {"Ds": {"value": -3.0, "error": 5.0}}}
    path.write_text(json.dumps({"fit": empty}))
    with pytest.raises(FitError, match=r"the yield of the Ds is -3 \+- 5: nothing to normalise to"):
        made.again(SAMPLES, fit=str(path))
    with pytest.raises(InputError, match=r"none.root: no table of sPlot weights"):
        made.again(SAMPLES, splot=str(tmp_path / "none.root"))
    with uproot.open(made.options["splot"]) as file:
        table = file["splot"].arrays(library="np")
    with uproot.recreate(tmp_path / "short.root") as file:
        file["splot"] = {name: column[1:] for name, column in table.items()}
    with pytest.raises(InputError, match=f"no weight for run 7, lumi 1, event {table['event'][0]}, which is"):
        made.again(SAMPLES, splot=str(tmp_path / "short.root"))
    with uproot.recreate(tmp_path / "turned.root") as file:
        file["splot"] = {name: column[::-1] for name, column in table.items()}
    assert made.again(SAMPLES, splot=str(tmp_path / "turned.root")) == made.found, "joined by event, not by position"


def test_few_events_give_no_prompt_fraction_and_say_so(made: Made, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    count = 60
    flags = ("C_mu1_Phi_isPhiDaughter", "C_mu2_Phi_isPhiDaughter", "C_pi_isDsDaughter", "C_mu2_Phi_hasBAncestor")
    columns = {"C_Ds_mass": rng.normal(1.968, 0.01, count).astype(np.float32),
               "C_Ds_lxy_prop": lengths(rng, "b", count).astype(np.float32),
               **dict.fromkeys(flags, np.ones(count, np.int16))}  # fmt: skip
    few = {**made.results, "control": write(tmp_path / "few.root", columns, np.full(count, 1e-3))}
    returned = normalisation(few, SAMPLES, **made.options)
    found = returned["normalisation"]
    assert returned.keys() == {"normalisation"}
    assert found["prompt_fraction"] is None
    why = "the decay length of the Ds: template of prompt Ds: worth 0.0 events of weight 1, 50 are needed"
    assert found["notes"] == [f"no fraction of prompt Ds: {why}"]
    assert found["produced_Ds"]["value"] > 0
    assert signal_events(found, 1.0, 1.0) == found["produced_Ds"]["value"]
    with pytest.raises(FitError, match=r"signal of the origin 'prompt' cannot be normalised .*worth 0.0 events"):
        signal_events(found, 1.0, 1.0, "prompt")
    columns["C_pi_isDsDaughter"] = np.zeros(count, np.int16)
    none = {**made.results, "control": write(tmp_path / "none.root", columns, np.full(count, 1e-3))}
    with pytest.raises(FitError, match=r"no simulated Ds -> phi pi \(all\) is selected"):
        normalisation(none, SAMPLES, **made.options)


# ---- the figure


def test_figure_shows_components_and_pulls() -> None:
    from hnl.figures.normalisation import figure_of_prompt

    rng = np.random.default_rng(9)
    fit = fit_prompt(sideband_data(rng, 0.5), template(rng, "prompt"), template(rng, "b"))
    top, bottom = figure_of_prompt(fit, "C_Ds_lxy_prop").axes
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert labels == ["$D_s$ from b", "prompt $D_s$", "fit", "simulation's statistics",
                      "data, sPlot-weighted to $D_s$"]  # fmt: skip
    assert f"{fit.fraction:.3f}" in top.texts[0].get_text()
    shown = bottom.patches[0].get_data().values
    np.testing.assert_allclose(shown, fit.pulls)
    assert bottom.get_xlabel() == "$D_s$ transverse proper decay length (cm)"
    widths = np.diff(fit.edges) / 0.005
    np.testing.assert_allclose(top.lines[0].get_ydata() * widths, fit.data)
