"""Keeping results of a session as an independent run, from its chunks and files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from portico.analysis.analysis import Analysis
from portico.files import is_remote
from portico.files.atomic import make_folder, sync
from portico.files.kept import find
from portico.files.storage import storage_of
from portico.interactive.needed import kind_of_step, needed, run_needed
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.runfolder.load import Run
from portico.runfolder.step_files import StepFiles
from portico.runfolder.version import StepVersion

__all__ = ["keep_results"]


def keep_results(
    kept: Run, folder: Path, analysis: Analysis, step: str, samples: Sequence[str], options: Mapping[str, Any]
) -> Path:
    """Write results of a run as another run.

    Parameters
    ----------
    kept : Run
        The results.
    folder : Path
        The new run folder. Trees are linked to from it, or copied to another file system; those in a remote store stay
        there.
    analysis : Analysis
        That made them.
    step : str
        The last step.
    samples : sequence of str
        Only these; all samples if there are none.
    options : mapping
        Further options of `portico.run`, which writes ``results.root``, and makes again what is gone.

    Returns
    -------
    Path
        The folder.
    """
    part = _part(analysis, step, samples)
    with (
        closing(RunFolder(kept.path).open_ledger()) as source,
        RunFolder(folder).claim({"analysis": analysis.name}) as (target, ledger),
    ):
        for entry in part.steps:
            if entry.name in kept.version.steps:
                _take_over(entry.name, kept.version.steps[entry.name], kept.path, source, target, ledger)
    run_needed(part, step, samples, folder=folder, **options)
    return folder


def _part(analysis: Analysis, step: str, samples: Sequence[str]) -> Analysis:
    """Return the analysis up to a step, of some samples unless a summary needs all; it writes into its run folder."""
    dataset, entries = analysis.dataset, needed(analysis, step)
    if samples and all(kind_of_step(analysis, entry) == "frame" for entry in entries):
        dataset = dataset.model_copy(update={"samples": {name: dataset[name] for name in samples}})
        entries = [
            entry.model_copy(update={"samples": tuple(name for name in entry.samples if name in samples)})
            for entry in entries
        ]
    return analysis.model_copy(update={"dataset": dataset, "steps": tuple(entries), "store": None})


def _take_over(step: str, version: StepVersion, path: Path, source: Ledger, target: RunFolder, ledger: Ledger) -> None:
    for sample, key in version.results.items():
        chunks = source.chunks_of(step, sample, key)
        ledger.commit(
            (attempt, partial, list(_linked(outputs, target.trees(step, sample))))
            for attempt, partial, outputs in source.chunks(chunks)
        )
        ledger.subtrees.take_over(chunks, source.subtrees)
    if version.kind == "summary" and version.files is not None:
        files, found = StepFiles(path.resolve(), step, source), source.files(step, version.files)
        names = [item["name"] for item in files.items(version.files)]
        if found is not None and files.are_intact(version.files):
            contents = {name: files.path(name, version.files).read_bytes() for name in names}
            StepFiles(target.path.resolve(), step, ledger).write(version.files, contents, found[1])


def _linked(outputs: Iterable[Mapping[str, Any]], folder: str) -> Iterator[dict[str, Any]]:
    """Link or copy the trees of a chunk; one that is gone or damaged is told by the run, which makes it again."""
    items = [dict(item) for item in outputs]
    for item, kept in zip(items, find(items), strict=True):
        if kept.fault or is_remote(kept.path):
            yield item
            continue
        place = Path(folder) / Path(kept.path).name
        make_folder(place.parent)
        try:
            os.link(kept.path, place)
        except OSError:  # another file system, or one without links
            shutil.copy2(kept.path, place)
            sync(place)
        sync(place.parent)
        yield {**item, "path": str(place), "stamp": storage_of(str(place)).stamp(str(place))}
