"""The results of the measurements of a step: rows of a table, the laws fitted to them, predictions, and notes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from portico.config import parse_size
from portico.errors import ConfigError
from portico.monitor.units import duration, size
from portico.scaling.law import Interval, Law, StorageLimit, Timing, fit_law, fit_storage
from portico.scaling.record import Measurement, Record

__all__ = ["Prediction", "Row", "Scaling", "Volume"]

_COUNT = re.compile(r"\s*(\d[\d_,]*(?:\.\d+)?(?:[eE]\+?\d+)?)\s*(?:entries|events)\s*")
_CROWDED: Final = 0.2  # of the cores used by others, above which waiting may be for a core
_FEW: Final = 4  # chunks per worker, below which the last ones decide


class Volume(NamedTuple):
    """An amount of input: compressed bytes, or entries."""

    amount: float
    unit: Literal["bytes", "entries"]

    @classmethod
    def parse(cls, text: str) -> Volume:
        """Parse ``0.5TB`` or ``3e9 entries``.

        Raises
        ------
        ConfigError
            If it is neither, or not positive.
        """
        match = _COUNT.fullmatch(text)
        try:
            amount = float(match[1].replace("_", "").replace(",", "")) if match else float(parse_size(text))
        except ConfigError:
            amount = 0.0
        if not 0 < amount < math.inf:
            raise ConfigError(f"'{text}' is not an amount of input; valid: such as '0.5 TB' or '3e9 entries'")
        return cls(amount, "entries" if match else "bytes")

    def __str__(self) -> str:
        return size(self.amount) if self.unit == "bytes" else f"{self.amount:,.6g} entries"


@dataclass(frozen=True, slots=True)
class Row:
    """The measurements of a part of the input with a number of workers.

    Parameters
    ----------
    workers : int
        That had a chunk.
    part : float
        Of the input.
    chunks, entries, bytes : int
        What ran.
    times : tuple of float
        Seconds of each measurement.
    seconds, spread : float
        Median, and half the distance of the shortest and the longest.
    speedup, efficiency : float or None
        Relative to the smallest number of workers with the same input; none if there is no other.
    cpu_efficiency : float
        CPU time over wall time in chunks.
    read_rate : float
        Bytes read from storage per second, by all workers, while chunks ran.
    columns_found, columns_filled : int
        Columns that were in the column cache, and that were put there.
    """

    workers: int
    part: float
    chunks: int
    entries: int
    bytes: int
    times: tuple[float, ...]
    seconds: float
    spread: float
    speedup: float | None
    efficiency: float | None
    cpu_efficiency: float
    read_rate: float
    columns_found: int
    columns_filled: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The time for an amount of input with a number of workers, if the law holds so far.

    Parameters
    ----------
    volume : float
        In the unit of the measurements.
    unit : str
        ``bytes`` or ``entries``.
    cores, busy : int
        Workers, and those of them that get a chunk of the size measured.
    seconds : Interval
        The time, without the start of workers.
    rate : float or None
        Bytes per second that storage must deliver for that; none if nothing was read.
    times_highest : float or None
        That rate over the highest one that was measured.
    limited_by : str
        ``workers`` or ``storage``, which takes longer than they do.
    times_workers, times_volume : float
        How far this is beyond the largest number of workers and the largest input measured.
    """

    volume: float
    unit: Literal["bytes", "entries"]
    cores: int
    busy: int
    seconds: Interval
    rate: float | None
    times_highest: float | None
    limited_by: str
    times_workers: float
    times_volume: float


