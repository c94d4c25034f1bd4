"""Doubted chunks: those that are tried once more before their file counts as bad."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from portico.worker.task import Task

__all__ = ["Doubts"]

File = tuple[str, str]


@dataclass(slots=True)
class Doubts:
    """The chunks that wait to be read once more, and those of the same files, which wait for what comes of it."""

    _files: dict[File, set[str]] = field(default_factory=dict)
    _parked: dict[str, tuple[File, Task]] = field(default_factory=dict)
    _held: dict[File, list[Task]] = field(default_factory=dict)
    _alone: set[str] = field(default_factory=set)

    @property
    def are_open(self) -> bool:
        """Whether chunks wait here."""
        return bool(self._parked or self._held)

    def park(self, file: File, task: Task) -> None:
        """Keep a chunk of a file until it is recalled."""
        self._files.setdefault(file, set()).add(task.key)
        self._parked[task.key] = file, task
        self._alone.discard(task.key)

    def hold(self, file: File, task: Task) -> bool:
        """Keep a chunk back, if its file is in doubt for another chunk's sake; return whether it is kept."""
        if file not in self._files or task.key in self._files[file]:
            return False
        self._held.setdefault(file, []).append(task)
        return True

    def recall(self, may_return: Callable[[str], bool]) -> list[Task]:
        """Take out the parked chunks whose keys satisfy a condition."""
        found = [task for key, (_, task) in self._parked.items() if may_return(key)]
        for task in found:
            del self._parked[task.key]
        return found

    def recall_alone(self, keys: Collection[str] | None = None) -> list[Task]:
        """Take out parked chunks, all or those with some keys, since nothing else can be read."""
        found = self.recall(lambda key: keys is None or key in keys)
        self._alone |= {task.key for task in found}
        return found

    def is_alone(self, key: str) -> bool:
        """Return whether a chunk was read once more since nothing else was left to read."""
        return key in self._alone

    def settle(self, file: File, key: str) -> list[Task]:
        """End the doubt about a chunk; return those that may run, if no other chunk of the file is in doubt."""
        keys = self._files.get(file)
        if keys is None or key not in keys:
            return []
        keys.discard(key)
        return [] if keys else self.end(file)

    def end(self, file: File) -> list[Task]:
        """End all doubts about a file; return the chunks that waited for it, parked ones too."""
        self._files.pop(file, None)
        parked = self.recall(lambda key: self._parked[key][0] == file)
        return [*parked, *self._held.pop(file, [])]
