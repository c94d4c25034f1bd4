"""What a run would do, without starting anything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portico.analysis import DATASET, Analysis, StepEntry
from portico.errors import ConfigError, RunFolderError, nearest
from portico.ledger import Ledger
from portico.planning import bundle_of, missing, plan_step
from portico.store import RunFolder

__all__ = ["Preview", "preview"]


@dataclass(frozen=True, slots=True)
class Preview:
    """What one step would do for one sample.

    Parameters
    ----------
    step, sample : str
        Which; the sample of a summary step is ``*``.
    chunks, entries : int
        In its plan; 0 if it cannot be planned yet.
    chunks_done, entries_done : int
        Of these, done already.
    after : str
        The earlier step that must run first, empty if it can be planned now.
    """

    step: str
    sample: str
    chunks: int = 0
    entries: int = 0
    chunks_done: int = 0
    entries_done: int = 0
    after: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)


def preview(
    analysis: Analysis, *, folder: Path | None = None, steps: Iterable[str] = (), samples: Iterable[str] = ()
) -> list[Preview]:
    """Plan every step as far as it is possible now; nothing is run and nothing is written.

    Parameters
    ----------
    analysis, folder, steps, samples
        As in `portico.run`.

    Raises
    ------
    PorticoError
        If the analysis, its input or the run folder is wrong.
    """
    names, selected = tuple(steps), tuple(samples)
    valid = [step.name for step in analysis.steps]
    for name in names:
        if name not in valid:
            raise ConfigError(f"{analysis.path}: no step '{name}'; {nearest(name, valid)}")
    analysis.dataset.select(selected)
    place = RunFolder(folder if folder is not None else Path("runs") / analysis.name)
    found: list[Preview] = []
    open_for: dict[str, set[str]] = {}
    with _ledger(place, analysis.name) as ledger:
        for step in analysis.steps:
            wanted = [name for name in _samples_of(analysis, step) if not selected or name in selected]
            rows = _step(analysis, step, ledger, wanted, open_for.get(step.input, set()))
            open_for[step.name] = {row.sample for row in rows if row.after or row.chunks_done < row.chunks}
            if not names or step.name in names:
                found += rows
    return found


def _step(analysis: Analysis, step: StepEntry, ledger: Ledger, wanted: list[str], unready: set[str]) -> list[Preview]:
    bundle = bundle_of(analysis, step)
    if bundle.needs.kind == "summary":
        return [Preview(step.name, "*", after=step.input)]
    rows = []
    for name in wanted:
        if step.input != DATASET and (name in unready or name not in ledger.result_keys(step.input)):
            rows.append(Preview(step.name, name, after=step.input))
            continue
        plan = plan_step(analysis, step, bundle, ledger, [name])
        chunks = plan.chunks.get(name, [])
        todo, _ = missing(step, plan, ledger)
        entries, left = (sum(planned.chunk.entries for planned in some) for some in (chunks, todo))
        rows.append(Preview(step.name, name, len(chunks), entries, len(chunks) - len(todo), entries - left))
    return rows


def _samples_of(analysis: Analysis, step: StepEntry) -> tuple[str, ...]:
    entries = {entry.name: entry for entry in analysis.steps}
    while not step.samples and step.input in entries:
        step = entries[step.input]
    return step.samples or tuple(analysis.dataset.samples)


@contextmanager
def _ledger(folder: RunFolder, name: str) -> Iterator[Ledger]:
    """Open the ledger of a run folder to look at; an empty one if there is none yet."""
    if folder.ledger_path.exists():
        owner = folder.manifest().get("analysis")
        if owner != name:
            raise RunFolderError(
                f"{folder.path}: belongs to the analysis '{owner}', not '{name}'; give another folder with --run"
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
