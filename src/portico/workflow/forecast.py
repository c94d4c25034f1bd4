"""A forecast of a run before it starts: its time, CPU hours and memory, from the measured rates of earlier runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from portico.clusters.base import runner_memory
from portico.clusters.site import Site
from portico.errors import PorticoError
from portico.executors.batch import group_size
from portico.monitor.metrics import Cost, StepMetrics, step_metrics
from portico.monitor.units import duration, size
from portico.runfolder.folder import RunFolder

__all__ = ["Forecast", "Place", "StepForecast", "forecast", "measured"]

@dataclass(frozen=True, slots=True)
class Place:
    """Where a run would go.

    Parameters
    ----------
    workers : int
        How many chunks run at a time, at most.
    site : Site, optional
        The site, if it is one.
    batch : bool
        As plain batch jobs.
    chunks_per_job : int, optional
        As the user gives it.
    """

    workers: int
    site: Site | None = None
    batch: bool = False
    chunks_per_job: int | None = None

    @classmethod
    def of(cls, site: Site | None, workers: int | None, batch: bool, chunks_per_job: int | None) -> Place:
        """Return the place with the number of workers that a run there would have by default."""
        most = site.workers if site is not None else len(os.sched_getaffinity(0))
        return cls(workers or most, site, batch, chunks_per_job)


@dataclass(frozen=True, slots=True)
class StepForecast:
    """What one step is expected to need.

    Parameters
    ----------
    step : str
        Its name.
    chunks, entries : int
        That would run.
    worker_seconds, cpu_seconds : float
        Of all workers together in chunks, and CPU time of the same.
    memory : int
        Largest resident size of a process, in bytes.
    chunk_seconds : float
        Of one chunk, on average.
    seconds : float
        Wall time from the start of its first chunk to the end of its last one.
    measured : str
        The run folder whose rates these are.
    executor : str
        What that run ran on.
    assumed : bool
        The step reads what an earlier one has yet to write: as many entries as in that run are assumed.
    """

    step: str
    chunks: int
    entries: int
    worker_seconds: float
    cpu_seconds: float
    memory: int
    chunk_seconds: float
    seconds: float
    measured: str
    executor: str
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run is expected to need.

    Parameters
    ----------
    workers : int
        How many chunks run at a time, at most.
    steps : tuple of StepForecast
        Those of which a rate is known.
    unknown : tuple of str
        The steps that would run chunks, but of which no rate was measured.
    warnings : tuple of str
        What does not fit into the jobs of the site.
    queue : str
        The queue of the site that its walltime chooses; empty if the site gives none.
    """

    workers: int
    steps: tuple[StepForecast, ...]
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    queue: str = ""

    @property
    def chunks(self) -> int:
        """Number of chunks of all steps of which a rate is known."""
        return sum(step.chunks for step in self.steps)

    @property
    def cpu_hours(self) -> float:
        """CPU time of all these steps, in hours."""
        return sum(step.cpu_seconds for step in self.steps) / 3600

    @property
    def memory(self) -> int:
        """Largest resident size of a process of these steps, in bytes."""
        return max((step.memory for step in self.steps), default=0)

    @property
    def seconds(self) -> float:
        """Wall time of these steps one after the other, in seconds, without the wait for jobs to start."""
        return sum(step.seconds for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """Return fields and totals as JSON can hold them."""
        totals = {name: getattr(self, name) for name in ("chunks", "cpu_hours", "memory", "seconds")}
        return {**asdict(self), **totals}


def measured(folder: Path, analysis: str) -> Iterator[tuple[Path, dict[str, StepMetrics]]]:
    """Yield what earlier runs of an analysis have measured: the run folder itself, then its neighbours, newest first.

    Parameters
    ----------
    folder : Path
        The run folder, which need not exist.
    analysis : str
        Name of the analysis; runs of others do not count.
    """
    beside = folder.parent.glob("*/run.json")
    others = sorted((path for path in beside if path.parent != folder), key=_modified, reverse=True)
    for path in (folder, *(other.parent for other in others)):
        try:
            run = RunFolder(path)
            if not run.ledger_path.exists() or run.manifest().get("analysis") != analysis:
                continue
            with closing(run.open_ledger()) as ledger:
                yield path, {row[0]: step_metrics(ledger, row[0]) for row in ledger.steps()}
        except PorticoError:  # a folder that is no run, or of another version, has measured nothing
            continue


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def forecast(
    wanted: Mapping[str, Mapping[str, tuple[int, int] | None]],
    known: Iterable[tuple[Path, Mapping[str, StepMetrics]]],
    place: Place,
) -> Forecast:
    """Return what a run is expected to need.

    Parameters
    ----------
    wanted : mapping of str to mapping of str to (int, int) or None
        By step and sample: chunks and entries that would run; None if an earlier step has to run first.
    known : iterable of (Path, mapping of str to StepMetrics)
        As `measured` yields it; the first run that has measured a step counts for it.
    place : Place
        Where it would run.
    """
    left = {step: of for step, of in wanted.items() if any(each is None or each[0] for each in of.values())}
    found: dict[str, StepForecast] = {}
    for path, steps in known:
        for step in left.keys() - found.keys():
            one = _of_step(step, left[step], steps[step], place.workers) if step in steps else None
            if one is not None:
                found[step] = replace(one, measured=str(path))
        if found.keys() == left.keys():
            break
    steps_found = tuple(found[step] for step in left if step in found)
    queue = place.site.queue if place.site is not None else ""
    return Forecast(place.workers, steps_found, tuple(step for step in left if step not in found),
                    tuple(_warnings(steps_found, place)), queue)  # fmt: skip


def _of_step(
    step: str, wanted: Mapping[str, tuple[int, int] | None], metrics: StepMetrics, workers: int
) -> StepForecast | None:
    total = metrics.total
    if not total.chunks_done or not total.entries_done or total.busy <= 0:
        return None
    chunks = entries = 0
    busy = cpu = 0.0
    assumed = False
    for sample, asked in wanted.items():
        cost = metrics.samples.get(sample, Cost())
        rate = cost if cost.entries_done and cost.busy > 0 else total  # a new sample costs what the others do
        if asked is None:
            assumed = True
        some, of_them = (cost.chunks, cost.entries) if asked is None else asked
        chunks, entries = chunks + some, entries + of_them
        busy += of_them * rate.busy / rate.entries_done
        cpu += of_them * rate.cpu / rate.entries_done
    if not chunks:
        return None
    each = busy / chunks
    rounds = -(-chunks // workers)  # the last chunks do not occupy all workers
    seconds = max(busy / workers, rounds * each)
    return StepForecast(
        step, chunks, entries, busy, cpu, total.peak_memory, each, seconds, "", metrics.executor, assumed
    )


def _warnings(steps: Iterable[StepForecast], place: Place) -> Iterator[str]:
    site = place.site
    if site is None:
        return
    share = runner_memory(site)
    for step in steps:
        if step.memory > share:
            yield (
                f"step '{step.step}' needs {size(step.memory)} in one process, but a worker of site '{site.name}' has "
                f"{size(share)} of its {site.memory}; give the site more 'memory', or the step smaller chunks"
            )
        together = group_size(step.chunks, place.workers, place.chunks_per_job) if place.batch else 1
        if together * step.chunk_seconds > site.seconds:
            what = f"a job with {together:,} chunks" if place.batch else "a chunk"
            fix = "--chunks-per-job, " if together > 1 else ""
            yield (
                f"step '{step.step}': {what} takes about {duration(together * step.chunk_seconds)}, longer than the "
                f"walltime {site.walltime} of site '{site.name}'; give {fix}a longer 'walltime', or smaller chunks"
            )
