"""Blinded data: neither shown nor given to steps until they are asked for."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import hist
import numpy as np
import pytest
from click.testing import CliRunner

import portico
from portico.cli import cli
from portico.compare.bins import compare_bins
from portico.compare.findings import Findings
from portico.compare.numbers import Tolerance
from portico.errors import ConfigError, PorticoError
from portico.plot.bins import bins_of
from portico.report.svg import curve
from portico.results.product import Product, ProductKind
from tests.conftest import Remember
from tests.made_runs import drawn

CODE = """
from portico import summary


def fill(frame, sample, *, cut: float = 100.0):
    frame = frame.Filter(f"x < {cut}")
    return {"mass_x": frame.Histo1D(("mass_x", ";x;events", 10, 0, 10), "x")}


@summary
def fit(results, samples, *, unblind: bool = False, name: str = "card.txt"):
    return {"looked": unblind, name: f"unblind = {unblind}", "raw.bin": bytes([0, 255])}
"""
STEPS = """
  - {name: fill, function: "mysteps:fill"}
  - {name: fit, function: "mysteps:fit", input: fill}
blind:
  "mass_*": [[4.0, 6.0]]
"""


@pytest.fixture
def analysis(make_analysis, events):
    samples = "\n".join(
        f"    {name}: {{kind: {kind}, tree: Events, files: ['{events}/events{number}.root']}}"
        for name, kind, number in (("seen", "data", 0), ("made", "background", 1))
    )
    return make_analysis(CODE, STEPS, samples)


@pytest.mark.integration
def test_data_are_hidden_until_they_are_asked_for(analysis, tmp_path):
    folder = tmp_path / "run"
    invoke = ["run", str(analysis.path), "--run", str(folder), "--workers", "1"]
    pages = {}
    for options in ([], ["--unblind"], []):
        done = CliRunner().invoke(cli, [*invoke, *options])
        assert done.exit_code == 0, done.output
        run = portico.load(folder)
        assert run.summary("fit")["looked"] is bool(options)
        assert (folder / "fit" / "card.txt").read_text() == f"unblind = {bool(options)}"
        assert (folder / "fit" / "raw.bin").read_bytes() == b"\x00\xff"
        assert run["fill"]["seen"]["mass_x"].values().sum() == 250  # who asks for numbers gets them
        pages[bool(options)] = (folder / "report.html").read_text()
    hidden, shown = (drawn(pages[looked], "fill", "", "mass_x") for looked in (False, True))
    assert (hidden["blind"], shown["blind"]) == ([[4.0, 6.0]], [])
    made, seen = "1", "0"  # groups of samples: data come first
    assert hidden["g"][made] == shown["g"][made]
    assert [i for i, value in enumerate(hidden["g"][seen]["v"]) if value is None] == [4, 5]
    assert [x for x in hidden["g"][seen]["v"] if x is not None] == [
        *shown["g"][seen]["v"][:4],
        *shown["g"][seen]["v"][6:],
    ]


@pytest.mark.integration
def test_a_comparison_shows_no_data_either(analysis, single, tmp_path):
    for name, cut in (("a", 100.0), ("b", 4.5)):
        portico.run(analysis.with_options("fill", cut=cut), folder=tmp_path / name, executor=single)
    page = tmp_path / "comparison.html"
    done = CliRunner().invoke(cli, ["compare", f"{tmp_path}/a", f"{tmp_path}/b", "--html", str(page), "--json"])
    assert done.exit_code == 1, done.output
    found = {d["sample"]: d["examples"] for d in json.loads(done.output)["differences"] if d["what"] == "bins"}
    bins = {sample: {e["where"]: e["first"] for e in examples} for sample, examples in found.items()}
    hidden = {f"x in [{low}, {low + 1})" for low in (4, 5)}
    assert {where for where, value in bins["seen"].items() if value is None} == {f"{w}: blinded" for w in hidden}
    assert hidden <= bins["made"].keys()
    assert all(value > 0 for value in bins["made"].values())
    text = page.read_text()
    assert text.count('class="blind"') == 1
    ratios = re.findall(r'aria-label="second over first">.*?</svg>', text, re.DOTALL)
    drawn = [len(re.findall(r"M[\d.]+ [\d.]+H[\d.]+(?=[M\"])", plot)) for plot in ratios]
    assert drawn == [8 + 1, 10 + 1]  # and the line at 1
    assert portico.load(tmp_path / "a").blinding.of("mass_x", ["seen"]) == [(4.0, 6.0)]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["summary.json", "a/b.txt", ".hidden.txt"])
def test_a_file_of_a_summary_stays_in_its_folder(analysis, single, tmp_path, name):
    with pytest.raises(PorticoError, match="a file, figure or table of a summary has a name like"):
        portico.run(analysis.with_options("fit", name=name), folder=tmp_path / "run", executor=single)


def test_what_is_not_blinded_cannot_be_unblinded(make_analysis, events):
    plain = make_analysis(CODE, STEPS.splitlines()[1], f"    a: {{files: ['{events}/events0.root']}}")
    done = CliRunner().invoke(cli, ["run", str(plain.path), "--unblind"])
    assert done.exit_code == 2
    assert "nothing to unblind: no step has an option 'unblind', and there is no key 'blind'" in done.stderr


def test_an_interval_has_two_ends_in_order(make_analysis, events):
    with pytest.raises(ConfigError, match=r"'mass_\*': write an interval as \[low, high\], with low < high"):
        make_analysis(CODE, STEPS.replace("4.0, 6.0", "6.0, 4.0"), f"    a: {{files: ['{events}/events0.root']}}")


def test_what_lies_beyond_the_axis_is_hidden_with_its_interval():
    """The flow bins, and a last bin without an end, which is drawn as wide as its neighbour."""
    drawn = hist.Hist.new.Variable([0.0, 1.0, 2.0, np.inf], name="x").Double()
    drawn.fill([-1.0, 0.5, 1.5, 60.0])
    bins = bins_of(drawn, blind=[(50.0, 100.0)])
    assert (bins.under, bins.over, bins.values.tolist()) == (1.0, 0.0, [1.0, 1.0, 0.0])
    regular = hist.Hist.new.Reg(2, 0.0, 2.0, name="x").Double()
    regular.fill([-1.0, 0.5, 1.5, 60.0])
    for blind, outside in ([(1.5, 3.0)], (1.0, 0.0)), ([(-5.0, 0.0)], (0.0, 1.0)), ([(0.5, 0.6)], (1.0, 1.0)):
        bins = bins_of(regular, blind=blind)
        assert (bins.under, bins.over) == outside
    assert bins_of(regular, flow=True, blind=[(1.5, 3.0)]).values.tolist() == [1.0, 1.0, 0.0, 0.0]
    category = hist.Hist.new.StrCat(["a", "b"], name="x").Double()
    assert bins_of(category.fill(["a", "b"]), blind=[(0.0, 1.0)]).values.tolist() == [0.0, 1.0]
    product = Product(
        ProductKind.HISTOGRAM,
        {"axes": [{"bins": 2, "low": 0.0, "high": 2.0, "edges": None, "title": "x", "labels": {}}], "class": "TH1D"},
        {"values": np.array([1.0, 2.0, 3.0, 4.0]), "sumw2": np.zeros(0), "stats": np.zeros(4), "entries": np.ones(1)},
    )
    shown = curve(product, [(1.5, 3.0)])
    assert (shown.values.tolist(), shown.outside) == ([2.0, 0.0], 1.0)
    findings = Findings("step", "data", Tolerance(), lambda _: [(1.5, 3.0)])
    compare_bins(findings, "x", product, replace(product, arrays={**product.arrays, "values": np.arange(4.0)}))
    (bins_differ, *_) = findings.differences()
    assert [e.where for e in bins_differ.examples if e.first is None] == ["x in [1, 2): blinded", "x >= 2: blinded"]


def test_an_interval_of_no_histogram_is_told(analysis, single, tmp_path):
    reporter = Remember()
    portico.run(analysis, folder=tmp_path / "run", executor=single, reporter=reporter)
    assert reporter.warnings == []
    wrong = analysis.model_copy(update={"blind": {"mas_*": ((4.0, 6.0),)}})
    portico.run(wrong, folder=tmp_path / "run", executor=single, reporter=reporter, steps=["fit"])
    assert [line.partition(";")[0] for line in reporter.warnings] == [
        "blind: 'mas_*' is the name of no histogram of data and hides nothing"
    ]
