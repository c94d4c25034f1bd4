"""The results of a step that runs, merged from the chunks that are done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from portico.results.partial import merge_encoded
from portico.results.view import Results
from portico.runfolder.folder import RunFolder

__all__ = ["read_so_far"]


def read_so_far(folder: Path, step: str, samples: Iterable[str], known: Mapping[str, Results]) -> dict[str, Results]:
    """Merge what is done of a step, from the ledger; it must be this step's plan that is there.

    Parameters
    ----------
    folder : Path
        The run folder.
    step : str
        The step.
    samples : iterable of str
        The samples to read.
    known : mapping of str to Results
        What was read before: used again for the samples of which no more is done.

    Returns
    -------
    dict of str to Results
        By sample, without those of which nothing is done. A note says how much of it is there.
    """
    found: dict[str, Results] = {}
    with closing(RunFolder(folder).open_ledger()) as ledger, ledger.reading():
        entries = ledger.entries(step)
        blobs, files = {}, {}
        for name in samples:
            note = _note(*entries.get(name, (0, 0)))
            if name in known and known[name].note == note:
                found[name] = known[name]
            else:
                blobs[name] = list(ledger.partials(step, name))
                files[name] = [file for of_chunk in ledger.outputs(step, name) for file in of_chunk]
    for name, partials in blobs.items():
        merged = merge_encoded(partials, files[name])
        if merged is not None:
            found[name] = Results(name, merged.products(), _note(*entries[name]))
    return found


def _note(done: int, total: int) -> str:
    return f"PARTIAL: {done:,} of {total:,} entries" if done < total else ""
