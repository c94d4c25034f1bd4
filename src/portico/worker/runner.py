"""The process that runs chunks: the only one that loads ROOT and the user's code.

It is started as ``python -P -m portico.worker.runner FOLDER`` by `portico.worker.process` and speaks on
its standard input and output. What ROOT and the step print goes to standard error, a file in FOLDER.
"""

from __future__ import annotations

import importlib
import io
import os
import random
import re
import resource
import shutil
import socket
import sys
import time
import traceback
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from portico import root
from portico.environment.bundle import key_of
from portico.environment.credentials import install
from portico.environment.variables import set_variables
from portico.errors import PorticoWarning, SpaceError, StepError
from portico.files import is_remote
from portico.files.plain_name import plain_name
from portico.files.troubles import of_a_disk
from portico.results.partial import decode, encode, take_files
from portico.step import Needs, forget_needs, needs_of
from portico.worker.cached import CachedChunk, CachedChunks
from portico.worker.classify import check_log, classify
from portico.worker.declared import Declarations
from portico.worker.fork_server import serve
from portico.worker.globals import Generators, Globals
from portico.worker.loading import load, warm
from portico.worker.log import Log
from portico.worker.task import Done, Task
from portico.worker.wire import Message, receive, send

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico.results.product import Product
    from portico.worker.frame import Timing

    Ran = tuple[dict[str, Product], Timing, Sequence[Mapping[str, Any]]]

_LOG_BYTES = 8192
_TREES = "trees"  # what a chunk writes, on its way to a server
_ASIDE = re.compile(r"([^\s'\"]*)/\.[0-9a-f]{32}\.part")  # the name of a tree until its chunk is done
_JIT = re.compile(r"Just-in-time compilation phase completed in ([0-9.]+) seconds")
_RDF = re.compile(r"^Info in <\[ROOT\.RDF\].*\n?", re.MULTILINE)
_CHANGED = (
    "variable '{}' of module '{}' changed while a chunk ran: every chunk begins with the modules as they were "
    "imported, so that results do not depend on the number of workers, and what a chunk leaves in variables is lost"
)
_DRAWN = (
    "the step draws random numbers from {}: every chunk draws the same ones, so that results do not depend on the "
    "number of workers; seed a generator with properties of each event, such as run and event, instead"
)


