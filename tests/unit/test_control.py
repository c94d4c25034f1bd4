"""The control channel: its selection, the fit against toys, and sPlot weights against the formula and the truth."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import awkward as ak
import correctionlib
import numpy as np
import pytest
import uproot
from scipy import stats

from hnl.constants import CONTROL_RANGE, TRIGGER_PATHS
from hnl.control import FOLDER, control
from hnl.control_fit import chosen_candidates, control_fit
from hnl.fits.mass import (
    COMPONENTS,
    MassFit,
    Shape,
    bin_contents,
    component_densities,
    fit_mass,
    fit_peak,
    splot_weights,
)
from portico import root
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.errors import FitError
from portico.results.view import Results
from portico.selection import event_weight
from portico.worker.frame import run_chunk
from portico.worker.summary_step import summarise

ROOT = root.load()
LOW, HIGH = 1.75, 2.15
MASS, DIFFERENCE = 1.96835, 0.09869
SHAPE = Shape(core=0.7, tail=2.0, dplus=0.9)


def peak(rng: np.random.Generator, count: int, mean: float, width: float, shape: Shape) -> np.ndarray:
    return rng.normal(mean, width * np.where(rng.uniform(size=count) < shape.core, 1.0, shape.tail))


def toy(rng: np.random.Generator, yields: tuple[int, int, int], shape: Shape = SHAPE) -> list[np.ndarray]:
    """Masses of Ds, D+ and background; the fluctuating numbers are those within the fit range."""
    found = []
    for number, count in enumerate(rng.poisson(yields)):
        if number < 2:
            mean, width = (MASS, 0.014) if number == 0 else (MASS - DIFFERENCE, 0.014 * shape.dplus)
            drawn = peak(rng, 2 * count + 10, mean, width, shape)
        else:
            drawn = LOW + stats.truncexpon.rvs(0.8, scale=0.5, size=2 * count + 10, random_state=rng)
        found.append(drawn[(drawn > LOW) & (drawn < HIGH)][:count])
    return found


@pytest.fixture(scope="module")
def sample_fit() -> tuple[list[np.ndarray], MassFit]:
    parts = toy(np.random.default_rng(5), (2000, 500, 3000))
    return parts, fit_mass(np.concatenate(parts), SHAPE)


# ---- the fit


def test_densities_are_normalised_and_independent_ones() -> None:
    values = {"mass": MASS, "width": 0.014, "slope": -2.0}
    grid = np.linspace(LOW, HIGH, 200_001)
    densities = component_densities(grid, values, SHAPE)
    np.testing.assert_allclose(np.trapezoid(densities, grid), 1.0, atol=1e-7)
    at = np.array([1.8, 1.87, 1.97, 2.1])
    edges = (np.array(CONTROL_RANGE)[:, None] - [MASS, MASS - DIFFERENCE]).T
    found = component_densities(at, values, SHAPE)
    for row, mean, scale, (low, high) in zip(found, (MASS, MASS - DIFFERENCE), (1, 0.9), edges, strict=False):
        expected = sum(
            f * stats.truncnorm.pdf(at, low / s, high / s, mean, s)
            for f, s in ((0.7, 0.014 * scale), (0.3, 0.028 * scale))
        )
        np.testing.assert_allclose(row, expected, rtol=1e-9)
    np.testing.assert_allclose(found[2], stats.truncexpon.pdf(at - LOW, 0.8, scale=0.5), rtol=1e-9)
    flat = component_densities(at, {**values, "slope": 0.0}, SHAPE)[2]
    np.testing.assert_allclose(flat, 1 / (HIGH - LOW), rtol=1e-12)


def test_yields_are_unbiased_and_their_errors_right() -> None:
    true, rng = (300, 80, 600), np.random.default_rng(11)
    fits = [fit_mass(np.concatenate(toy(rng, true)), SHAPE) for _ in range(100)]
    for name, expected in zip(COMPONENTS, true, strict=True):
        pulls = [(fit.values[name] - expected) / fit.errors[name] for fit in fits]
        assert abs(np.mean(pulls)) < 0.3, name  # three standard deviations of the mean of a hundred
        assert 0.8 < np.std(pulls) < 1.22, name
        below, above = np.transpose([fit.minos[name] for fit in fits])
        assert (below < 0).all()
        assert np.median(above / [fit.errors[name] for fit in fits]) == pytest.approx(1.0, abs=0.1)
    mass_pulls = [(fit.values["mass"] - MASS) / fit.errors["mass"] for fit in fits]
    assert abs(np.mean(mass_pulls)) < 0.3
    assert stats.kstest([fit.p_value for fit in fits], "uniform").pvalue > 1e-3


def test_fit_agrees_with_one_written_again(sample_fit: tuple[list[np.ndarray], MassFit]) -> None:
    """Another minimiser, on densities of scipy."""
    from scipy import optimize

    parts, fit = sample_fit
    mass = np.concatenate(parts)

    def nll(p: np.ndarray) -> float:
        total = np.zeros_like(mass)
        for count, mean, scale in ((p[0], p[3], 1.0), (p[1], p[3] - DIFFERENCE, 0.9)):
            for f, s in ((0.7, p[4] * scale / 1000), (0.3, 2 * p[4] * scale / 1000)):
                total += count * f * stats.truncnorm.pdf(mass, (LOW - mean) / s, (HIGH - mean) / s, mean, s)
        total += p[2] * stats.truncexpon.pdf(mass - LOW, 0.4 * p[5], scale=1 / p[5])
        return float(p[:3].sum() - np.log(total).sum())

    start = [1900, 450, 3100, 1.968, 15.0, 1.5]
    best = optimize.minimize(nll, start, method="Nelder-Mead", options={"maxiter": 3000, "xatol": 1e-3, "fatol": 1e-5})
    scale = np.array([1, 1, 1, 1, 1000, -1])  # width in MeV, slope as an inverse length
    names = (*COMPONENTS, "mass", "width", "slope")
    found, errors = (scale * [of[name] for name in names] for of in (fit.values, fit.errors))
    assert np.abs((best.x - found) / errors).max() < 0.02
    assert nll(found) < best.fun + 1e-3


def test_contents_of_bins_are_integrals(sample_fit: tuple[list[np.ndarray], MassFit]) -> None:
    _, fit = sample_fit
    edges = np.linspace(LOW, HIGH, 41)
    grid = np.linspace(LOW, HIGH, 40_001)
    densities = component_densities(grid, fit.values, fit.shape)
    for name, density in zip(COMPONENTS, densities, strict=True):
        expected = [np.trapezoid(density[i * 1000 : (i + 1) * 1000 + 1], dx=grid[1] - grid[0]) for i in range(40)]
        contents = bin_contents(edges, fit)[name]
        np.testing.assert_allclose(contents, fit.values[name] * np.array(expected), rtol=2e-3, atol=1e-6)


def test_a_simulated_peak_gives_its_shape() -> None:
    rng = np.random.default_rng(3)
    width, core, tail, error = fit_peak(peak(rng, 20_000, MASS, 0.012, SHAPE), MASS)
    assert width == pytest.approx(0.012, rel=0.03)
    assert core == pytest.approx(0.7, abs=0.06)
    assert tail == pytest.approx(2.0, abs=0.12)
    narrow, *same = fit_peak(peak(rng, 5_000, 1.87, 0.011, SHAPE), 1.87, core=0.7, tail=2.0)
    assert narrow == pytest.approx(0.011, rel=0.03)
    assert same[:2] == [0.7, 2.0]
    assert 0 < same[2] < error  # hardly larger than without tails: 0.011 / sqrt(2 n)
    assert same[2] == pytest.approx(0.011 / 100, rel=0.5)


def test_what_cannot_be_fitted_is_told() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(FitError, match=r"12 events from 1.75 to 2.15 GeV are too few"):
        fit_mass(rng.uniform(LOW, HIGH, 12))
    with pytest.raises(FitError, match=r"100 simulated candidates around 1.96835 GeV are too few"):
        fit_peak(rng.normal(MASS, 0.01, 100), MASS)
    with pytest.raises(FitError, match=r"the fit of the mu mu pi mass ends at a bound, .*is there a peak\?"):
        fit_mass(rng.normal(MASS, 0.0002, 1000))  # far narrower than any resolution


# ---- weights


def test_weights_are_those_of_the_formula(sample_fit: tuple[list[np.ndarray], MassFit]) -> None:
    """Eq. 10 and 15 of NIM A555 (2005) 356, from densities of scipy and yields of a fixed-point iteration."""
    parts, fit = sample_fit
    mass = np.concatenate(parts)
    weights = splot_weights(mass, fit)
    mean, width, slope = (fit.values[name] for name in ("mass", "width", "slope"))
    f = [
        sum(
            part * stats.truncnorm.pdf(mass, (LOW - m) / s, (HIGH - m) / s, m, s)
            for part, s in ((0.7, width * scale), (0.3, 2 * width * scale))
        )
        for m, scale in ((mean, 1.0), (mean - DIFFERENCE, 0.9))
    ]
    f = np.array([*f, stats.truncexpon.pdf(mass - LOW, -0.4 * slope, scale=-1 / slope)])
    n = np.array([fit.values[name] for name in COMPONENTS])
    for _ in range(2000):  # expectation maximisation: slow and safe
        n = n * (f / (n @ f)).sum(axis=1)
    inverse = np.array([[np.sum(a * b / (n @ f) ** 2) for a in f] for b in f])
    covariance = np.linalg.inv(inverse)
    np.testing.assert_allclose(weights, (covariance[0] @ f) / (n @ f), rtol=1e-6, atol=1e-8)
    assert weights.sum() == pytest.approx(n[0], rel=1e-9)
    assert (weights**2).sum() == pytest.approx(covariance[0, 0], rel=1e-6)
    assert weights.sum() == pytest.approx(fit.values["Ds"], abs=0.02 * fit.errors["Ds"])
    assert 0.8 * fit.errors["Ds"] < np.sqrt((weights**2).sum()) <= fit.errors["Ds"]  # without shape parameters: smaller


def test_weighted_distribution_is_that_of_the_signal(sample_fit: tuple[list[np.ndarray], MassFit]) -> None:
    parts, fit = sample_fit
    weights = splot_weights(np.concatenate(parts), fit)
    rng = np.random.default_rng(8)
    pt = np.concatenate([rng.exponential(scale, len(part)) for part, scale in zip(parts, (10, 10, 4), strict=True)])
    edges = np.array([0, 2, 4, 7, 11, 16, 25, 200.0])
    found, _ = np.histogram(pt, edges, weights=weights)
    variance, _ = np.histogram(pt, edges, weights=weights**2)
    expected = fit.values["Ds"] * np.diff(-np.exp(-edges / 10))
    assert stats.chi2.sf(((found - expected) ** 2 / variance).sum(), len(found)) > 0.01
    unweighted, _ = np.histogram(pt, edges)
    other = expected.sum() / unweighted.sum() * unweighted
    assert ((other - expected) ** 2 / variance).sum() > 100, "without weights it must be another"


def test_weights_belong_to_the_events_that_were_fitted(sample_fit: tuple[list[np.ndarray], MassFit]) -> None:
    parts, fit = sample_fit
    mass = np.concatenate(parts)
    with pytest.raises(ValueError, match=rf"{len(mass) - 1} masses, .*: {len(mass)} were fitted"):
        splot_weights(mass[1:], fit)
    with pytest.raises(ValueError, match=rf"{len(mass) - 1} of them in range"):
        splot_weights(np.append(mass[1:], 1.7), fit)


# ---- the steps, over ntuples

COLUMNS = {
    **{f"C_Ds_{n}": "f" for n in ("mass", "pt", "px", "py", "pz", "vertex_prob", "vertex_cos2D", "vertex_2DSig_BS",
                                  "vertex_2DDist_BS", "vertex_3DDist_PV")},
    "C_Phi_mass": "f", "C_Phi_pt": "f",
    **{f"C_{m}_Phi_{n}": k for m in ("mu1", "mu2")
       for n, k in {"pt": "f", "eta": "f", "BS_ips_xy": "f", "charge": "i", "idx": "I", "isSoft": "h"}.items()},
    "C_pi_pt": "f", "C_pi_eta": "f", "C_pi_BS_ips_xy": "f",
}  # fmt: skip
FLAGS = {"C_mu1_Phi_isPhiDaughter": "h", "C_mu2_Phi_isPhiDaughter": "h", "C_pi_isDsDaughter": "h"}
CPP = {"f": "float", "i": "int", "h": "short", "I": "unsigned int"}


def make_events(masses: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Events with a good candidate of each mass, and others that each cut turns down or the rule does not take."""
    rng = np.random.default_rng(seed)
    events = []
    for number, mass in enumerate(masses):
        count = int(rng.integers(1, 5))
        event: dict[str, Any] = {"nPV": 30, "run": 321_000, "lumi": 1 + number // 100, "event": number - 50}
        for name, kind in {**COLUMNS, **FLAGS}.items():
            values = rng.uniform(1, 3, count) if kind == "f" else rng.integers(0, 2, count)
            event[name] = values.astype({"f": np.float32, "i": np.int32, "h": np.int16, "I": np.uint32}[kind])
        best = int(rng.integers(count))
        for muon in ("mu1", "mu2"):
            event[f"C_{muon}_Phi_pt"][:] = 9.0
            event[f"C_{muon}_Phi_eta"][:] = 0.5
            event[f"C_{muon}_Phi_isSoft"][:] = 1
        event["C_mu1_Phi_idx"][:], event["C_mu2_Phi_idx"][:] = 3, 4
        event["C_mu1_Phi_charge"][:], event["C_mu2_Phi_charge"][:] = 1, -1
        event["C_Ds_mass"][:] = rng.uniform(1.7, 2.2, count)
        event["C_Ds_vertex_prob"][:] = rng.uniform(0.06, 0.5, count)
        event["C_Phi_mass"][:] = rng.choice(np.float32([1.0195, 1.0, 1.048]), count)
        broken = rng.integers(0, 6, count)
        event["C_mu1_Phi_isSoft"][broken == 1] = 0
        event["C_mu2_Phi_charge"][broken == 2] = 1
        event["C_Phi_mass"][broken == 3] = 0.98
        event["C_mu1_Phi_idx"][broken == 4] = 7
        event["C_Ds_vertex_prob"][broken > 0] = 0.99  # would win
        event["C_Ds_vertex_prob"][broken == 5] = 0.04
        good = {"C_mu1_Phi_isSoft": 1, "C_mu2_Phi_charge": -1, "C_Phi_mass": 1.02, "C_mu1_Phi_idx": 3,
                "C_Ds_vertex_prob": 0.9, "C_Ds_mass": mass, **dict.fromkeys(FLAGS, 1)}  # fmt: skip
        for name, value in good.items():
            event[name][best] = value
        event["best"] = best
        event["HLT_mu_trig_idx"] = np.array([3], np.uint32)
        for path in TRIGGER_PATHS:
            event[f"HLT_{path}_matched"] = np.array([path == "mu9_ip6"], np.int16)
            event[f"HLT_{path}_pt"], event[f"HLT_{path}_dr"] = np.float32([9.1]), np.float32([0.01])
        events.append(event)
    return events


def write_events(path: Path, events: list[dict[str, Any]], *, simulation: bool) -> Path:
    """Write as the collaboration does: int32 event, float32 lumi, vectors."""
    kinds = {**COLUMNS, **(FLAGS if simulation else {}), "HLT_mu_trig_idx": "I"}
    kinds |= {f"HLT_{p}_{n}": k for p in TRIGGER_PATHS for n, k in (("matched", "h"), ("pt", "f"), ("dr", "f"))}
    with ROOT.TFile(str(path), "RECREATE"):
        tree = ROOT.TTree("wztree", "")
        scalars = {name: array("f" if name == "lumi" else "i", [0]) for name in ("run", "lumi", "event", "nPV")}
        if simulation:
            scalars["nPU_trueInt"] = array("i", [25])
        vectors = {name: ROOT.std.vector[CPP[kind]]() for name, kind in kinds.items()}
        for name, buffer in scalars.items():
            tree.Branch(name, buffer, f"{name}/{buffer.typecode.upper()}")
        for name, vector in vectors.items():
            tree.Branch(name, vector)
        for event in events:
            for name, buffer in scalars.items():
                buffer[0] = event.get(name, 25)
            for name, vector in vectors.items():
                vector.clear()
                for value in event[name].tolist():
                    vector.push_back(value)
            tree.Fill()
        tree.Write()
    return path


def sample_of(name: str) -> Sample:
    if name == "data":
        return Sample(name=name, kind="data")
    meson = {"meson": "Dplus"} if name == "dplus" else {}
    return Sample(name=name, kind="background", cross_section=1.0, luminosity=1.0, processed_events=1000.0,
                  parameters={"process": "control", **meson})  # fmt: skip


def select(path: Path, folder: Path, name: str, **options: Any) -> Results:
    ROOT.gInterpreter.Declare(f'#include "{FOLDER / "include" / "trigger.h"}"')
    folder.mkdir(exist_ok=True)
    with uproot.open(path) as file:
        chunk = Chunk(str(path), "", "wztree", 0, file["wztree"].num_entries)
    products, _ = run_chunk(control, chunk, sample_of(name), {"switch": {"weights": True}, **options}, folder)
    return Results(name, products)


Made = tuple[dict[str, Results], list[dict[str, Any]], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The step over data and simulation of Ds and D+, the events of data, and their file."""
    folder, rng = tmp_path_factory.mktemp("control"), np.random.default_rng(21)
    outside = rng.uniform(1.6, 1.74, 20)
    masses = {
        "data": rng.permutation(np.concatenate([*toy(rng, (500, 150, 500)), outside])).astype(np.float32),
        "ds": peak(rng, 1500, MASS, 0.014, SHAPE),
        "dplus": peak(rng, 600, MASS - DIFFERENCE, 0.0126, SHAPE),
    }
    results, events, paths = {}, {}, {}
    for number, (name, values) in enumerate(masses.items()):
        events[name] = make_events(values, seed=number)
        paths[name] = write_events(folder / f"{name}.root", events[name], simulation=name != "data")
        results[name] = select(paths[name], folder / name, name)
    return results, events["data"], paths["data"]


@pytest.fixture(scope="module")
def fitted(
    made: Made, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What the summary step gives: its values, and the folder of its files."""
    results, _, _ = made
    values, files = summarise(control_fit, results, {name: sample_of(name) for name in results}, {})
    folder = tmp_path_factory.mktemp("fit")
    for name, content in files:
        (folder / name).write_bytes(content)
    return values, folder


def test_the_best_vertex_among_those_that_pass_is_chosen(
    made: Made,
) -> None:
    results, events, _ = made
    with uproot.open(results["data"]["candidates"][0]) as file:
        tree = file["candidates"].arrays()
    assert len(tree) == len(events)
    assert ak.flatten(tree.chosen).to_list() == [event["best"] for event in events]
    assert tree.event.to_list() == [int(np.uint32(np.int32(event["event"]))) for event in events]
    best = [{name: event[name][event["best"]] for name in COLUMNS} for event in events]
    p = np.array([np.sqrt(sum(float(b[f"C_Ds_p{axis}"]) ** 2 for axis in "xyz")) for b in best])
    length = np.array([b["C_Ds_vertex_3DDist_PV"] * b["C_Ds_mass"] for b in best])
    np.testing.assert_allclose(ak.to_numpy(ak.flatten(tree.C_Ds_l_prop)), length / p, rtol=1e-6)
    masses = np.array([b["C_Ds_mass"] for b in best], np.float64)
    counts, _ = np.histogram(masses, np.linspace(1.7, 2.1, 81))
    np.testing.assert_allclose(results["data"]["inclusive_Ds_mass"].values(), counts)


def test_simulation_has_the_weights_of_correctionlib(made: Made) -> None:
    with uproot.open(made[0]["ds"]["candidates"][0]) as file:
        tree = file["candidates"].arrays(library="ak")
    ips = [ak.to_numpy(ak.flatten(tree[f"C_{muon}_Phi_BS_ips_xy"])) for muon in ("mu1", "mu2")]  # corrected ones
    files = {name: correctionlib.CorrectionSet.from_file(str(FOLDER / "corrections" / f"{name}.json"))
             for name in ("pileup", "trigger", "muon")}  # fmt: skip
    in_data, in_simulation = (files["trigger"][f"trigger_efficiency_{kind}"] for kind in ("data", "simulation"))
    weight = event_weight(sample_of("ds")) * files["pileup"]["pileup_weight"].evaluate(25.0, "nominal")
    weight *= in_data.evaluate(9.0, ips[0], "nominal") / in_simulation.evaluate(9.0, ips[0])  # the first muon fired
    weight *= (1 - in_data.evaluate(9.0, ips[1], "nominal")) / (1 - in_simulation.evaluate(9.0, ips[1]))
    for name in ("muon_id", "muon_reco"):
        weight *= files["muon"][name].evaluate(9.0, 0.5, "nominal") ** 2
    np.testing.assert_allclose(ak.to_numpy(ak.flatten(tree.weight)), weight, rtol=1e-6)
    assert np.std(weight) > 0


def test_the_fit_of_chosen_candidates(
    made: Made, fitted: tuple[dict[str, Any], Path]
) -> None:
    _, events, _ = made
    values, folder = fitted
    fit = values["fit"]
    assert fit["shapes"] == {"Ds": "ds", "Dplus": "dplus"}
    assert fit["data"] == ["data"]
    assert fit["shape"]["dplus"] == pytest.approx(0.9, abs=0.07)
    assert fit["yields"]["Ds"]["value"] == pytest.approx(500, abs=4 * fit["yields"]["Ds"]["error"])
    assert fit["mass"]["value"] == pytest.approx(MASS, abs=4 * fit["mass"]["error"])
    assert fit["p_value"] > 1e-3
    masses = np.array([event["C_Ds_mass"][event["best"]] for event in events], np.float64)
    inside = (masses > LOW) & (masses < HIGH)
    assert fit["events"] == inside.sum() < len(events)
    with uproot.open(folder / "splot.root") as file:
        table = file["splot"].arrays(library="np")
    assert {name: column.dtype.name for name, column in table.items()} == {
        "run": "uint32", "lumi": "uint32", "event": "uint64", "weight": "float64",
    }  # fmt: skip
    numbers = [int(np.uint32(np.int32(e["event"]))) for e, ok in zip(events, inside, strict=True) if ok]
    assert table["event"].tolist() == numbers
    assert table["weight"].sum() == pytest.approx(fit["sum_of_weights"], rel=1e-12)
    assert {path.name for path in folder.iterdir()} == {"splot.root", "mass.png", "mass.pdf"}


def test_weights_reach_their_events(
    made: Made, fitted: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    """Over a file in another order: joined by run, lumi and event, not by position."""
    _, events, _ = made
    with uproot.open(fitted[1] / "splot.root") as file:
        table = file["splot"].arrays(library="np")
    weight_of = dict(zip(table["event"].tolist(), table["weight"].tolist(), strict=True))
    shuffled = [events[i] for i in np.random.default_rng(2).permutation(len(events))]
    path = write_events(tmp_path / "shuffled.root", shuffled, simulation=False)
    found = select(path, tmp_path / "weighted", "data", splot=str(fitted[1] / "splot.root"))
    with uproot.open(found["candidates"][0]) as file:
        tree = file["candidates"].arrays(["event", "weight"])
    expected = [weight_of.get(int(event), 0.0) for event in tree.event]
    np.testing.assert_allclose(ak.to_numpy(ak.flatten(tree.weight)), expected, rtol=1e-12)
    assert expected.count(0.0) == 20, "those outside of the fit range"
    pt = np.array([e["C_Ds_pt"][e["best"]] for e in shuffled])
    order = [weight_of.get(int(np.uint32(np.int32(e["event"]))), 0.0) for e in shuffled]
    contents, _ = np.histogram(pt, np.linspace(0, 80, 41), weights=order)
    squares, _ = np.histogram(pt, np.linspace(0, 80, 41), weights=np.square(order))
    np.testing.assert_allclose(found["inclusive_Ds_pt"].values(), contents, rtol=1e-10)
    np.testing.assert_allclose(found["inclusive_Ds_pt"].variances(), squares, rtol=1e-10)
    assert found["inclusive_Ds_pt"].sum(flow=True).value == pytest.approx(fitted[0]["fit"]["sum_of_weights"])


def test_an_event_without_a_weight_is_an_error(
    made: Made, fitted: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    _, _, path = made
    with uproot.open(fitted[1] / "splot.root") as file:
        table = file["splot"].arrays(library="np")
    with uproot.recreate(tmp_path / "short.root") as file:
        file["splot"] = {name: column[1:] for name, column in table.items()}
    with pytest.raises(Exception, match=f"event {table['event'][0]}"):
        select(path, tmp_path / "out", "data", splot=str(tmp_path / "short.root"))


def test_what_the_fit_step_refuses(made: Made, tmp_path: Path) -> None:
    results, _, _ = made
    with pytest.raises(ValueError, match="no sample is of kind data"):
        control_fit({"ds": results["ds"]}, {"ds": sample_of("ds")})
    twice = {"data": results["data"], "again": results["data"]}
    with pytest.raises(ValueError, match=r"run 321000, lumi 1, event \d+ is in the data twice, as are \d+ others"):
        control_fit(twice, {name: sample_of("data") for name in twice})
    rng = np.random.default_rng(4)
    flat = write_events(tmp_path / "flat.root", make_events(rng.uniform(LOW, HIGH, 150), seed=9), simulation=False)
    with pytest.raises(FitError, match=r"the yield of the Ds is .* no peak of 3 standard|bound|converge"):
        control_fit({"data": select(flat, tmp_path / "flat", "data")}, {"data": sample_of("data")})
    with pytest.raises(ValueError, match="no column 'C_nothing' among the candidates"):
        chosen_candidates(results["data"]["candidates"], ("C_nothing",))
