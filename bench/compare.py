"""Time and memory to compare two runs: a million events with 20 columns, 800 histograms of 100 bins.

Usage: python bench/compare.py [EVENTS]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from _common import scratch

from portico.analysis.chunks import Chunk
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Planned

SAMPLES, HISTOGRAMS, BINS, LISTS, VALUES = 10, 800, 100, 12, 5
CODE = """
import json, resource, sys, time
from portico.compare import compare
began = time.perf_counter()
found = compare(sys.argv[1], sys.argv[2])
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, found.verdict]))
"""


def columns(events: np.ndarray) -> dict[str, ak.Array]:
    """Return the same numbers for the same events, independent of their order and chunks."""
    counts = events % 4 + 1
    total = int(counts.sum())
    made = {
        "run": ak.Array(np.full(len(events), 315257, np.uint32)),
        "lumi": ak.Array((events // 1000).astype(np.uint32)),
        "event": ak.Array(events.astype(np.uint64)),
    }
    element = np.repeat(events, counts) * 7 + np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    for i in range(LISTS):
        made[f"C_{i}"] = ak.unflatten(np.sin(element + i).astype(np.float32), counts)
    for i in range(VALUES):
        made[f"x{i}"] = ak.Array(np.cos(events + i))
    return made


def histogram(random: np.random.Generator) -> Product:
    values = random.poisson(50, BINS + 2).astype(float)
    axis = {"bins": BINS, "low": 0.0, "high": 1.0, "edges": None, "title": "", "labels": {}}
    arrays = {"values": values, "sumw2": values * 1.5, "stats": np.zeros(13), "entries": np.array([values.sum()])}
    return Product(ProductKind.HISTOGRAM, {"class": "TH1D", "name": "h", "title": "", "axes": [axis]}, arrays)


def run_folder(path: Path, order: np.ndarray, chunks: int, samples: int = SAMPLES) -> Path:
    """Write a run with events in a given order, and with its events and histograms split over samples and chunks."""
    random = np.random.default_rng(1)
    with RunFolder(path).claim({"analysis": "bench", "file": "analysis.yaml", "portico": "1"}) as (_, ledger):
        parts = np.array_split(np.arange(len(order)), samples)
        planned = {}
        for number, part in enumerate(parts):
            files = []
            for place, rows in enumerate(np.array_split(part, chunks)):
                file = path / f"{number}-{place}.root"
                with uproot.recreate(file) as out:
                    out.mkrntuple("candidates", columns(order[rows]))
                files.append({"path": str(file), "size": file.stat().st_size})
            products = {f"h{i}": histogram(random) for i in range(HISTOGRAMS // samples)}
            products["candidates"] = Product(ProductKind.TREE, {"tree": "candidates"}, {}, tuple(files))
            name = f"s{number}"
            planned[name] = [Planned(name, 0, name, Chunk("/data.root", "uuid", "Events", 0, len(part)))]
            ledger.set_result("select", name, name, encode(products))
        ledger.plan("select", 0, "frame", planned, others=False)
        ledger.commit([(Attempt(name, 1, "done"), encode({}), []) for name in planned])
        ledger.set_state("select", "done", 1.0, 1, "local")
    return path


def measure(what: str, first: Path, second: Path, aim: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, first, second], check=True, capture_output=True, text=True)
    seconds, cpu, memory, verdict = json.loads(done.stdout)
    print(f"{what}: {seconds:.1f} s, {cpu:.1f} s of CPU, {memory / 1e6:.0f} MB peak ({aim}); {verdict}")


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    order = np.arange(events)
    shuffled = np.random.default_rng(2).permutation(order)
    with scratch() as folder:
        first = run_folder(folder / "first", order, 10)
        measure("itself", first, first, "aim 5 s, 500 MB")
        measure("other chunks", first, run_folder(folder / "chunks", order, 7), "aim 20 s, 1000 MB")
        one = run_folder(folder / "one", order, 100, samples=1)
        other = run_folder(folder / "shuffled", shuffled, 70, samples=1)
        measure("one sample in another order", one, other, "aim 40 s, 1500 MB")


if __name__ == "__main__":
    main()
