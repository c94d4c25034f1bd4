"""Run folders with invented results, and what a report of them holds."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from portico.analysis.chunks import Chunk
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Planned
from portico.runfolder.step_files import StepFiles

HOSTILE = """<script>alert('x')</script>"&{{ 7*7 }}"""
MANIFEST = {"analysis": "test", "file": "analysis.yaml", "portico": "1.2.3"}
RNG = np.random.default_rng(20260724)


def axis(bins: int, low: float, high: float, title: str = "m(#mu#pi) (GeV)", **more: Any) -> dict[str, Any]:
    return {"bins": bins, "low": low, "high": high, "edges": None, "title": title, "labels": {}, **more}


def histogram(entries: int, *, title: str = "m(#mu#pi) (GeV)", mean: float = 1.0, **more: Any) -> Product:
    edges = np.linspace(0, 2, 41)
    filled = RNG.normal(mean, 0.3, entries)
    values = np.concatenate([[np.sum(filled < 0)], np.histogram(filled, edges)[0], [np.sum(filled > 2)]]).astype(float)
    meta = {"class": "TH1D", "name": "h", "title": "", "axes": [axis(40, 0.0, 2.0, title)], **more}
    return Product(
        ProductKind.HISTOGRAM,
        meta,
        {"values": values, "sumw2": values.copy(), "stats": np.zeros(13), "entries": np.array([float(entries)])},
    )


def heat() -> Product:
    values = RNG.poisson(3, 12 * 12).astype(float)
    meta = {"class": "TH2D", "name": "h", "title": "", "axes": [axis(10, 0, 1, "x"), axis(10, 0, 1, "y")]}
    return Product(
        ProductKind.HISTOGRAM,
        meta,
        {"values": values, "sumw2": values.copy(), "stats": np.zeros(13), "entries": np.array([1.0])},
    )


def cutflow(*numbers: int, names: tuple[str, ...] = ("two muons", "opposite charge")) -> Product:
    arrays = {"all": np.array(numbers[:-1]), "passed": np.array(numbers[1:])}
    return Product(ProductKind.CUTFLOW, {"cuts": list(names)}, arrays)


def make_run(
    path: Path,
    results: dict[str, dict[str, Product]],
    *,
    state: str = "done",
    failure: str = "",
    values: Any = None,
    chunks: int = 2,
    manifest: Mapping[str, Any] | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a run folder as the driver does."""
    metrics = {
        "open": 0.1,
        "build": 0.9,
        "jit": 0.7,
        "loop": 2.0,
        "serialise": 0.05,
        "wall": 3.1,
        "cpu": 2.9,
        "wait": 0.2,
        "entries": 50_000,
        "bytes_read": 8_000_000,
        "peak_memory": 420_000_000,
        "started": 1.79e9,
        "ended": 1.79e9 + 3.4,
        "host": "node1",
        "process": 7,
    }
    with RunFolder(path).claim({**MANIFEST, **(manifest or {})}) as (_, ledger):
        planned = {
            name: [
                Planned(
                    name, i, f"{name}-{i}", Chunk(f"/data/{name}.root", "uuid", "Events", i * 50_000, (i + 1) * 50_000)
                )
                for i in range(chunks)
            ]
            for name in results
        }
        ledger.plan("histograms", 0, "frame", planned, others=False)
        every = [p for plan in planned.values() for p in plan]
        tried = {"started": 1.79e9 + 4, "ended": 1.79e9 + 5.5, "host": "node1", "process": 8}
        failed = [Attempt(every[-1].key, 1, "input", failure, metrics=tried)] if failure else []
        done = every[:-1] if failure else every
        ledger.commit([(Attempt(p.key, 1, "done", metrics=metrics), encode({}), []) for p in done], failed)
        for name, products in results.items():
            ledger.set_result("histograms", name, "key", encode(products))
        ledger.set_state("histograms", state, 7.5, 2, "local")
        if values is not None:
            ledger.plan("limits", 1, "summary", {}, others=False)
            ledger.set_state("limits", "done", 1.0, 1, "local")
            text = json.dumps(values)
            files = {**(pictures or {}), "summary.json": text.encode()}
            StepFiles(path, "limits", ledger).write("key", files, text)
    return path


def unpacked(report: str) -> dict[str, Any]:
    """Return the data of a report: the index and the parts by name."""
    found = re.findall(r'<script type="text/plain" id="([a-z0-9-]+)">([^<]*)</script>', report)
    return {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in found}


def drawn(report: str, step: str, category: str, variable: str, variation: str = "") -> dict[str, Any]:
    """Return what the report has of a histogram."""
    data = unpacked(report)
    places = {tuple(of[:3]): of[3:] for of in data["index"]["plots"][step]}
    part, place = places[category, variable, variation]
    content: dict[str, Any] = data[f"part-{part}"][place]
    return content
