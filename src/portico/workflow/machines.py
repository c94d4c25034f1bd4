"""The machines of a step: which of them can read files, and which fail chunks that others complete.

Pure: it is told of outcomes by the chunk scheduler, and has neither clock nor executor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.worker.task import FailureKind

__all__ = ["Machines", "machine_of"]

IN_A_ROW = 3
"""Files or chunks that a machine fails, without anything that it does between them, until it is avoided."""

File = tuple[str, str]


def machine_of(metrics: Mapping[str, Any]) -> str:
    """Return the name of the machine that an outcome comes from; empty if it does not say."""
    return str(metrics.get("host", ""))


@dataclass(frozen=True, slots=True)
class _Moment:
    """A moment of a step: the number of a submission, and the time by a wall clock; 0 if it is not known."""

    submission: int
    time: float


@dataclass(slots=True)
class _Doubt:
    """When a chunk could first and last not read its file, and how often which machine could not."""

    file: File
    first: _Moment
    last: _Moment
    machines: Counter[str] = field(default_factory=Counter)


class Machines:
    """What is known about the machines that work for one step."""

    def __init__(self) -> None:
        self._readings: dict[str, dict[File, _Moment]] = {}  # of each machine, the last two files
        self._last: dict[File, _Moment] = {}  # of all machines
        self._failing: dict[str, dict[str, File | None]] = {}  # since the last success of each, by chunk
        self._doubts: dict[str, _Doubt] = {}
        self._named: set[str] = set()
        self.suspects: set[str] = set()
        """The machines that fail one thing after the other, perhaps all that are known."""

    def succeeded(self, key: str, file: File, submission: int, metrics: Mapping[str, Any]) -> list[str]:
        """Take note that a chunk was done; return the machines that are found to fail what others do.

        Parameters
        ----------
        key : str
            Of the chunk.
        file : tuple of str
            Sample and file; the file is empty if the chunk reads none.
        submission : int
            The number of its submission.
        metrics : mapping
            Of the outcome.
        """
        machine = machine_of(metrics)
        self._doubts.pop(key, None)
        self._failing.pop(machine, None)
        self._named.discard(machine)
        self.suspects.discard(machine)
        if file[1]:
            reading = _Moment(submission, float(metrics.get("started", 0.0)))
            for readings in (self._readings.setdefault(machine, {}), self._last):
                readings.pop(file, None)
                readings[file] = reading
                if len(readings) > 2:
                    del readings[next(iter(readings))]
        found = [name for name in self.suspects - self._named if key in self._failing[name]]
        self._named |= set(found)
        return found

    def failed(self, key: str, file: File, submissions: int, kind: FailureKind, metrics: Mapping[str, Any]) -> None:
        """Take note of a failure; ``submissions`` is the number of the last submission."""
        machine = machine_of(metrics)
        if kind.is_of_the_file:
            moment = _Moment(submissions, float(metrics.get("ended", 0.0)))
            doubt = self._doubts.setdefault(key, _Doubt(file, moment, moment))
            doubt.last = moment
            doubt.machines[machine] += 1
        if machine and kind.tells_of_the_machine:
            self._failing.setdefault(machine, {})[key] = file if kind.is_of_the_file else None
            self._weigh(machine)

    def condemn(self, file: File) -> None:
        """Take note that a file is bad, so that those who could not read it are not to blame."""
        for machine, failing in self._failing.items():
            for key in [key for key, of in failing.items() if of == file]:
                del failing[key]
            self._weigh(machine)

    def _weigh(self, machine: str) -> None:
        failing = self._failing[machine]
        files = {file for file in failing.values() if file is not None}
        if len(files) + sum(file is None for file in failing.values()) >= IN_A_ROW:
            self.suspects.add(machine)
        else:
            self.suspects.discard(machine)

    def failures(self, machine: str) -> int:
        """Return how many chunks a machine has failed since its last success."""
        return len(self._failing.get(machine, ()))

    def is_witnessed(self, key: str, metrics: Mapping[str, Any]) -> bool:
        """Return whether the machine of an outcome has read another file since a chunk could first not read its own."""
        doubt = self._doubts[key]
        return _since(doubt.file, doubt.first, self._readings.get(machine_of(metrics), {}))

    def was_read_since(self, key: str) -> bool:
        """Return whether any machine has read another file since a chunk could last not read its own."""
        return _since(self._doubts[key].file, self._doubts[key].last, self._last)

    def tried_again(self, key: str, metrics: Mapping[str, Any]) -> bool:
        """Return whether the machine of an outcome could not read a chunk's file before: no other one is left."""
        return self._doubts[key].machines[machine_of(metrics)] > 1


def _since(file: File, moment: _Moment, readings: Mapping[File, _Moment]) -> bool:
    """Return whether another file was read in a chunk that was submitted, or started, after a moment."""
    return any(
        reading.submission > moment.submission or 0 < moment.time < reading.time
        for other, reading in readings.items()
        if other != file
    )
