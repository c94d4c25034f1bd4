"""Every kind of product does not depend on the chunks: the same bits for any partition, and the right values."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import awkward
import numpy as np
import pytest
import uproot

from portico import plot, root
from portico.analysis.blinding import Blinding
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.analysis.plotting import Group, PlotStyle
from portico.errors import PorticoWarning, ProductError, StepError
from portico.files import summarise
from portico.plot.bins import bins_of
from portico.report.histograms import drawables
from portico.report.svg import curve, draw
from portico.results.hists import errors_of_means
from portico.results.partial import decode, encode, merge_all
from portico.results.root_columns import columns_product
from portico.results.root_objects import collect_value
from portico.results.view import Results, describe, write_root
from portico.worker.arguments import require_model
from portico.worker.frame import CHECKED, run_chunk
from portico.worker.handles import check_handles, explain_handles
from portico.workflow.references import references

ENTRIES = 40
PARTITIONS = [(0, 40), (0, 10, 20, 30, 40), (0, 3, 10, 25, 26, 40)]
BIG = 2**63


def weighted(frame: Any) -> dict[str, Any]:
    """Book a histogram or profile of each type."""
    return {
        "h1": frame.Histo1D(("h1", "", 10, 0, 100), "x", "w"),
        "h2": frame.Histo2D(("h2", "", 10, 0, 100, 2, -2, 2), "x", "w", "w"),
        "h3": frame.Histo3D(("h3", "", 10, 0, 100, 2, -2, 2, 2, -2, 2), "x", "w", "w", "w"),
        "p1": frame.Profile1D(("p1", "", 10, 0, 100), "x", "x", "w"),
        "p2": frame.Profile2D(("p2", "", 10, 0, 100, 2, -2, 2), "x", "w", "x", "w"),
    }


def books(frame: Any, sample: Sample) -> dict[str, Any]:
    """Book what the first chunks have no entries for, whose weights add up to 0, or whose numbers need 64 bits."""
    import ROOT

    VariationsFor = ROOT.RDF.Experimental.VariationsFor
    labelled = ROOT.TH1D("labelled", "", 5, 0, 5)
    above = ROOT.TH1D("above", "", 5, 0, 5)
    partly = ROOT.TH1D("partly", "", 5, 0, 5)
    for h in (labelled, above):
        for i, label in enumerate(("ee", "em", "mm", "et", "mt")):
            h.GetXaxis().SetBinLabel(i + 1, label)
    partly.GetXaxis().SetBinLabel(2, "two")
    plain = ROOT.THnD("plain", "", 2, np.array([5, 2], np.int32), np.zeros(2), np.array([5.0, 40.0]))
    for i in range(5):
        plain.GetAxis(0).SetBinLabel(i + 1, labelled.GetXaxis().GetBinLabel(i + 1))
    limited = ROOT.TProfile("limited", "", 4, 0, 40, 5.0, 30.0)
    plane = ROOT.TProfile2D("plane", "", 2, 0, 40, 2, 0, 40, 5.0, 30.0)
    frame = (
        frame.Define("big", f"ULong64_t({BIG}ull) + ULong64_t(x)")
        .Define("negative", "-9007199254740993ll - Long64_t(x)")
        .Define("f", "float(x) / 3")
        .Define("name", 'std::string(x < 20 ? "low" : "high")')
        .Define("nested", "std::vector<std::vector<short>>(int(x) % 3, std::vector<short>(int(x) % 2, short(x)))")
        .Define("flag", "x > 20")
        .Define("flags", "ROOT::RVec<bool>{x > 20, false}")
        .Define("list", "ROOT::RVec<float>{float(x), float(x) + 10}")
        .Define("ubyte", "static_cast<unsigned char>(x)")
        .Define("k", "int(x) % 5")
        .Define("heavy", "100 + x")
        .Define("kk", "k == 4 ? 9 : (k == 3 && x > 20 ? -1 : k)")
    )
    late = frame.Filter("x > 15").Define("high", "list[list > 30]")
    none = frame.Filter("x > 1000")
    varied = frame.Vary("x", "ROOT::RVecD{x - 1, x + 1}", ["down", "up"], "shift")
    slashed = frame.Vary("x", "ROOT::RVecD{x - 5, x + 5}", ["muR=0.5/muF=1", "muR=2/muF=1"], "scale")
    joined = frame.Vary("x", "ROOT::RVecD{x - 10}", ["b_c"], "a").Vary("w", "ROOT::RVecD{2 * w}", ["c"], "a_b")
    edges = np.array([0.0, 1.0, 2.0, np.inf])
    return {
        "stats": frame.Stats("x", "w"),
        "stats_named": frame.Stats(weight="w", value="x"),
        "stats_rough": frame.Stats("x", "rough"),
        "stats_none": none.Stats("x", "w"),
        "stats_odd": frame.Stats("x", "odd"),
        "mean": frame.Mean("rough"),
        "deviation": frame.StdDev("rough"),
        "mean_late": late.Mean("x"),
        "mean_none": none.Mean("x"),
        "sum_rough": frame.Sum("rough"),
        "sum_negative": frame.Sum("negative"),
        "sum_big": frame.Sum("big"),
        "sum_odd": frame.Sum("odd"),
        "deviation_negative": frame.StdDev("negative"),
        "stats_big": frame.Stats("big", "w"),
        "max_big": frame.Max["ULong64_t"]("big"),
        "min_big": late.Min("big"),
        "min_negative": frame.Min("negative"),
        "min_none": none.Min("big"),
        **weighted(frame),
        "p_heavy": frame.Profile1D(("p_heavy", "", 10, 0, 100), "x", "x", "heavy"),
        "odd": frame.Histo1D(("odd", "", 10, 0, 100), "x", "odd"),
        "limited": frame.Fill(limited, ["x", "x"]),
        "plane": frame.Fill(plane, ["x", "x", "x"]),
        "labelled": frame.Fill(labelled, ["k"]),
        "above": frame.Fill(above, ["kk"]),
        "plain": frame.Fill(plain, ["k", "x"]),
        "partly": frame.Fill(partly, ["k"]),
        "infinite": frame.Histo1D(("infinite", "", 3, edges), "x"),
        "below": frame.Histo1D(("below", "", 3, np.array([-np.inf, 0.1, 9.7, 12.3])), "x"),
        "infinite2": frame.Histo2D(("infinite2", "", 3, edges, 2, 0, 40), "x", "x", "odd"),
        "lists": late.Take["ROOT::VecOps::RVec<float>"]("high"),
        "strings": late.Take["std::string"]("name"),
        "flags": late.Take["bool"]("flag"),
        "columns": late.AsNumpy(["big", "negative", "f", "name", "nested", "flags", "ubyte"]),
        "nothing": none.AsNumpy(["big", "name", "nested", "flags", "f"]),
        "errors": late.GraphAsymmErrors("x", "f", "x", "x", "f", "f"),
        "slash": VariationsFor(slashed.Histo1D(("slash", "", 4, 0, 40), "x")),
        "joined": VariationsFor(joined.Histo1D(("joined", "", 4, 0, 40), "x", "w")),
        "joined_a_b_c": frame.Histo1D(("joined_a_b_c", "", 1, 0, 40), "x"),
        "v_sum": VariationsFor(varied.Sum("x")),
        "v_count": VariationsFor(varied.Filter("x > 9.5").Count()),
        "v_min": VariationsFor(varied.Min("x")),
        "v_max": VariationsFor(varied.Max("x")),
        "v_stats": VariationsFor(varied.Stats("x", "w")),
        "v_nothing": VariationsFor(frame.Sum("x")),
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chunks") / "events.root"
    x = np.arange(float(ENTRIES))
    odd = np.where(x == 7, np.inf, np.where(x == 12, -np.inf, np.where(x == 33, np.nan, (x % 3) - 1)))
    columns = {
        "x": x,
        "w": np.where(x % 2 == 0, 1.0, -1.0) + (x >= 30),  # a chunk of ten adds up to 0
        "rough": np.random.default_rng(1).normal(0, 1, ENTRIES) * 10.0 ** (x % 17 - 8),
        "odd": odd,
    }
    with uproot.recreate(path) as file:
        file.mktree("Events", columns)
    return path


def run(source: Path, function: Any, edges: Sequence[int], out: Path) -> Results:
    uuid = summarise(str(source), "Events").uuid
    parts = []
    for first, last in itertools.pairwise(edges):
        chunk = Chunk(str(source), uuid, "Events", first, last)
        products, _ = run_chunk(function, chunk, Sample(name="s"), {}, out)
        parts.append(decode(encode(products)))
    merged = merge_all(parts)
    assert merged is not None
    return Results("s", merged)


@pytest.fixture(scope="module")
def partitions(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    root.load()
    out = tmp_path_factory.mktemp("out")
    return [run(source, books, edges, out) for edges in PARTITIONS]


def test_every_partition_gives_the_same_bits(partitions: list[Results]) -> None:
    first, *others = partitions
    for other in others:
        assert list(other) == list(first)
        for name, product in first.products.items():
            again = other.products[name]
            assert again.meta == product.meta, name
            for key, array in product.arrays.items():
                assert again.arrays[key].dtype == array.dtype, (name, key)
                assert again.arrays[key].tobytes() == array.tobytes(), (name, key)


@pytest.mark.parametrize("number", range(len(PARTITIONS)))
def test_numbers_are_right(partitions: list[Results], source: Path, number: int) -> None:
    results = partitions[number]
    with uproot.open(source) as file:
        x, w, rough = (file["Events"][name].array(library="np") for name in ("x", "w", "rough"))
    weights = w.sum()
    expected = {"n": 40, "sum of weights": weights, "mean": (w * x).sum() / weights, "min": 0.0, "max": 39.0}
    assert expected.items() <= results["stats"].items()
    assert results["stats_named"] == results["stats"]
    assert results["stats_rough"]["sum of weights"] == math.fsum(rough) == results["sum_rough"]
    assert results["stats_none"]["n"] == 0
    assert all(math.isnan(results["stats_none"][key]) for key in ("mean", "min", "max"))
    assert results["stats_odd"]["n"] == 40
    assert math.isnan(results["stats_odd"]["mean"])
    assert results["mean"] == pytest.approx(rough.mean(), rel=1e-12)
    assert results["deviation"] == pytest.approx(rough.std(ddof=1), rel=1e-12)
    assert results["mean_late"] == 27.5
    assert math.isnan(results["mean_none"])
    assert results["sum_negative"] == -40 * 9007199254740993 - 780
    assert results["sum_big"] == 40 * BIG + 780
    assert math.isnan(results["sum_odd"])
    assert results["deviation_negative"] == pytest.approx(x.std(ddof=1), rel=1e-12)
    assert results["stats_big"]["stddev"] == pytest.approx(results["stats"]["stddev"], rel=1e-12)
    assert (results["max_big"], results["min_big"]) == (BIG + 39, BIG + 16)
    assert results["min_negative"] == -9007199254740993 - 39
    assert math.isnan(results["min_none"])


def test_means_of_histograms_are_those_of_one_loop(partitions: list[Results], source: Path) -> None:
    ROOT = root.load()
    direct = weighted(ROOT.RDataFrame("Events", str(source)))
    for name in direct:
        for results in partitions:
            for axis in range(1, 1 + direct[name].GetDimension()):
                assert results.root[name].GetMean(axis) == pytest.approx(direct[name].GetMean(axis), rel=1e-12)
                assert results.root[name].GetStdDev(axis) == pytest.approx(direct[name].GetStdDev(axis), rel=1e-12)


def test_profiles_keep_the_range_of_what_they_average(partitions: list[Results]) -> None:
    h, plane = partitions[1].root["limited"], partitions[1].root["plane"]
    assert (h.GetYmin(), h.GetYmax(), plane.GetZmin(), plane.GetZmax()) == (5, 30, 5, 30)
    assert partitions[1]["limited"].counts().tolist() == [5, 10, 10, 1]
    h.Fill(1.0, 3.0)
    assert h.GetBinEntries(1) == 5


def test_errors_of_profiles_are_those_of_root(partitions: list[Results]) -> None:
    """In the report, of one sample and of two that are added: weights of 100 are not 100 entries."""
    results = partitions[1]
    for name in ("p1", "p_heavy"):
        h, found = results.root[name], curve(results.products[name])
        positive = [i for i in range(10) if h.GetBinEntries(i + 1) > 0]
        assert [found.errors[i] for i in positive] == pytest.approx([h.GetBinError(i + 1) for i in positive])
    groups, style = [Group("both", ("s", "t"), "stack", "red", "solid")], PlotStyle()
    (shown,) = (d for d in drawables({"s": results, "t": results}, style) if d.name == "p_heavy")
    h.Add(h.Clone())
    errors = shown.content(groups, style, Blinding())["g"]["0"]["u"]
    assert h.GetBinError(1) == pytest.approx(np.arange(10.0).std() / math.sqrt(20), rel=0.01)
    assert errors[:4] == pytest.approx([h.GetBinError(i) for i in range(1, 5)], rel=1e-2)
    assert errors[4:] == [None] * 6


@pytest.mark.parametrize("option", ["", "s", "i", "g"])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_of_profiles_follow_their_option(option: str, weighted: bool) -> None:
    """Of hist objects in figures, in the report and in comparisons; also in bins of one entry, or of equal ones."""
    ROOT = root.load()
    h = ROOT.TProfile("h", "", 5, 0, 5, option)
    h.SetDirectory(ROOT.nullptr)
    if weighted:
        h.Sumw2()
    fills = [(0, 1, 4), (0, 3, 2), (0, 8, 7), (1, 3, 5), (2, 2, 3), (2, 2, 3), (4, 1, 2), (4, 7, 2)]
    for x, y, w in fills:
        h.Fill(x, y, w if weighted else 1)
    product = collect_value("h", h, "")
    expected = [h.GetBinError(i) for i in range(1, 6)]
    results = Results("s", {"h": product})
    assert np.nan_to_num(errors_of_means(results["h"])) == pytest.approx(expected)
    assert bins_of(results["h"]).errors == pytest.approx(expected)
    bars = plot.profile(results["h"]).axes[0].collections[-1].get_segments()
    lengths = [float(np.ptp(bar[:, 1])) / 2 for bar in bars]
    assert lengths == pytest.approx([error for i, error in enumerate(expected, 1) if h.GetBinEntries(i)])
    assert curve(product).errors == pytest.approx(expected)
    (shown,) = drawables({"s": results}, PlotStyle())
    content = shown.content([Group("s", ("s",), "stack", "red", "solid")], PlotStyle(), Blinding())["g"]["0"]["u"]
    assert [0 if error is None else error for error in content] == pytest.approx(expected, rel=1e-2)


def test_histograms_have_errors_whatever_root_does_by_default() -> None:
    """``TH1::SetDefaultSumw2`` in a notebook makes histograms of no sums of squares, which are errors of 0."""
    ROOT = root.load()
    h = ROOT.TH1D("h", "", 2, 0, 2)
    h.SetDirectory(ROOT.nullptr)
    for _ in range(9):
        h.Fill(1.5)
    product = collect_value("h", h, "")
    ROOT.TH1.SetDefaultSumw2(True)
    try:
        again = Results("s", {"h": product}).root["h"]
    finally:
        ROOT.TH1.SetDefaultSumw2(False)
    assert again.GetBinError(2) == h.GetBinError(2) == 3


def test_a_product_may_be_named_as_the_label_of_partial_results(tmp_path: Path) -> None:
    ROOT = root.load()
    h = ROOT.TH1D("partial", "", 2, 0, 2)
    h.SetDirectory(ROOT.nullptr)
    named = {"partial": collect_value("partial", h, ""), "partial_": collect_value("partial_", h, "")}
    write_root(tmp_path / "results.root", {"s": named, "t": {}}, {"s": "90% of the entries", "t": "none"})
    with uproot.open(tmp_path / "results.root") as file:
        assert file.classnames(cycle=False) == {
            "s": "TDirectory", "s/partial": "TH1D", "s/partial_": "TH1D", "s/partial__": "TNamed",
            "t": "TDirectory", "t/partial": "TNamed",
        }  # fmt: skip
        assert file["s/partial__"].member("fTitle") == "90% of the entries"


def test_a_labelled_axis_has_one_type(partitions: list[Results]) -> None:
    for results in partitions:
        total = results["labelled"] + results["above"]
        assert list(total.axes[0]) == ["ee", "em", "mm", "et", "mt"]
        assert results["labelled"].values(flow=True).tolist() == [8, 8, 8, 8, 8, 0]
        assert results["above"].values(flow=True).tolist() == [8, 8, 8, 4, 0, 12]
        assert total.values(flow=True).tolist() == [16, 16, 16, 12, 8, 12]
        again = results.root["above"]
        assert (again.GetBinContent(0), again.GetBinContent(6)) == (4, 8)
        assert results["partly"].values().tolist() == [8] * 5
        assert results["partly"].axes[0].labels == {"2": "two"}
        plain = results.root["plain"]
        assert [plain.GetAxis(0).GetBinLabel(i) for i in range(1, 6)] == list(results["plain"].axes[0])


def test_columns_keep_types_and_values(partitions: list[Results]) -> None:
    for results in partitions:
        assert awkward.to_list(results["lists"]["lists"])[:4] == [[], [], [], []]
        assert len(results["lists"]["lists"]) == 24
        assert results["strings"]["strings"].tolist() == ["low"] * 4 + ["high"] * 20
        assert results["flags"]["flags"].dtype == np.bool_
        assert results["flags"]["flags"].sum() == 19
        columns = results["columns"]
        assert columns["big"].dtype == np.uint64
        assert columns["big"].tolist() == [BIG + i for i in range(16, 40)]
        assert columns["negative"].tolist() == [-9007199254740993 - i for i in range(16, 40)]
        assert columns["f"].dtype == np.float32
        assert columns["name"].tolist() == results["strings"]["strings"].tolist()
        assert awkward.to_list(columns["nested"])[:3] == [[[]], [[17], [17]], []]
        assert str(columns["nested"].type) == "24 * var * var * int16"
        assert str(columns["flags"].type) == "24 * var * bool"
        assert columns["ubyte"].dtype == np.uint8
        assert columns["ubyte"].tolist() == list(range(16, 40))
        nothing = results["nothing"]
        assert str(nothing["nested"].type) == "0 * var * var * int16"
        assert str(nothing["flags"].type) == "0 * var * bool"
        assert [nothing[name].dtype.name for name in ("big", "name", "f")] == ["uint64", "object", "float32"]
        assert list(results["errors"]) == ["x", "y", "exlow", "exhigh", "eylow", "eyhigh"]
        assert results.root["errors"].GetErrorYhigh(3) == pytest.approx(19 / 3)


def test_variations_of_numbers(partitions: list[Results]) -> None:
    tags = ("nominal", "shift:down", "shift:up")
    for results in partitions:
        for name, expected in (
            ("v_sum", (780, 740, 820)),
            ("v_count", (30, 29, 31)),
            ("v_min", (0, -1, 1)),
            ("v_max", (39, 38, 40)),
        ):
            assert results.variations(name) == dict(zip(tags, expected, strict=True)), name
        assert results.variations("v_nothing") == {"nominal": 780}
        assert [value["n"] for value in results.variations("v_stats").values()] == [40, 40, 40]


def test_variations_are_told_apart_and_can_be_read(partitions: list[Results], tmp_path: Path) -> None:
    ROOT = root.load()
    results = partitions[1]
    assert list(results.variations("slash")) == ["nominal", "scale:muR=0.5/muF=1", "scale:muR=2/muF=1"]
    joined = results.variations("joined")
    assert list(joined) == ["nominal", "a:b_c", "a_b:c"]
    nominal = joined["nominal"].values()
    assert joined["a_b:c"].values().tolist() == (2 * nominal).tolist()
    assert joined["a:b_c"].values().tolist() == [*nominal[1:], 0.0]
    assert results["joined_a_b_c"].values().tolist() == [40.0]
    path = tmp_path / "results.root"
    write_root(path, {"s": results.products}, {})
    again = ROOT.TFile.Open(str(path))
    with uproot.open(path) as file:
        for name, product in results.products.items():
            if "axes" not in product.meta:
                continue
            assert again.Get(f"s/{name}").GetName() == name
            if "values" in product.arrays and product.kind == "histogram" and name != "plain":  # uproot has no THn
                read = file[f"s/{name}"].values(flow=True).ravel(order="F")
                assert np.array_equal(read, product.arrays["values"], equal_nan=True), name
        assert file["s/columns"].arrays()["name"].tolist() == ["low"] * 4 + ["high"] * 20
        assert len(file["s/nothing"].arrays()) == 0
    again.Close()


def test_an_edge_may_be_infinite(partitions: list[Results]) -> None:
    results = partitions[1]
    assert results["infinite"].values().tolist() == [1, 1, 38]
    assert results["below"].values(flow=True).tolist() == [0, 1, 9, 3, 27]
    assert results["below"].axes[0].edges.tolist() == [-math.inf, 0.1, 9.7, 12.3]
    assert math.isinf(results.root["infinite"].GetXaxis().GetBinUpEdge(3))
    told = json.dumps(describe(results.products), allow_nan=False)
    assert json.loads(told)["infinite"]["axes"][0]["edges"] == [0, 1, 2, "inf"]
    for name in ("infinite", "below", "odd"):
        picture = draw(name, {"s": curve(results.products[name])}, {"s": "red"}, unit_area=True)
        assert "nan" not in picture.partition("</title>")[2]
    from portico import plot

    for figure in (plot.heatmap(results["infinite2"]), plot.histogram(results["infinite"])):
        figure.savefig("/dev/null", format="png")


def aggregated(frame: Any, name: str) -> Any:
    """Book an Aggregate or Reduce whose result is a list or a text."""
    import ROOT

    if not hasattr(ROOT, "portico_tests_adding"):
        ROOT.gInterpreter.Declare("""namespace portico_tests_adding {
          using Bins = std::vector<double>;
          struct Count { void operator()(Bins &bins, double x) const { bins[int(x) / 10] += 1; } };
          struct MergeBins { void operator()(std::vector<Bins> &) const {} };
          struct Write { void operator()(std::string &text, double x) const { text += char('a' + int(x) % 26); } };
          struct MergeTexts { void operator()(std::vector<std::string> &) const {} };
          struct Add { ROOT::RVecD operator()(ROOT::RVecD a, ROOT::RVecD b) const { return a + b; } };
        }""")
    ours = ROOT.portico_tests_adding
    match name:
        case "bins":
            return frame.Aggregate(ours.Count(), ours.MergeBins(), "x", ROOT.std.vector["double"](4))
        case "text":
            return frame.Aggregate(ours.Write(), ours.MergeTexts(), "x", ROOT.std.string())
        case _:
            return frame.Define("v", "ROOT::RVecD{x}").Reduce(ours.Add(), "v", ROOT.RVecD(1))


def refused(words: str, frame: Any) -> Any:
    """Book a result that cannot merge; ``words`` are those of the error."""
    import ROOT

    match words:
        case "largest content of a TH1S":
            return frame.Define("many", "ROOT::RVecD(1000, x)").Fill(ROOT.TH1S("small", "", 1, 0, 100), ["many"])
        case "a TEfficiency":
            return frame.Define("p", "x > 3").Fill(ROOT.TEfficiency("e", "", 4, 0, 40), ["p", "x"])
        case "a TProfile3D":
            return frame.Fill(ROOT.TProfile3D("cube", "", 1, 0, 1, 1, 0, 1, 1, 0, 1), ["x", "x", "x", "x"])
        case "'filled' has 2 entries":
            filled = ROOT.TH1D("filled", "", 4, 0, 40)
            filled.Fill(1, 5.0)
            filled.Fill(2)
            return frame.Fill(filled, ["x"])
        case "'average' has 1 entries":
            average = ROOT.TProfile("average", "", 4, 0, 40)
            average.Fill(1, 5.0)
            return frame.Fill(average, ["x", "x"])
        case "a THnSparseT":
            bins = ROOT.std.vector["int"]([1, 1])
            return frame.Fill(ROOT.THnSparseD("sparse", "", 2, bins.data(), np.zeros(2), np.ones(2)), ["x", "x"])
        case "a TStatistic":
            return frame.Fill(ROOT.TStatistic("statistic"), ["x"])
        case "cannot name a tree":
            return frame.Snapshot("folder/tree", "t.root", ["x"])
        case "cannot vary a Report":
            varied = frame.Vary("x", "ROOT::RVecD{x - 1, x + 1}", ["down", "up"], "s").Filter("x > 5", "cut")
            return ROOT.RDF.Experimental.VariationsFor(varied.Report())
        case "Define uses rdfentry_":
            return frame.Define("number", "tdfentry_").Sum("number")
        case "DefineSlotEntry uses rdfentry_":
            return frame.DefineSlotEntry("number", "x", ["x"]).Sum("number")
        case "Filter uses rdfentry_":
            return frame.Filter(lambda rdfentry_: rdfentry_ > 3).Count()
        case "an alias is missing in every entry":
            return frame.Alias("same", "x").FilterAvailable("same").Count()
        case "RedefineSlotEntry uses rdfentry_":
            return frame.RedefineSlotEntry("x", "x", ["x"]).Sum("x")
        case "GraphAsymmErrors uses rdfentry_":
            return frame.GraphAsymmErrors("rdfentry_", "x", "x", "x", "x", "x")
        case "Cache uses rdfentry_":
            return frame.Cache(["x", "rdfentry_"]).Sum("x")
        case "Snapshot uses rdfentry_":
            return frame.Snapshot("t", "t.root", ROOT.std.vector["std::string"](["x", "rdfentry_"]))
        case "Aggregate gives a vector<double>":
            return aggregated(frame, "bins")
        case "Aggregate gives a string":
            return aggregated(frame, "text")
        case "Reduce gives a ROOT::VecOps::RVec<double>":
            return aggregated(frame, "sum")
        case "'it' is that of another RDataFrame":
            return ROOT.RDataFrame(10).Count()
        case "RDataFrame than the one that the step was given":
            made = ROOT.RDataFrame(10).Define("q", "1.")
            return ROOT.RDF.Experimental.VariationsFor(made.Vary("q", "ROOT::RVecD{2}", ["up"], "s").Sum("q"))
        case "and every chunk would count it again":
            return ROOT.RDataFrame(10).Define("q", "1.").AsNumpy(["q"])
        case "Histo1D: with an axis from 0 to 0":
            return frame.Histo1D(("h", "", 10, 0, 0), "x")
        case "Histo2D: with an axis from 5 to 5":
            return frame.Histo2D(("h", "", 2, np.array([0.0, 1, 2]), 10, 5, 5), "x", "x")
        case "Profile1D: with an axis from 1 to 0":
            return frame.Profile1D(model=ROOT.RDF.TProfile1DModel("h", "", 10, 1, 0), v1Name="x", v2Name="x")
        case "Fill: with an axis":
            return frame.Fill(ROOT.TH1D("h", "", 10, 0, 0), ["x"])
        case "chooses its axis from the data":
            return frame.Histo1D(vName="x")
        case "'c' has the type float128":
            return frame.Define("c", "static_cast<long double>(x)").AsNumpy(["c"])
        case "'it' is a dict that the event loop does not fill":
            return {"edges": np.array([0.0, 1.0, 2.0])}
        case "is a dict that the event loop":
            return {}
        case "need numbers or lists":
            return frame.Define("n", 'std::string("a")').Sum("n")
        case "possible are bool, integers, float and double":
            return frame.Define("v", "std::pair<int, int>(1, 2)").Take["std::pair<int, int>"]("v")
        case _:
            return frame.Sum("x", 3.0)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": np.array(["a", "bc"])}, "'a' has the type <U2"),
        ({"a": np.array(1.0)}, "'a' is one number"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "columns of different lengths"),
        ({"a": np.zeros(2), "a#counts": np.zeros(2)}, "needs for the lengths of lists"),
    ],
)
def test_columns_that_are_no_table_are_refused(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(ProductError, match=words):
        columns_product("it", columns)


def test_one_snapshot_is_one_product() -> None:
    """Its file is moved once; other handles may have two names."""

    class Handle:
        def __init__(self, tag: Any) -> None:
            self._portico = tag

    tag = ("t", "RNTuple", Path("t.part"))
    tree, count = Handle(tag), Handle("Count")
    check_handles({"a": tree, "n": count, "m": count}, [tag], 0)
    with pytest.raises(ProductError, match="the Snapshot 't' is returned as 'a' and 'b'"):
        check_handles({"a": tree, "b": tree, "n": count}, [tag], 0)


AXES = {
    "0 bins": lambda f, _: f.Histo1D(("h", "", 0, 0, 1), "x"),
    "-3 bins": lambda f, _: f.Profile1D(("h", "", -3, 0, 1), "x", "x"),
    "axis has 0 bins": lambda f, _: f.HistoND(("h", "", 1, [0], [0.0], [1.0]), ["x"]),
    "of 3 bins has 4 edges, but 2 are given": lambda f, _: f.Histo1D(("h", "", 3, np.array([0.0, 5])), "x"),
    "of 2 bins has 3 edges, but 4": lambda f, _: f.HistoND(("h", "", 1, [2], [[0.0, 1, 2, 3]]), ["x"]),
    "5 to 0; edges must increase": lambda f, _: f.HistoND(("h", "", 1, [3], [5.0], [0.0]), ["x"]),
    "0 to 0; edges must increase": lambda f, _: f.HistoND(("h", "", 2, [3, 2], [0.0, 0], [0.0, 4]), ["x", "w"]),
    "edge 5 is followed by 1": lambda f, _: f.HistoND(("h", "", 1, [3], [[0.0, 5, 1, 40]]), ["x"]),
    "edge 7 is followed by 1": lambda f, _: f.Histo1D(("h", "", 3, np.array([0.0, 7, 1, 40])), "x"),
    "edge 5 is followed by 5": lambda f, _: f.Histo2D(("h", "", 1, 0, 1, 2, np.array([0.0, 5, 5])), "x", "w"),
    "edge 5 is followed by nan": lambda f, _: f.Histo1D(("h", "", 2, np.array([0.0, 5, np.nan])), "x"),
    "0 to nan; edges must": lambda f, _: f.Profile1D(("h", "", 3, 0, math.nan), "x", "x"),
    "0 to inf; give finite ends": lambda f, _: f.Histo1D(("h", "", 3, 0, math.inf), "x"),
    "bins from 0 to inf": lambda f, ROOT: f.Fill(ROOT.TH1D("h", "", 3, 0, math.inf), ["x"]),
}


@pytest.mark.parametrize("words", AXES)
def test_axes_without_intervals_are_refused(source: Path, tmp_path: Path, words: str) -> None:
    """ROOT fills them, and nothing can read the histogram afterwards."""
    ROOT = root.load()
    with pytest.raises(ProductError, match=words):
        run(source, lambda frame, _: {"h": AXES[words](frame, ROOT)}, (0, 5), tmp_path)


def test_only_results_used_as_numbers_get_the_hint() -> None:
    signature = 'RResultPtr<RVec<E> > ROOT::RDF::RInterface<RLoopManager>::Take(string_view column = "") =>'
    for text, hinted in (
        (
            f'Could not find "Take<E, RVec<E>>":\n  ROOT::RDF::{signature}\n    runtime_error: no field of type ""',
            False,
        ),
        ("unsupported operand type(s) for +: 'RResultPtr<double>' and 'int'", True),
    ):
        error = RuntimeError(text)
        explain_handles(error, 0)
        assert hasattr(error, "__notes__") == hinted


@pytest.mark.parametrize(
    "words",
    [
        "largest content of a TH1S", "a TEfficiency", "a TProfile3D", "a THnSparseT", "a TStatistic",
        "need numbers or lists", "possible are bool, integers, float and double", "initial value",
        "cannot vary a Report",
        "cannot name a tree", "'filled' has 2 entries", "'average' has 1 entries", "Snapshot uses rdfentry_",
        "an alias is missing in every entry",
        "Define uses rdfentry_", "DefineSlotEntry uses rdfentry_", "Filter uses rdfentry_",
        "RedefineSlotEntry uses rdfentry_", "GraphAsymmErrors uses rdfentry_", "Cache uses rdfentry_",
        "Aggregate gives a vector<double>", "Aggregate gives a string", "Reduce gives a ROOT::VecOps::RVec<double>",
        "'it' is that of another RDataFrame", "RDataFrame than the one that the step was given",
        "and every chunk would count it again", "Histo1D: with an axis from 0 to 0",
        "Histo2D: with an axis from 5 to 5",
        "Profile1D: with an axis from 1 to 0", "Fill: with an axis", "chooses its axis from the data",
        "'c' has the type float128", "'it' is a dict that the event loop does not fill",
        "is a dict that the event loop",
    ],
)  # fmt: skip
def test_what_cannot_merge_is_refused(source: Path, tmp_path: Path, words: str) -> None:
    ROOT = root.load()
    with pytest.raises((ProductError, StepError, ROOT.std.runtime_error), match=words):
        run(source, lambda frame, sample: {"it": refused(words, frame)}, (0, ENTRIES), tmp_path)


@pytest.mark.parametrize(
    ("use", "note"),
    [
        (lambda frame: frame.Count() > 5, "no value while the step is built"),
        (lambda frame: frame.Sum("x") / frame.Sum("x"), "no value while the step is built"),
        (lambda frame: float(frame.Sum("x")), "no value while the step is built"),
        (lambda frame: frame.AsNumpy(["x"])["x"], "no value while the step is built"),
        (lambda frame: frame.Sum("x").GetValue() * 2, "ran the event loop while it was being built"),
    ],
)
def test_a_result_that_is_used_as_a_number_says_that_it_has_none(
    source: Path, tmp_path: Path, use: Callable[[Any], Any], note: str
) -> None:
    root.load()
    with pytest.raises((NotImplementedError, TypeError)) as raised:
        run(source, lambda frame, sample: {"it": use(frame)}, (0, ENTRIES), tmp_path)
    assert [note in text for text in raised.value.__notes__] == [True]


def test_every_method_of_a_frame_is_checked() -> None:
    """What takes columns or expressions may name what counts within a chunk; the others take neither."""
    node = root.load().RDF.RInterface["ROOT::Detail::RDF::RLoopManager"]
    harmless = {
        "Describe", "GetColumnNames", "GetColumnType", "GetDatasetTopLevelFieldNames", "GetDefinedColumnNames",
        "GetFilterNames", "GetNFiles", "GetNRuns", "GetNSlots", "GetVariations", "HasColumn",
        "CallCreateActionWithoutColsIfPossible", "CheckAndFillDSColumns", "CreateAction", "SanityChecksForVary",
    }  # fmt: skip
    methods = {name for name in dir(node) if name.isidentifier() and name[0].isupper() and not name.endswith("Impl")}
    assert methods - harmless == set(CHECKED)


def test_copies_and_columns_named_as_counters(source: Path, tmp_path: Path) -> None:
    """A Cache has an event loop of its own; the tree of ``v`` needs a branch for lengths, though ``nv`` is taken."""
    ROOT = root.load()

    def step(frame: Any, sample: Sample) -> dict[str, Any]:
        lists = frame.Define("v", "ROOT::RVecD(int(x) % 3, x)").Define("nv", "1000 + int(x)").Define("nv_", "x")
        copy = frame.Cache(["x"])
        return {"h": copy.Histo1D(("h", "", 4, 0, 40), "x"), "columns": lists.AsNumpy(["v", "nv", "nv_"])}

    for edges in PARTITIONS:
        results = run(source, step, edges, tmp_path)
        assert results["h"].values().tolist() == [10] * 4
    write_root(tmp_path / "results.root", {"s": results.products}, {})
    file = ROOT.TFile.Open(str(tmp_path / "results.root"))
    read = ROOT.RDataFrame(file.Get("s/columns")).AsNumpy(["v", "nv", "nv_"])
    assert read["nv"].tolist() == [1000 + i for i in range(ENTRIES)]
    assert read["nv_"].tolist() == list(range(ENTRIES))
    assert [list(v) for v in read["v"]] == [[i] * (i % 3) for i in range(ENTRIES)]
    file.Close()


def test_a_range_of_a_chunk_is_a_warning(source: Path, tmp_path: Path) -> None:
    root.load()
    with pytest.warns(PorticoWarning, match="Range counts within each chunk"):
        run(source, lambda frame, sample: {"n": frame.Range(3).Count()}, (0, ENTRIES), tmp_path)


def lacking(frame: Any, sample: Sample) -> dict[str, Any]:
    some = frame.FilterAvailable("k")
    return {
        "n": some.Count(), "k": some.AsNumpy(["k"]), "absent": frame.FilterMissing("k").Count(),
        "default": frame.DefaultValueFor("k", -3).AsNumpy(["k"]), "list": frame.FilterAvailable("v").AsNumpy(["v"]),
    }  # fmt: skip


def test_fields_that_some_ntuples_lack(tmp_path: Path) -> None:
    ROOT = root.load()
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
    frame = ROOT.RDataFrame(3).Define("x", "1.5").Define("k", "short(rdfentry_)").Define("v", "ROOT::RVecF(2, 0.5)")
    paths = {name: str(tmp_path / f"{name}.root") for name in ("whole", "part")}
    frame.Snapshot("Events", paths["whole"], ["x", "k", "v"], options)
    frame.Snapshot("Events", paths["part"], ["x"], options)
    summaries = {name: summarise(path, "Events") for name, path in paths.items()}
    known = references(summaries.values())
    assert known == {paths["part"]: paths["whole"]}

    def of(name: str, function: Any = lacking) -> Any:
        chunk = Chunk(paths[name], summaries[name].uuid, "Events", 0, 3)
        return run_chunk(function, chunk, Sample(name="s"), {}, tmp_path, reference=known.get(paths[name], ""))[0]

    merged = merge_all([of("whole"), of("part")])
    assert merged is not None
    results = Results("s", merged)
    assert (results["n"], results["absent"]) == (3, 3)
    assert (results["k"]["k"].tolist(), results["k"]["k"].dtype) == ([0, 1, 2], np.int16)
    assert (results["default"]["k"].tolist(), results["default"]["k"].dtype) == ([0, 1, 2, -3, -3, -3], np.int16)
    assert str(results["list"]["v"].type) == "3 * var * float32"
    for function, words in (
        (lambda frame, sample: {"n": frame.FilterAvailable("kk").Count()}, "no column 'kk'.*did you mean 'k'"),
        (lambda frame, sample: {"n": frame.DefaultValueFor("k", "a").Count()}, "only numbers"),
    ):
        with pytest.raises(StepError, match=words):
            of("part", function)


def test_a_snapshot_takes_arguments_by_name(source: Path, tmp_path: Path) -> None:
    options = root.load().RDF.RSnapshotOptions()
    options.fAutoFlush = 7
    written = {
        "columns": {"treename": "tree", "filename": "t.root", "columnList": ["x"], "options": options},
        "some": {"treename": "some", "filename": "t.root", "columnNameRegexp": "^[xw]$"},
    }  # fmt: skip
    results = run(
        source, lambda frame, sample: {k: frame.Snapshot(**of) for k, of in written.items()}, (0, 40), tmp_path
    )
    with uproot.open(results["columns"][0]) as file, uproot.open(results["some"][0]) as other:
        assert (file["tree"].keys(), file["tree"]["x"].num_baskets) == (["x"], 6)
        assert sorted(other["some"].keys()) == ["w", "x"]


@pytest.mark.parametrize("model", [("h", "", 1, 10, 0.0, 1.0), ("h", ""), ("h", "", 1, None, None, None)])
def test_a_model_that_root_does_not_take_is_left_to_root(model: tuple[object, ...]) -> None:
    require_model("HistoND", [model, ["x"]])
