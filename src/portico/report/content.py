"""The content of a report as plain values, read from the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.analysis.blinding import Blinding
from portico.analysis.plotting import Group, PlotStyle, groups_of
from portico.monitor.bottleneck import what_limits
from portico.monitor.metrics import StepMetrics, step_metrics
from portico.monitor.timeline import spans
from portico.report.cutflows import Flows, Yields, flows_of, yields_of
from portico.report.histograms import can_be_drawn, drawables
from portico.report.labels import to_html
from portico.report.packing import Parts, pack, picture
from portico.report.times import FileTime, slowest_files, times
from portico.results.kinds import KINDS
from portico.results.view import in_words
from portico.runfolder.folder import OWN_REPORT, RunFolder
from portico.runfolder.load import Run
from portico.runfolder.step_files import StepFiles

if TYPE_CHECKING:
    from portico.results.product import Product
    from portico.results.view import Results
    from portico.runfolder.ledger import Ledger

__all__ = ["Page", "StepPage", "read"]

_STATES = ("failed", "partial", "running", "planned")
_PICTURES, _DATA = 2_500_000, 5_600_000  # characters, 6.5 MB of 8 together with Plotly


@dataclass(slots=True)
class StepPage:
    """The content of one step."""

    metrics: StepMetrics
    needs: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    began: float = 0.0
    ended: float = 0.0
    samples: Sequence[str] = ()
    flows: Sequence[Flows] = ()
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    written: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[tuple[str, str]] = ()
    pictures_left_out: int = 0
    plots: Sequence[Sequence[Any]] = ()
    plots_left_out: int = 0


@dataclass(slots=True)
class Page:
    """The content of the entire report.

    Parameters
    ----------
    result : StepPage, optional
        The last summary step that has pictures or values.
    yields : Yields, optional
        Of the step that the result comes from.
    index : str
        Packed: what is needed at once.
    parts : sequence of str
        Packed: histograms, and at the end the time line.
    own_report, no_own_report
        The file with the executor's own report, and why there is none.
    """

    manifest: Mapping[str, Any]
    folder: str
    state: str
    began: str
    ended: str
    steps: Sequence[StepPage]
    result: StepPage | None = None
    yields: Yields | None = None
    limits: str = ""
    files: Sequence[FileTime] = ()
    index: str = ""
    parts: Sequence[str] = ()
    groups: Sequence[Group] = ()
    own_report: Path | None = None
    no_own_report: str = ""


def read(path: Path) -> Page:
    """Read a run folder.

    Raises
    ------
    RunFolderError
        If it is not a run folder.
    """
    folder = RunFolder(path)
    manifest = folder.manifest()
    run, style = Run(path), PlotStyle.model_validate(manifest.get("plot", {}))
    parts = Parts(_DATA)
    ledger = folder.open_ledger()
    try:
        kinds = dict(manifest.get("samples", {}))
        for name in run:
            kinds |= {sample: "signal" for sample in run.version.steps[name].results if sample not in kinds}
        groups = groups_of(style, kinds)
        reader = _Reader(run, ledger, manifest, style, groups, parts)
        steps = [reader.step(name) for name in run]
        attempts, why = spans(ledger), ledger.about(OWN_REPORT) or ""
    finally:
        ledger.close()
    states = run.states.values()
    state = next((state for state in _STATES if state in states), "done")
    page = Page(manifest, path.name, state, *_ends(steps), steps, groups=groups)
    page.result = next((step for step in reversed(steps) if step.pictures or step.summary), None)
    main = _before(page.result, steps, lambda step: bool(step.flows))
    page.yields = yields_of(main.flows, groups) if main is not None else None
    page.limits, page.files = what_limits([step.metrics for step in steps]), slowest_files(attempts)
    page.own_report, page.no_own_report = (own if (own := path / OWN_REPORT).is_file() else None), why
    drawn = _before(page.result, steps, lambda step: bool(step.plots))
    page.index = pack(_index(page, style, drawn.metrics.step if drawn is not None else ""))
    page.parts = [*parts.texts, pack(times(attempts))]
    return page


def _ends(steps: Sequence[StepPage]) -> tuple[str, str]:
    began, ended = [s.began for s in steps if s.began], [s.ended for s in steps if s.ended]
    return _moment(min(began, default=0.0)), _moment(max(ended, default=0.0))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else ""


def _before(last: StepPage | None, steps: Sequence[StepPage], wanted: Callable[[StepPage], bool]) -> StepPage | None:
    """Return the nearest step that a step depends on and that is wanted; the last wanted one without a step."""
    named = {step.metrics.step: step for step in steps}
    queue = [last] if last is not None else []
    for step in queue:
        if wanted(step):
            return step
        queue += [named[name] for name in step.needs if name in named and named[name] not in queue]
    return next((step for step in reversed(steps) if wanted(step)), None)


def _index(page: Page, style: PlotStyle, first: str) -> dict[str, Any]:
    return {
        "label": to_html(style.label),
        "note": to_html(style.note),
        "partial": page.state == "partial",
        "groups": [
            {"n": to_html(g.title), "l": to_html(g.label), "c": g.color, "k": g.draw, "d": g.dash, "s": g.samples}
            for g in page.groups
        ],
        "plots": {step.metrics.step: step.plots for step in page.steps if step.plots},
        "first": first,
        "flows": {step.metrics.step: [flow.to_json() for flow in step.flows] for step in page.steps if step.flows},
        "stale": {step.metrics.step: step.stale for step in page.steps if step.stale},
        "graph": [
            {"n": step.metrics.step, "needs": step.needs, "s": step.metrics.seconds, "state": step.metrics.state,
             "kind": step.metrics.kind, "chunks": step.metrics.total.chunks_done}
            for step in page.steps
        ],
    }  # fmt: skip


@dataclass(slots=True)
class _Reader:
    run: Run
    ledger: Ledger
    manifest: Mapping[str, Any]
    style: PlotStyle
    groups: Sequence[Group]
    parts: Parts
    pictures: int = 0

    def step(self, name: str) -> StepPage:
        page = StepPage(step_metrics(self.ledger, name), tuple(self.manifest.get("needs", {}).get(name, ())))
        page.stale = self.run.stale.get(name, ())
        moments = [m for _, _, m in self.ledger.metrics(name)]
        page.began = min((m["started"] for m in moments if "started" in m), default=0.0)
        page.ended = max((m["ended"] for m in moments if "ended" in m), default=0.0)
        if page.metrics.kind == "summary":
            if self.run.version.steps[name].files is not None:
                page.summary = self.run.summary(name)
            self._add_pictures(page, name)
            return page
        samples = dict(self.run[name])
        page.samples = tuple(samples)
        page.flows = flows_of(samples)
        page.numbers = _table(samples, lambda product: KINDS[product.kind].is_number, lambda r, n: r[n])
        page.written = _table(samples, _is_not_shown, self._size)
        self._add_plots(page, samples)
        return page

    def _size(self, results: Results, name: str) -> str:
        product = results.products[name]
        blinding = Blinding.from_manifest(self.manifest)
        hidden = KINDS[product.kind].bins and blinding.of(product.meta.get("variation", [name])[0], [results.sample])
        return "blinded" if hidden else in_words(product)

    def _add_pictures(self, page: StepPage, name: str) -> None:
        files, found = StepFiles(self.run.path, name, self.ledger), []
        for item in files.items():
            if not item["name"].endswith(".png"):
                continue
            address = picture(files.path(item["name"]))
            if not address or self.pictures + len(address) > _PICTURES:
                page.pictures_left_out += 1
                continue
            self.pictures += len(address)
            found.append((Path(item["name"]).stem, address))
        page.pictures = found

    def _add_plots(self, page: StepPage, samples: Mapping[str, Results]) -> None:
        found = list(drawables(samples, self.style))
        blinding = Blinding.from_manifest(self.manifest)
        places = self.parts.add(drawable.content(self.groups, self.style, blinding) for drawable in found)
        page.plots = [(d.category, d.variable, d.variation, *at) for d, at in zip(found, places, strict=False)]
        page.plots_left_out = len(found) - len(places)


def _names(samples: Mapping[str, Results]) -> Iterator[str]:
    """Return the products of all samples in order, each once, without systematic variations."""
    for name in dict.fromkeys(name for results in samples.values() for name in results):
        product = next(results.products[name] for results in samples.values() if name in results)
        if product.meta.get("variation", ["", "nominal"])[1] == "nominal":
            yield name


def _table(
    samples: Mapping[str, Results], fits: Callable[[Product], bool], value: Callable[[Results, str], Any]
) -> dict[str, dict[str, Any]]:
    rows = {}
    for name in _names(samples):
        having = [s for s, of in samples.items() if name in of and fits(of.products[name])]
        if having:
            rows[name] = {sample: value(samples[sample], name) for sample in having}
    return rows


def _is_not_shown(product: Product) -> bool:
    """Return whether the page has no more of a product than its size."""
    traits = KINDS[product.kind]
    return traits.extent is not None or (bool(traits.bins) and not can_be_drawn(product))
