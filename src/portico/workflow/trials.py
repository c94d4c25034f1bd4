"""Trial chunks: if none of them can be done, the step itself is at fault.

They are of different files, and chosen by their content, so that neither the order of files nor the number of workers
decides what a run says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from portico.runfolder.ledger import Planned

__all__ = ["COUNT", "LEAST", "TIMES", "Trials"]

COUNT = 8
"""If a tenth of the files is bad, all of so many are in one step of 10^8."""
LEAST = 3
"""With fewer chunks, one cannot say whether the step or the file is at fault."""
TIMES = 2
"""How often each of `COUNT` chunks kills its process, or takes too long, until it speaks against the step; one of them
once more. Fewer chunks may all do that by chance, so that each of them has to be given up."""


class Trials:
    """The chunks by which a step is tried.

    Parameters
    ----------
    planned : iterable of Planned
        All chunks of the step, also those that are done.
    """

    def __init__(self, planned: Iterable[Planned]) -> None:
        by_file: dict[tuple[str, str], list[tuple[bytes, str]]] = {}
        for chunk in planned:
            of = chunk.chunk
            digest = hashlib.blake2b(f"{chunk.sample}\0{of.file}\0{of.first}".encode(), digest_size=8).digest()
            by_file.setdefault((chunk.sample, of.file), []).append((digest, chunk.key))
        ranked = [
            (number, digest, key, file)
            for file, chunks in by_file.items()
            for number, (digest, key) in enumerate(sorted(chunks)[:COUNT])
        ]
        self.chunks = {key: file for _, _, key, file in sorted(ranked)[:COUNT]}
        """Sample and file of each, by key."""

    def all(self, says: Callable[[str, tuple[str, str]], bool]) -> bool:
        """Return whether something is so of every chunk; it takes its key, and its sample and file."""
        return all(says(key, file) for key, file in self.chunks.items())
