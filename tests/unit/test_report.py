"""The report: complete, self-contained, safe against what users write, the same twice, and quick."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portico.analysis.chunks import Chunk
from portico.errors import RunFolderError
from portico.report import write_report
from portico.report.svg import curve, draw, to_text
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Planned
from portico.runfolder.step_files import StepFiles

HOSTILE = """<script>alert('x')</script>"&{{ 7*7 }}"""
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
        ProductKind.HISTOGRAM, meta,
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
    }
    with RunFolder(path).claim({"analysis": "test", "file": "analysis.yaml", "portico": "1.2.3"}) as (_, ledger):
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
        failed = [Attempt(every[-1].key, 1, "input", failure)] if failure else []
        done = every[:-1] if failure else every
        ledger.commit([(Attempt(p.key, 1, "done", metrics=metrics), encode({}), []) for p in done], failed)
        for name, products in results.items():
            ledger.set_result("histograms", name, "key", encode(products))
        ledger.set_state("histograms", state, 7.5, 2, "local")
        if values is not None:
            ledger.plan("limits", 1, "summary", {}, others=False)
            ledger.set_state("limits", "done", 1.0, 1, "local")
            text = json.dumps(values)
            StepFiles(path, "limits", ledger).write("key", {"summary.json": text.encode()}, text)
    return path


