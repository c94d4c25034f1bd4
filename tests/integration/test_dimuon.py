"""The dimuon example on real CMS data, against an independent count with uproot, awkward and vector."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

import portico
from portico.compare import compare
from portico.executors.local import LocalExecutor
from portico.report import write_report
from tests.made_runs import drawn, unpacked

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "dimuon"
DATA = Path(os.environ.get("PORTICO_REAL_DATA", REPOSITORY.parent / "shared" / "real_data"))
NANO = {
    "run2012": DATA / "Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root",
    "run2018": DATA / "CMS_Run2018A_nano_dimuon_40ev.root",
}
FLAT = DATA / "CMS_Run2010_2011_Zmumu_2304.root"
JPSI = (2.9, 3.3)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not FLAT.exists(), reason="the real data are not here; set PORTICO_REAL_DATA"),
]


@pytest.fixture(scope="module")
def run(single: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[portico.Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTICO_REAL_DATA", str(DATA))
        folder = tmp_path_factory.mktemp("dimuon") / "run"
        yield portico.run(portico.load_analysis(EXAMPLE), folder=folder, executor=single)


def load_plot() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dimuon_plot", EXAMPLE / "plot.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_muons(path: Path) -> ak.Array:
    tree = uproot.open(path)["Events"]
    fields = {name: tree[f"Muon_{name}"].array() for name in ("pt", "eta", "phi", "mass", "charge")}
    return vector.zip(fields)


def pair_masses(muons: ak.Array) -> np.ndarray:
    """Masses of all opposite-charge pairs in an event, for all events."""
    first, second = ak.unzip(ak.combinations(muons, 2))
    masses = (first + second).mass[first.charge != second.charge]
    return ak.to_numpy(ak.flatten(masses))


def between(masses: np.ndarray, low: float, high: float) -> int:
    return int(np.sum((masses >= low) & (masses < high)))


@pytest.mark.parametrize("sample", NANO)
def test_events_with_two_muons_as_counted_by_uproot(run: portico.Run, sample: str) -> None:
    muons = read_muons(NANO[sample])
    two = muons[ak.num(muons) == 2]
    masses = pair_masses(two)
    results = run["dimuon"][sample]
    cutflow = results["cutflow"]
    assert cutflow.cuts == ("two muons", "opposite charge")
    assert (*cutflow.reached[:1], *cutflow.passed) == (len(muons), len(two), len(masses))
    for name in ("mass", "spectrum"):
        h = results[name]
        edges = np.asarray(h.axes[0].edges)
        expected = np.histogram(masses, [-np.inf, *edges, np.inf])[0]
        # The two compute in float32 in a different order: a mass may change its bin, a sum may not.
        assert h.values(flow=True).sum() == len(masses)
        assert np.abs(h.values(flow=True) - expected).sum() <= 2


def test_numbers_of_the_example_are_those_of_events_with_exactly_two_muons(run: portico.Run) -> None:
    muons = read_muons(NANO["run2012"])
    two = pair_masses(muons[ak.num(muons) == 2])
    everything = pair_masses(muons)
    assert (len(two), between(two, 0, 2), between(two, *JPSI)) == (415, 71, 47)
    assert (len(everything), between(everything, 0, 2), between(everything, *JPSI)) == (1263, 233, 94)
    # The number near the J/psi does not hang on the window.
    assert {between(two, 3.097 - half, 3.097 + half) for half in (0.1, 0.15, 0.2)} == {47}
    h = run["dimuon"]["run2012"]["mass"]
    assert h.axes[0].label == "m(#mu#mu) (GeV)"


def test_flat_file_counts_every_pair_once(run: portico.Run) -> None:
    columns = uproot.open(FLAT)["events"].arrays(library="np")
    assert len(set(zip(columns["Run"], columns["Event"], strict=True))) == 500
    chosen = (columns["Type"] == "GG") & (columns["Q1"] != columns["Q2"])
    legs = [
        vector.array({k: columns[f"{k}{i}"][chosen] for k in ("px", "py", "pz")} | {"E": columns[f"E{i}"][chosen]})
        for i in (1, 2)
    ]
    masses = (legs[0] + legs[1]).mass
    np.testing.assert_allclose(masses, columns["M"][chosen], rtol=1e-7)
    results = run["flat"]["zmumu"]
    assert results["cutflow"].passed == (516, len(masses))
    h = results["mass"]
    expected = np.histogram(columns["M"][chosen], [-np.inf, *np.asarray(h.axes[0].edges), np.inf])[0]
    np.testing.assert_array_equal(h.values(flow=True), expected)


def test_picture_shows_the_resonances(run: portico.Run, tmp_path: Path) -> None:
    plot = load_plot()
    figure = plot.draw(run)
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() == r"m($\mu \mu $) (GeV)"
    assert "937 muon pairs" in axes.get_title(loc="left")
    texts = {text.get_text() for text in axes.texts}
    assert {r"$J/\psi$", "Z", r"$\phi$", r"$\eta$"} <= texts
    assert plot.main([str(run.path), str(tmp_path / "dimuon.png")]) == 0
    from matplotlib.image import imread

    pixels = imread(tmp_path / "dimuon.png")[..., :3]
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 700
    colours = np.unique((pixels * 15).astype(int).reshape(-1, 3), axis=0)
    assert len(colours) > 20
    assert 0.03 < np.mean(pixels.min(axis=-1) < 0.9) < 0.6


def test_plot_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert load_plot().main([]) == 2
    assert "plot.py runs/dimuon" in capsys.readouterr().err


def test_report_of_the_example(run: portico.Run) -> None:
    text = write_report(run.path).read_text()
    flow = unpacked(text)["index"]["flows"]["dimuon"][0]
    assert flow["cuts"] == ["two muons", "opposite charge"]
    assert flow["rows"]["run2012"]["n"] == [1000, 554, 415]
    assert drawn(text, "dimuon", "", "mass")["x"] == "m(μμ) (GeV)"


def test_the_run_compares_equal_with_itself_and_its_file(run: portico.Run) -> None:
    assert compare(run.path, run.path).identical
    comparison = compare(run.path, run.path / "dimuon" / "results.root")
    assert comparison.identical
    assert comparison.total.histograms == 4
