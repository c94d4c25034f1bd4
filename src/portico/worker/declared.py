"""C++ that Python code declares to this process, checked and separated by step and version.

cling cannot unload C++, and an older function, overload or macro could silently take part in what is compiled later. So
each declaration is noted with its owner, and a process that holds one that the running step has not made itself is
replaced (`portico.root.StaleProcess`). A declaration of the same text, with the same included files, is not repeated.
Headers of other steps, which are known by their files, are tolerated unless they define a name that the step's own code
may mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import portico
from portico.environment import ahead
from portico.environment.cpp_names import Names, names_in, names_of, words_in
from portico.environment.included import INCLUDE, file_name, is_of_the_system
from portico.errors import PorticoError, StepError
from portico.root import StaleProcess, declare, first_compiler_error, load_library, optimise
from portico.worker import watched

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Declarations"]

_OWN = str(Path(portico.__file__).parent)
_WORKER = str(Path(__file__).parent)
_COMMAND = re.compile(r"\s*(\.[LxX])\s+(.*\S)\s*", re.DOTALL)
_WRONG = re.compile(
    r"^(?:\S.*:\d+:\d+: (?:fatal )?error: |Error in <(?:TROOT|TApplication|ACLiC|TUnixSystem)).*", re.MULTILINE
)
_HERE = {__file__, watched.__file__}
_EVERYONE = ("", "")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where code calls ROOT: the folder of the user's module; how; and who owns what it declares."""

    folder: Path
    line: str
    direct: bool
    owner: tuple[str, str]