class Tags(HTMLParser):
    """Collects every tag, and the addresses that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in {"src", "href", "data", "srcset", "xlink:href"}
        ]


def parse(text: str) -> Tags:
    parser = Tags()
    parser.feed(text)
    return parser


def test_report_says_what_ran_and_what_came_out(tmp_path: Path) -> None:
    products = {
        "mass": histogram(5000),
        "cutflow": cutflow(1000, 554, 415),
        "n": Product(ProductKind.COUNT, {"operation": "Count"}, {"value": np.array([415])}),
    }
    path = make_run(
        tmp_path / "run",
        {"signal": products, "data": products},
        values={"limits": {"a": {"obs": 1.25, "exp": [0.5, 1.0]}, "b": {"obs": 2.5, "exp": [1, 2]}}},
    )
    text = write_report(path).read_text()
    for expected in (
        "histograms",
        "limits",
        "1.2.3",
        "opposite charge",
        "415",
        "41.5%",
        "signal",
        "200,000",
        "420 MB",
        "local",
        "1.25",
        "0.5, 1",
    ):
        assert expected in text, expected
    assert text.count('<svg class="plot"') == 1
    assert "scaled to unit area" in text
    assert "partial" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)


def test_report_is_one_file_that_loads_nothing(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"signal": {"mass": histogram(10), "map": heat()}})
    (path / "histograms").mkdir(exist_ok=True)
    text = write_report(path).read_text()
    page = parse(text)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert "img" in page.tags
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in page.addresses)
    assert not re.search(r"url\(|@import", text)


def test_hostile_names_and_messages_are_text(tmp_path: Path) -> None:
    products = {
        HOSTILE: histogram(10, title=HOSTILE),
        "cutflow": cutflow(10, 5, 1, names=(HOSTILE, "b")),
        "map": heat(),
    }
    path = make_run(
        tmp_path / "run",
        {"s<b>": products, "t": products},
        state="failed",
        failure=HOSTILE,
        values={HOSTILE: {HOSTILE: HOSTILE}, "x": [HOSTILE]},
    )
    text = write_report(path).read_text()
    page = parse(text)
    assert "script" not in page.tags
    assert "b" not in {tag for tag in page.tags if "<s<b" in text}
    assert "<script>alert" not in text
    assert "s&lt;b&gt;" in text
    assert "{{ 7*7 }}" in text
    assert "49" not in re.findall(r">\s*49\s*<", text)


def test_partial_run_is_marked_at_the_top_and_on_every_plot(tmp_path: Path) -> None:
    products = {f"h{i}": histogram(100) for i in range(3)}
    path = make_run(tmp_path / "run", {"data": products}, state="partial", failure="page checksum verification failed")
    text = write_report(path).read_text()
    assert text.index("This run is partial") < text.index("<section")
    assert text.count(">PARTIAL<") == 3
    assert "page checksum verification failed" in text
    assert "/data/data.root" in text
    assert "1 of 2 chunks are missing" in text


def test_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"data": {"mass": histogram(100), "map": heat()}})
    first = write_report(path, tmp_path / "a.html").read_bytes()
    assert write_report(path, tmp_path / "b.html").read_bytes() == first


def test_many_histograms_stay_quick_and_light(tmp_path: Path) -> None:
    results = {f"s{i}": {f"{cat}_{v}": histogram(2000) for cat in "abcdefg" for v in range(50)} for i in range(7)}
    path = make_run(tmp_path / "run", results)
    started = time.perf_counter()
    text = write_report(path).read_text()
    assert time.perf_counter() - started < 15
    assert text.count('<svg class="plot"') == 350
    assert len(text) < 12_000_000
    assert text.count("<details") >= 7


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"s": {f"h{i}": histogram(5) for i in range(405)}})
    assert (
        "The last 5 are not shown; they are in <code>histograms/results.root</code>" in write_report(path).read_text()
    )


def test_variations_have_no_plot_of_their_own(tmp_path: Path) -> None:
    varied = {
        "mass": histogram(5, variation=["mass", "nominal"]),
        "mass_pt_up": histogram(5, variation=["mass", "pt:up"]),
    }
    text = write_report(make_run(tmp_path / "run", {"s": varied})).read_text()
    assert text.count('<svg class="plot"') == 1
    assert "1 systematic variations" in text


def test_nested_values_become_tables_where_they_are_like_one(tmp_path: Path) -> None:
    channel = {"limit": {"observed": 1.5, "expected": [0.5, 1.0]}, "n": 3}
    odd = {"limit": None, "n": 1}
    values = {
        "samples": {"m1": {"mass": 1.0, "channels": {"a": channel, "b": channel, "c": odd}}},
        "deep": [1, [2, {"x": [3]}]],
    }
    text = write_report(make_run(tmp_path / "run", {"s": {"mass": histogram(5)}}, values=values)).read_text()
    for expected in ("limit observed", "limit expected", "<td>0.5, 1</td>"):
        assert expected in text


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such folder"):
        write_report(tmp_path / "nothing")


@pytest.mark.parametrize("entries", [0, 1])
def test_nearly_empty_histogram_is_drawn(entries: int) -> None:
    picture = draw("mass", {"s": curve(histogram(entries))}, {"s": "#000"}, unit_area=True)
    assert ("no entries" in picture) == (entries == 0)
    assert "nan" not in picture


def test_negative_weights_and_named_bins_are_drawn() -> None:
    product = histogram(1000)
    product.arrays["values"][1:20] = -50
    labels = {str(i): f"<{i}>" for i in range(1, 41)}
    named = Product(ProductKind.HISTOGRAM, {**product.meta, "axes": [axis(40, 0, 2, labels=labels)]}, product.arrays)
    picture = draw("mass", {"s": curve(named)}, {"s": "#000"}, unit_area=False)
    assert "&lt;1&gt;" in picture
    assert "nan" not in picture


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("m(#mu#pi) (GeV)", "m(μπ) (GeV)"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("#unknown", "unknown"),
        (r"$\mu$", "μ"),
        ("C_Ds_mass", "C_Ds_mass"),
    ],
)
def test_titles_written_for_root(title: str, expected: str) -> None:
    assert to_text(title) == expected


def test_subscripts() -> None:
    assert re.fullmatch(r'p<tspan dy="3"[^>]*>T</tspan><tspan dy="-3">&#8203;</tspan>', to_text("p_{T}"))


def test_long_labels_fit_into_the_picture() -> None:
    short = draw("mass", {"s": curve(histogram(5, title="m (GeV)"))}, {"s": "#000"}, unit_area=True)
    long = draw("mass", {"s": curve(histogram(5, title="significance " * 9))}, {"s": "#000"}, unit_area=True)
    assert "textLength" not in short
    assert "textLength" in long
    assert "…</text>" in long
