"""Real runs compared: other chunks are nothing, another cut is found, and files are read as portico reads runs."""

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

pytestmark = pytest.mark.integration

CODE = """
from portico import summary


def select(frame, sample, *, least=1.0):
    import ROOT
    kept = frame.Filter(f"x > {least}", "x").Define("y", "x * w").Define("v", "ROOT::RVecF(n, float(x))")
    kept = kept.Define("chosen", "int(10 * x) % 3").Vary("y", "ROOT::RVecD{0.9 * y, 1.1 * y}", ["down", "up"], "scale")
    options = ROOT.RDF.RSnapshotOptions()
    return {
        "tree": kept.Snapshot("candidates", "c.root", ["run", "lumi", "event", "x", "w", "n", "v", "chosen"], options),
        "y": ROOT.RDF.Experimental.VariationsFor(kept.Histo1D(("y", ";y;events", 40, 0, 12), "y", "w")),
        "map": kept.Histo2D(("map", ";x;w", 10, 0, 10, 8, 0.5, 1.5), "x", "w"),
        "grid": kept.HistoND(("grid", "", 2, [4, 3], [0.0, 0.5], [10.0, 1.5]), ["x", "w"]),
        "profile": kept.Profile1D(("profile", ";x;w", 10, 0, 10), "x", "w"),
        "graph": kept.Graph("x", "w"), "columns": kept.AsNumpy(["event", "x"]), "stats": kept.Stats("x"),
        "n": kept.Count(), "sum": kept.Sum("y"), "cutflow": kept.Report(),
    }


@summary
def limits(results, samples):
    import numpy as np
    total = {name: result["sum"] for name, result in results.items()}
    return {"total": total, "table": {"value": np.array(list(total.values()))}}
"""
HISTOGRAMS = ("y", "y_scale_down", "y_scale_up", "map", "grid", "profile")


def write_events(path: Path) -> None:
    random = np.random.default_rng(5)
    with uproot.recreate(path) as file:
        types = {"run": "uint32", "lumi": "uint32", "event": "uint64", "x": "float64", "w": "float32", "n": "int32"}
        file.mktree("Events", types)
        for part in range(6):
            file["Events"].extend({
                "run": np.ones(100, np.uint32), "lumi": np.full(100, part, np.uint32),
                "event": np.arange(100, dtype=np.uint64) + 100 * part, "x": random.uniform(0, 10, 100),
                "w": random.uniform(0.5, 1.5, 100).astype(np.float32), "n": random.integers(0, 4, 100).astype(np.int32),
            })  # fmt: skip


@pytest.fixture(scope="module")
def runs(single: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of one analysis: as it is, in other chunks, with another cut, of one sample alone."""
    folder = tmp_path_factory.mktemp("compare")
    for name in ("a", "b"):
        write_events(folder / f"{name}.root")
    (folder / "mysteps.py").write_text(CODE)
    made = {}
    for name, chunk, least in (("first", 100, 1.0), ("chunks", 250, 1.0), ("cut", 250, 1.1)):
        (folder / "analysis.yaml").write_text(
            f"name: test\nchunk: {chunk} entries\n"
            "dataset: {samples: {a: {files: a.root}, b: {files: b.root}}}\n"
            f"steps:\n  - {{name: select, function: 'mysteps:select', options: {{least: {least}}}}}\n"
            "  - {name: limits, function: 'mysteps:limits', input: select}\n"
        )
        made[name] = folder / name
        portico.run(portico.load_analysis(folder), folder=made[name], executor=single)
    return made


def test_a_run_is_itself(runs: dict[str, Path]) -> None:
    comparison = compare(portico.load(runs["first"]), runs["first"])
    assert comparison.identical
    assert comparison.total.unread == 2 * (2 * 6 + 1), "trees and table are the same files"
    assert comparison.verdict.endswith("all bit for bit")


def test_other_chunks_are_equal(runs: dict[str, Path]) -> None:
    comparison = compare(runs["first"], runs["chunks"])
    assert comparison.equal
    total = comparison.total
    kept = [uproot.open(runs["first"].parent / f"{s}.root")["Events"]["x"].array().to_numpy() > 1 for s in "ab"]
    # Sums of floating-point numbers depend on the order of the chunks; the trees do not.
    assert {d.kind for d in comparison.differences} <= {"rounding"}
    assert not [d for d in comparison.differences if d.product in {"tree", "columns", "graph", "cutflow", "n"}]
    events = sum(int(k.sum()) for k in kept)
    assert (total.events, total.rows) == (events, events + 2), "trees; columns that were taken and the table of limits"
    assert (total.histograms, total.beyond) == (2 * len(HISTOGRAMS), 0)
    assert total.bins == 2 * (3 * 42 + 12 * 10 + 6 * 5 + 12)


def test_another_cut_is_found(runs: dict[str, Path], tmp_path: Path) -> None:
    arguments = [
        "compare",
        str(runs["first"]),
        str(runs["cut"]),
        "--sample",
        "a",
        "--html",
        str(tmp_path / "page.html"),
    ]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 1
    x = uproot.open(runs["first"].parent / "a.root")["Events"]["x"].array().to_numpy()
    lost = int(((x > 1.0) & (x <= 1.1)).sum())
    assert lost > 0
    differences = json.loads(done.stdout)["differences"]
    (events,) = (d for d in differences if d["product"] == "tree")
    assert (events["kind"], events["what"], events["side"], events["count"]) == ("missing", "events", "second", lost)
    event = int(np.flatnonzero((x > 1.0) & (x <= 1.1))[0])
    assert events["examples"][0]["where"] == f"run 1, lumi {event // 100}, event {event}"
    (passed,) = (d for d in differences if d["product"] == "cutflow")
    assert (passed["kind"], passed["what"]) == ("other", "entries passed")
    assert passed["examples"][0]["first"] - passed["examples"][0]["second"] == lost
    assert {"y", "map", "grid", "profile", "n"} <= {d["product"] for d in differences}
    assert (tmp_path / "page.html").read_text().count("<svg") >= 2
    text = CliRunner().invoke(cli, arguments).stdout
    assert text.startswith("different: ")


def test_what_the_run_itself_wrote_for_others(runs: dict[str, Path]) -> None:
    file = runs["first"] / "select" / "results.root"
    comparison = compare(runs["first"], file)
    assert comparison.identical, comparison.differences
    assert comparison.total.histograms == 2 * len(HISTOGRAMS)
    assert comparison.total.products == 2 * (len(HISTOGRAMS) + 2), "also the graph and the arrays"
    assert not compare(file, runs["cut"]).equal
