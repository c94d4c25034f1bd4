"""Preview of a run: the chunks that each step would run, and the problems that would stop it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portico.analysis.analysis import DATASET, POINTS, Analysis, StepEntry
from portico.analysis.placed import placed
from portico.environment.bundle import Bundle
from portico.errors import PorticoError, RunFolderError
from portico.executors.batch import batch_script
from portico.executors.where import check_options, job_script, site_at
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.workflow.checks import Checked, check
from portico.workflow.forecast import Forecast, Place, forecast, measured
from portico.workflow.plan import Arguments, Plan, arguments_of, bundle_of, missing, plan_step, unblinded
from portico.workflow.points import known_points, plan_over
from portico.workflow.summary_step import SummaryInput

__all__ = ["Preview", "Row", "preview", "reading"]


@dataclass(frozen=True, slots=True)
class Row:
    """The plan of one step for one sample.

    Parameters
    ----------
    step, sample : str
        Names; the sample of a summary step is ``*``.
    chunks, entries : int
        Totals of the plan; 0 if it cannot be planned yet.
    chunks_done, entries_done : int
        Those that are already done.
    after : str
        The earlier step, or the function that lists the points, that must run first; empty if it can be planned now.
    blocked : bool
        It cannot be planned, for a reason that is among the problems.
    """

    step: str
    sample: str
    chunks: int = 0
    entries: int = 0
    chunks_done: int = 0
    entries_done: int = 0
    after: str = ""
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """The plan of a run.

    Parameters
    ----------
    analysis : str
        Its name.
    folder : Path
        The run folder.
    rows : tuple of Row
        By step and sample.
    script : str, optional
        Script that would be submitted or started for one job of a site.
    checked : Checked, optional
        The problems, if they were looked for.
    expected : Forecast, optional
        What the run needs, as far as earlier runs have measured it.
    """

    analysis: str
    folder: Path
    rows: tuple[Row, ...]
    script: str | None
    checked: Checked | None = None
    expected: Forecast | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the output of `portico run --dry-run --json`."""
        plan = [asdict(row) for row in self.rows]
        found = self.checked.to_json() if self.checked is not None else {}
        expected = self.expected.to_json() if self.expected is not None else None
        return {"run": str(self.folder), "analysis": self.analysis, "plan": plan, "script": self.script,
                "forecast": expected, **found}  # fmt: skip


def preview(
    analysis: Analysis, *, folder: str | Path | None = None, on: str = "local", workers: int | None = None,
    batch: bool = False, detach: bool = False, chunks_per_job: int | None = None, steps: Iterable[str] = (),
    samples: Iterable[str] = (), allow_partial: bool = False, accept_changed_input: bool = False, unblind: bool = False,
    checked: bool = False,
) -> Preview:  # fmt: skip
    """Plan every step as far as possible, without running or writing anything.

    Parameters are those of `portico.run`, and are checked as there. With ``checked``, steps are built over no entries
    in a process beside, and all problems are found, not the first alone.

    Raises
    ------
    PorticoError
        If an option or the run folder is wrong; without ``checked`` also if a step or its input is.
    """
    check_options(on, workers, batch=batch, detach=detach, chunks_per_job=chunks_per_job)
    site = site_at(on)
    analysis = unblinded(analysis) if unblind else analysis
    analysis = placed(analysis, site.storage if site is not None else None)
    chosen, selected = analysis.steps_named(steps), analysis.dataset.matching(samples)
    run_folder = RunFolder(Path(folder) if folder is not None else analysis.run_folder)
    found: list[Row] = []
    with reading(run_folder, analysis.name) as ledger:
        planner = _Planner(analysis, run_folder, ledger, {}, allow_partial)
        for step in analysis.steps:
            try:
                rows = planner.rows(step, selected)
            except PorticoError:
                if not checked:
                    raise
                rows = [Row(step.name, "*", blocked=True)]
            waiting = {row.sample for row in rows if row.after or row.chunks_done < row.chunks}
            planner.open[step.name] = set(analysis.samples_of(step)) if any(row.blocked for row in rows) else waiting
            found += rows if step in chosen else []
        told = None
        if checked:
            told = check(analysis, run_folder, ledger, steps=chosen, samples=selected,
                         accept_changed_input=accept_changed_input, allow_partial=allow_partial)  # fmt: skip
    script = batch_script(on, run_folder.path) if batch else job_script(on)
    place = Place.of(site, workers, batch, chunks_per_job)
    expected = forecast(_wanted(found), measured(run_folder.path, analysis.name), place)
    return Preview(analysis.name, run_folder.path, tuple(found), script, told, expected)


