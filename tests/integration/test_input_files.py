"""Input files are read as meant: their identity, names with special characters, incomplete files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

import portico
from portico.analysis.analysis import load_analysis
from portico.errors import ConfigError, InputError
from portico.executors.local import LocalExecutor
from portico.files import summarise, trees
from tests.conftest import Remember

STEP = """
def h(frame, sample):
    return {"n": frame.Count(), "sum": frame.Sum("x"), "tree": frame.Snapshot("Events", "o.root", ["x"])}

def again(frame, sample):
    return {"n": frame.Count(), "sum": frame.Sum("x")}
"""


def write(
    root: Any, path: Path, values: list[float], mode: str = "RECREATE", options: str = "", name: str = "Events",
    branches: bool = True,
) -> Path:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    file = root.TFile.Open(f"{path}{options}", mode)
    tree = root.TTree(name, "")
    x = array("d", [0.0])
    if branches:
        tree.Branch("x", x, "x/D")
    for value in values:
        x[0] = value
        tree.Fill()
    tree.Write("Events", root.TObject.kOverwrite)
    file.Close()
    return path


def run(folder: Path, samples: str, executor: LocalExecutor, steps: str = "") -> portico.Run:
    (folder / "mysteps.py").write_text(STEP)
    (folder / "analysis.yaml").write_text(
        f"name: test\nchunk: 10 entries\ndataset:\n  tree: Events\n  samples:\n{samples}\n"
        f'steps:\n  - {{name: h, function: "mysteps:h"}}\n{steps}'
    )
    reporter = Remember()
    return portico.run(load_analysis(folder), folder=folder / "run", executor=executor, reporter=reporter)


def sums(run: portico.Run, sample: str = "s", step: str = "h") -> tuple[int, float]:
    return run[step][sample]["n"], run[step][sample]["sum"]


def test_two_files_of_one_uuid_are_two_files(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    for name, value in (("a.root", 1.0), ("b.root", 2.0)):
        write(root, tmp_path / name, [value] * 10, options="?reproducible=fixed")
    assert summarise(str(tmp_path / "a.root"), "Events").uuid == summarise(str(tmp_path / "b.root"), "Events").uuid
    assert sums(run(tmp_path, "    s: {files: [a.root, b.root]}", single)) == (20, 30.0)


def test_a_copy_in_one_sample_would_count_twice(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    shutil.copy(write(root, tmp_path / "a.root", [1.0] * 10), tmp_path / "b.root")
    with pytest.raises(ConfigError, match=r"b\.root is a copy of .*a\.root and would count twice"):
        run(tmp_path, "    s: {files: [a.root, b.root]}", single)


def test_a_file_updated_in_place_is_read_again(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    path = write(root, tmp_path / "a.root", [1.0] * 10)
    uuid = summarise(str(path), "Events").uuid
    samples, steps = "    s: {files: [a.root]}", '  - {name: again, function: "mysteps:again", input: h}\n'
    assert sums(run(tmp_path, samples, single, steps), step="again") == (10, 10.0)
    write(root, path, [5.0] * 10, "UPDATE")
    assert summarise(str(path), "Events").uuid == uuid
    assert sums(run(tmp_path, samples, single, steps), step="again") == (10, 50.0)


def test_a_file_written_to_while_it_is_read_does_not_count(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    path = write(root, tmp_path / "a.root", [float(i) for i in range(40)])
    write(root, tmp_path / "b.root", [1.0] * 10)
    (tmp_path / "mysteps.py").write_text(f"import os\n{STEP.replace('return', f'os.utime({str(path)!r}); return')}")
    (tmp_path / "analysis.yaml").write_text(
        "name: test\nchunk: 10 entries\n"
        "dataset: {tree: Events, samples: {s: {files: [a.root]}, t: {files: [b.root]}}}\n"
        'steps: [{name: h, function: "mysteps:h"}]\n'
    )
    with pytest.raises(InputError, match=r"a\.root entries 0-9: the file was written to while the step read it"):
        portico.run(load_analysis(tmp_path), folder=tmp_path / "run", executor=single)
    with pytest.warns(UserWarning, match=r"run: step 'h' is failed"):
        left = portico.load(tmp_path / "run")["h"]
    assert left.keys() == {"t"}
    assert left["t"]["n"] == 10
    assert sums(run(tmp_path, "    s: {files: [a.root]}", single)) == (40, 780.0)


@pytest.mark.parametrize("name", ["sig[1].root", "a*b.root", "a?b.root", "a:b.root", "a#b.root", "a b%20.root"])
def test_a_name_is_a_name(root: Any, single: LocalExecutor, tmp_path: Path, name: str) -> None:
    plain = write(root, tmp_path / "plain.root", [1.0] * 10)
    folder = tmp_path / "mass[1]"
    folder.mkdir()
    shutil.move(plain, folder / name)
    write(root, tmp_path / "mass1" / "sig1.root", [100.0] * 10)
    (tmp_path / "list.json").write_text(f'["mass[1]/{name}", "mass1/sig1.root"]')
    assert [tree.entries for tree in trees(str(folder / name))] == [10]
    assert sums(run(tmp_path, '    s: {files: ["mass*/*.root"]}\n    t: {files: list.json}', single)) == (20, 1010.0)


def test_an_empty_tree_without_branches_gives_empty_results(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    write(root, tmp_path / "a.root", [1.0, 2.0])
    write(root, tmp_path / "empty.root", [], branches=False)
    steps = '  - {name: again, function: "mysteps:again", input: h}\n'
    done = run(tmp_path, "    first: {files: [empty.root, a.root]}\n    only: {files: [empty.root]}", single, steps)
    for step in ("h", "again"):
        assert sums(done, "first", step) == (2, 3.0)
        assert sums(done, "only", step) == (0, 0.0)


def test_trees_under_another_key_are_found_by_it(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    write(root, tmp_path / "a.root", [float(i) for i in range(20)], name="tmp")
    assert sums(run(tmp_path, "    s: {files: [a.root]}", single)) == (20, 190.0)


def test_fields_that_came_later_read_as_their_defaults_before(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    root.gInterpreter.Declare(r"""
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>
namespace late_fields { void make(const char *path) {
  auto model = ROOT::RNTupleModel::Create();
  auto y = model->MakeField<double>("y");
  auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "Events", path);
  for (int i = 0; i < 10; ++i) writer->Fill();
  writer->CommitCluster();
  auto updater = writer->CreateModelUpdater();
  updater->BeginUpdate();
  auto x = updater->MakeField<double>("x");
  auto v = updater->MakeField<std::vector<float>>("v");
  updater->CommitUpdate();
  for (int i = 10; i < 30; ++i) { *x = 1; *v = {1.f, 2.f}; writer->Fill(); if (i == 19) writer->CommitCluster(); }
} }
""")
    root.late_fields.make(str(tmp_path / "a.root"))
    (tree,) = trees(str(tmp_path / "a.root"))
    assert [(column.name, column.type) for column in tree.columns] == [
        ("y", "double"), ("x", "double"), ("v", "std::vector<float>"),
    ]  # fmt: skip
    assert sums(run(tmp_path, "    s: {files: [a.root]}", single)) == (30, 20.0)


def test_columns_that_rdataframe_cannot_know_are_told(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    """ROOT's frame over an RNTuple with a bitset throws, although nobody reads it."""
    root.gInterpreter.Declare(r"""
#include <ROOT/RField.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>
namespace bits { void make(const char *path) {
  auto model = ROOT::RNTupleModel::Create();
  model->AddField(ROOT::RFieldBase::Create("x", "double").Unwrap());
  model->AddField(ROOT::RFieldBase::Create("bits", "std::bitset<17>").Unwrap());
  ROOT::RNTupleWriter::Recreate(std::move(model), "Events", path)->Fill();
} }
""")
    root.bits.make(str(tmp_path / "a.root"))
    with pytest.raises(InputError, match=r"a\.root entries 0-0: ROOT makes no RDataFrame .*std::bitset, may be"):
        run(tmp_path, "    s: {files: [a.root]}", single)


