"""Trees of a step as Parquet: every number comes back, in order, with its type."""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from pyarrow import parquet

import portico
from portico.cli.export import export
from portico.errors import (
    ConfigError,
    InputError,
    MissingExtra,
    PorticoError,
    PorticoWarning,
    ProductError,
    RunFolderError,
)
from portico.executors.local import LocalExecutor
from portico.runfolder.parquet import export_parquet
from tests.conftest import write_events

CODE = """
from portico import summary


def write(frame, sample):
    import ROOT
    frame = frame.Define("run", "unsigned(4000000000u)").Define("key", "ULong64_t(18446744073709551000ull + event)")
    frame = frame.Define("v", "ROOT::RVecF(n, x)").Define("flags", "ROOT::RVec<short>(n, -3)").Define("good", "x > 5")
    columns = ["run", "key", "x", "w", "n", "v", "flags", "good"]
    kinds = ROOT.RDF.ESnapshotOutputFormat
    old = ROOT.RDF.RSnapshotOptions()
    old.fOutputFormat = kinds.kTTree
    kept = frame.Filter("x > 1")
    return {
        "new": kept.Snapshot("new", "new.root", columns),
        "old": kept.Snapshot("old", "old.root", columns, old),
        "n": frame.Count(),
    }


def count(frame, sample):
    return {"n": frame.Count()}


@summary
def total(results, samples):
    return {"n": sum(result["n"] for result in results.values())}
"""
STEPS = """
  - {name: write, function: "mysteps:write", chunk: 50 entries}
  - {name: count, function: "mysteps:count"}
  - {name: total, function: "mysteps:total", input: count}
"""


@pytest.fixture(scope="module")
def run(single: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    random = np.random.default_rng(1)
    for number, size in enumerate((200, 70, 0)):
        write_events(folder / f"events{number}.root", random, size)
    (folder / "mysteps.py").write_text(CODE)
    files = [f"{folder}/events{number}.root" for number in range(3)]
    samples = f"    a: {{files: {json.dumps(files[:2])}}}\n    b: {{files: {files[2]}}}"
    (folder / "analysis.yaml").write_text(f"name: test\ndataset:\n  samples:\n{samples}\nsteps:{STEPS}")
    portico.run(portico.load_analysis(folder), folder=folder / "run", executor=single)
    return folder / "run"


@pytest.fixture(scope="module")
def trees(run: Path) -> ak.Array:
    return ak.concatenate([uproot.open(f)["new"].arrays() for f in portico.load(run)["write"]["a"]["new"]])


@pytest.mark.parametrize("tree", ["new", "old"])
def test_every_number_comes_back(run: Path, trees: ak.Array, tmp_path: Path, tree: str) -> None:
    first, second = export_parquet(run, "write", tmp_path / "out", tree=tree)
    assert (first.sample, first.entries, first.partial) == ("a", len(trees), False)
    assert (second.sample, second.entries) == ("b", 0)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.parquet", "b.parquet"]
    found = ak.from_parquet(tmp_path / "out" / "a.parquet")
    for name in trees.fields:
        assert found[name].to_list() == trees[name].to_list(), name
    schema = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "out" / "a.parquet")}
    assert {n: schema[n] for n in ("run", "key", "x", "w", "n", "good")} == {
        "run": "uint32", "key": "uint64", "x": "double", "w": "float", "n": "int32", "good": "bool",
    }  # fmt: skip
    assert "list" in schema["v"]
    assert "int16" in schema["flags"]
    assert {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "out" / "b.parquet")} == schema
    assert int(ak.max(found.key)) > 2**63


def test_the_command_line(run: Path, trees: ak.Array, tmp_path: Path) -> None:
    arguments = [str(run), "write", "--tree", "old", "--sample", "a", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(export, [*arguments, "--json"])
    assert done.exit_code == 0
    (file,) = json.loads(done.stdout)["files"]
    assert (file["sample"], file["entries"]) == ("a", len(trees))
    assert f"{len(trees)} entries" in CliRunner().invoke(export, arguments).stdout
    wrong = CliRunner().invoke(export, [str(run), "wriet", "-o", str(tmp_path / "out")])
    assert wrong.exit_code == 2
    assert "did you mean 'write'?" in wrong.stderr


def test_files_of_samples_that_are_no_more_are_told(run: Path, trees: ak.Array, tmp_path: Path) -> None:
    (tmp_path / "gone.parquet").touch()
    arguments = [str(run), "write", "--tree", "old", "-o", str(tmp_path)]
    done = CliRunner().invoke(export, [*arguments, "--sample", "a"])
    assert done.exit_code == 0
    assert "gone.parquet: of no sample of step 'write'; programs that read *.parquet would count them" in done.stderr
    with pytest.warns(PorticoWarning, match=r": gone\.parquet: of no sample"):
        list(export_parquet(run, "write", tmp_path, tree="old"))
    (tmp_path / "gone.parquet").unlink()
    assert not CliRunner().invoke(export, [*arguments, "--sample", "b"]).stderr
    assert len(ak.from_parquet(tmp_path)) == len(trees)


@pytest.mark.parametrize(
    ("step", "options", "kind", "message"),
    [
        ("wriet", {}, ConfigError, r"no step 'wriet'; did you mean 'write'\?"),
        ("write", {}, ConfigError, r"choose which tree of step 'write' with --tree; .*valid: new, old"),
        ("write", {"tree": "odl"}, ConfigError, r"did you mean 'old'\?"),
        ("write", {"tree": "old", "samples": ["c"]}, ConfigError, r"no sample 'c'; valid: a, b"),
        ("count", {}, ProductError, r"step 'count' wrote no trees; only Snapshots"),
        ("total", {}, ProductError, r"step 'total' wrote no trees"),
    ],
)
def test_what_is_wrong_is_told(
    run: Path, tmp_path: Path, step: str, options: dict[str, object], kind: type[PorticoError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        list(export_parquet(run, step, tmp_path, **options))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_no_run_no_pyarrow(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunFolderError, match="no such folder"):
        list(export_parquet(tmp_path / "none", "write", tmp_path))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet")
    with pytest.raises(MissingExtra, match=r"exporting to Parquet needs the extra 'parquet'; install it with: pip"):
        list(export_parquet(run, "write", tmp_path))


def test_a_changed_tree_is_found(run: Path, tmp_path: Path) -> None:
    path = Path(portico.load(run)["write"]["a"]["new"][1])
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1])
        with pytest.raises(InputError, match="was changed since the step wrote it; remove it, and run the step again"):
            list(export_parquet(run, "write", tmp_path, tree="new"))
        path.unlink()
        with pytest.raises(InputError, match="no such file any more; run the step again"):
            list(export_parquet(run, "write", tmp_path, tree="new"))
    finally:
        path.write_bytes(whole)
    assert not list(tmp_path.iterdir()), "nothing that is not whole"


def test_memory_does_not_grow_with_the_number_of_files(run: Path, tmp_path: Path) -> None:
    """Ten times the files, and no more stays in memory."""
    from portico.runfolder import parquet as module

    product = module._choose(portico.load(run)["write"]["a"].products, "write", "new")
    peaks = []
    for factor in (1, 1, 10):
        tracemalloc.start()
        assert module._write(tmp_path / "x.parquet", "new", product.items[:3] * factor) > 0
        gc.collect()  # what uproot leaves in cycles is freed sooner or later
        peaks.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 50_000
