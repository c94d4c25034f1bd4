"""Metrics of steps, from the ledger: rates, efficiency, phases, memory, the slowest chunks, the cost of faults."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from portico.worker.metrics import join
from portico.worker.task import FailureKind

if TYPE_CHECKING:
    from portico.runfolder.ledger import Ledger, Lost

__all__ = ["ChunkTime", "Cost", "Fault", "LostFile", "Phases", "StepMetrics", "run_metrics", "step_metrics"]

_SICK = 3
_SLOWEST = 5


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds by phase, summed over chunks.

    Parameters
    ----------
    wait : float
        From being submitted until a worker began.
    setup : float
        Loading ROOT, the step's modules and headers; once per process.
    open, build, jit, loop, serialise : float
        Opening the file, building the graph, compiling it (``build`` includes ``jit``), the event loop,
        and collecting the products.
    """

    wait: float = 0.0
    setup: float = 0.0
    open: float = 0.0
    build: float = 0.0
    jit: float = 0.0
    loop: float = 0.0
    serialise: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What the chunks of one sample, or of all samples of a step, cost.

    Parameters
    ----------
    chunks, entries : int
        In the plan.
    chunks_done, entries_done : int
        Of these, done.
    elapsed : float
        Seconds during which at least one chunk was submitted or running; pauses between runs do not count.
    busy : float
        Seconds of all workers together spent in chunks.
    cpu : float
        CPU seconds of the same.
    bytes_read : int
        From storage, compressed, as ROOT counts them.
    peak_memory : int
        Largest resident size of a process, in bytes.
    phases : Phases
        Where the time went.
    columns_found, columns_filled : int
        Columns of chunks that were in the column cache, and those that were read from files and kept there.
    """

    chunks: int = 0
    entries: int = 0
    chunks_done: int = 0
    entries_done: int = 0
    elapsed: float = 0.0
    busy: float = 0.0
    cpu: float = 0.0
    bytes_read: int = 0
    peak_memory: int = 0
    phases: Phases = field(default_factory=Phases)
    columns_found: int = 0
    columns_filled: int = 0

    @property
    def rate(self) -> float:
        """Entries per second of wall time."""
        return _ratio(self.entries_done, self.elapsed)

    @property
    def core_rate(self) -> float:
        """Entries per second of one busy core."""
        return _ratio(self.entries_done, self.busy)

    @property
    def megabytes_per_second(self) -> float:
        """MB (10^6 bytes) read per second of wall time."""
        return _ratio(self.bytes_read / 1e6, self.elapsed)

    @property
    def core_megabytes_per_second(self) -> float:
        """MB (10^6 bytes) read per second of one busy core."""
        return _ratio(self.bytes_read / 1e6, self.busy)

    @property
    def cpu_efficiency(self) -> float:
        """CPU time over wall time inside chunks."""
        return _ratio(self.cpu, self.busy)

    def to_json(self) -> dict[str, Any]:
        """Return fields and rates as JSON can hold them."""
        rates = ("rate", "core_rate", "megabytes_per_second", "core_megabytes_per_second", "cpu_efficiency")
        return {**asdict(self), **{name: getattr(self, name) for name in rates}}


@dataclass(frozen=True, slots=True)
class ChunkTime:
    """How long one chunk took: ``seconds`` of wall time for ``entries`` on ``host``."""

    sample: str
    position: int
    chunk: str
    entries: int
    seconds: float
    host: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A chunk of which an attempt failed.

    Parameters
    ----------
    sample, position, chunk
        Which one.
    kind, message
        Of the last failure, as in `portico.worker.task.Failed`.
    attempts : int
        How many failed.
    seconds : float
        Lost in them.
    recovered : bool
        Whether it was done in the end.
    """

    sample: str
    position: int
    chunk: str
    kind: str
    message: str
    attempts: int
    seconds: float
    recovered: bool


