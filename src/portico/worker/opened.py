"""Detection of what a step's Python code reads without declaring it: files, modules, random numbers of the system.

Python's audit events show every file that Python opens; of ROOT, `TFile` is watched, and the seeds of generators. What
counts is what happens below a function of the user's modules, unless this package did it.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

from portico.environment.included import is_of_the_system
from portico.errors import PorticoWarning

__all__ = ["expect", "watch"]

_OURS = f"{Path(__file__).parent}/"
_OF_PROCESSES = ("/proc/", "/sys/", "/dev/", "/run/", "/var/")
_CACHES = tuple(str(Path.home() / name) + "/" for name in (".cache", ".config", ".local"))


_OF_SYSTEM = "_urandom"
_GENERATORS = ("TRandom", "TRandom1", "TRandom2", "TRandom3")


class _Watched:
    """The folder of the user's modules, the files that the step was given, and those that it wrote itself."""

    folder = ""
    expected: tuple[str, ...] = ()
    written: set[str] = set()  # noqa: RUF012 (one for the process, as the hooks are)


def watch(folder: Path) -> None:
    """Warn from now on of files that modules in a folder read from elsewhere."""
    _Watched.folder = f"{folder}/"
    _hook()
    if "ROOT" in sys.modules:
        _watch_root(sys.modules["ROOT"].TFile)
        for name in _GENERATORS:
            _watch_seeds(getattr(sys.modules["ROOT"], name), name)


def expect(options: Iterable[Any], *files: str) -> None:
    """Note the files, or folders, that a step is given: its input, and paths among its options."""
    paths = [*files, *(option for option in options if isinstance(option, str) and os.path.isabs(option))]  # noqa: PTH117
    _Watched.expected = tuple(os.path.realpath(path) for path in paths if path)


@cache
def _hook() -> None:
    sys.addaudithook(_heard)  # for the life of the process
    of_system: Callable[[int], bytes] = getattr(random, _OF_SYSTEM)

    def noted(size: int) -> bytes:
        _note_seed("from the operating system, as numpy.random.default_rng() without a seed does")
        return of_system(size)

    setattr(random, _OF_SYSTEM, noted)  # by which `secrets` and, through it, numpy find seeds


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path, flags = os.fsdecode(arguments[0]), arguments[2]
        if path.endswith(".so") or not _by_user():
            return
        if flags & (os.O_WRONLY | os.O_RDWR):
            _Watched.written.add(os.path.realpath(path))
        else:
            _note(path)


def _by_user(*, imports: bool = True) -> bool:
    frame = sys._getframe(1) if _Watched.folder else None
    while frame is not None:
        name = frame.f_code.co_filename
        if not imports and name.startswith("<frozen importlib"):
            return False
        if name.startswith(_Watched.folder) or (name.startswith(_OURS) and name != __file__):
            return name.startswith(_Watched.folder)
        frame = frame.f_back
    return False


def _note(path: str) -> None:
    reads, then = "reads", "name it under 'files', in the decorator or in analysis.yaml"
    if path.endswith((".py", ".pyc")):
        reads, then = "imports", "move it into the folder of the analysis, or install it"
        with suppress(ValueError):
            path = source_from_cache(path)
    real = os.path.realpath(path)
    given = (f"{path}/" for path in (os.path.realpath(_Watched.folder), *_Watched.expected))
    if f"{real}/".startswith((*_OF_PROCESSES, *_CACHES, *given)) or real in _Watched.written:
        return
    if not os.path.isfile(real) or is_of_the_system(Path(real)):  # noqa: PTH113
        return
    warnings.warn(
        f"the step {reads} {real}, which does not belong to it: a change of that file is not noticed, and other "
        f"machines may not have it; {then}",
        PorticoWarning,
        stacklevel=2,
    )


@cache
def _watch_root(klass: Any) -> None:
    """Note what ``TFile.Open`` and the constructor read."""
    opened, constructed = klass.Open, klass.__init__

    def note(arguments: tuple[Any, ...]) -> None:
        if arguments and isinstance(arguments[0], str) and _by_user():
            mode = str(arguments[1]).upper() if len(arguments) > 1 else "READ"
            if mode in {"", "READ"}:
                _note(arguments[0].partition("?")[0])
            else:
                _Watched.written.add(os.path.realpath(arguments[0]))

    def open_noted(_: Any, *arguments: Any) -> Any:
        note(arguments)
        return opened(*arguments)

    def init_noted(self: Any, *arguments: Any) -> None:
        note(arguments)
        constructed(self, *arguments)

    klass.Open, klass.__init__ = classmethod(open_noted), init_noted


def _note_seed(what: str) -> None:
    if _by_user(imports=False):  # packages may draw names while they are imported
        warnings.warn(
            f"the step draws random numbers {what}: they differ from run to run, also when a run is resumed; give the "
            "generator a seed, such as properties of each event",
            PorticoWarning,
            stacklevel=2,
        )


@cache
def _watch_seeds(klass: Any, name: str) -> None:
    """Note generators of ROOT that are made with, or get, the seed 0, which stands for another one each time."""
    seed, make = klass.SetSeed, klass.__init__

    def seed_noted(self: Any, *arguments: Any) -> None:
        if not arguments or arguments[0] == 0:
            _note_seed(f"of a {name} with the seed 0, which is another one each time")
        seed(self, *arguments)

    def init_noted(self: Any, *arguments: Any) -> None:
        if arguments and arguments[0] == 0:
            _note_seed(f"of a {name} with the seed 0, which is another one each time")
        make(self, *arguments)

    klass.SetSeed, klass.__init__ = seed_noted, init_noted
