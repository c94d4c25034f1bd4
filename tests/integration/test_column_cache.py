"""Chunks read from the column cache: every product has the bits that it has without, whatever happens to the cache."""

from __future__ import annotations

import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import portico
from hnl.select import FOLDER
from portico.analysis.analysis import Analysis
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.cli.tables import show_status
from portico.errors import InputError, PorticoWarning, WorkerError
from portico.executors.local import LocalExecutor
from portico.files import summarise
from portico.monitor.status import read_status
from portico.results.product import Product, ProductKind
from portico.selection import book
from portico.worker.cached import CachedChunk, CachedChunks
from portico.worker.task import Task
from tests.conftest import numbers_of
from tests.conftest import write_events as write_plain
from tests.integration.test_run import damage
from tests.unit.test_select import few, full, make_events, sample_of, write_events

CODE = r"""
#include <ROOT/RDataFrame.hxx>
#include <TFile.h>
#include <TRandom3.h>
#include <TTree.h>
#include <any>
#include <limits>
namespace column_tests {
using ROOT::RVec;
template <typename T> T draw(TRandom3 &random) {
  const auto bits = (ULong64_t(random.Integer(0xffffffff)) << 32) | random.Integer(0xffffffff);
  if constexpr (std::is_floating_point_v<T>)
    switch (random.Integer(8)) {
    case 0: return std::numeric_limits<T>::quiet_NaN();
    case 1: return -std::numeric_limits<T>::infinity();
    case 2: return std::numeric_limits<T>::denorm_min();
    case 3: return -0.;
    default: return random.Gaus();
    }
  if constexpr (std::is_same_v<T, bool>) return bits & 1;
  return static_cast<T>(bits);
}
template <typename T> ULong64_t bits(const T &x) {
  ULong64_t sum = 14695981039346656037u;
  auto add = [&](auto value) {
    unsigned char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    for (auto byte : bytes) sum = (sum ^ byte) * 1099511628211u;
  };
  if constexpr (std::is_arithmetic_v<T>) add(x);
  else { add(x.size()); for (auto value : x) add(value); }
  return sum;
}
template <typename F> void each(F f) {
  f(bool(), "o"); f(char(), "c"); f((unsigned char)0, "B"); f(short(), "s"); f((unsigned short)0, "S"); f(int(), "i");
  f(0u, "I"); f(Long64_t(), "l"); f(ULong64_t(), "L"); f(float(), "f"); f(double(), "d");
}
int length(TRandom3 &random) { return random.Integer(40) == 0 ? 1000 + random.Integer(2000) : random.Poisson(1.5); }

// Leaves: numbers, arrays of three, and arrays of n; or the same as vectors.
void write_tree(const std::string &path, bool vectors, int entries, int seed, int cluster) {
  TRandom3 random(seed + 1);
  TFile file(path.c_str(), "RECREATE", "", 505);
  TTree tree("Events", "");
  tree.SetAutoFlush(cluster);
  int n = 0;
  std::vector<std::function<void()>> draws;
  std::vector<std::any> kept;
  tree.Branch("n", &n, "n/I");
  each([&](auto zero, const std::string &letter) {
    using T = decltype(zero);
    const std::string code = letter == "c" ? "B" : letter == "B" ? "b" : letter == "S" ? "s" : letter == "s" ? "S"
                           : letter == "i" ? "I" : letter == "I" ? "i" : letter == "l" ? "L" : letter == "L" ? "l"
                           : letter == "f" ? "F" : letter == "d" ? "D" : "O";
    std::shared_ptr<T[]> one(new T[1]()), three(new T[3]()), many(new T[4000]());
    tree.Branch(("x" + letter).c_str(), one.get(), ("x" + letter + "/" + code).c_str());
    auto list = std::make_shared<std::vector<T>>();
    if (vectors)
      tree.Branch(("v" + letter).c_str(), list.get());
    else {
      tree.Branch(("a" + letter).c_str(), three.get(), ("a" + letter + "[3]/" + code).c_str());
      tree.Branch(("v" + letter).c_str(), many.get(), ("v" + letter + "[n]/" + code).c_str());
    }
    draws.push_back([=, &random, &n] {
      one[0] = draw<T>(random);
      for (int k = 0; k < 3; ++k) three[k] = draw<T>(random);
      for (int k = 0; k < n; ++k) many[k] = draw<T>(random);
      list->assign(many.get(), many.get() + n);
    });
  });
  for (int entry = 0; entry < entries; ++entry) {
    n = length(random);
    for (auto &draw : draws) draw();
    tree.Fill();
  }
  tree.Write();
}
void write_classes(const std::string &path) {
  TFile file(path.c_str(), "RECREATE");
  TTree tree("Events", "");
  float x = 0;
  std::string text;
  std::vector<std::vector<float>> nested;
  tree.Branch("x", &x);
  tree.Branch("text", &text);
  tree.Branch("nested", &nested);
  for (int entry = 0; entry < 40; ++entry) {
    x = 1.5f * entry;
    text = std::string(entry % 5, 'a');
    nested.assign(2, {x});
    tree.Fill();
  }
  tree.Write();
}
void write_ntuple(const std::string &path, int entries, int seed, int cluster) {
  auto random = std::make_shared<TRandom3>(seed + 1);
  ROOT::RDataFrame empty(entries);
  auto node = ROOT::RDF::RNode(empty).Define("n", [=] { return length(*random); });
  std::vector<std::string> names{"n", "text"};
  each([&](auto zero, const std::string &letter) {
    using T = decltype(zero);
    node = node.Define("x" + letter, [=] { return draw<T>(*random); });
    auto list = [=](int n) { RVec<T> v(n); for (auto &x : v) x = draw<T>(*random); return v; };
    auto vector = [](const RVec<T> &v) { return std::vector<T>(v.begin(), v.end()); };
    node = node.Define("v" + letter, list, {"n"}).Define("w" + letter, vector, {"v" + letter});
    for (auto part : {"x", "v", "w"}) names.push_back(part + letter);
  });
  node = node.Define("text", [=](int n) { return std::string(n % 50, 'a' + n % 20); }, {"n"});
  ROOT::RDF::RSnapshotOptions options;
  options.fOutputFormat = ROOT::RDF::ESnapshotOutputFormat::kRNTuple;
  options.fApproxZippedClusterSize = 1000 * cluster;
  options.fMaxUnzippedClusterSize = 2000 * cluster;
  options.fMaxUnzippedPageSize = 1000 * cluster;
  options.fInitialUnzippedPageSize = 64;
  node.Snapshot("Events", path, names, options);
}
} // namespace column_tests
"""
ONE = settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
Step = Callable[..., Mapping[str, Any]]


