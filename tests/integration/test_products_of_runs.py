"""Products with infinities, texts, lists and odd names, as users meet them: JSON, report, results.root, compare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import uproot
from click.testing import CliRunner

import portico
from portico.cli import cli
from portico.compare import compare
from portico.executors.local import LocalExecutor
from tests.made_runs import unpacked

pytestmark = pytest.mark.integration

CODE = """
import numpy as np
import ROOT


def h(frame, sample):
    frame = frame.Define("name", 'std::string(x < 20 ? "low" : "high")').Define("list", "ROOT::RVecF(int(x) % 3, x)")
    frame = frame.Define("nested", "std::vector<ROOT::RVecF>(int(x) % 2, list)")
    late = frame.Filter("x > 15")
    tags = ["muR=0.5/muF=1", "muR=2/muF=1"]
    varied = frame.Vary("x", "ROOT::RVecD{x - 5, x + 5}", tags, "scale")
    edges = np.array([0.0, 1.0, 2.0, np.inf])
    return {
        "infinite": frame.Histo1D(("infinite", ";x", 3, edges), "x"),
        "plane": frame.Histo2D(("plane", "", 3, edges, 2, 0, 40), "x", "x", "odd"),
        "odd": frame.Histo1D(("odd", "", 4, 0, 40), "x", "odd"),
        "profile": frame.Profile1D(("profile", "", 3, edges), "x", "odd"),
        "stats": frame.Stats("x", "odd"),
        "least": late.Filter("x > 99").Min("x"),
        "sum": late.Sum("x"),
        "columns": late.AsNumpy(["x", "name", "list", "nested"]),
        "varied": ROOT.RDF.Experimental.VariationsFor(varied.Histo1D(("varied", "", 4, 0, 40), "x")),
        "total": ROOT.RDF.Experimental.VariationsFor(varied.Sum("x")),
    }
"""


@pytest.fixture(scope="module")
def runs(single: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs in chunks of 10 and of 40 entries."""
    folder = tmp_path_factory.mktemp("products")
    x = np.arange(40.0)
    with uproot.recreate(folder / "a.root") as file:
        file.mktree("Events", {"x": "float64", "odd": "float64"})
        odd = np.where(x == 7, np.inf, np.where(x == 33, np.nan, 1 - x % 3))
        for part in range(4):
            file["Events"].extend({"x": x[10 * part :][:10], "odd": odd[10 * part :][:10]})
    (folder / "mysteps.py").write_text(CODE)
    made = {}
    for entries in (10, 40):
        (folder / "analysis.yaml").write_text(
            f"name: test\nchunk: {entries} entries\ndataset: {{tree: Events, samples: {{s: {{files: [a.root]}}}}}}\n"
            "steps: [{name: h, function: 'mysteps:h'}]\n"
        )
        made[entries] = folder / str(entries)
        portico.run(portico.load_analysis(folder), folder=made[entries], executor=single)
    return made


def test_json_has_neither_infinity_nor_nan(runs: dict[int, Path]) -> None:
    def refuse(token: str) -> float:
        raise AssertionError(token)

    told = json.loads((runs[10] / "h" / "results.json").read_text(), parse_constant=refuse)["samples"]["s"]
    assert told["infinite"]["axes"][0]["edges"] == [0, 1, 2, "inf"]
    assert told["stats"]["value"]["mean"] is None
    assert told["least"]["value"] is None
    assert told["columns"]["columns"] == {"x": 24, "name": 24, "list": 24, "nested": 24}


def test_report_shows_what_has_no_end(runs: dict[int, Path]) -> None:
    answer = CliRunner().invoke(cli, ["report", str(runs[10])])
    assert answer.exit_code == 0, answer.output
    data = unpacked((runs[10] / "report.html").read_text())
    titles = {histogram["x"] for name, part in data.items() if isinstance(part, list) for histogram in part}
    assert any(title.endswith("last bin to \N{INFINITY})") for title in titles), titles


def test_chunks_leave_no_difference(runs: dict[int, Path]) -> None:
    comparison = compare(runs[10], runs[40], rtol=0)
    assert comparison.equal, comparison.differences
    assert comparison.tallies["h", "s"].unequal == 0


def test_results_agree_with_their_file(runs: dict[int, Path]) -> None:
    path = runs[10] / "h" / "results.root"
    comparison = compare(runs[10], path, rtol=0)
    assert comparison.equal, comparison.differences
    with uproot.open(path) as file:
        for tag in ("muR=0.5_muF=1", "muR=2_muF=1"):
            assert file[f"s/varied_scale_{tag}"].values().sum() > 0
        assert file["s/columns"].arrays()["nested"].tolist()[:2] == [[], [[17.0, 17.0]]]
    results = portico.load(runs[10])["h"]["s"]
    assert results.variations("total") == {
        "nominal": 780, "scale:muR=0.5/muF=1": 580, "scale:muR=2/muF=1": 980,
    }  # fmt: skip