@dataclass(frozen=True)
class Scaling:
    """The scaling of a step.

    Parameters
    ----------
    record : Record
        Its measurements; at least one that is not the first run of workers.
    """

    record: Record

    @cached_property
    def measured(self) -> tuple[Measurement, ...]:
        """The measurements without first runs."""
        return tuple(m for m in self.record.measurements if not m.first)

    @cached_property
    def unit(self) -> Literal["bytes", "entries"]:
        """What the input is measured in: entries if the size of a file is not known."""
        return "bytes" if all(m.bytes for m in self.measured) else "entries"

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """A row for each number of workers and part of the input, in this order."""
        groups: dict[tuple[int, int], list[Measurement]] = {}
        for m in sorted(self.measured, key=lambda m: (m.busy, m.chunks)):
            groups.setdefault((m.busy, m.chunks), []).append(m)
        return tuple(self._row(group, groups) for group in groups.values())

    def _row(self, group: Sequence[Measurement], groups: dict[tuple[int, int], list[Measurement]]) -> Row:
        one, timing = group[0], self._timing(group)
        least = min(busy for busy, chunks in groups if chunks == one.chunks)
        speedup = None
        if least != one.busy or len({busy for busy, chunks in groups if chunks == one.chunks}) > 1:
            speedup = self._timing(groups[least, one.chunks]).median / timing.median
        busy = sum(m.worker_seconds for m in group)
        loops = sum(m.loop_seconds for m in group)
        return Row(
            one.busy, one.part, one.chunks, one.entries, one.bytes, timing.seconds, timing.median, timing.spread,
            speedup, None if speedup is None else speedup * least / one.busy,
            sum(m.cpu_seconds for m in group) / busy if busy else 0.0,
            sum(m.bytes_read for m in group) / loops if loops else 0.0,
            sum(m.columns_found for m in group), sum(m.columns_filled for m in group),
        )  # fmt: skip

    def _timing(self, group: Sequence[Measurement]) -> Timing:
        return Timing(group[0].busy, float(getattr(group[0], self.unit)), tuple(m.seconds for m in group))

    @cached_property
    def law(self) -> Law:
        """The law, fitted to all rows."""
        return fit_law([Timing(row.workers, float(getattr(row, self.unit)), row.times) for row in self.rows])

    @cached_property
    def others(self) -> float:
        """The largest part of the cores of this machine that other processes used during a measurement."""
        return max((m.others for m in self.measured), default=0.0)

    @cached_property
    def storage(self) -> StorageLimit | None:
        """The limit of the storage; none if nothing was read from it, or workers also waited for cores."""
        if self.others > _CROWDED:
            return None
        read = [m for m in self.measured if m.bytes_read and m.worker_seconds]
        return fit_storage([(m.busy, m.worker_seconds / m.bytes_read, m.cpu_seconds / m.bytes_read) for m in read])

    @cached_property
    def start(self) -> float | None:
        """Seconds that first runs took longer than later ones, as the median: workers load ROOT and compile."""
        same = {(row.workers, row.chunks): row.seconds for row in self.rows}
        firsts = [m for m in self.record.measurements if m.first and (m.busy, m.chunks) in same]
        return max(0.0, float(np.median([m.seconds - same[m.busy, m.chunks] for m in firsts]))) if firsts else None

    def predict(self, volume: Volume, cores: int, storage: float | None = None) -> Prediction:
        """Predict the time for a volume with a number of workers.

        Parameters
        ----------
        volume : Volume
            The input.
        cores : int
            The number of workers, one for each core.
        storage : float, optional
            Bytes per second that the storage there delivers; by default the limit that was seen here, if any.

        Raises
        ------
        ConfigError
            If the volume is in bytes, and the size of the files measured is not known.
        """
        amount = self._in_unit(volume)
        largest = max(self.rows, key=lambda row: row.chunks)
        per_chunk = float(getattr(largest, self.unit)) / largest.chunks
        busy = max(1, min(cores, math.ceil(amount / per_chunk - 1e-9)))
        time, limited = self.law.predict(busy, amount), "workers"
        read = self._read_share * amount
        if read and (slow := self._of_storage(storage)) is not None:
            fixed = self.law.fixed.value
            waiting = Interval(fixed + read / slow.value, fixed + read / slow.high, fixed + read / slow.low)
            limited = "storage" if waiting.value > time.value else limited
            time = Interval(*(max(pair) for pair in zip(time, waiting, strict=True)))
        rate = read / time.value if read and time.value else None
        highest = self.storage.highest if self.storage is not None else 0.0
        return Prediction(
            amount, self.unit, cores, busy, time, rate, rate / highest if rate and highest else None, limited,
            busy / max(row.workers for row in self.rows), amount / max(float(getattr(r, self.unit)) for r in self.rows),
        )  # fmt: skip

    def _in_unit(self, volume: Volume) -> float:
        if volume.unit == self.unit:
            return volume.amount
        if self.unit == "entries":
            raise ConfigError(
                f"the size of the input of step '{self.record.step}' is not known in bytes: predict for entries, such "
                "as --predict '3e9 entries'"
            )
        return volume.amount * self.record.bytes / self.record.entries

    @property
    def _read_share(self) -> float:
        """Bytes read for each unit of input."""
        whole = sum(getattr(m, self.unit) for m in self.measured)
        return sum(m.bytes_read for m in self.measured) / whole if whole else 0.0

    def _of_storage(self, given: float | None) -> Interval | None:
        if given is not None:
            return Interval(given, given, given)
        return self.storage.rate if self.storage is not None and self.storage.seen else None

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What to know about the numbers."""
        return tuple(self._notes())

    def _notes(self) -> Iterator[str]:
        numbers = {row.workers for row in self.rows}
        if len(numbers) == 1:
            yield "measured with one number of workers: the shared time cannot be distinguished from the serial one"
        if len({row.chunks for row in self.rows}) == 1:
            yield ("measured with one size of input: the fixed time cannot be distinguished from the serial one; "
                   "measure more with --input")  # fmt: skip
        if self.others > _CROWDED:
            yield (f"other processes used up to {100 * self.others:.0f}% of this machine's cores: times are too long, "
                   "and whether workers waited for data is not known; measure on a quiet machine")  # fmt: skip
        if not self.law.repeated:
            yield f"each time was measured once: a spread of {100 * self.law.spread:.0f}% is assumed"
        if few := [row for row in self.rows if row.workers > 1 and row.chunks < _FEW * row.workers]:
            yield (f"{few[-1].chunks} chunks for {few[-1].workers} workers: the last chunks keep few of them busy; "
                   "use more input, or smaller chunks")  # fmt: skip
        if odd := [m for m in self.measured if m.workers != m.asked]:
            yield f"{odd[-1].workers} workers were there when {odd[-1].asked} were asked for"
        found, filled = (sum(getattr(row, name) for row in self.rows) for name in ("columns_found", "columns_filled"))
        if self.record.cache:
            yield f"columns were read from the column cache: {found:,} were there, {filled:,} were read from files"
        else:
            yield "columns were read from the files; the column cache was not used"
        if any(m.dropped for m in self.measured):
            yield ("before each run, this machine was asked to drop the files from its memory; those of other machines "
                   "may have been read from memory")  # fmt: skip
        if self.start is not None:
            yield f"the first run of new workers took {duration(self.start)} longer, which no time here includes"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it; an end of an interval that is infinite is null."""
        law, storage = self.law, self.storage
        names = ("fixed", "serial", "shared", "serial_fraction")
        of_law: dict[str, Any] = {name: _numbers(getattr(law, name)) for name in names}
        of_law |= {"spread": law.spread, "chi2": law.chi2, "degrees_of_freedom": law.freedom}
        limit = None if storage is None else {
            "seen": storage.seen, "bytes_per_second": _numbers(storage.rate), "highest": storage.highest
        }  # fmt: skip
        return {
            **{name: getattr(self.record, name) for name in ("analysis", "step", "on", "cache")}, "unit": self.unit,
            "rows": [asdict(row) for row in self.rows], "law": {**of_law, "determined": law.determined},
            "storage": limit, "start": self.start, "notes": list(self.notes),
        }  # fmt: skip


def _numbers(interval: Interval) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in interval._asdict().items()}