@dataclass(frozen=True, slots=True)
class LostFile:
    """How many entries of a file are lost, and why; see `portico.runfolder.ledger.Lost`."""

    sample: str
    file: str
    entries: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """The cost of one step.

    Parameters
    ----------
    step, kind, state : str
        Name; ``frame`` or ``summary``; ``planned``, ``running``, ``interrupted``, ``done``,
        ``failed`` or ``partial``.
    executor : str
        What it ran on last.
    workers : int
        How many it had at its end.
    seconds : float
        Wall time of the last run that had chunks to run, with planning, merging and writing.
    total : Cost
        Over all samples.
    samples : mapping of str to Cost
        By sample.
    slowest : tuple of ChunkTime
        The slowest chunks, the slowest first.
    hosts : mapping of str to int
        Chunks done by each machine.
    failing : mapping of str to int
        Chunks that others did, failed by each machine that failed more than it did: a sick one.
    faults : tuple of Fault
        Chunks with failed attempts, those that are not done first.
    lost : tuple of Lost
        What the results go without: of a partial run, or of one that failed.
    stale : tuple of str
        The samples whose results were made with other options than those of now; ``*`` is the result of a summary step.
    """

    step: str
    kind: str
    state: str
    executor: str
    workers: int
    seconds: float
    total: Cost
    samples: Mapping[str, Cost]
    slowest: tuple[ChunkTime, ...] = ()
    hosts: Mapping[str, int] = field(default_factory=dict)
    failing: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    lost: tuple[Lost, ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def lost_files(self) -> tuple[LostFile, ...]:
        """What is lost, by sample and file."""
        files: dict[tuple[str, str], LostFile] = {}
        for loss in self.lost:
            before = files.get((loss.sample, loss.file))
            entries = loss.entries + (before.entries if before else 0)
            files[loss.sample, loss.file] = LostFile(loss.sample, loss.file, entries, loss.kind, loss.message)
        return tuple(files.values())

    @property
    def lost_seconds(self) -> float:
        """Seconds of workers lost in failed attempts."""
        return sum(fault.seconds for fault in self.faults)

    @property
    def failed(self) -> tuple[Fault, ...]:
        """The chunks that failed and are not done."""
        return tuple(fault for fault in self.faults if not fault.recovered)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            **{name: getattr(self, name) for name in ("step", "kind", "state", "executor", "workers", "seconds")},
            "total": self.total.to_json(),
            "samples": {name: cost.to_json() for name, cost in self.samples.items()},
            "slowest": [asdict(chunk) for chunk in self.slowest],
            "hosts": dict(self.hosts),
            "failing": dict(self.failing),
            "faults": [asdict(fault) for fault in self.faults],
            "lost_seconds": self.lost_seconds,
            "lost": [asdict(file) for file in self.lost_files],
            "stale": list(self.stale),
        }


def run_metrics(ledger: Ledger) -> tuple[StepMetrics, ...]:
    """Return the metrics of every step of a run, in order."""
    return tuple(step_metrics(ledger, name) for name, *_ in ledger.steps())


def step_metrics(ledger: Ledger, step: str) -> StepMetrics:
    """Sum up what a step cost, and what of it is done.

    Parameters
    ----------
    ledger : Ledger
        Of the run; a driver may be writing to it.
    step : str
        Name of the step.

    Raises
    ------
    KeyError
        If the run has no such step.
    """
    head = next((row for row in ledger.steps() if row[0] == step), None)
    if head is None:
        raise KeyError(f"the run has no step '{step}'")
    tallies: dict[str, _Tally] = {}
    hosts: Counter[str] = Counter()
    for planned in ledger.planned(step):
        tally = tallies.setdefault(planned.sample, _Tally())
        tally.chunks += 1
        tally.entries += planned.chunk.entries
    slow: list[tuple[float, str, int, dict[str, Any]]] = []
    for sample, position, metrics in ledger.metrics(step):
        tally = tallies.setdefault(sample, _Tally())
        tally.add(metrics)
        hosts[str(metrics.get("host", "unknown"))] += 1
        item = (float(metrics.get("wall", 0.0)), sample, position, metrics)
        if len(slow) < _SLOWEST:
            heapq.heappush(slow, item)
        elif item[:3] > slow[0][:3]:
            heapq.heapreplace(slow, item)
    together = _Tally.joined(tallies.values())
    _, kind, state, seconds, workers, executor = head
    return StepMetrics(
        step, kind, state, executor, workers, seconds,
        together.cost(), {name: tallies[name].cost() for name in ledger.in_order(step, tallies)},
        _slowest(ledger, step, slow), dict(sorted(hosts.items())), _failing(ledger, step, hosts), _faults(ledger, step),
        tuple(ledger.lost(step)), tuple(sample for other, sample in sorted(ledger.stale()) if other == step),
    )  # fmt: skip