class Place:
    """An input file, a cache, and steps that run over chunks of the file in this process."""

    def __init__(self, folder: Path, file: Path, tree: str = "Events") -> None:
        self.folder, self.file, self.summary = folder, file, summarise(str(file), tree)
        (folder / "scratch").mkdir(exist_ok=True)
        self.log: list[tuple[int, int]] = []

    def run(
        self, step: Step, *, cached: bool, first: int = 0, last: int | None = None, attempt: int = 1,
        process: CachedChunks | None = None,
    ) -> dict[str, Product]:  # fmt: skip
        """Run a step; the numbers of columns that were found and filled are then in the log."""
        from portico.worker.frame import run_chunk

        summary = self.summary
        chunk = Chunk(str(self.file), summary.uuid, summary.tree, first, summary.entries if last is None else last)
        source = f"{summary.uuid} {summary.version}" if cached else ""
        task = Task("key", attempt, chunk, "m:step", {}, {}, str(self.folder), source=source, version=summary.version)

        def run(task: Task, of_cache: CachedChunk | None, in_blocks: bool) -> dict[str, Product]:
            scratch = self.folder / "scratch"
            products, _ = run_chunk(
                step, task.chunk, Sample(name="s"), {}, scratch, scratch=scratch, cached=of_cache, in_blocks=in_blocks
            )
            if of_cache is not None:
                self.log.append((of_cache.found, of_cache.filled))
            return products

        return (process or CachedChunks()).run(task, "bundle", self.folder / "scratch", run)


def numbers(products: Mapping[str, Product]) -> dict[str, Any]:
    found = {}
    for name, product in products.items():
        if product.kind is ProductKind.TREE:
            with uproot.open(product.items[0]["path"]) as file:
                tree = file[product.meta["tree"]]
                fields = [(field.field_name, field.type_name) for field in tree.field_records]
                found[name] = fields, repr(tree.arrays().to_list())
        else:
            found[name] = dict(product.meta), {key: array.tobytes() for key, array in product.arrays.items()}
    return found


@pytest.fixture(scope="module")
def cpp(root: Any) -> Any:
    assert root.gInterpreter.Declare(CODE)
    return root.column_tests


