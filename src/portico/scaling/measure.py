"""Measurements of a step with several numbers of workers and parts of its input, by `portico.run` itself.

Each measurement is a run of its own, in a run folder that is removed afterwards: nothing of an earlier run is reused,
and no other run folder is written to.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from portico.analysis.analysis import DATASET, Analysis, StepEntry
from portico.analysis.dataset import Dataset
from portico.environment.bundle import key_of, kind_of
from portico.errors import ConfigError, InputError, nearest
from portico.executors.base import Executor
from portico.executors.where import check_options, connect
from portico.files import is_remote
from portico.monitor.metrics import step_metrics
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Planned
from portico.scaling.record import Measurement, Record, locked, read_record, write_record
from portico.workflow.chunk_loop import Reporter
from portico.workflow.dry_run import reading
from portico.workflow.plan import Plan, arguments_of, bundle_of, input_of, plan_step
from portico.workflow.run import run

__all__ = ["Wanted", "cores", "measure", "steps_over_events"]

_BEFORE: Final = "before"
_RUN: Final = "run-"
_HERE: Final = ("local", "dask")


@dataclass(frozen=True)
class Wanted:
    """What is to be measured.

    Parameters
    ----------
    step : str
        Name of the step; one over events.
    workers : tuple of int
        Numbers of workers, ascending.
    parts : tuple of float
        Parts of the input, ascending.
    repeat : int
        How often each is measured.
    on : str
        As in `portico.connect`.
    samples : tuple of str
        Names or patterns; all samples of the step by default.
    cache : bool
        Read columns from the column cache, which the first run fills.
    """

    step: str
    workers: tuple[int, ...]
    parts: tuple[float, ...]
    repeat: int
    on: str = "local"
    samples: tuple[str, ...] = ()
    cache: bool = False

    @property
    def number(self) -> int:
        """How many measurements these are."""
        return len(self.workers) * len(self.parts) * self.repeat


def cores() -> tuple[int, ...]:
    """Return 1, 2, 4, ... up to the number of cores that this process may use, and that number."""
    most = len(os.sched_getaffinity(0))
    return (*(2**n for n in range(most.bit_length()) if 2**n < most), most)


def steps_over_events(analysis: Analysis) -> list[str]:
    """Return the names of the steps whose scaling can be measured."""
    over_events = (step for step in analysis.steps if step.points is None)
    return [step.name for step in over_events if kind_of(step.function, analysis.folder) == "frame"]


def measure(analysis: Analysis, wanted: Wanted, folder: Path, reporter: Reporter) -> Record:
    """Measure what is missing, and return the record; it is written after each measurement.

    Parameters
    ----------
    analysis : Analysis
        The analysis; its run folder and store are not touched. Earlier steps that the step needs run once, in
        ``folder``.
    wanted : Wanted
        What to measure.
    folder : Path
        For the record, ``STEP.json``, and for the runs.
    reporter : Reporter
        Shows the progress.

    Raises
    ------
    PorticoError
        If something is wrong with the request, or a run fails.
    KeyboardInterrupt
        When interrupted; the record has what was measured.
    """
    _check(analysis, wanted)
    path = folder / f"{wanted.step}.json"
    with locked(folder):
        for left in folder.glob(f"{_RUN}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        found = read_record(path)
        subject = _Subject.of(_alone(analysis, wanted, folder, reporter), wanted, folder)
        record = subject.record(wanted)
        if found is not None and found.identity == record.identity:
            record = found
        elif found is not None:
            kept = path.with_suffix(".earlier.json")
            write_record(kept, found)
            reporter.warn(f"step '{wanted.step}', its input or where it runs has changed: it is measured again; the "
                          f"earlier measurements are in {kept}")  # fmt: skip
        for workers in wanted.workers:
            if any(record.count(workers, part) < wanted.repeat for part in wanted.parts):
                record = _with_workers(workers, subject, wanted, record, path, reporter)
    return record


def _check(analysis: Analysis, wanted: Wanted) -> None:
    (step,) = analysis.steps_named([wanted.step])
    kind = "points" if step.points is not None else kind_of(step.function, analysis.folder)
    if kind != "frame":
        frames = steps_over_events(analysis)
        what = "is a summary step, which runs in one process" if kind == "summary" else "runs over points"
        raise ConfigError(
            f"{analysis.path}: step '{step.name}' {what}; scaling is measured with steps over events: "
            f"{nearest(step.name, frames)}"
        )
    names = analysis.samples_of(step)
    if absent := [name for name in analysis.dataset.matching(wanted.samples) if name not in names]:
        raise ConfigError(f"step '{step.name}' does not run on sample '{absent[0]}'; {nearest(absent[0], names)}")
    if not wanted.workers or not wanted.parts or wanted.repeat < 1:
        raise ConfigError("there is nothing to measure: give numbers of workers, parts of the input and repetitions")
    if not all(0 < part <= 1 for part in wanted.parts):
        raise ConfigError(f"parts of the input are above 0 and at most 1, not {min(wanted.parts):g}")
    for workers in wanted.workers:
        check_options(wanted.on, workers)


def _alone(analysis: Analysis, wanted: Wanted, folder: Path, reporter: Reporter) -> Analysis:
    """Return an analysis of this step alone, over the trees of the earlier steps, which run first if it needs any."""
    (step,) = analysis.steps_named([wanted.step])
    analysis, before = analysis.model_copy(update={"store": None}), folder / _BEFORE
    earlier = _needed(analysis, step)
    chosen = set(analysis.dataset.matching(wanted.samples) or analysis.samples_of(step))
    names = [name for name in analysis.samples_of(step) if name in chosen]
    if earlier:
        reporter.note(f"step '{step.name}' reads what earlier steps make, which run first: {', '.join(earlier)}")
        alike = set(earlier) <= set(steps_over_events(analysis))  # summaries are made of all samples
        run(analysis, folder=before, on=wanted.on, workers=max(wanted.workers), steps=earlier,
            samples=names if alike else (), reporter=reporter)  # fmt: skip
    with reading(RunFolder(before), analysis.name) as ledger:
        found = {name: input_of(analysis, step, analysis.dataset[name], ledger) for name in names}
        given = arguments_of(analysis, step, RunFolder(before), ledger).given
    samples = {name: sample for name, sample in found.items() if sample is not None}
    files = {option: str(Path(given[option]).resolve()) for option in step.files}
    entry = {"input": DATASET, "tree": None, "files": files, "samples": tuple(samples)}
    return analysis.model_copy(update={"steps": (step.model_copy(update=entry),), "dataset": Dataset(samples=samples)})


def _needed(analysis: Analysis, step: StepEntry) -> list[str]:
    """Return the earlier steps that a step needs, in order."""
    names: set[str] = set(step.after)
    for entry in reversed(analysis.steps):
        names |= set(entry.after) if entry.name in names else set()
    return [entry.name for entry in analysis.steps if entry.name in names]


@dataclass(frozen=True)
class _Subject:
    """The step by itself, with the plan of its whole input."""

    analysis: Analysis
    plan: Plan
    folder: Path

    @classmethod
    def of(cls, analysis: Analysis, wanted: Wanted, folder: Path) -> _Subject:
        (step,) = analysis.steps
        bundle = bundle_of(analysis, step)
        with reading(RunFolder(folder / f"{_RUN}none"), analysis.name) as ledger:
            arguments = arguments_of(analysis, step, RunFolder(folder), ledger)
            plan = plan_step(analysis, step, bundle, arguments, ledger, analysis.samples_of(step))
        if not sum(planned.chunk.entries for of in plan.chunks.values() for planned in of):
            raise InputError(f"step '{wanted.step}': its input has no entries; there is nothing to measure")
        return cls(analysis, plan, folder)

    def chosen(self, part: float) -> list[Planned]:
        """Return the chunks of a part of the input: the first ones of each sample."""
        return [p for of in self.plan.chunks.values() for p in of[: max(1, math.ceil(part * len(of) - 1e-9))]]

    def size(self, chunks: Iterable[Planned]) -> int:
        """Return the compressed bytes of chunks; 0 if they are not known of all."""
        found = []
        for planned in chunks:
            summary = self.plan.files[planned.sample].get(planned.chunk.file)
            if summary is None or not summary.size or not summary.entries:
                if planned.chunk.entries:
                    return 0
                continue
            found.append(summary.size * planned.chunk.entries / summary.entries)
        return round(sum(found))

    def record(self, wanted: Wanted) -> Record:
        """Return the record without measurements."""
        everything = self.chosen(1.0)
        keys = [planned.key for planned in everything]
        machine = socket.gethostname() if wanted.on in _HERE else ""
        return Record(
            analysis=self.analysis.name, step=wanted.step, on=wanted.on, cache=wanted.cache,
            identity=key_of(keys, wanted.on, machine, wanted.cache), chunks=len(keys), bytes=self.size(everything),
            entries=sum(planned.chunk.entries for planned in everything),
        )  # fmt: skip


def _with_workers(
    workers: int, subject: _Subject, wanted: Wanted, record: Record, path: Path, reporter: Reporter
) -> Record:
    """Measure what is missing with so many workers; before that, have them load ROOT and compile the step."""
    missing = [part for again in range(wanted.repeat) for part in wanted.parts if record.count(workers, part) <= again]
    with closing(connect(wanted.on, workers)) as executor:
        whole = wanted.parts[-1]
        enough = [part for part in wanted.parts if len(subject.chosen(part)) >= workers]
        for number, part in enumerate([whole if wanted.cache else (enough or [whole])[0], *missing]):
            made = _measured(executor, workers, part, subject, wanted, reporter, first=number == 0)
            record = record.with_measurement(made)
            write_record(path, record)
            done = sum(min(record.count(n, p), wanted.repeat) for n in wanted.workers for p in wanted.parts)
            what = "first run, in which workers start" if made.first else f"measurement {done} of {wanted.number}"
            reporter.note(f"{_numbered(made.workers)}, {100 * part:.3g}% of the input: {made.seconds:.3g} s ({what})")
    return record


def _numbered(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


def _measured(
    executor: Executor, workers: int, part: float, subject: _Subject, wanted: Wanted, reporter: Reporter, *, first: bool
) -> Measurement:
    """Run a part of the input once, in a run folder of its own."""
    chunks = subject.chosen(part)
    limited: Any = _Part(executor, chunks, complete=part == 1.0)
    place = Path(tempfile.mkdtemp(prefix=_RUN, dir=subject.folder))
    try:
        dropped = _drop_pages({planned.chunk.file for planned in chunks})
        before = _used()
        made = run(subject.analysis, folder=place / "run", executor=limited, cache=wanted.cache, reporter=reporter)
        with closing(RunFolder(made.path).open_ledger()) as ledger:
            found = step_metrics(ledger, wanted.step)
        used, whole = (now - then for now, then in zip(_used(), before, strict=True))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    total = found.total
    return Measurement(
        asked=workers, workers=max(found.workers, 1), part=part, first=first, chunks=len(chunks),
        entries=total.entries_done, bytes=subject.size(chunks), seconds=found.seconds, loop_seconds=total.elapsed,
        worker_seconds=total.busy, cpu_seconds=total.cpu, bytes_read=total.bytes_read,
        columns_found=total.columns_found, columns_filled=total.columns_filled, dropped=dropped,
        others=min(max(used - total.cpu, 0.0) / whole, 1.0) if whole > 0 and wanted.on in _HERE else 0.0,
    )  # fmt: skip


def _used() -> tuple[float, float]:
    """Return the seconds for which the cores of this machine were used, and all their seconds, since it started."""
    times = psutil.cpu_times()
    whole = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "idle", "iowait", "irq", "softirq",
                                                       "steal"))  # fmt: skip
    return whole - times.idle - getattr(times, "iowait", 0.0), whole


class _Part:
    """An executor for one run that runs some of the chunks only; everything else does the one that it stands for."""

    def __init__(self, executor: Executor, chunks: Iterable[Planned], *, complete: bool) -> None:
        self._executor = executor
        self._keys = {planned.key for planned in chunks}
        if not complete and type(executor).replan is not Executor.replan:
            raise ConfigError(
                f"'{executor.name}' cuts samples by itself: measure it with the whole input, --input 100%"
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def replan(self, chunks: Mapping[str, list[Planned]]) -> Mapping[str, list[Planned]]:
        """Return the chunks to run."""
        return self._executor.replan({n: [p for p in of if p.key in self._keys] for n, of in chunks.items()})


def _drop_pages(files: Iterable[str]) -> bool:
    """Ask the kernel to forget what it holds of files of this machine, so that they are read from the disk."""
    dropped = [file for file in files if file and not is_remote(file)]
    for file in dropped:
        with suppress(OSError, AttributeError), open(file, "rb") as opened:  # noqa: PTH123 (a name as it is)
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return bool(dropped)