class Declarations:
    """The declarations of one process.

    Parameters
    ----------
    log_size : callable
        Returns how much was written to standard error.
    log : callable
        Returns what was written to standard error from a position on.

    Attributes
    ----------
    stale : bool
        Whether `portico.root.StaleProcess` was raised; cppyy may replace the exception by one of its own.
    warnings : list of str
        What the user should know.
    """

    def __init__(self, log_size: Callable[[], int], log: Callable[[int], str]) -> None:
        self._log_size, self._log = log_size, log
        self._owners: dict[str, set[tuple[str, str]]] = {}
        self._files: dict[str, Names] = {}  # names in each file of the bundle, by its digest
        self._headers: dict[str, dict[str, Names]] = {}  # the same of other bundles, by item
        self._texts: dict[str, list[Names]] = {}  # names in declared text, by bundle
        self._words: frozenset[str] = frozenset()  # identifiers in all files of the bundle
        self._digest, self._key, self._setting, self._folder = "", "", "", Path()
        self._included: Mapping[str, str] = {}
        self._spelled: Mapping[str, str] = {}
        self._origins: Mapping[str, str] = {}
        self._watching = False
        self.stale = False  # stays, whatever becomes of the exception
        self.warnings: list[str] = []

    def watch(self) -> None:
        """See from now on what Python code declares to ROOT; ROOT must have been loaded."""
        if self._watching:
            return
        self._watching = True
        import cppyy
        import ROOT

        watched.replace_methods(self)
        for space in (vars(ROOT), cppyy.gbl.ROOT):
            if isinstance(space, dict):
                space["EnableImplicitMT"] = self._refuse_threads
            else:
                space.EnableImplicitMT = self._refuse_threads

    def use(self, folder: Path, bundle: Mapping[str, Any]) -> None:
        """Take what is declared from now on as that of a bundle; load its library and include its headers.

        Parameters
        ----------
        folder : Path
            Where the bundle lies.
        bundle : mapping
            As `portico.environment.bundle.Bundle.describe` returns it.

        Raises
        ------
        StaleProcess
            If the process holds another version of a header, or C++ with which it does not compile.
        PorticoError
            If one does not compile, or the library cannot be loaded.
        """
        import ROOT

        self._digest, self._folder, self._setting = bundle["digest"], folder, json.dumps(bundle["variables"])
        self._included, self._spelled, self._origins = bundle["included"], bundle["spelled"], bundle["origins"]
        self._files = {digest: names_in(folder / name) for name, digest in self._included.items()}
        self._words = words_in(folder)
        own = [path for path in str(ROOT.gROOT.GetMacroPath()).split(":") if not path.startswith(str(folder.parent))]
        ROOT.gROOT.SetMacroPath(":".join([str(folder), *own]))
        optimise(bool(bundle["library"]))
        if library := bundle["library"]:
            load_library(folder / library)
            self._hold(library, "")
        for file, digest in bundle["declared"].items():
            self._include(file, digest)
        headers = {folder / file: digest for file, digest in bundle["headers"].items()}
        files = (folder / name for name in self._included if name not in bundle["sources"])
        ahead.use_headers(headers if bool(library) == bool(bundle["sources"]) else None, files, library)

    def _include(self, name: str, digest: str) -> None:
        """Include a file of the bundle, as `portico.root.declare`."""
        try:
            declare(self._folder / name, name, digest)
        except PorticoError:
            if self._owners:
                raise StaleProcess(name) from None
            raise
        self._hold(name, digest)

    def _hold(self, name: str, digest: str) -> None:
        item = self._item("header", name, digest)
        self._headers[item] = self._files
        self._note(item, (self._digest, ""))

    @contextmanager
    def calling(self, key: str) -> Iterator[None]:
        """Take what is declared meanwhile as that of calls with the same arguments, which ``key`` stands for.

        Raises
        ------
        StaleProcess
            If the process holds what such calls, and the modules, did not declare: headers of others at once, as the
            call cannot declare them any more; other C++ at the end.
        """
        self._key = key
        try:
            self._leave_if(self._is_foreign(self._headers))
            yield
            self._stop_threads("C++ code")
            self._leave_if(self.stale or self._is_foreign(self._owners))
        finally:
            self._key = ""

    def _leave_if(self, foreign: bool) -> None:
        if foreign:
            self.stale = True
            raise StaleProcess("other C++")

    def forget_imports(self) -> None:
        """Take what the bundle's modules declared as that of others, until they are imported again and declare it."""
        for item, owners in self._owners.items():
            if item not in self._headers:
                owners.discard((self._digest, ""))

    def _is_foreign(self, items: Iterable[str], tolerant: bool = True) -> bool:
        """Whether some of the C++ is of others; of their headers only such that the step may meet, if tolerant."""
        mine = {_EVERYONE, (self._digest, ""), (self._digest, self._key)}
        foreign = [item for item in items if mine.isdisjoint(self._owners[item])]
        return any(not (tolerant and item in self._headers and self._is_apart(self._headers[item])) for item in foreign)

    def _is_apart(self, files: dict[str, Names]) -> bool:
        """Whether files of another bundle, other than those of both, cannot change what this one's code means."""
        own = [*self._files.values(), *self._texts.get(self._digest, [])]
        return not any(
            names.can_change(own, self._words) for digest, names in files.items() if digest not in self._files
        )

    def _item(self, *what: str) -> str:
        """Return what stands for a declaration: its text and files, and the environment variables that it may read."""
        parts = "\0".join([self._setting, *what])
        return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()

    def _note(self, item: str, owner: tuple[str, str]) -> None:
        if item not in self._headers and owner != _EVERYONE:
            ahead.use_headers(None)
        self._owners.setdefault(item, set()).add(owner)

    def _declare(self, call: Callable[..., Any], text: Any, *rest: Any) -> Any:
        if (place := self._place()) is None:
            return call(text, *rest)
        self._texts.setdefault(self._digest, []).append(names_of(str(text)))
        placed, identity = self._placed(str(text), place)
        return self._once(self._item("declare", identity), partial(call, placed, *rest), place, done=True, good=bool)

    def _line(self, call: Callable[..., Any], text: Any, *rest: Any) -> Any:
        text = str(text)
        if text.lstrip().startswith("#"):
            if (place := self._place()) is None:
                return call(text, *rest)
            placed, identity = self._placed(text, place)
            return self._once(self._item("line", identity), partial(call, placed, *rest), place)
        command = _COMMAND.fullmatch(text)
        if command is None:
            return self._statement(call, text, *rest)
        return (self._load if command[1] == ".L" else self._execute)(
            lambda name: call(f"{command[1]} {name}", *rest), command[2]
        )

    def _statement(self, call: Callable[..., Any], text: Any, *rest: Any) -> Any:
        if (place := self._place()) is None:
            return call(text, *rest)
        item = self._item("statement", *place.owner, str(text))
        return self._made(item, partial(call, text, *rest), place)

    def _load(self, call: Callable[..., Any], name: Any, *rest: Any) -> Any:
        if (place := self._place()) is None:
            return call(name, *rest)
        path, identity = self._file(str(name), place)
        return self._once(self._item("load", identity), partial(call, path, *rest), place, good=_is_not_an_error)

    def _compile(self, call: Callable[..., Any], name: Any, *rest: Any) -> Any:
        if (place := self._place()) is None:
            return call(name, *rest)
        path, identity = self._file(str(name), place)
        return self._once(self._item("load", identity), partial(call, path, *rest), place, done=1, good=bool)

    def _execute(self, call: Callable[..., Any], name: Any, *rest: Any) -> Any:
        if (place := self._place()) is None:
            return call(name, *rest)
        path, identity = self._file(str(name), place)
        return self._made(self._item("execute", *place.owner, identity), partial(call, path, *rest), place)

    def _macro(self, call: Callable[..., Any], *given: Any) -> Any:
        if (place := self._place()) is None:
            return call(*given)
        return self._made(self._item("macro", *place.owner), partial(call, *given), place)

    def _library(self, call: Callable[..., Any], name: Any, *rest: Any) -> Any:
        if (place := self._place()) is None:
            return call(name, *rest)
        path, identity = self._file(str(name), place, (".so", ""))
        path = self._at_home(path)
        return self._made(self._item("library", identity), partial(call, path, *rest), place, good=_is_not_an_error)

    def _include_folder(self, call: Callable[..., Any], name: Any) -> Any:
        place = self._place()
        inside = (place.folder if place is not None else self._folder) / str(name)
        return call(str(inside) if inside.is_dir() else name)

    def _once(
        self, item: str, call: Callable[[], Any], place: _Place, done: Any = 0,
        good: Callable[[Any], bool] = lambda _: True,
    ) -> Any:  # fmt: skip
        """Declare something unless it has been declared, by whomever."""
        if item in self._owners:
            self._note(item, place.owner)
            return done
        return self._made(item, call, place, good)

    def _made(
        self, item: str, call: Callable[[], Any], place: _Place, good: Callable[[Any], bool] = lambda _: True
    ) -> Any:
        """Declare something, and see whether that went well."""
        before = self._log_size()
        answer = call()
        self._stop_threads(place.line)
        log = self._log(before)
        if good(answer) and not _WRONG.search(log):
            self._note(item, place.owner)
            return answer
        self._leave_if(self._is_foreign(self._owners, tolerant=False))
        if not place.direct:
            return answer  # ROOT and cppyy raise themselves
        words = first_compiler_error(log)
        said = _WRONG.search(log)
        raise StepError(f"does not compile: {words}" if words else f"ROOT refuses it: {said[0] if said else answer}")

    def _placed(self, text: str, place: _Place) -> tuple[str, str]:
        """Return text with the paths of the bundle's files in its directives, and with their digests."""

        def path(match: re.Match[str]) -> str:
            found = self._find(match[2] or match[3], place)
            return match[0] if found is None else f'{match[1]}"{found}"'

        def digest(match: re.Match[str]) -> str:
            found = self._find(match[2] or match[3], place)
            return match[0] if found is None else f"{match[1]}{self._digest_of(found)}"

        return INCLUDE.sub(path, text), INCLUDE.sub(digest, text)

    def _file(self, name: str, place: _Place, suffixes: tuple[str, ...] = ("",)) -> tuple[str, str]:
        """Return a file's name with its path in the bundle, and with its digest; unchanged if it is of the system."""
        file = file_name(name) or name
        for suffix in suffixes:
            if (found := self._find(file + suffix, place)) is not None:
                return name.replace(file, f"{found}", 1), name.replace(file, self._digest_of(found), 1)
        return name, name

    def _find(self, name: str, place: _Place) -> Path | None:
        """Return where a file lies in the bundle; None for one of the system.

        Raises
        ------
        StepError
            If it is another file: it is not part of the key.
        """
        name = os.path.expanduser(os.path.expandvars(name))  # noqa: PTH111 (as ROOT does)
        for path in (place.folder / name, self._folder / name, self._folder / self._spelled.get(name, "")):
            if path.is_file() and path.is_relative_to(self._folder):
                return path
        outside = Path.cwd() / name
        if outside.is_file() and not is_of_the_system(outside.resolve()):
            raise StepError(
                f"{name} is not among the files that were found when the code was read, so that a change of it would "
                "go unnoticed and workers do not have it: write its path as a literal, or name it in "
                "@portico.step(headers=[...])"
            )
        return None

    def _at_home(self, path: str) -> str:
        """Return where a library of the bundle came from if it is still there: others may lie beside it."""
        copy = Path(path)
        if not copy.is_relative_to(self._folder):
            return path
        origin = Path(self._origins.get(copy.relative_to(self._folder).as_posix(), path))
        return str(origin) if origin.is_file() and origin.read_bytes() == copy.read_bytes() else path

    def _digest_of(self, path: Path) -> str:
        member = path.resolve().relative_to(self._folder.resolve()).as_posix()
        return self._included.get(member) or hashlib.sha256(path.read_bytes()).hexdigest()

    def _place(self) -> _Place | None:
        """Return where the user's code calls ROOT; None if portico itself does."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename in _HERE:
            frame = frame.f_back
        prefix, caller, by_package = str(self._folder) + os.sep, frame, False
        while frame is not None and not frame.f_code.co_filename.startswith(prefix):
            file = frame.f_code.co_filename
            if file.startswith(_OWN) and not file.startswith(_WORKER):
                return None
            by_package |= frame.f_code.co_name == "<module>" and not file.startswith(_OWN)
            frame = frame.f_back
        at_import, user = not self._key, frame
        while frame is not None:
            at_import |= frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(prefix)
            frame = frame.f_back
        owner = _EVERYONE if by_package and user is not None else (self._digest, "" if at_import else self._key)
        if user is None:
            return _Place(self._folder, "C++ code", False, owner)
        file = user.f_code.co_filename
        return _Place(Path(file).parent, f"{file}:{user.f_lineno}", user is caller, owner)

    def _refuse_threads(self, *_: Any) -> None:
        place = self._place()
        self._warn_of_threads(place.line if place is not None else "portico")

    def _stop_threads(self, where: str) -> None:
        import ROOT

        if ROOT.IsImplicitMTEnabled():
            ROOT.DisableImplicitMT()
            self._warn_of_threads(where)

    def _warn_of_threads(self, where: str) -> None:
        self.warnings.append(
            f"{where}: implicit multithreading (EnableImplicitMT) is off: a process runs a chunk in one thread, so "
            "that sums have the same bits on any number of cores; use --workers for speed"
        )


def _is_not_an_error(code: Any) -> bool:
    return int(code) >= 0