@pytest.fixture(scope="module")
def columns_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the cache that the processes of `caching` know from their start."""
    return tmp_path_factory.mktemp("runs") / "columns"


@pytest.fixture(autouse=True)
def columns(
    request: pytest.FixtureRequest, columns_of_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of the cache: the test's own, but for runs."""
    folder = columns_of_runs if "caching" in request.fixturenames else tmp_path / "columns"
    monkeypatch.setenv("PORTICO_COLUMNS", str(folder))
    monkeypatch.delenv("PORTICO_COLUMNS_SIZE", raising=False)
    return folder


def every_bit(frame: Any, sample: Sample) -> Mapping[str, Any]:
    names = [str(name) for name in frame.GetColumnNames()]
    bits = ", ".join(f"column_tests::bits({name})" for name in names)
    node = frame.Define("bits", f"ROOT::RVec<ULong64_t>{{{bits}}}")
    return {"columns": node.AsNumpy(["bits"]), "cutflow": node.Report()}


def lazily(frame: Any, sample: Sample) -> Mapping[str, Any]:
    """Columns behind filters, entries by their numbers, ranges, variations, and histograms of lists."""
    few = frame.Filter("n > 1", "some").Filter("xi % 3 == 0", "few")
    varied = few.Vary("xf", "ROOT::RVecF{xf - 1, xf + 1}", ["down", "up"], "shift")
    import ROOT

    return {
        "n": frame.Histo1D(("n", "", 10, 0, 10), "n"),
        "list": few.Histo1D(("list", "", 10, -3, 3), "vd"),
        "size": few.Define("size", "vf.size() + vl.size()").Histo1D(("size", "", 10, 0, 20), "size"),
        "varied": ROOT.RDF.Experimental.VariationsFor(varied.Histo1D(("varied", "", 7, -5, 5), "xf")),
        "sum": few.Sum("xl"), "cutflow": few.Report(), "range": frame.Range(3, 20, 2).Sum("xi"),
        "each": few.AsNumpy(["xi", "xd"]), "taken": few.Take["ROOT::RVec<float>"]("vf"),
        "entry": frame.DefinePerSample("weight", "rdfsampleinfo_.NEntries() * 1.5").Sum("weight"),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Range counts")
@ONE
@given(
    kind=st.sampled_from(["leaves", "vectors", "ntuple"]), entries=st.integers(1, 300), seed=st.integers(0, 10**6),
    cluster=st.integers(7, 120), part=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)  # fmt: skip
def test_products_have_the_same_bits(
    cpp: Any, tmp_path_factory: pytest.TempPathFactory, kind: str, entries: int, seed: int, cluster: int,
    part: tuple[float, float],
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("random")
    if kind == "ntuple":
        cpp.write_ntuple(str(folder / "f.root"), entries, seed, cluster)
    else:
        cpp.write_tree(str(folder / "f.root"), kind == "vectors", entries, seed, cluster)
    place = Place(folder, folder / "f.root")
    first, last = sorted(int(of * entries) for of in part)
    last = max(last, first + 1) if first < entries else entries
    first = min(first, last - 1)
    for step in (every_bit, lazily):
        expected = numbers(place.run(step, cached=False, first=first, last=last))
        assert numbers(place.run(step, cached=True, first=first, last=last)) == expected
        moved = place.file.rename(folder / "gone.root") if step is every_bit else None
        assert numbers(place.run(step, cached=True, first=first, last=last)) == expected
        if moved is not None:
            moved.rename(place.file)
    found, filled = place.log[0]
    assert (found, filled > 20) == (0, True)
    assert place.log[1] == (filled, 0)


@pytest.fixture
def place(cpp: Any, tmp_path: Path) -> Place:
    cpp.write_tree(str(tmp_path / "f.root"), True, 100, 1, 30)
    return Place(tmp_path, tmp_path / "f.root")


def copied(frame: Any, sample: Sample) -> Mapping[str, Any]:
    return {"tree": frame.Filter("n > 0").Snapshot("copy", "copy.root", "")}


def in_a_tree(frame: Any, sample: Sample) -> Mapping[str, Any]:
    import ROOT

    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kTTree
    tree = frame.Snapshot("copy", "copy.root", ["n", "xo", "vo", "vd", "vc"], options)
    return {"copy": tree}


@pytest.mark.parametrize("kind", ["vectors", "ntuple"])
def test_copies_have_the_columns_types_and_values_of_the_file(cpp: Any, tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "f.root")
    if kind == "ntuple":
        cpp.write_ntuple(path, 200, 1, 30)
    else:
        cpp.write_tree(path, True, 200, 1, 30)
    place = Place(tmp_path, tmp_path / "f.root")
    expected = numbers(place.run(copied, cached=False, first=20, last=170))
    assert numbers(place.run(copied, cached=True, first=20, last=170)) == expected
    assert numbers(place.run(copied, cached=True, first=20, last=170)) == expected
    assert place.log[1][0] > 20


def test_a_tree_copied_to_a_tree_has_the_same_branches(place: Place) -> None:
    found = []
    for cached in (False, True, True):
        with uproot.open(place.run(in_a_tree, cached=cached)["copy"].items[0]["path"]) as file:
            found.append(({b.name: b.typename for b in file["copy"].branches}, repr(file["copy"].arrays().to_list())))
    assert found[0] == found[1] == found[2]
    assert place.log == [(0, 5), (5, 0)]


def test_the_frame_tells_of_its_columns_as_the_one_over_the_file(cpp: Any, tmp_path: Path) -> None:
    cpp.write_ntuple(str(tmp_path / "ntuple.root"), 10, 1, 30)
    cpp.write_tree(str(tmp_path / "leaves.root"), False, 10, 1, 30)
    cpp.write_tree(str(tmp_path / "vectors.root"), True, 10, 1, 30)
    for name in ("ntuple", "leaves", "vectors"):
        place, told = Place(tmp_path, tmp_path / f"{name}.root"), []

        def ask(frame: Any, sample: Sample, told: list[Any] = told) -> Mapping[str, Any]:
            import ROOT

            names = [str(column) for column in frame.GetColumnNames()]
            types = [str(frame.GetColumnType(column)) for column in names]
            label = str(ROOT.Internal.RDF.GetDataSourceLabel(ROOT.RDF.AsRNode(frame)))
            told.append((names, types, label, [bool(frame.HasColumn(column)) for column in [*names, "nothing"]]))
            return {"graph": frame.Filter("n > 0").Sum("n")}

        for cached in (False, True, True):
            place.run(ask, cached=cached)
        assert told[0] == told[1] == told[2]


def filtered(frame: Any, sample: Sample) -> Mapping[str, Any]:
    return {"n": frame.FilterAvailable("xi").Sum("xi")}


def defaulted(frame: Any, sample: Sample) -> Mapping[str, Any]:
    return {"n": frame.DefaultValueFor("xi", 5).Sum("xi")}


def converted(frame: Any, sample: Sample) -> Mapping[str, Any]:
    return {"n": frame.Take["double"]("xf")}


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        (filtered, "vectors", "FilterAvailable depends on the file"),
        (defaulted, "vectors", "DefaultValueFor depends on the file"),
        (copied, "leaves", "Snapshot of a tree with arrays also writes their lengths"),
        (converted, "ntuple", "column 'xf' is read as a type that is not kept"),
    ],
)
def test_what_needs_the_file_is_read_from_it_and_the_log_says_so(
    cpp: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, step: Step, kind: str, words: str
) -> None:
    path = str(tmp_path / "f.root")
    if kind == "ntuple":
        cpp.write_ntuple(path, 50, 1, 30)
    else:
        cpp.write_tree(path, kind == "vectors", 50, 1, 30)
    place = Place(tmp_path, tmp_path / "f.root")
    expected = numbers(place.run(step, cached=False))
    assert caplog.messages == []
    for _ in range(2):
        assert numbers(place.run(step, cached=True)) == expected
    assert len(caplog.messages) == 2
    assert all(words in message for message in caplog.messages)
    assert place.log == []