def _wanted(rows: Iterable[Row]) -> dict[str, dict[str, tuple[int, int] | None]]:
    """Return the chunks and entries of each step and sample that would run; summaries have none."""
    wanted: dict[str, dict[str, tuple[int, int] | None]] = {}
    for row in rows:
        if row.sample != "*":
            left = (row.chunks - row.chunks_done, row.entries - row.entries_done)
            wanted.setdefault(row.step, {})[row.sample] = None if row.after else left
    return wanted


@dataclass(frozen=True, slots=True)
class _Planner:
    """The run folder and analysis, and for each earlier step the samples that are not done."""

    analysis: Analysis
    folder: RunFolder
    ledger: Ledger
    open: dict[str, set[str]]
    allow_partial: bool

    def rows(self, step: StepEntry, selected: tuple[str, ...]) -> list[Row]:
        names = self.analysis.samples_of(step)
        wanted = [name for name in names if not selected or name in selected or step.points is not None]
        bundle = bundle_of(self.analysis, step)
        is_summary = bundle.needs.kind == "summary"
        for earlier in step.after:
            if earlier != step.input and self.open[earlier]:
                return [Row(step.name, name, after=earlier) for name in (["*"] if is_summary else wanted)]
        arguments = arguments_of(self.analysis, step, self.folder, self.ledger)
        if is_summary:
            given = SummaryInput.of(self.analysis, step, bundle, arguments, self.ledger)
            done = not self.open.get(step.input) and given.is_done(self.folder, self.ledger)
            return [Row(step.name, "*", after="" if done else step.input)]
        if step.points is not None:
            points = known_points(self.analysis, step, arguments, self.folder, self.ledger)
            if points is None:
                return [Row(step.name, POINTS, after=step.points)]
            return [self._of_plan(step, plan_over(points, step, bundle, arguments), POINTS)]
        return [self._sample(step, bundle, arguments, name) for name in wanted]

    def _sample(self, step: StepEntry, bundle: Bundle, arguments: Arguments, name: str) -> Row:
        unready = self.open.get(step.input, set())
        if step.input != DATASET and (name in unready or name not in self.ledger.result_keys(step.input)):
            return Row(step.name, name, after=step.input)
        plan = plan_step(self.analysis, step, bundle, arguments, self.ledger, [name], self.allow_partial)
        return self._of_plan(step, plan, name)

    def _of_plan(self, step: StepEntry, plan: Plan, name: str) -> Row:
        chunks = plan.chunks.get(name, [])
        todo, _ = missing(step, plan, self.ledger)
        entries, left = (sum(planned.chunk.entries for planned in some) for some in (chunks, todo))
        return Row(step.name, name, len(chunks), entries, len(chunks) - len(todo), entries - left)


@contextmanager
def reading(folder: RunFolder, name: str) -> Iterator[Ledger]:
    """Open the ledger of a run folder for reading; an empty one if there is none yet."""
    if folder.ledger_path.exists():
        owner = folder.manifest().get("analysis")
        if owner != name:
            raise RunFolderError(
                f"{folder.path}: belongs to the analysis '{owner}', not '{name}'; choose another folder with --run"
            )
        ledger = folder.open_ledger()
        try:
            yield ledger
        finally:
            ledger.close()
        return
    with tempfile.TemporaryDirectory(prefix="portico-") as aside:
        ledger = Ledger(Path(aside) / "ledger.sqlite")
        try:
            yield ledger
        finally:
            ledger.close()
