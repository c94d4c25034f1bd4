"""Detection of input that has shrunk since a step last ran: fewer files or entries than its results contain."""

from __future__ import annotations

from collections.abc import Mapping

from portico.analysis.analysis import DATASET, StepEntry
from portico.analysis.dataset import Sample
from portico.errors import InputError
from portico.runfolder.ledger import Ledger
from portico.shown import without_secrets
from portico.workflow.plan import Plan

__all__ = ["refuse_shrunk", "shrunk"]

_NAMED = 5


def refuse_shrunk(step: StepEntry, plan: Plan, ledger: Ledger) -> None:
    """Refuse a plan that would replace results by ones of fewer files or entries.

    Raises
    ------
    InputError
        If a sample has shrunk.
    """
    if found := shrunk(step, plan, ledger):
        raise InputError(
            "\n".join(found) + "\nrestore the files, or accept the change with --accept-changed-input "
            "(accept_changed_input=True in Python); nothing was changed so far"
        )


def shrunk(step: StepEntry, plan: Plan, ledger: Ledger) -> list[str]:
    """Return a line for each sample of the dataset that has shrunk since results were made of it.

    Files that a partial run leaves out do not count. More files are no loss.
    """
    if step.input != DATASET:
        return []
    results = ledger.result_keys(step.name)
    done = ledger.entries(step.name) if any(name not in results for name in plan.samples) else {}
    lines = []
    for name, sample in plan.samples.items():
        if not sample.files or (name not in results and not done.get(name, (0, 0))[0]):
            continue
        before: dict[str, int] = {}
        for path, read in ledger.files_read(step.name, name).items():
            file = _first(sample, path)
            before[file] = before.get(file, 0) + read
        for loss in plan.lost:
            before.pop(_first(sample, loss.file), None)
        now = {_first(sample, file): summary.entries for file, summary in plan.files[name].items()}
        lines += _compared(f"step '{step.name}', sample '{name}'", before, now)
    return lines


def _first(sample: Sample, file: str) -> str:
    """Return the replica by which a sample names a file, without the secrets of its URL, which change."""
    file = without_secrets(file)
    found = (first for first, others in sample.replicas.items() if file in map(without_secrets, others))
    return without_secrets(next(found, file))


def _compared(where: str, before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    old, new = ({file: entries for file, entries in of.items() if entries} for of in (before, now))
    if len(new) >= len(old) and sum(new.values()) >= sum(old.values()):
        return []
    gone = [f"{file} is gone" for file in old if file not in new]
    less = [f"{file} has {new[file]} entries, not {old[file]}" for file in old if new.get(file, old[file]) < old[file]]
    words = gone + less
    more = f"; and {len(words) - _NAMED} more" * (len(words) > _NAMED)
    return [f"{where}: {_files(new)}, but {_files(old)} when its results were made: {'; '.join(words[:_NAMED])}{more}"]


def _files(of: Mapping[str, int]) -> str:
    return f"{len(of)} file{'s' * (len(of) != 1)} with {sum(of.values())} entries"
