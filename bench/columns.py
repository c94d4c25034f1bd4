"""Passes of one step over one file: from the file, filling the column cache, and from the cache.

Usage: python bench/columns.py [EVENTS]

A million events of 15 columns, of about 2.7 candidates each: a best candidate and 14 histograms. TTree of
`std::vector` and RNTuple, both zstd; one core. Each kind has a process of its own; the first pass of all compiles the
step. The passes are interleaved; CPU seconds are medians. Results are compared bit by bit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _common import CACHE, scratch

from portico import root
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.columns import column_cache
from portico.files import summarise
from portico.results.product import Product
from portico.worker.cached import CachedChunk, CachedChunks
from portico.worker.frame import run_chunk
from portico.worker.task import Task

TIMES = 3
CODE = r"""
#include <ROOT/RDataFrame.hxx>
#include <TRandom3.h>
void bench_make(int events, const std::string &path, bool ntuple) {
  auto random = std::make_shared<TRandom3>(1);
  auto number = [=] { return static_cast<int>(random->Poisson(2.7)); };
  auto node = ROOT::RDF::RNode(ROOT::RDataFrame(events)).Define("n", number);
  std::vector<std::string> names{"run"};
  auto numbers = [=](int n) { std::vector<float> v(n); for (auto &x : v) x = random->Gaus(); return v; };
  auto charges = [=](int n) { std::vector<int> v(n); for (auto &x : v) x = random->Integer(10); return v; };
  for (auto name : {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "i0", "i1"}) {
    names.push_back(name);
    node = *name == 'c' ? node.Define(name, numbers, {"n"}) : node.Define(name, charges, {"n"});
  }
  node = node.Define("run", [=] { return static_cast<int>(random->Integer(100)); });
  ROOT::RDF::RSnapshotOptions options;
  options.fCompressionAlgorithm = ROOT::RCompressionSetting::EAlgorithm::kZSTD;
  options.fCompressionLevel = 5;
  options.fVector2RVec = false;
  using Format = ROOT::RDF::ESnapshotOutputFormat;
  options.fOutputFormat = ntuple ? Format::kRNTuple : Format::kTTree;
  if (ntuple) options.fApproxZippedClusterSize = 8000000; else options.fAutoFlush = 50000;
  node.Snapshot("Events", path, names, options);
}
int bench_best(const ROOT::RVecF &a, const ROOT::RVecF &b, const ROOT::RVecI &charge) {
  int best = -1;
  for (int i = 0; i < static_cast<int>(a.size()); ++i)
    if (a[i] > -1 && b[i] < 2 && charge[i] > 0 && (best < 0 || a[i] > a[best])) best = i;
  return best;
}
float bench_at(const ROOT::RVecF &values, int i) { return values[i]; }
"""


def step(frame: Any, sample: Sample) -> dict[str, Any]:
    """Choose a candidate, and fill 14 histograms."""
    node = frame.Define("best", "bench_best(c0, c1, i0)").Filter("best >= 0", "candidate")
    for i in range(12):
        node = node.Define(f"x{i}", f"bench_at(c{i}, best)")
    filled = {f"x{i}": node.Histo1D((f"x{i}", "", 100, -5, 5), f"x{i}") for i in range(12)}
    charge = node.Define("charge", "i1[best]").Histo1D(("charge", "", 10, 0, 10), "charge")
    return {**filled, "charge": charge, "run": node.Histo1D(("run", "", 100, 0, 100), "run"), "cutflow": node.Report()}


class Passes:
    """Passes over one file, in this process."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._summary, self._folder = summarise(str(file), "Events"), folder
        self._expected: dict[tuple[str, str], bytes] | None = None

    def __call__(self, source: str) -> float:
        """Run a pass, with columns that are kept under ``source`` if it is not empty; return CPU seconds."""
        file = self._summary
        chunk = Chunk(file.file, file.uuid, file.tree, 0, file.entries)
        task = Task("key", 1, chunk, "bench:step", {}, {}, str(self._folder), source=source, version=file.version)
        start = time.process_time()
        products = CachedChunks().run(task, "", self._folder, self._run)
        seconds = time.process_time() - start
        found = {(name, key): array.tobytes() for name, of in products.items() for key, array in of.arrays.items()}
        self._expected = self._expected or found
        if found != self._expected:
            raise RuntimeError("the results differ")
        return seconds

    def _run(self, task: Task, cached: CachedChunk | None) -> Mapping[str, Product]:
        if (cached is None) != (not task.source):
            raise RuntimeError("the column cache was not used; its reason is above")
        return run_chunk(step, task.chunk, Sample(name="s"), {}, self._folder, scratch=self._folder, cached=cached)[0]


def measure(file: Path, folder: Path) -> None:
    """Print the CPU seconds of each kind of pass."""
    passes = Passes(file, folder)
    first = passes("")
    headers = passes("0")
    seconds = {
        "from the file": [passes("")], "first pass, which fills": [passes("1")], "next pass": [passes("1")],
    }  # fmt: skip
    for number in range(2, TIMES + 1):
        for name, source in zip(seconds, ("", str(number), str(number)), strict=True):
            seconds[name].append(passes(source))
    cache = column_cache()
    kept = sum(held.size for held in cache.held()) / (TIMES + 1) / 1e6 if cache is not None else 0.0
    plain = statistics.median(seconds["from the file"])
    print(f"{file.stem}: {file.stat().st_size / 1e6:.0f} MB, {kept:.0f} MB in the cache; CPU seconds")
    print(f"  {'from the file, compiling the step':34}{first:7.2f}")
    for name, of in seconds.items():
        median = statistics.median(of)
        print(f"  {name:34}{median:7.2f}  {min(of):.2f}-{max(of):.2f}  {plain / median:5.2f} times as fast")
    extra = headers - statistics.median(seconds["first pass, which fills"])
    print(f"  {'compiling the headers, once':34}{extra:7.2f}", flush=True)


def main() -> None:
    """Make the files once, and measure in a process for each."""
    if len(sys.argv) > 2:
        root.load().gInterpreter.Declare(CODE)
        measure(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    place = CACHE / f"columns-{events}"
    files = [place / "TTree.root", place / "RNTuple.root"]
    if not all(file.exists() for file in files):
        place.mkdir(parents=True, exist_ok=True)
        ROOT = root.load()
        ROOT.gInterpreter.Declare(CODE)
        for file in files:
            ROOT.bench_make(events, str(file), file.stem == "RNTuple")
    for file in files:
        with scratch() as folder:
            environment = {**os.environ, "PORTICO_COLUMNS": str(folder / "columns")}
            subprocess.run([sys.executable, __file__, str(file), str(folder)], env=environment, check=True)


if __name__ == "__main__":
    main()
