"""Batch jobs of a run, as their batch system reports them: also to another terminal, or after a logout."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.clusters.queues.base import JobState
from portico.clusters.queues.select import queue_of
from portico.clusters.queues.submission import submissions
from portico.errors import PorticoError
from portico.runfolder.ledger import Ledger

__all__ = ["BatchStatus", "read_batch"]


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """The state of the batch jobs of a run.

    Parameters
    ----------
    site : str
        Where they were submitted, as ``--on`` takes it.
    jobs : mapping of str to JobState
        Those that have not ended, by their name in the batch system.
    chunks : int
        Chunks that these jobs have not finished.
    results : int
        Chunks that ended and were not collected yet.
    lost : int
        Chunks of jobs that ended without a result for them; the driver submits them again.
    trouble : str
        Why the batch system could not be asked; empty if it answered.
    """

    site: str
    jobs: dict[str, JobState] = field(default_factory=dict)
    chunks: int = 0
    results: int = 0
    lost: int = 0
    trouble: str = ""

    def count(self, state: str) -> int:
        """Return how many jobs are in a state."""
        return sum(job.state == state for job in self.jobs.values())

    def reasons(self) -> dict[tuple[str, str], list[str]]:
        """Return the jobs that do not run, by state and reason."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, job in self.jobs.items():
            if job.state != "running":
                found.setdefault((job.state, job.reason), []).append(name)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "site": self.site, "jobs": {state: self.count(state) for state in ("running", "idle", "held")},
            "chunks": self.chunks, "results": self.results, "lost": self.lost, "trouble": self.trouble,
            "reasons": [
                {"state": state, "reason": reason, "jobs": names} for (state, reason), names in self.reasons().items()
            ],
        }  # fmt: skip


def read_batch(run: Path, ledger: Ledger) -> BatchStatus | None:
    """Return what the batch jobs of a run do; None if there are none and nothing is left to collect.

    Parameters
    ----------
    run : Path
        The run folder.
    ledger : Ledger
        Its ledger, which knows the results that were collected.
    """
    found = list(submissions(run))
    if not found:
        return None
    steps = [row[0] for row in ledger.steps()]
    done = {key for step in steps for key in ledger.done(step)}
    wanted = {planned.key for step in steps for planned in ledger.planned(step)} - done
    ended = {key for submission in found for key in submission.ended()}
    jobs: dict[str, JobState] = {}
    chunks, lost, trouble = 0, 0, ""
    for submission in found:
        if submission.cancelled:
            continue
        try:
            states = queue_of(submission.site).states(submission.ids)
            if submission.site.filesystem == "none":
                gone = [n for n, name in enumerate(submission.ids) if states[name].state == "ended"]
                ended |= submission.returned(gone)
        except PorticoError as error:
            trouble = str(error)
            continue
        for name, keys in zip(submission.ids, submission.keys, strict=False):
            left = len((wanted - ended).intersection(keys))
            if states[name].state == "ended":
                lost += left
            else:
                jobs[name] = states[name]
                chunks += left
    results = len(ended & wanted)
    if not (jobs or results or lost or trouble):
        return None
    return BatchStatus(found[-1].on, jobs, chunks, results, lost, trouble)
