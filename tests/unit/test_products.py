"""Every kind of product: collected from ROOT, merged over two chunks, and made again as a ROOT object."""

from __future__ import annotations

import time
import zlib
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
import uproot

from portico import root
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.errors import ProductError
from portico.files import summarise
from portico.results.histogram_list import products_of
from portico.results.partial import decode, encode, merge_all
from portico.results.product import Product, ProductKind
from portico.results.root_makers import make_histogram
from portico.results.root_objects import collect_value
from portico.results.view import Results
from portico.worker.frame import run_chunk

ENTRIES = 400
SPLIT = 150


@pytest.fixture(scope="module", params=["TTree", "RNTuple"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("products") / "events.root"
    columns = {
        "x": random.normal(0, 1, ENTRIES),
        "y": random.uniform(0, 2, ENTRIES),
        "w": random.uniform(0.5, 1.5, ENTRIES),
        "k": random.integers(0, 3, ENTRIES).astype(np.int32),
    }
    with uproot.recreate(path) as file:
        make = file.mktree if request.param == "TTree" else file.mkrntuple
        make("Events", columns)
    return path


def everything(frame: Any, sample: Sample) -> dict[str, Any]:
    import ROOT

    labelled = ROOT.TH1D("labelled", "labels;kind;events", 3, 0, 3)
    for i, label in enumerate(("b", "c", "light"), start=1):
        labelled.GetXaxis().SetBinLabel(i, label)
    edges = np.array([-3.0, -1.0, 0.0, 0.5, 3.0])
    varied = frame.Vary("y", "ROOT::RVecD{0.5 * y, 2 * y}", ["down", "up"], "scale")
    one = ROOT.RDF.TH1DModel("one", "one;x (GeV);events", 4, edges)
    four = ROOT.RDF.THnDModel("nd", "nd", 4, [2, 3, 4, 2], [-1.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 2.0])
    return {
        "one": frame.Histo1D(one, "x", "w"),
        "plain": frame.Histo1D(("plain", "", 10, -1, 1), "x"),
        "two": frame.Histo2D(("two", "two;x;y;z", 5, -2, 2, 4, 0, 2), "x", "y", "w"),
        "three": frame.Histo3D(("three", "", 3, -2, 2, 2, 0, 2, 3, 0, 3), "x", "y", "k"),
        "nd": frame.HistoND(four, ["x", "y", "k", "w", "w"]),
        "profile": frame.Profile1D(("profile", ";x;mean y", 6, -2, 2), "x", "y", "w"),
        "profile2": frame.Profile2D(("profile2", "", 3, -2, 2, 3, 0, 3), "x", "k", "y"),
        "labelled": frame.Define("kf", "double(k)").Fill(labelled, ["kf"]),
        "count": frame.Count(),
        "sum": frame.Sum("k"),
        "mean": frame.Mean("x"),
        "deviation": frame.StdDev("x"),
        "least": frame.Min("x"),
        "most": frame.Max("x"),
        "stats": frame.Stats("x", "w"),
        "report": frame.Filter("x > 0", "positive").Filter("y > 1", "large").Report(),
        "graph": frame.Graph("x", "y"),
        "take": frame.Take["double"]("x"),
        "arrays": frame.Define("v", "ROOT::RVecD(k, x)").AsNumpy(["x", "k", "v"]),
        "varied": ROOT.RDF.Experimental.VariationsFor(varied.Histo1D(("varied", "", 10, 0, 2), "y")),
    }


@pytest.fixture(scope="module")
def merged(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    root.load()
    summary = summarise(str(source), "Events")
    sample = Sample(name="s")
    parts = []
    for first, last in ((0, SPLIT), (SPLIT, ENTRIES)):
        chunk = Chunk(str(source), summary.uuid, "Events", first, last)
        products, timing = run_chunk(everything, chunk, sample, {}, tmp_path_factory.mktemp("out"))
        assert timing.loops == 1
        parts.append(decode(encode(products)))
    whole = merge_all(parts)
    assert whole is not None
    return Results("s", whole)


@pytest.fixture(scope="module")
def columns(source: Path) -> dict[str, np.ndarray]:
    with uproot.open(source) as file:
        return {name: file["Events"].arrays()[name].to_numpy() for name in ("x", "y", "w", "k")}


def test_histograms_match_numpy(merged: Results, columns: dict[str, np.ndarray]) -> None:
    x, y, w = columns["x"], columns["y"], columns["w"]
    edges = [-3.0, -1.0, 0.0, 0.5, 3.0]
    assert merged["one"].values() == pytest.approx(np.histogram(x, edges, weights=w)[0], rel=1e-13)
    assert merged["one"].variances() == pytest.approx(np.histogram(x, edges, weights=w**2)[0], rel=1e-13)
    assert merged["one"].values(flow=True)[0] == pytest.approx(w[x < -3].sum())
    assert merged["one"].axes[0].edges.tolist() == edges
    assert merged["plain"].values(flow=True)[[0, -1]].tolist() == [(x < -1).sum(), (x >= 1).sum()]
    expected = np.histogram2d(x, y, [np.linspace(-2, 2, 6), np.linspace(0, 2, 5)], weights=w)[0]
    assert merged["two"].values() == pytest.approx(expected, rel=1e-13)
    sample = np.stack([x, y, columns["k"]], axis=1)
    expected, _ = np.histogramdd(sample, [np.linspace(-2, 2, 4), np.linspace(0, 2, 3), np.arange(4)])
    assert merged["three"].values() == pytest.approx(expected)
    sample = np.stack([x, y, columns["k"], w], axis=1)
    bins = [np.linspace(-1, 1, 3), np.linspace(0, 2, 4), np.linspace(0, 3, 5), np.linspace(0, 2, 3)]
    expected, _ = np.histogramdd(sample, bins, weights=w)
    assert merged["nd"].values() == pytest.approx(expected, rel=1e-13)


def test_profiles_match_numpy(merged: Results, columns: dict[str, np.ndarray]) -> None:
    x, y, w = columns["x"], columns["y"], columns["w"]
    edges = np.linspace(-2, 2, 7)
    weights = np.histogram(x, edges, weights=w)[0]
    mean = np.histogram(x, edges, weights=w * y)[0] / weights
    assert merged["profile"].values() == pytest.approx(mean)
    profile = merged.root["profile"]
    for i in range(6):
        inside = (x >= edges[i]) & (x < edges[i + 1])
        spread = np.sqrt(np.average(y[inside] ** 2, weights=w[inside]) - mean[i] ** 2)
        effective = w[inside].sum() ** 2 / (w[inside] ** 2).sum()
        assert profile.GetBinError(i + 1) == pytest.approx(spread / np.sqrt(effective))
    filled = hist.Hist(hist.axis.Regular(6, -2, 2), storage=hist.storage.WeightedMean())
    filled.fill(x, weight=w, sample=y)
    for field in filled.view().dtype.names:
        assert merged["profile"].view(flow=True)[field] == pytest.approx(filled.view(flow=True)[field]), field
    assert merged["profile2"].ndim == 2


def test_numbers_match_numpy(merged: Results, columns: dict[str, np.ndarray]) -> None:
    x, w = columns["x"], columns["w"]
    assert merged["count"] == ENTRIES
    assert merged["sum"] == columns["k"].sum()
    assert merged["mean"] == pytest.approx(x.mean(), rel=1e-12)
    assert merged["deviation"] == pytest.approx(x.std(ddof=1), rel=1e-12)
    assert (merged["least"], merged["most"]) == (x.min(), x.max())
    assert merged["stats"]["mean"] == pytest.approx(np.average(x, weights=w), rel=1e-12)
    assert merged["stats"]["n"] == ENTRIES
    rows = merged["report"].rows()
    assert [row[:3] for row in rows] == [
        ("positive", ENTRIES, (x > 0).sum()),
        ("large", (x > 0).sum(), ((x > 0) & (columns["y"] > 1)).sum()),
    ]
    assert "large" in str(merged["report"])


def test_arrays_keep_the_order_of_entries(merged: Results, columns: dict[str, np.ndarray]) -> None:
    assert merged["take"]["take"].tolist() == columns["x"].tolist()
    assert merged["graph"]["y"].tolist() == columns["y"].tolist()
    assert merged["arrays"]["k"].dtype == np.int32
    assert merged["arrays"]["v"].tolist() == [[x] * k for x, k in zip(columns["x"], columns["k"], strict=True)]


def test_variations_are_products_of_their_own(merged: Results, columns: dict[str, np.ndarray]) -> None:
    variations = merged.variations("varied")
    assert list(variations) == ["nominal", "scale:down", "scale:up"]
    for factor, h in zip((1, 0.5, 2), variations.values(), strict=True):
        assert h.values().tolist() == np.histogram(factor * columns["y"], 10, (0, 2))[0].tolist()


def test_root_objects_are_as_if_filled_at_once(merged: Results, source: Path) -> None:
    ROOT = root.load()
    frame = ROOT.RDataFrame("Events", str(source))
    direct = everything(frame, Sample(name="s"))
    for name in ("one", "plain", "two", "three", "profile", "profile2", "labelled"):
        expected, found = direct[name].GetValue(), merged.root[name]
        assert found.ClassName() == expected.ClassName()
        assert found.GetTitle() == expected.GetTitle()
        assert found.GetEntries() == expected.GetEntries()
        for get in ("GetXaxis", "GetYaxis", "GetZaxis"):
            assert getattr(found, get)().GetTitle() == getattr(expected, get)().GetTitle(), (name, get)
        for cell in range(expected.GetNcells()):
            assert found.GetBinContent(cell) == pytest.approx(expected.GetBinContent(cell), rel=1e-12)
            assert found.GetBinError(cell) == pytest.approx(expected.GetBinError(cell), rel=1e-12)
        assert found.GetMean() == pytest.approx(expected.GetMean(), rel=1e-12)
        assert found.GetStdDev() == pytest.approx(expected.GetStdDev(), rel=1e-12)
    assert [merged.root["labelled"].GetXaxis().GetBinLabel(i) for i in (1, 2, 3)] == ["b", "c", "light"]
    assert list(merged["labelled"].axes[0]) == ["b", "c", "light"]
    expected, found = direct["nd"].GetValue(), merged.root["nd"]
    read = {}
    for which, histogram in (("expected", expected), ("found", found)):
        read[which] = np.zeros(histogram.GetNbins()), np.zeros(histogram.GetNbins())
        ROOT.portico.ReadTHn(histogram, *read[which])
    assert np.array(read["found"]) == pytest.approx(np.array(read["expected"]), rel=1e-12)
    assert merged.root["graph"].GetN() == ENTRIES


def test_integer_bins_that_overflow_are_refused() -> None:
    axis = {"bins": 1, "low": 0.0, "high": 1.0, "edges": None, "title": "", "labels": {}}
    meta = {"class": "TH1S", "name": "h", "title": "", "axes": [axis], "content": ""}
    arrays = {
        "values": np.array([0, 20_000.0, 0]),
        "sumw2": np.zeros(0),
        "stats": np.zeros(20),
        "entries": np.array([1.0]),
    }
    small = Product(ProductKind.HISTOGRAM, meta, arrays)
    root.load()
    assert make_histogram("h", small).GetBinContent(1) == 20_000
    merged = merge_all([{"h": small}, {"h": small}])
    assert merged is not None
    with pytest.raises(ProductError, match="TH1S"):
        make_histogram("h", merged["h"])


def test_float_bins_that_stop_counting_are_refused() -> None:
    h = root.load().TH1F("h", "", 1, 0, 1)
    h.SetBinContent(1, 2**24 - 1)
    assert collect_value("h", h, "").arrays["values"][1] == 2**24 - 1
    h.Fill(0.5)
    h.Fill(0.5)
    assert h.GetBinContent(1) == 2**24
    with pytest.raises(ProductError, match="TH1F, at which ROOT stops counting; use a TH1D"):
        collect_value("h", h, "")
    h.Sumw2()
    h.SetBinContent(1, 1e9)
    h.SetBinError(1, 1e5)  # of 10^8 equal weights
    with pytest.raises(ProductError, match="TH1F"):
        collect_value("h", h, "")
    h.SetBinError(1, 3e8)
    assert collect_value("h", h, "").arrays["values"][1] == 1e9


def test_checksum_is_of_the_file_as_it_stays(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer of an RNTuple touches its file once more, with the time, when it goes."""
    from portico.worker import frame as door

    root.load()
    describe = door.describe_file

    def late(path: Path) -> dict[str, Any]:
        time.sleep(1.1)
        return describe(path)

    monkeypatch.setattr(door, "describe_file", late)

    def write(frame: Any, sample: Sample) -> dict[str, Any]:
        return {"n": frame.Count(), "events": frame.Snapshot("events", "x.root", ["x"])}

    chunk = Chunk(str(source), "", "Events", 0, ENTRIES)
    products, _ = run_chunk(write, chunk, Sample(name="s"), {}, tmp_path)
    (written,) = products["events"].items
    assert f"{zlib.adler32(Path(written['path']).read_bytes()):08x}" == written["adler32"]


def test_histograms_of_a_list_are_those_collected_one_by_one() -> None:
    """Whatever their axes, labels and titles; also with characters that separate fields on the way."""
    ROOT = root.load()
    histograms = ROOT.std.vector["TH1D"]()
    for number, title in enumerate(["plain;mass [GeV];events", "a\x1eb\x1fc\x1dd\x10e;\x1f;\x10", "", "µ → π\n;ß;"]):
        for edges in ([], [-np.inf, 0.1, 0.3, 7.0], [0.0, 1e-300, 1 / 3, np.inf]):
            name = f"h{number}_{len(histograms)}"
            axis = (len(edges) - 1, np.array(edges)) if edges else (5, 1 / 3, 2 / 3)
            histograms.push_back(ROOT.TH1D(name, title, *axis))
            h = histograms.back()
            h.SetDirectory(ROOT.nullptr)
            if number % 2:
                h.Sumw2()
                h.GetXaxis().SetBinLabel(2, f"\x1f{title}")
            for x in (-1.0, 0.2, 0.4, 0.4, 9.0):
                h.Fill(x, 0.1 + number)
    found = products_of(histograms)
    assert [name for name, _ in found] == [str(h.GetName()) for h in histograms]
    for (name, product), h in zip(found, histograms, strict=True):
        expected = collect_value(name, h, "")
        assert (product.kind, product.meta) == (expected.kind, expected.meta)
        assert product.arrays.keys() == expected.arrays.keys()
        for key, values in expected.arrays.items():
            np.testing.assert_array_equal(product.arrays[key], values, err_msg=f"{name} {key}", strict=True)
    assert products_of(ROOT.std.vector["TH1D"]()) == []
