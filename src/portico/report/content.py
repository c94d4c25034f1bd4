"""The content of a report as plain values, read from the run folder."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from portico.analysis.blinding import Blinding
from portico.monitor.metrics import StepMetrics, step_metrics
from portico.plot.style import COLORS
from portico.report.svg import curve, draw
from portico.results.kinds import KINDS
from portico.results.product import ProductKind
from portico.runfolder.folder import RunFolder
from portico.runfolder.load import Run
from portico.runfolder.step_files import StepFiles
from portico.runfolder.version import STALE

if TYPE_CHECKING:
    from portico.results.cutflow import Cutflow
    from portico.results.kinds import Traits
    from portico.results.product import Product
    from portico.results.view import Results
    from portico.runfolder.ledger import Ledger

__all__ = ["CutflowTable", "Group", "Page", "StepPage", "read"]

MOST_PLOTS = 400
MOST_MAPS = 12
_STATES = ("failed", "partial", "running", "planned")


@dataclass(frozen=True, slots=True)
class Group:
    """Plots under one heading."""

    name: str
    plots: tuple[Markup, ...]


@dataclass(frozen=True, slots=True)
class CutflowTable:
    """One cutflow for all samples with the same cuts."""

    name: str
    cuts: tuple[str, ...]
    flows: Mapping[str, Cutflow]


@dataclass(slots=True)
class StepPage:
    """The content of one step."""

    metrics: StepMetrics
    stale: tuple[str, ...] = ()
    began: str = ""
    ended: str = ""
    legend: Mapping[str, str] = field(default_factory=dict)
    cutflows: Sequence[CutflowTable] = ()
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    written: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    groups: Sequence[Group] = ()
    plots: int = 0
    left_out: int = 0
    variations: int = 0
    maps: Sequence[tuple[str, str]] = ()
    maps_left_out: int = 0
    summary: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The content of the entire report."""

    manifest: Mapping[str, Any]
    folder: str
    state: str
    began: str
    ended: str
    steps: Sequence[StepPage]


def read(path: Path) -> Page:
    """Read a run folder.

    Raises
    ------
    RunFolderError
        If it is not a run folder.
    """
    folder = RunFolder(path)
    manifest = folder.manifest()
    run = Run(path)
    ledger = folder.open_ledger()
    try:
        steps = [_read_step(run, ledger, name, manifest) for name in run]
    finally:
        ledger.close()
    states = run.states.values()
    state = next((state for state in _STATES if state in states), "done")
    began, ended = [s.began for s in steps if s.began], [s.ended for s in steps if s.ended]
    return Page(manifest, path.name, state, min(began, default=""), max(ended, default=""), steps)


def _read_step(run: Run, ledger: Ledger, name: str, manifest: Mapping[str, Any]) -> StepPage:
    page = StepPage(step_metrics(ledger, name), run.stale.get(name, ()))
    times = [m for _, _, m in ledger.metrics(name)]
    page.began = _moment(min((m["started"] for m in times if "started" in m), default=None))
    page.ended = _moment(max((m["ended"] for m in times if "ended" in m), default=None))
    if page.metrics.kind == "summary":
        if run.version.steps[name].files is not None:
            page.summary = run.summary(name)
        files = StepFiles(run.path, name, ledger)
        pictures = sorted(item["name"] for item in files.items() if item["name"].endswith(".png"))
        page.pictures = [(Path(picture).stem, _data_uri(files.path(picture).read_bytes())) for picture in pictures]
        return page
    samples = dict(run[name])
    page.legend = dict(zip(samples, itertools.cycle(COLORS), strict=False))
    page.cutflows = list(_cutflows(samples))
    page.numbers = _table(samples, lambda traits: traits.is_number, lambda r, n: r[n])
    page.written = _table(samples, lambda traits: traits.extent is not None, _extent)
    marks = ["PARTIAL"] * (page.metrics.state == "partial") + [STALE] * bool(page.stale)
    mark = ", ".join(marks)
    blind = Blinding.from_manifest(manifest)
    _add_plots(page, samples, mark, blind)
    _add_maps(page, samples, mark, blind)
    return page


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _names(samples: Mapping[str, Results]) -> Iterator[str]:
    """Return the products of all samples in order, each once, without systematic variations."""
    everything = dict.fromkeys(name for results in samples.values() for name in results)
    for name in everything:
        product = next(results.products[name] for results in samples.values() if name in results)
        if product.meta.get("variation", ["", "nominal"])[1] == "nominal":
            yield name