def test_a_file_that_was_never_closed_is_named(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    write(root, tmp_path / "good.root", [1.0] * 10)
    code = (
        "import os, ROOT\nfrom array import array\n"
        f"file = ROOT.TFile.Open({str(tmp_path / 'killed.root')!r}, 'RECREATE')\ntree = ROOT.TTree('Events', '')\n"
        "x = array('d', [0.0])\ntree.Branch('x', x, 'x/D')\n"
        "for i in range(5000):\n    tree.Fill()\n    if i == 2000: tree.AutoSave()\nos._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ}, capture_output=True)
    with pytest.raises(InputError, match=r"killed\.root: was never closed by the process that wrote it"):
        run(tmp_path, "    s: {files: [good.root, killed.root]}", single)


def test_a_closed_file_without_keys_has_no_events(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    write(root, tmp_path / "good.root", [1.0] * 10)
    root.TFile.Open(str(tmp_path / "none.root"), "RECREATE").Close()
    assert sums(run(tmp_path, "    s: {files: [none.root, good.root]}", single)) == (10, 10.0)


def test_a_saved_chain_is_no_tree(root: Any, single: LocalExecutor, tmp_path: Path) -> None:
    file = root.TFile.Open(str(tmp_path / "chain.root"), "RECREATE")
    chain = root.TChain("Events")
    chain.Add(str(write(root, tmp_path / "a.root", [1.0] * 10)))
    file.cd()
    chain.Write()
    file.Close()
    with pytest.raises(InputError, match=r"chain\.root: 'Events' is a TChain, not a tree.*give the files of the chain"):
        run(tmp_path, "    s: {files: [chain.root]}", single)