class Runner:
    """The state of one process: the code that is active and where things lie.

    Parameters
    ----------
    folder : Path
        Own folder of this process, for its log and the bundles.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = Log(folder)
        self._active: tuple[str, Path] | None = None
        self._content: dict[str, Any] = {}
        self._holds = ""
        self._declarations = Declarations(self._log.size, self._log.read)
        self._globals: Globals | None = None
        self._generators: list[Generators] = []  # as in a new process; after the imports
        self._cached, self._warnings, self._chunk_log = CachedChunks(), list[str](), 0
        _hear(self._warnings)

    def serve(self, source: IO[bytes], sink: IO[bytes]) -> None:
        """Answer messages until the other side is gone."""
        operations = {
            "chunk": self._chunk, "summary": self._summary, "export": self._export, "points": self._points,
            "probe": self._probe,
        }  # fmt: skip
        while True:
            try:
                content, blobs = receive(source)
            except EOFError:
                return
            started, before = time.time(), self._log.begin()
            try:
                if "credentials" in content:
                    names = content.pop("credentials")
                    install(dict(zip(names, [blobs.pop(0) for _ in names], strict=True)), self._folder)
                if "bundle" in content:
                    self._hold(content.pop("bundle"), blobs.pop(0))
                operation = content.pop("op")
                if ":" in operation:  # of an executor that is installed as a plugin
                    answer, payload = self.function(operation)(self, content, blobs)
                else:
                    answer, payload = operations[operation](content, blobs)
            except BaseException as error:
                stale = self._declarations.stale or isinstance(error, root.StaleProcess)
                answer, payload = {"stale": True} if stale else self._explain(error, before), []
            answer["holds"] = self._holds
            answer["warnings"] = self._told()
            answer["log"] = _RDF.sub("", self._log.read(before))[-_LOG_BYTES:]
            ended, metrics = time.time(), answer.setdefault("metrics", {})
            metrics.update(
                started=started, ended=ended, setup=max(0.0, ended - started - metrics.get("wall", 0.0)),
                host=socket.gethostname(), process=os.getpid(),
                peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            )  # fmt: skip
            send(sink, answer, payload)

    def _hold(self, content: dict[str, Any], archive_bytes: bytes) -> None:
        """Unpack a bundle, make it the one from which modules are imported, and declare its headers."""
        self._holds = ""
        target = self._folder / content["digest"]
        if not target.exists():
            aside = target.with_suffix(".part")
            shutil.rmtree(aside, ignore_errors=True)
            with zipfile.ZipFile(io.BytesIO(archive_bytes)) as archive:
                archive.extractall(aside)
            aside.rename(target)
        self._activate(content["digest"], target)
        self._content = content
        set_variables(content["variables"])
        self._prepare()
        self._declarations.use(target, content)
        self._holds = content["digest"]

    def _prepare(self) -> None:
        """Load ROOT, tell it to speak of compilation, and watch what is declared to it; once."""
        loaded = root.load()
        if self._generators:
            return
        loaded.gInterpreter.ProcessLine("ROOT::Detail::RDF::RDFLogChannel().SetVerbosity(ROOT::ELogLevel::kInfo);")
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 (the global one, which user code may use)
        self._generators = [Generators()]
        self._declarations.watch()

    def _activate(self, digest: str, target: Path) -> None:
        if self._active is not None and self._active[0] == digest:
            return
        # Modules of the bundle before, and installed ones that the bundle has its own version of, must go.
        if self._globals is not None:
            self._globals.close()
        tops = {path.name.removesuffix(".py") for path in target.iterdir()}
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            del sys.modules[name]
        old = str(self._active[1]) if self._active is not None else None
        sys.path[:] = [str(target), *(entry for entry in sys.path if entry != old)]
        self._globals = Globals(target)
        importlib.invalidate_caches()
        self._active = (digest, target)

    @property
    def _origins(self) -> dict[str, str]:
        return dict(self._content.get("origins", {}))

    @property
    def bundle(self) -> tuple[str, str]:
        """The digest of the bundle, and the folder where it lies; both empty without one."""
        return self._holds, str(self._active[1]) if self._active else ""

    def function(self, reference: str) -> Any:
        """Import what ``module:function`` names, from the bundle or an installed package.

        Raises
        ------
        StepError
            If its decorator declares something else than the source shows.
        """
        module, _, name = reference.partition(":")
        if module not in sys.modules and self._globals is not None:
            forget_needs()
            self._generators[1:] = []
            self._generators[0].restore()
            found = getattr(importlib.import_module(module), name)
            self._globals.take()
            self._generators.append(Generators())
        else:
            found = getattr(importlib.import_module(module), name)
        if reference == self._content.get("function"):
            _compare(reference, Needs.from_json(self._content["needs"]), needs_of(module, name))
        return found

    @contextmanager
    def _fresh_state(self) -> Iterator[None]:
        """Run a chunk on the state of a new process; what it changes is not seen by the next one, and told."""
        self._generators[-1].restore()
        try:
            yield
        finally:
            changed = self._globals.changed() if self._globals is not None else []
            moved = self._generators[-1].restore()
            if self._globals is not None and (changed or moved):
                self._globals.drop()
                self._declarations.forget_imports()
            self._warnings += [_CHANGED.format(*reversed(variable.rpartition(".")[::2])) for variable in changed]
            self._warnings += [_DRAWN.format(generator) for generator in moved]

    def _told(self) -> list[str]:
        """Return the warnings since the last message."""
        told = [self._at_home(text) for text in dict.fromkeys([*self._declarations.warnings, *self._warnings])]
        self._declarations.warnings.clear()
        self._warnings.clear()
        return told

    def _chunk(self, content: dict[str, Any], _: list[bytes]) -> Message:
        from portico.worker.points import run_points

        task, self._chunk_log = Task.from_json(content), self._log.size()
        wall, cpu = time.perf_counter(), time.process_time()
        files: Sequence[Mapping[str, Any]] = ()
        if task.points is None:
            products, timing, files = self._cached.run(task, self._holds, self._folder, self._run)
        else:
            function = self._checked(task.function, task.sample, task.options)
            with self._fresh_state():
                products, timing = run_points(function, task)
        result = encode(products)
        metrics = {name: getattr(timing, name) for name in timing.__slots__}
        metrics |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "entries": task.chunk.entries}
        return Done(task, result, metrics, files).to_answer()

    def _run(self, task: Task, cached: CachedChunk | None, in_blocks: bool) -> Ran:
        """Run a step over a chunk; ROOT tells some damages only once, perhaps in an earlier try from the cache."""
        from portico.worker.frame import run_chunk
        from portico.worker.given_sample import GivenSample
        from portico.worker.upload import bring_to_disk, upload

        function, remote = self._checked(task.function, task.sample, task.options), is_remote(task.folder)
        folder = self._folder / _TREES if remote else Path(plain_name(task.folder, self._folder))

        def compiled() -> float:
            return sum(float(seconds) for seconds in _JIT.findall(self._log.read(self._chunk_log)))

        if remote:
            folder.mkdir(exist_ok=True)
        try:
            with self._fresh_state():
                products, timing = run_chunk(
                    function, task.chunk, GivenSample(**task.sample), task.options, folder, compiled, self._folder,
                    task.friends, task.reference, cached, in_blocks,
                )  # fmt: skip
            log, where = self._log.read(self._chunk_log), task.folder
            check_log(log, f"{folder}, on the way to {where}" if remote else where)
            products, files = take_files(products)
            if remote:
                files, seconds = upload(files, task.folder)
                timing.serialise += seconds
            else:
                timing.serialise += bring_to_disk(files, folder)
        finally:
            if remote:
                shutil.rmtree(folder, ignore_errors=True)
        return products, timing, files

    def _checked(self, reference: str, *arguments: Any) -> Any:
        """Return a step that refuses a process in which C++ was declared for other steps or arguments."""
        function, key = self.function(reference), key_of(reference, arguments)

        def call(*given: Any, **options: Any) -> Any:
            with self._declarations.calling(key):
                return function(*given, **options)

        return call

    def _points(self, content: dict[str, Any], _: list[bytes]) -> Message:
        from portico.worker.points import list_points

        return {"points": list_points(self._checked(content["function"]), content["options"])}, []

    def _summary(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        from portico.worker.summary_step import answer

        function = self._checked(content["function"])
        with self._fresh_state():
            return answer(function, content, blobs)

    def _export(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        from portico.results.view import write_root

        root.load()
        path = self._folder / "results.root"
        samples = {name: decode(blob) for name, blob in zip(content["samples"], blobs, strict=True)}
        write_root(path, samples, content["labels"])
        written = path.read_bytes()
        path.unlink()
        return {}, [written]

    def _probe(self, content: dict[str, Any], _: list[bytes]) -> Message:
        from portico.environment.probe import answer

        if "function" in content:
            self.function(content["function"])
        return {"probe": answer(content, self._folder)}, []

    def _explain(self, error: BaseException, log_start: int) -> dict[str, Any]:
        """Return the kind of a failure and a message that names the user's files."""
        frames = traceback.extract_tb(error.__traceback__)
        where = self._user_line(frames)
        if isinstance(error, OSError) and isinstance(full := of_a_disk(error, self._folder.parent), SpaceError):
            error = full  # with the place, of which the system's words say nothing
        kind, text = classify(error, self._log.read(log_start), frames, where)
        text = "; ".join([text, *getattr(error, "__notes__", ())])
        if kind == "internal":
            traceback.print_exception(error)  # into the log, which travels with the answer
        return {"failed": kind, "message": self._at_home(f"{where}: {text}" if where else text)}

    def _user_line(self, frames: list[traceback.FrameSummary] | traceback.StackSummary) -> str:
        if self._active is None:
            return ""
        prefix = str(self._active[1]) + os.sep
        for frame in reversed(frames):
            if frame.filename.startswith(prefix):
                relative = frame.filename.removeprefix(prefix)
                return f"{self._origins.get(relative, relative)}:{frame.lineno} ({(frame.line or '').strip()})"
        return ""

    def _at_home(self, text: str) -> str:
        """Replace paths on the worker by the user's: of files in the bundle, of others beside them, and of trees."""
        names: dict[str, str] = {}
        bundle = self._active[1] if self._active is not None else self._folder
        for relative, origin in self._origins.items():
            file = bundle / relative
            names |= {str(file): origin, str(file.parent): str(Path(origin).parent)}
        for name in sorted(names, key=len, reverse=True):  # a file before its folder
            text = text.replace(name, names[name])
        return _ASIDE.sub("a tree in \\1", text)


