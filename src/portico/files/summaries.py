"""Summaries of many files: several at a time, each from the first replica that answers, and remembered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from portico.errors import InputError
from portico.files.friends import with_friends
from portico.files.remembered import Remembered, remembered
from portico.files.remote import PATIENCE, is_remote, may_pass, no_connection, server_of
from portico.files.summary import TreeSummary, summarise
from portico.files.version import Version, look_at

__all__ = ["raise_errors", "summarise_each"]

_THREADS = 8
_AT_A_TIME = 100


def raise_errors(results: Iterable[TreeSummary | InputError]) -> list[TreeSummary]:
    """Return summaries, if none is an error.

    Raises
    ------
    InputError
        The first error; the text of further ones follows.
    """
    found = list(results)
    errors = [result for result in found if isinstance(result, InputError)]
    if errors:
        more = "".join(f"\n{error}" for error in errors[1:10]) + ("\n..." if len(errors) > 10 else "")
        raise InputError(f"{errors[0]}{more}")
    return [result for result in found if isinstance(result, TreeSummary)]


def summarise_each(
    files: Iterable[str], tree: str, threads: int = _THREADS, *, replicas: Mapping[str, Sequence[str]] | None = None
) -> list[TreeSummary | InputError]:
    """Summarise one tree in many files, in the order given, several at a time; errors are returned.

    A file whose summary is remembered is not opened. Of a file with several replicas the first that answers is read,
    and named in the summary. Transient errors are retried after growing waits, for half a minute. A server that did
    not answer by then is not asked again for other files. The friends that are stored with a tree are summarised too.

    Parameters
    ----------
    files : iterable of str
        Paths or URLs.
    tree : str
        Name of the tree.
    threads : int
        How many files are read at a time.
    replicas : mapping, optional
        Further replicas of a file, by its first.
    """
    others = replicas or {}
    every = [(file, *others.get(file, ())) for file in files]
    memory = remembered()
    found = list(_each(every, tree, threads, memory))

    def look(wanted: Sequence[str], friend: str) -> list[TreeSummary | InputError]:
        return list(_each([(file,) for file in wanted], friend, threads, memory))

    return with_friends(found, look)


def _each(
    every: Sequence[tuple[str, ...]], tree: str, threads: int, memory: Remembered
) -> Iterator[TreeSummary | InputError]:
    reader = _Reader(tree, memory, memory.summaries([replica for file in every for replica in file], tree))
    try:
        with ThreadPoolExecutor(threads) as pool:
            parts = (every[first : first + _AT_A_TIME] for first in range(0, len(every), _AT_A_TIME))
            known = [found for part in pool.map(reader.remembered, parts) for found in part]
            unknown = (replicas for replicas, found in zip(every, known, strict=True) if found is None)
            read = pool.map(reader.summarise, unknown)
            for found in known:
                yield next(read) if found is None else found
                if len(reader.fresh) >= _AT_A_TIME:
                    reader.keep()
    finally:
        reader.keep()


class _Reader:
    """Reads one tree of files, each from the first replica that answers; remembers servers that do not."""

    def __init__(self, tree: str, memory: Remembered, known: Mapping[str, tuple[str, TreeSummary]]) -> None:
        self._tree, self._memory, self._known = tree, memory, known
        self._silent: dict[str, str] = {}  # the error of the attempt to connect, by server
        self.fresh: list[tuple[str, Version, TreeSummary]] = []

    def keep(self) -> None:
        """Remember what was read since the last time."""
        fresh, self.fresh = self.fresh, []
        self._memory.keep(fresh)

    def remembered(self, files: Sequence[Sequence[str]]) -> list[TreeSummary | None]:
        """Return the summaries of files that are known by their first replicas, None for others."""
        return [self._remembered(replicas[0]) for replicas in files]

    def _remembered(self, file: str) -> TreeSummary | None:
        stamp, known = self._known.get(file, ("", None))
        if known is None or server_of(file) in self._silent:
            return None
        try:
            version = look_at(file)
        except InputError:  # reading it tells, and tries again
            return None
        return known if version is not None and version.stamp == stamp else None

    def summarise(self, replicas: Sequence[str]) -> TreeSummary | InputError:
        began, wait = time.monotonic(), 1.0
        while True:
            errors: list[InputError] = []
            for replica in replicas:
                try:
                    return self._summarise(replica)
                except InputError as error:
                    errors.append(error)
            again = any(may_pass(str(error)) and server_of(replica) not in self._silent
                        for replica, error in zip(replicas, errors, strict=True))  # fmt: skip
            if not again or time.monotonic() - began + wait > PATIENCE:
                tried = "".join(f"\n  {error}" for error in errors)
                return errors[0] if len(errors) == 1 else InputError(
                    f"{replicas[0]}: none of its {len(replicas)} replicas can be read:{tried}"
                )  # fmt: skip
            time.sleep(wait)
            wait *= 2

    def _summarise(self, file: str) -> TreeSummary:
        server = server_of(file)
        if server in self._silent:
            raise InputError(f"{file}: its server did not answer before: {self._silent[server]}")
        try:
            version = look_at(file)
            stamp, known = self._known.get(file, ("", None))
            if version is not None and known is not None and version.stamp == stamp:
                return known
            found = summarise(file, self._tree, version)
        except InputError as error:
            if is_remote(file) and no_connection(str(error)):
                self._silent[server] = str(error).removeprefix(f"{file}: ")
            raise
        found = replace(found, columns=self._memory.shared(found.columns))
        if version is not None:
            self.fresh.append((self._tree, version, found))
        return found
