"""Losses of a partial run: damaged files, and chunks that could not run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from portico.runfolder.ledger import Lost, Planned
from portico.worker.task import Failed
from portico.workflow.plan import Plan

__all__ = ["completeness_of", "losses", "partial_label"]


def losses(plan: Plan, failed: Iterable[Failed]) -> list[Lost]:
    """Return all that is lost with the chunks that failed.

    A file that is damaged in one chunk is not trusted in the others: all its chunks are lost, including those that were
    read. Thus the losses do not depend on the order in which chunks ran. If a chunk killed its processes, only this
    chunk is lost.
    """
    lost = {(loss.sample, loss.key or loss.file): loss for loss in plan.lost}
    by_key = plan.by_key
    for failure in failed:
        culprit = by_key[failure.task.key]
        for planned in plan.chunks[culprit.sample]:
            chunk = planned.chunk
            if planned is culprit or (chunk.file == culprit.chunk.file and failure.kind.is_of_the_file):
                loss = Lost(planned.sample, planned.key, chunk.file, chunk.entries, failure.kind, failure.message)
                lost[planned.sample, planned.key] = loss
    return list(lost.values())


def completeness_of(sample: str, chunks: Sequence[Planned], lost: Iterable[Lost]) -> float:
    """Return the fraction of a sample's entries that is left."""
    of_sample = [loss for loss in lost if loss.sample == sample]
    total = sum(planned.chunk.entries for planned in chunks) + sum(loss.entries for loss in of_sample if not loss.key)
    return 1 - sum(loss.entries for loss in of_sample) / total if total else 1.0


def partial_label(completeness: float) -> str:
    """Return the label of the results of a partial run; empty if they are complete."""
    return f"partial: {completeness:.2%} of the events" if completeness < 1 else ""
