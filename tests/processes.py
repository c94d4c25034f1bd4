"""Processes of runs that serve the next test too: most of a short run is to load ROOT and to compile its first frame.

Processes live on between the steps, edits and runs of one executor; here they do so between executors as well.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import pytest

from portico.environment.scratch import Scratch
from portico.worker.child import Child, end
from portico.worker.fork_server import ForkServer
from portico.worker.process import RunnerProcess

_MODULES = ("portico.executors.local", "portico.workflow.checks")
_SPARE = 2


def _surroundings() -> tuple[str, dict[str, str]]:
    """Return what a process takes over from this one when it starts."""
    return str(Path.cwd()), {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


@dataclass(frozen=True)
class _Spare:
    process: Child
    scratch: Scratch
    knows: str
    surroundings: tuple[str, dict[str, str]]

    def end(self) -> None:
        end(self.process)
        self.scratch.close()


class ReusedProcess(RunnerProcess):
    """A process that is kept when it is stopped, unless it works, is dead, has credentials, a limit or its own disk.

    Whoever starts one next in the same working directory and environment gets it.
    """

    spare: ClassVar[list[_Spare]] = []
    disk: ClassVar[str]

    def __init__(self, memory: int | None = None, **options: Any) -> None:
        super().__init__(memory, **options)
        self._own: list[Scratch] = []
        self._surroundings = _surroundings()

    def stop(self) -> None:
        usual = self._memory is None and not self._trusted.files and str(self._scratch.path.parent) == self.disk
        if usual and self._process is not None and self.alive and not self.busy:
            self.spare.append(_Spare(self._process, self._scratch, self._knows, self._surroundings))
            self._process = None
            if len(self.spare) > _SPARE:
                self.spare.pop(0).end()
        else:
            super().stop()
        for scratch in self._own:
            scratch.close()

    def _ensure(self) -> None:
        if self.alive:
            return
        self._surroundings = _surroundings()
        fitting = [spare for spare in self.spare if spare.surroundings == self._surroundings]
        usual = self._memory is None and not self._is_new and tempfile.gettempdir() == self.disk
        if fitting and usual:
            spare = fitting[-1]
            self.spare.remove(spare)
            self._own.append(self._scratch)
            self._process, self._scratch, self._knows = spare.process, spare.scratch, spare.knows
            self._folder = self._scratch.path
        super()._ensure()


class SharedServer(ForkServer):
    """One server for all executors in the same surroundings; the last few are kept."""

    kept: ClassVar[dict[object, ForkServer]] = {}

    def start(self, command: Sequence[str], folder: Path, log: IO[bytes], environment: Mapping[str, str]) -> Child:
        environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
        key = (str(Path.cwd()), tuple(sorted(environment.items())))
        server = self.kept.pop(key, None) or ForkServer()
        self.kept[key] = server
        while len(self.kept) > _SPARE:
            self.kept.pop(next(iter(self.kept))).close()
        return server.start(command, folder, log, environment)


@contextmanager
def reused() -> Iterator[None]:
    """Keep processes, and end them all at last."""
    ReusedProcess.disk = tempfile.gettempdir()
    with pytest.MonkeyPatch.context() as patch:
        for module in _MODULES:
            patch.setattr(f"{module}.RunnerProcess", ReusedProcess)
        patch.setattr("portico.executors.local.ForkServer", SharedServer)
        yield
    while ReusedProcess.spare:
        ReusedProcess.spare.pop().end()
    for server in SharedServer.kept.values():
        server.close()