def _compare(reference: str, read: Needs, declared: Needs | None) -> None:
    """Refuse a step whose decorator declared something else than was read from the source."""
    if declared is None or declared == read:
        return
    lists = [f"{name}={list(getattr(declared, name))}" for name in ("headers", "files") if getattr(declared, name)]
    words = ", ".join(lists) or f"a step of kind {declared.kind}"
    raise StepError(
        f"the decorator of '{reference}' declares {words}, which cannot be read from the source: write the decorator "
        "itself, with lists written out, directly above the function"
    )


def _hear(heard: list[str]) -> None:
    """Keep each `PorticoWarning` for the driver, which shows it once; others go to the log."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, PorticoWarning):
            heard.append(str(message))
        else:
            shown(message, category, *where, **more)

    warnings.simplefilter("always", PorticoWarning)
    warnings.showwarning = show


def _run(folder: Path) -> None:
    """Serve on standard input and output, which nothing else may use from here on."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    load()
    Runner(folder).serve(source, sink)
    sink.close()
    os._exit(0)  # ROOT may crash while it is taken down; the work is done


def main() -> None:
    """Run chunks, or fork processes that do."""
    if sys.argv[1] == "--fork-server":
        load()
        serve(int(sys.argv[2]), _run, warm)
    else:
        _run(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
