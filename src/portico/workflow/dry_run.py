"""What a run would do, without starting anything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portico.analysis.analysis import DATASET, Analysis, StepEntry
from portico.environment.bundle import Bundle
from portico.errors import ConfigError, RunFolderError, nearest
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.workflow.plan import Arguments, arguments_of, bundle_of, missing, plan_step
from portico.workflow.summary_step import SummaryInput

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
    names, selected = tuple(steps), analysis.dataset.matching(samples)
    valid = [step.name for step in analysis.steps]
    for name in names:
        if name not in valid:
            raise ConfigError(f"{analysis.path}: no step '{name}'; {nearest(name, valid)}")
    place = RunFolder(folder if folder is not None else Path("runs") / analysis.name)
    found: list[Preview] = []
    with _ledger(place, analysis.name) as ledger:
        look = _Look(analysis, place, ledger, {})
        for step in analysis.steps:
            rows = look.at(step, selected)
            look.open[step.name] = {row.sample for row in rows if row.after or row.chunks_done < row.chunks}
            if not names or step.name in names:
                found += rows
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    """What is looked at, and for each step before which of its samples are not done."""

    analysis: Analysis
    folder: RunFolder
    ledger: Ledger
    open: dict[str, set[str]]

    def at(self, step: StepEntry, selected: tuple[str, ...]) -> list[Preview]:
        names = self.analysis.samples_of(step)
        wanted = [name for name in names if not selected or name in selected]
        bundle = bundle_of(self.analysis, step)
        is_summary = bundle.needs.kind == "summary"
        for earlier in step.after:
            if earlier != step.input and self.open[earlier]:
                return [Preview(step.name, name, after=earlier) for name in (["*"] if is_summary else wanted)]
        arguments = arguments_of(self.analysis, step, self.folder, self.ledger)
        if is_summary:
            given = SummaryInput.of(self.analysis, step, bundle, arguments, self.ledger)
            done = not self.open.get(step.input) and given.is_done(self.folder, self.ledger)
            return [Preview(step.name, "*", after="" if done else step.input)]
        return [self._sample(step, bundle, arguments, name) for name in wanted]

    def _sample(self, step: StepEntry, bundle: Bundle, arguments: Arguments, name: str) -> Preview:
        unready = self.open.get(step.input, set())
        if step.input != DATASET and (name in unready or name not in self.ledger.result_keys(step.input)):
            return Preview(step.name, name, after=step.input)
        plan = plan_step(self.analysis, step, bundle, arguments, self.ledger, [name])
        chunks = plan.chunks.get(name, [])
        todo, _ = missing(step, plan, self.ledger)
        entries, left = (sum(planned.chunk.entries for planned in some) for some in (chunks, todo))
        return Preview(step.name, name, len(chunks), entries, len(chunks) - len(todo), entries - left)


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