@dataclass(slots=True)
class _Tally:
    """A `Cost` in the making."""

    chunks: int = 0
    entries: int = 0
    chunks_done: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    spans: list[tuple[float, float]] = field(default_factory=list)

    def add(self, metrics: Mapping[str, Any]) -> None:
        self.chunks_done += 1
        self.metrics = join(self.metrics, {name: value for name, value in metrics.items() if name != "machine"})
        started, ended, wait = (float(metrics.get(name, 0.0)) for name in ("started", "ended", "wait"))
        self.spans.append((started - wait, ended))
        if len(self.spans) >= 4096:
            self.spans = list(_union(self.spans))

    @classmethod
    def joined(cls, parts: Iterable[_Tally]) -> _Tally:
        whole = cls()
        for part in parts:
            for name in ("chunks", "entries", "chunks_done", "spans"):
                setattr(whole, name, getattr(whole, name) + getattr(part, name))
            whole.metrics = join(whole.metrics, part.metrics)
        return whole

    def cost(self) -> Cost:
        of = self.metrics
        return Cost(
            self.chunks, self.entries, self.chunks_done, of.get("entries", 0),
            sum(end - start for start, end in _union(self.spans)),
            of.get("wall", 0.0), of.get("cpu", 0.0), of.get("bytes_read", 0), of.get("peak_memory", 0),
            Phases(*(of.get(phase.name, 0.0) for phase in fields(Phases))),
            of.get("columns_found", 0), of.get("columns_filled", 0),
        )  # fmt: skip


def _union(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Join intervals that overlap."""
    current: tuple[float, float] | None = None
    for start, end in sorted(spans):
        if current is None or start > current[1]:
            if current is not None:
                yield current
            current = (start, end)
        else:
            current = (current[0], max(current[1], end))
    if current is not None:
        yield current


def _slowest(ledger: Ledger, step: str, slow: list[tuple[float, str, int, dict[str, Any]]]) -> tuple[ChunkTime, ...]:
    wanted = {(sample, position): (seconds, metrics) for seconds, sample, position, metrics in slow}
    found = []
    for planned in ledger.planned(step):
        if (planned.sample, planned.position) in wanted:
            seconds, metrics = wanted[planned.sample, planned.position]
            of, host = planned.chunk, str(metrics.get("host", "unknown"))
            place = planned.sample, planned.position
            found.append(ChunkTime(*place, str(of), of.entries, seconds, host, metrics["attempt"]))
    return tuple(sorted(found, key=lambda chunk: (-chunk.seconds, chunk.sample, chunk.position)))


def _faults(ledger: Ledger, step: str) -> tuple[Fault, ...]:
    faults: dict[str, Fault] = {}
    for planned, attempt, recovered in ledger.failures(step):
        lost = max(0.0, float(attempt.metrics.get("ended", 0.0)) - float(attempt.metrics.get("started", 0.0)))
        before = faults.pop(planned.key, None)
        faults[planned.key] = Fault(
            planned.sample, planned.position, str(planned.chunk), attempt.outcome, attempt.message,
            (before.attempts if before else 0) + 1, (before.seconds if before else 0.0) + lost, recovered,
        )  # fmt: skip
    return tuple(sorted(faults.values(), key=lambda fault: (fault.recovered, fault.sample, fault.position)))


def _failing(ledger: Ledger, step: str, done: Mapping[str, int]) -> dict[str, int]:
    """Return how many chunks each sick machine failed that others did."""
    failed: Counter[str] = Counter()
    for _, attempt, recovered in ledger.failures(step):
        if recovered and FailureKind(attempt.outcome).tells_of_the_machine:
            failed[str(attempt.metrics.get("host", ""))] += 1
    sick = {name: count for name, count in failed.items() if name and count >= _SICK and count > done.get(name, 0)}
    return dict(sorted(sick.items()))


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0
