"""The control of a process that runs chunks: started when needed, replaced when it dies or is stale."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psutil

from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials, forget
from portico.environment.interpreter import isolated
from portico.environment.scratch import Scratch
from portico.worker.child import Child, Inbox, end, has_died, is_stopped, kill, post, start
from portico.worker.death import ABORTS, last_words
from portico.worker.fork_server import ForkServer
from portico.worker.log import LOG, bound, tail
from portico.worker.machine import MachineWatch
from portico.worker.task import FailureKind, Outcome, Task, outcome_of, without_entries
from portico.worker.wire import Message

__all__ = ["RunnerProcess"]

# A process uses one core. numpy's sums and products would have other bits with other numbers of threads.
_ONE_THREAD = dict.fromkeys(
    ("BLIS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS",
     "OPENBLAS_NUM_THREADS"), "1",
)  # fmt: skip
# The C library keeps what a chunk frees for the next one; the kernel would have to fill it with zeros again.
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**27)}
_LOG_BYTES, _WORDS_BYTES = 4096, 2**17
_TICK = 0.5
_VMSTAT = Path("/proc/vmstat")
_machine = MachineWatch()
_UNCOMPILED = re.compile(r"^does not compile: |just-in-time compilation")  # in no line of the user's Python
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class RunnerProcess:
    """One runner, which takes one message at a time. Its folder lies among the system's temporary files.

    Parameters
    ----------
    memory : int, optional
        Bytes that it may use; a process that needs more is ended, and its chunk failed for lack of memory.
    optimised : bool
        Compile for speed. Without, compilation is faster, and ROOT can say why it refuses a step: where cling
        optimises, an exception that passes through compiled code may end the process (seen with Vary and Redefine).
    server : ForkServer, optional
        Forks the process, and is used in one thread; without, the process is started, and loads ROOT itself.
    makes_libraries : bool
        Let the process have libraries made of what it compiles, on the user's own machine: this goes on after its end.
    """

    def __init__(
        self, memory: int | None = None, optimised: bool = True, server: ForkServer | None = None,
        makes_libraries: bool = False,
    ) -> None:  # fmt: skip
        self._memory, self._optimised, self._server = memory, optimised, server
        self._makes_libraries = makes_libraries
        self._reasons: dict[str, dict[str, Any]] = {}  # why steps end their process, by bundle and sample
        self._outgrown, self._prints, self._overdue = 0, False, False
        self._kills = _oom_kills()
        self._scratch = Scratch()
        self._folder = self._scratch.path
        self._process: Child | None = None
        self._inbox: Inbox | None = None
        self._began = 0.0
        self._bundle: Bundle | None = None
        self._credentials = Credentials()
        self._trusted = Credentials()
        self._knows = ""
        self._is_new = False  # started because the one before was stale
        self._task: Task | None = None

    @property
    def busy(self) -> bool:
        """Whether a task was started whose outcome has not been read."""
        return self._task is not None

    @property
    def folder(self) -> Path:
        """Its folder, for temporary files."""
        return self._folder

    @property
    def alive(self) -> bool:
        """Whether its process has been started and lives."""
        return self._process is not None and not has_died(self._process)

    @property
    def trouble(self) -> str:
        """Say why nothing comes from its process, as far as can be seen; empty if it works."""
        if self._process is None or self._task is None or not is_stopped(self._process):
            return ""
        process = self._process.pid
        return f"process {process}, at work on {self._task.chunk}, is stopped; let it go on with: kill -CONT {process}"

    @property
    def task(self) -> Task | None:
        """The task that it works on."""
        return self._task

    def fileno(self) -> int:
        """Return what becomes readable when the outcome is there."""
        return self._stdout.fileno()

    def watch(self) -> None:
        """Bound the log of the process, and end it if its chunk takes too long or too much, as the outcome will say."""
        if not bound(self._folder) and self._process is not None:
            self._prints = True
            self._process.kill()
        if self._process is None or self._task is None:
            return
        _machine.touch(self._bundle.digest if self._bundle is not None else "")
        if 0 < self._task.seconds < time.monotonic() - self._began:
            self._overdue = True
            self._process.kill()
        if self._memory is None:
            return
        with suppress(psutil.NoSuchProcess):
            used = psutil.Process(self._process.pid).memory_info().rss
            if used > self._memory:
                self._outgrown = used
                self._process.kill()

    def use(self, bundle: Bundle) -> None:
        """Run the following tasks with this bundle."""
        self._bundle = bundle

    def use_credentials(self, credentials: Credentials) -> None:
        """Run the following tasks with these credentials."""
        self._credentials = credentials

    def start(self, task: Task) -> None:
        """Send a task; its outcome is read with `outcome`."""
        self._task, self._began = task, time.monotonic()
        _machine.touch(self._bundle.digest if self._bundle is not None else "")
        self._begin({"op": "chunk", **task.to_json()}, [])

    def outcome(self) -> Outcome:
        """Wait for the outcome of the task that was started."""
        while (found := self.next_outcome()) is None:
            self._wait()
        return found

    def next_outcome(self) -> Outcome | None:
        """Return the outcome; None if it is not there yet, also if a new process has been given the task."""
        task = self._task
        if task is None:
            raise RuntimeError("no task was started")
        message = self._next_answer({"op": "chunk", **task.to_json()}, [])
        if message is None:
            return None
        self._task = None
        outcome = outcome_of(task, message)
        known = {"host": socket.gethostname(), **outcome.metrics, "machine": _machine.drain()}
        return replace(outcome, metrics=known)

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        """Send a message and wait for its answer, which tells ``failed`` and ``message`` if it failed."""
        try:
            self._begin(content, blobs)
            return self._finish(content, blobs)
        except BaseException:  # of Ctrl-C: the answer would be taken for that to the next message
            self._kill()
            raise

    def kill(self) -> None:
        """Kill the process, without waiting until it is gone; `stop` follows."""
        if self._process is not None:
            kill(self._process)

    def stop(self) -> None:
        """End the process, whatever it does, and remove its folder."""
        self._kill()
        self._scratch.close()

    def _begin(self, content: dict[str, Any], blobs: list[bytes]) -> None:
        """Send a message, with the bundle if the process does not hold it; a dead process shows on reading."""
        if self._trusted.files.keys() != self._credentials.files.keys():
            self._kill()  # where a proxy lies, XRootD's client asks but once in the life of a process
        self._ensure()
        if self._bundle is not None and self._knows != self._bundle.digest:
            content, blobs = {**content, "bundle": self._bundle.describe()}, [self._bundle.archive, *blobs]
        if self._trusted.digest != self._credentials.digest:
            content, blobs = {**content, "credentials": list(self._credentials.files)}, [
                *self._credentials.files.values(), *blobs,
            ]  # fmt: skip
            self._trusted = self._credentials
        if self._process is None:
            raise RuntimeError("the process is not running")
        self._inbox = Inbox(self._process)
        post(_piped(self._process.stdin), content, blobs)

    def _finish(self, content: dict[str, Any], blobs: list[bytes]) -> Message:
        while (message := self._next_answer(content, blobs)) is None:
            self._wait()
        return message

    def _next_answer(self, content: dict[str, Any], blobs: list[bytes]) -> Message | None:
        """Return the answer; None if it is not there, also if the process holds other C++ and a new one was started."""
        if self._inbox is None:
            raise RuntimeError("the process is not running")
        try:
            message = self._inbox.take()
        except EOFError:
            return self._crashed(content), []
        if message is None:
            return None
        answer, payload = message
        if not answer.get("stale"):
            self._knows, self._is_new = answer.get("holds", ""), False
            # ROOT reports some damages once per process, and the next chunk may be of such a file. After a compilation
            # at the begin of an event loop has failed, the next loop fails as well, whatever its graph.
            if answer.get("failed") == FailureKind.INPUT or _UNCOMPILED.search(answer.get("message", "")):
                self._kill()
            return answer, payload
        if self._is_new:
            return {"failed": "internal", "message": "a new process was stale", "metrics": {}}, []
        self._kill()
        self._is_new = True
        self._begin(content, blobs)
        return None

    def _wait(self) -> None:
        """Wait until there is something to read or the process is dead, watching memory, time and log."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while not selector.select(_TICK) and self.alive:
                self.watch()

    def _crashed(self, content: dict[str, Any]) -> dict[str, Any]:
        code = end(self._process) if self._process is not None else 0
        used, self._outgrown = self._outgrown, 0
        if self._overdue:
            self._overdue = False
            self._kill()
            seconds = self._task.seconds if self._task is not None else 0
            return {"failed": "timeout", "message": f"took longer than the {seconds:g} s that a chunk may take",
                    "metrics": {}}  # fmt: skip
        if self._prints:
            self._prints = False
            self._kill()
            words = "wrote more to standard error than its disk should hold; print less, or not for each event"
            return {"failed": "user", "message": f"the step {words}", "metrics": {}}
        if used and self._memory is not None:
            self._kill()
            text = f"its process grew to {used / 1e6:,.0f} MB of memory, {self._memory / 1e6:,.0f} MB are allowed"
            return {"failed": "memory", "message": text, "metrics": {}}
        kills, before = _oom_kills(), self._kills
        self._kills = kills
        if code == -signal.SIGKILL and kills > before:
            self._kill()
            return {"failed": "memory", "message": "the machine ran out of memory while it worked on it", "metrics": {}}
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        log = self._log_tail()
        kind, words = last_words(tail(self._folder, _WORDS_BYTES))
        self._kill()
        if -code in ABORTS and not words and self._optimised and content["op"] == "chunk" and not content.get("points"):
            kind, words = self._reason(content)
        said = f"{words}; " if words else ""
        how = f"{said}the process that worked on it {how}"
        return {"failed": kind, "message": words if kind == "user" else how, "log": log, "metrics": {}}

    def _reason(self, content: dict[str, Any]) -> tuple[str, str]:
        """Return the kind of a death and ROOT's words, from building the step's graph again, without optimisation."""
        digest = self._bundle.digest if self._bundle is not None else ""
        key = f"{digest}/{content['function']}/{content['sample']['name']}"
        if key not in self._reasons:
            other = RunnerProcess(optimised=False)
            try:
                if self._bundle is not None:
                    other.use(self._bundle)
                other.use_credentials(self._credentials)
                self._reasons[key], _ = other.call(without_entries(content, other.folder), [])
            finally:
                other.stop()
        answer = self._reasons[key]
        return ("user", answer["message"]) if answer.get("failed") == "user" else ("crash", "")

    def _log_tail(self) -> str:
        return tail(self._folder, _LOG_BYTES)

    def _ensure(self) -> None:
        if self.alive:
            return
        self._kill()
        slow = {} if self._optimised else {"EXTRA_CLING_ARGS": f"{os.environ.get('EXTRA_CLING_ARGS', '')} -O0".strip()}
        python, environment = isolated(**_ONE_THREAD, **slow)
        environment = _KEPT_MEMORY | environment
        command = [*python, "-m", "portico.worker.runner"]
        if self._makes_libraries:
            environment.setdefault("PORTICO_AHEAD", "1")
        (self._folder / LOG).unlink(missing_ok=True)
        with (self._folder / LOG).open("ab") as log:  # at the end, wherever that is
            if self._server is not None and self._optimised:
                self._process = self._server.start(command, self._folder, log, environment)
            else:
                self._process = start([*command, str(self._folder)], log, environment)

    def _kill(self) -> None:
        if self._process is not None:
            end(self._process)
        forget(self._folder)
        self._process, self._inbox, self._knows, self._trusted = None, None, "", Credentials()

    @property
    def _stdout(self) -> IO[bytes]:
        return _piped(self._process.stdout if self._process else None)


def _oom_kills() -> int:
    """Return how often the kernel has killed a process for lack of memory, on this machine or in this container."""
    found = _OOM_KILLS.search(_VMSTAT.read_text(encoding="ascii")) if _VMSTAT.exists() else None
    return int(found[1]) if found else 0


def _piped(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the process is not running")
    return stream
