"""The selection of the reference analysis against the same loop written by hand in C++ with TTreeReader.

Usage: python bench/selection.py [EVENTS]

All corrections, about 50 histograms in 7 selections, one core. Background events are simulated and skimmed once into
the cache, as RNTuple and as TTree with the original's types; one file is read repeatedly for EVENTS (100,000) events.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from _common import CACHE, scratch

import portico
from portico import root
from portico.analysis.analysis import load_analysis
from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.corrections.schema import content_of, pick, read_set
from portico.executors.local import LocalExecutor
from portico.selection import book, load_selection, resolve
from portico.selection.resolve import element_type
from portico.worker.frame import run_chunk

MADE = 20_000  # events in the file
TIMES = 3
SAMPLE = Sample(name="background", kind="background", cross_section=1.0, luminosity=0.001, processed_events=1.0)
VECTORS = """
template <typename T>
ROOT::RDF::RNode bench_vectors(ROOT::RDF::RNode node, const std::vector<std::string> &names) {
  for (const auto &name : names)
    node = node.Redefine(name, [](const ROOT::RVec<T> &x) { return std::vector<T>(x.begin(), x.end()); }, {name});
  return node;
}
"""


def ntuples() -> dict[str, Path]:
    """Return the files of simulated and skimmed events by format; they are made once."""
    place = CACHE / f"select-{MADE}"
    files = {kind: place / f"{kind}.root" for kind in ("TTree", "RNTuple")}
    if all(file.exists() for file in files.values()):
        return files
    with scratch() as folder:
        sample = f"{{kind: background, entries: {MADE}, parameters: {{process: background, seed: 3, min_muons: 2}}}}"
        steps = "[{name: simulate, function: 'hnl.simulate:simulate', chunk: 5000 entries}, "
        steps += "{name: skim, function: 'hnl.skim:skim', input: simulate}]"
        text = f"name: bench\ndataset: {{samples: {{background: {sample}}}}}\nsteps: {steps}\n"
        (folder / "analysis.yaml").write_text(text)
        executor = LocalExecutor(2)
        try:
            run = portico.run(load_analysis(folder), folder=folder / "run", executor=executor)
        finally:
            executor.close()
        place.mkdir(parents=True, exist_ok=True)
        for kind, file in files.items():
            copy(list(run["skim"]["background"]["wztree"]), file, kind)
    return files


def copy(files: list[str], to: Path, kind: str) -> None:
    """Write ntuples into one file; a TTree with the types of the original."""
    ROOT = root.load()
    frame = ROOT.RDataFrame("wztree", files)
    names = [str(name) for name in frame.GetColumnNames()]
    node = ROOT.RDF.AsRNode(frame)
    if kind == "TTree":
        ROOT.gInterpreter.Declare(VECTORS)
        elements = {name: element_type(str(frame.GetColumnType(name))) for name in names}
        for element in sorted({element for element in elements.values() if element}):
            node = ROOT.bench_vectors[element](node, [name for name in names if elements[name] == element])
        for name, number in (("run", "int"), ("lumi", "float"), ("event", "int")):
            node = node.Redefine(name, f"static_cast<{number}>({name})")
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = getattr(ROOT.RDF.ESnapshotOutputFormat, f"k{kind}")
    options.fCompressionAlgorithm, options.fCompressionLevel = ROOT.RCompressionSetting.EAlgorithm.kZSTD, 5
    part = to.with_suffix(".part")
    node.Snapshot("wztree", str(part), names, options)
    part.rename(to)


def selection(*, varied: bool, tree: bool) -> Any:
    """Return the selection with only the rule by mass, and with or without variations and tree."""
    from hnl.select import FOLDER

    full = load_selection(FOLDER / "selection.yaml", switch={"weights": True, "shapes": True})
    full = full.replace(choose="per category", inclusive="preselection")  # as the hand-written loop
    fields: dict[str, Any] = {"rules": {"mass": full.rules["mass"]}, **({} if tree else {"output": None})}
    if not varied:
        none: dict[str, Any] = {"variations": {}}
        fields["weights"] = {name: weight.model_copy(update=none) for name, weight in full.weights.items()}
        fields["shapes"] = {name: s.model_copy(update=none) for name, s in full.shapes.items() if s.nominal}
    return full.model_copy(update=fields)


def serve(file: str, what: str, folder: Path) -> None:
    """Read the file as often as each number on standard input says, and answer in JSON; runs in its own process."""
    from hnl.select import FOLDER

    ROOT = root.load()
    ROOT.gInterpreter.Declare(f'#include "{FOLDER / "include" / "trigger.h"}"')
    chosen = selection(varied="varied" in what, tree="tree" in what)
    with uproot.open(file) as opened:
        chunk = Chunk(file, "", "wztree", 0, opened["wztree"].num_entries)

    def step(frame: Any, sample: Sample) -> dict[str, Any]:
        return book(chosen, frame, sample, folder=FOLDER, where="selection.yaml")

    for line in sys.stdin:
        wall, cpu, loop = time.perf_counter(), time.process_time(), 0.0
        for _ in range(int(line)):
            products, timing = run_chunk(step, chunk, SAMPLE, {}, folder)
            loop += timing.loop
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        arrays = {f"{name}/{part}": product.arrays[part] for name, product in products.items()
                  for part in ("values", "sumw2") if part in product.arrays}  # fmt: skip
        np.savez(folder / "products.npz", **{name.replace("/", "|"): values for name, values in arrays.items()})
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print("=" + json.dumps({"wall": wall, "cpu": cpu, "loop": loop, "MB": memory}), flush=True)


class Portico:
    """A process that runs the selection on request."""

    def __init__(self, file: Path, what: str, folder: Path) -> None:
        command = [sys.executable, __file__, "serve", str(file), what, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, passes: int) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{passes}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("="):
                answer: dict[str, float] = json.loads(line[1:])
                return answer
        raise RuntimeError("the process of the selection has ended; its message is above")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class ByHand:
    """The hand-written loop, built with g++ against the installed ROOT and correctionlib."""

    def __init__(self, file: Path, folder: Path) -> None:
        import correctionlib

        from hnl.select import FOLDER

        self._file, self._folder = file, folder
        ROOT = root.load()
        places = [Path(package.__file__).parent for package in (ROOT, correctionlib)]
        source = Path(__file__).with_name("selection_loop.cpp")
        command = ["g++", "-std=c++17", "-O2", str(source), "-o", str(folder / "loop")]
        for place in places:
            command += ["-isystem", f"{place}/include", f"-L{place}/lib", f"-Wl,-rpath,{place}/lib"]
        command += [f"-Wl,-rpath-link,{places[0].with_name('root.libs')}"]
        libraries = ("Core", "RIO", "Tree", "TreePlayer", "Hist", "MathCore", "correctionlib")
        subprocess.run(command + [f"-l{library}" for library in libraries], check=True)

        chosen = selection(varied=False, tree=False)
        frame = ROOT.RDataFrame("wztree", str(file))
        columns = {str(name): str(frame.GetColumnType(name)) for name in frame.GetColumnNames()}
        filled = resolve(chosen, columns, SAMPLE).histograms
        lines = [f"{h.name} {h.column} {h.bins} {h.edges[0]} {h.edges[-1]}\n" for h in filled]
        (folder / "histograms").write_text("".join(lines))
        for name, correction in chosen.corrections.items():
            function = pick(read_set(content_of(FOLDER / correction.file), name), correction.name or name, name)
            (folder / f"{name}.json").write_text(function.text(correction.range))
        self.histograms = len(filled)

    def __call__(self, passes: int) -> dict[str, float]:
        command = [str(self._folder / "loop"), str(self._folder / "histograms"), str(self._folder)]
        command += [str(self._folder / "by_hand.root"), "1", *[str(self._file)] * passes]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        return {"loop": float(answer[0]), "cpu": float(answer[1])}


def check(folder: Path) -> float:
    """Compare the histograms of both; return the largest relative difference of contents and squared weights."""
    largest, found = 0.0, np.load(folder / "products.npz")
    with uproot.open(folder / "by_hand.root") as file:
        for name, histogram in file.items(cycle=False):
            parts = {"values": histogram.values(flow=True), "sumw2": histogram.variances(flow=True)}
            for part, expected in parts.items():
                difference = np.abs(found[f"{name}|{part}"] - expected)
                largest = max(largest, float(np.max(difference / np.maximum(np.abs(expected), 1e-300))))
    return largest


def measure(kind: str, file: Path, what: str, passes: int, times: int, by_hand: ByHand | None = None) -> None:
    """Print the rate and memory of the selection, and the ratio to the hand-written loop if there is one."""
    events = MADE * passes
    with scratch() as folder:
        selected = Portico(file, what, folder)
        try:
            cold = selected(1)
            pairs = [(selected(passes), by_hand(passes) if by_hand else {}) for _ in range(times)]
        finally:
            selected.close()
    median = {key: statistics.median(run[key] for run, _ in pairs) for key in ("wall", "cpu", "loop", "MB")}
    print(f"{kind}, {what}: {events / median['wall']:,.0f} events/s/core (loop alone {events / median['loop']:,.0f}, "
          f"by CPU time {events / median['cpu']:,.0f}), peak {median['MB']:.0f} MB; cold, first {MADE:,} events: "
          f"{cold['wall']:.1f} s, {cold['cpu']:.1f} s CPU", flush=True)  # fmt: skip
    if by_hand:
        loop = statistics.median(hand["loop"] for _, hand in pairs)
        ratios = [statistics.median(run[key] / hand[key] for run, hand in pairs) for key in ("loop", "cpu")]
        total = statistics.median(run["wall"] / hand["loop"] for run, hand in pairs)
        print(f"{kind}, by hand: {events / loop:,.0f} events/s/core; portico / by hand: loop {ratios[0]:.2f}, "
              f"CPU {ratios[1]:.2f}, total {total:.2f}", flush=True)  # fmt: skip


def main() -> None:
    passes = max(1, (int(sys.argv[1]) if len(sys.argv) > 1 else 100_000) // MADE)
    files = ntuples()
    with scratch() as folder:
        by_hand = ByHand(files["TTree"], folder)
        once = Portico(files["TTree"], "nominal", folder)
        try:
            once(1)
        finally:
            once.close()
        by_hand(1)
        difference = check(folder)
        print(f"{by_hand.histograms} histograms x 7, portico against by hand: differ by {difference:.1e} at most")
        assert difference < 1e-12, "the hand-written loop does something else than selection.yaml"
        print(f"a file of {MADE:,} events read {passes} times")
        measure("TTree", files["TTree"], "nominal", passes, TIMES, by_hand)
    for what, times in (("nominal", TIMES), ("varied", 1), ("varied and tree", 1)):
        measure("RNTuple", files["RNTuple"], what, passes, times)
    measure("TTree", files["TTree"], "varied", passes, 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