def test_columns_of_classes_are_read_from_the_file(cpp: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cpp.write_classes(str(tmp_path / "f.root"))
    place = Place(tmp_path, tmp_path / "f.root")

    def classes(frame: Any, sample: Sample) -> Mapping[str, Any]:
        node = frame.Define("y", "text.size() + nested[1][0]")
        return {"y": node.Histo1D(("y", "", 10, 0, 100), "y"), "x": node.Sum("x")}

    expected = numbers(place.run(classes, cached=False))
    assert numbers(place.run(classes, cached=True)) == expected
    assert "is read as a type that is not kept" in caplog.text


def simple(frame: Any, sample: Sample) -> Mapping[str, Any]:
    return {"x": frame.Filter("n > 0", "some").Sum("xl"), "v": frame.Histo1D(("v", "", 10, -3, 3), "vd")}


@pytest.mark.parametrize("kind", ["TTree", "RNTuple"])
def test_a_selection_has_the_bits_and_the_tree_that_it_has_without(root: Any, tmp_path: Path, kind: str) -> None:
    root.gInterpreter.Declare(f'#include "{FOLDER / "include" / "trigger.h"}"')
    path = write_events(tmp_path / "tree.root", make_events(200, seed=11))
    if kind == "RNTuple":
        options = root.RDF.RSnapshotOptions()
        options.fOutputFormat = root.RDF.ESnapshotOutputFormat.kRNTuple
        root.RDataFrame("wztree", str(path)).Snapshot("wztree", str(tmp_path / "ntuple.root"), "", options)
        path = tmp_path / "ntuple.root"
    place = Place(tmp_path, path, "wztree")

    def select(frame: Any, sample: Sample) -> Mapping[str, Any]:
        return book(full().replace(**few()), frame, sample_of("background"), folder=FOLDER, where="selection.yaml")

    expected = numbers(place.run(select, cached=False, first=10, last=190))
    assert numbers(place.run(select, cached=True, first=10, last=190)) == expected
    assert numbers(place.run(select, cached=True, first=10, last=190)) == expected
    (_, filled), again = place.log
    assert filled > 30
    assert again == (filled, 0)


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    "attack",
    [
        lambda folder: [damaged(path) for path in folder.rglob("*.column")],
        lambda folder: [os.truncate(path, path.stat().st_size // 2) for path in folder.rglob("*.column")],
        lambda folder: [path.unlink() for path in folder.rglob("*.column")],
        lambda folder: [path.unlink() for path in folder.rglob("schema")],
        lambda folder: [path.write_bytes(b"") for path in folder.rglob("*") if path.is_file()],
        shutil.rmtree,
    ],
    ids=["flipped", "truncated", "removed", "no schema", "empty", "no folder"],
)
def test_an_attacked_cache_is_filled_again(place: Place, columns: Path, attack: Callable[[Path], Any]) -> None:
    expected = numbers(place.run(simple, cached=False))
    for _ in range(2):
        assert numbers(place.run(simple, cached=True)) == expected
        attack(columns)
    assert numbers(place.run(simple, cached=True)) == expected
    assert numbers(place.run(simple, cached=True)) == expected
    assert place.log[0] == (0, 3)
    assert place.log[-1] == (3, 0)


def test_columns_that_go_while_they_are_read(place: Place, columns: Path) -> None:
    expected = numbers(place.run(simple, cached=True))

    def going(frame: Any, sample: Sample) -> Mapping[str, Any]:
        shutil.rmtree(columns)
        return simple(frame, sample)

    assert numbers(place.run(going, cached=True)) == expected
    assert place.log == [(0, 3), (0, 3)]


def test_without_space_chunks_are_read_as_ever(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    expected = numbers(place.run(simple, cached=False))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # Python ignores the signal: writing fails
    process = CachedChunks()
    try:
        with pytest.warns(PorticoWarning, match="columns are not kept any more: .*File too large"):
            found = numbers(place.run(simple, cached=True, process=process))
        again = numbers(place.run(simple, cached=True, process=process))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found == again == expected
    assert len(caplog.messages) == 1
    assert numbers(place.run(simple, cached=True)) == expected


def test_columns_leave_the_memory_after_the_chunk(place: Place, columns: Path) -> None:
    place.run(simple, cached=True)
    place.run(simple, cached=True)
    assert str(columns) not in Path("/proc/self/maps").read_text()


def test_a_chunk_that_killed_a_process_is_read_from_its_file(place: Place) -> None:
    expected = numbers(place.run(simple, cached=True))
    assert numbers(place.run(simple, cached=True, attempt=2)) == expected
    assert place.log == [(0, 3)]


@pytest.mark.parametrize("size", ["0", "1 kB"])
def test_a_limit_smaller_than_a_chunk(place: Place, monkeypatch: pytest.MonkeyPatch, columns: Path, size: str) -> None:
    expected = numbers(place.run(simple, cached=False))
    monkeypatch.setenv("PORTICO_COLUMNS_SIZE", size)
    for _ in range(3):
        assert numbers(place.run(simple, cached=True)) == expected
    held = [path for path in columns.rglob("*") if path.is_file()] if columns.exists() else []
    assert sum(path.stat().st_blocks * 512 for path in held) <= 1000


def test_a_file_that_changed_since_it_was_planned_fills_nothing(
    place: Place, columns: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.utime(place.file, (1, 1))
    expected = numbers(place.run(simple, cached=False))
    assert numbers(place.run(simple, cached=True)) == expected
    assert "was written to after the run was planned" in caplog.text
    assert list(columns.rglob("*.column")) == []


def test_a_step_that_fails_fails_with_the_same_words(place: Place) -> None:
    def wrong(frame: Any, sample: Sample) -> Mapping[str, Any]:
        return {"n": frame.Sum("nothing")}

    def thrown(frame: Any, sample: Sample) -> Mapping[str, Any]:
        return {"n": frame.Define("y", 'if (n > 1) throw std::runtime_error("too many"); return n;').Sum("y")}

    for step in (wrong, thrown):
        said = []
        for cached in (False, True):
            try:
                place.run(step, cached=cached)
            except Exception as error:  # ROOT's own classes
                said.append((type(error).__name__, str(error)))
        assert len(said) == 2
        assert said[0] == said[1]


# --- in runs

STEPS = "  - {name: fill, function: 'mysteps:fill', chunk: 100 entries}"
STEP = """
import ROOT, portico

@portico.step()
def fill(frame, sample, *, bins=10):
    some = frame.Filter("x > 3", "some")
    return {"x": some.Histo1D(("x", "", bins, 0, 10), "x", "w"), "cutflow": some.Report(), "n": some.Sum("event"),
            "tree": some.Snapshot("copy", "copy.root", ["x", "event"])}
"""


@pytest.fixture(scope="module")
def caching() -> Iterator[LocalExecutor]:
    """An executor with a cache: its process starts in the first of these tests, and serves all."""
    executor = LocalExecutor(1)
    yield executor
    executor.close()


def test_runs_have_the_same_results_and_read_columns_once(
    events: Path, make_analysis: Callable[..., Analysis], caching: LocalExecutor, columns: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = set(columns.rglob("*.column"))
    files = ", ".join(f"'{file}'" for file in sorted(events.glob("events*.root")))
    analysis = make_analysis(STEP, STEPS, f"    s: {{files: [{files}]}}")
    runs = [
        portico.run(analysis, folder=tmp_path / f"run{number}", executor=caching, cache=number > 0)
        for number in range(3)
    ]
    assert numbers_of(runs[0], "fill") == numbers_of(runs[1], "fill") == numbers_of(runs[2], "fill")
    trees = [ak.to_list(uproot.concatenate([f"{path}:copy" for path in run["fill"]["s"]["tree"]])) for run in runs]
    assert trees[0] == trees[1] == trees[2]
    assert len(set(columns.rglob("*.column")) - before) == 3 * 12
    hits = [read_status(tmp_path / f"run{number}").steps[0].total for number in range(3)]
    assert [(of.columns_found, of.columns_filled) for of in hits] == [(0, 0), (0, 36), (36, 0)]
    show_status(read_status(tmp_path / "run2"))
    assert re.search(r"columns found in the cache: fill 100%; \S+ kB in ", capsys.readouterr().out)


@pytest.mark.full
def test_a_file_that_was_replaced_is_read_again(
    make_analysis: Callable[..., Analysis], caching: LocalExecutor, tmp_path: Path
) -> None:
    path = tmp_path / "events.root"
    write_plain(path, np.random.default_rng(0), 250)
    analysis = make_analysis(STEP, STEPS, f"    s: {{files: ['{path}']}}")
    for seed in (1, 2):
        write_plain(path, np.random.default_rng(seed), 250)
        plain, cached = (
            portico.run(analysis, folder=tmp_path / f"{seed}{cache}", executor=caching, cache=cache)
            for cache in (False, True)
        )
        assert numbers_of(plain, "fill") == numbers_of(cached, "fill")


@pytest.mark.full
@pytest.mark.parametrize("cache", [False, True])
def test_a_damage_that_root_tells_once_is_told(
    events: Path, make_analysis: Callable[..., Analysis], tmp_path: Path, cache: bool
) -> None:
    code = 'def fill(frame, sample):\n    return {name: frame.Sum(name) for name in ("x", "w", "n")}\n'
    with closing(LocalExecutor(1)) as executor:
        for name in ("damaged", "again"):
            bad = damage(events / "events1.root", tmp_path / f"{name}.root")
            files = f"    s: {{files: ['{events}/events0.root', '{bad}']}}"
            analysis = make_analysis(code, "  - {name: fill, function: 'mysteps:fill'}", files)
            with pytest.raises((InputError, WorkerError), match=name):
                portico.run(analysis, folder=tmp_path / name, executor=executor, cache=cache)