def _having(samples: Mapping[str, Results], name: str) -> dict[str, Product]:
    return {sample: results.products[name] for sample, results in samples.items() if name in results}


def _cutflows(samples: Mapping[str, Results]) -> Iterator[CutflowTable]:
    for name in _names(samples):
        having = _having(samples, name)
        flows = {s: samples[s][name] for s, product in having.items() if product.kind is ProductKind.CUTFLOW}
        for cuts in dict.fromkeys(flow.cuts for flow in flows.values()):
            yield CutflowTable(name, cuts, {s: flow for s, flow in flows.items() if flow.cuts == cuts})


def _table(
    samples: Mapping[str, Results], fits: Callable[[Traits], bool], value: Callable[[Results, str], Any]
) -> dict[str, dict[str, Any]]:
    rows = {}
    for name in _names(samples):
        having = {s: p for s, p in _having(samples, name).items() if fits(KINDS[p.kind])}
        if having:
            rows[name] = {sample: value(samples[sample], name) for sample in having}
    return rows


def _extent(results: Results, name: str) -> str:
    product = results.products[name]
    extent = KINDS[product.kind].extent
    return extent(product) if extent is not None else ""


def _add_plots(page: StepPage, samples: Mapping[str, Results], mark: str, blind: Blinding) -> None:
    chosen = []
    for name in _names(samples):
        having = {s: p for s, p in _having(samples, name).items() if KINDS[p.kind].bins}
        if having and all(len(product.meta["axes"]) == 1 for product in having.values()):
            chosen.append((name, having))
    page.plots, page.left_out = len(chosen), max(0, len(chosen) - MOST_PLOTS)
    page.variations = sum(
        "variation" in p.meta and p.meta["variation"][1] != "nominal"
        for r in samples.values()
        for p in r.products.values()
    )
    drawn = {}
    for name, having in chosen[:MOST_PLOTS]:
        shapes = len(having) > 1 and all(KINDS[product.kind].bins == "contents" for product in having.values())
        hidden = {sample: blind.of(name, [sample]) for sample in having}
        curves = {sample: curve(product, hidden[sample]) for sample, product in having.items()}
        shaded = blind.of(name, having)
        picture = draw(name, curves, page.legend, unit_area=shapes, mark=mark, blind=shaded)
        drawn[name] = Markup(picture)  # noqa: S704 (draw escapes)
    page.groups = _grouped(drawn)


def _grouped(plots: Mapping[str, Markup]) -> list[Group]:
    """Group plots by the first word of their name, if there are many plots but few groups."""
    if not plots:
        return []
    groups: dict[str, list[Markup]] = {}
    for name, plot in plots.items():
        groups.setdefault(name.split("_", 1)[0] if "_" in name else "", []).append(plot)
    if len(plots) <= 24 or len(groups) < 2 or len(plots) < 4 * len(groups):
        return [Group("", tuple(plots.values()))]
    return [Group(name or "others", tuple(members)) for name, members in groups.items()]


def _add_maps(page: StepPage, samples: Mapping[str, Results], mark: str, blind: Blinding) -> None:
    from portico import plot

    chosen = [
        (name, sample)
        for name in _names(samples)
        for sample, product in _having(samples, name).items()
        if KINDS[product.kind].bins == "contents" and len(product.meta["axes"]) == 2 and not blind.of(name, [sample])
    ]
    page.maps_left_out = max(0, len(chosen) - MOST_MAPS)
    maps = []
    for name, sample in chosen[:MOST_MAPS]:
        figure = plot.heatmap(samples[sample][name], title=f"{name}, {sample}")
        if mark and not samples[sample].note:
            plot.stamp(figure, mark)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
        maps.append((f"{name}, {sample}", _data_uri(buffer.getvalue())))
    page.maps = maps


def _data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
