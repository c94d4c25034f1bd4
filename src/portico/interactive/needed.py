"""The steps that a step depends on, and running what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portico.analysis.analysis import Analysis, StepEntry
from portico.environment.bundle import kind_of, one_code
from portico.runfolder.load import Run
from portico.workflow.run import run

__all__ = ["kind_of_step", "needed", "run_needed"]


def needed(analysis: Analysis, step: str) -> list[StepEntry]:
    """Return a step and the earlier ones that it needs, in order."""
    names, found = {step}, []
    for entry in reversed(analysis.steps):
        if entry.name in names:
            names |= set(entry.after)
            found.append(entry)
    return found[::-1]


def kind_of_step(analysis: Analysis, step: StepEntry) -> str:
    """Return ``frame``, ``points`` or ``summary``."""
    return "points" if step.points is not None else kind_of(step.function, analysis.folder)


@one_code()
def run_needed(analysis: Analysis, step: str, samples: Sequence[str], **options: Any) -> Run:
    """Run what is missing of a step and of those that it needs.

    Parameters
    ----------
    analysis : Analysis
        The analysis.
    step : str
        Name of the step.
    samples : sequence of str
        Only these, but what summaries are made of over all samples; all if there are none.
    **options
        Further options of `portico.run`.

    Raises
    ------
    PorticoError
        As `portico.run`.
    """
    steps = needed(analysis, step)
    kinds = [kind_of_step(analysis, entry) for entry in steps]
    whole = max((n + 1 for n, kind in enumerate(kinds) if kind != "frame"), default=0) if samples else 0
    if whole:
        run(analysis, steps=[entry.name for entry in steps[:whole]], **options)
    return run(analysis, steps=[entry.name for entry in steps[whole:]], samples=samples, **options)
