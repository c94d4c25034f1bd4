"""A process that runs chunks, seen from outside: started when needed, replaced when it dies or is stale."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from portico.environment.bundle import Bundle
from portico.environment.credentials import Credentials
from portico.executors.base import Done, Failed, Outcome, Task
from portico.executors.wire import receive, send

__all__ = ["RunnerProcess"]

_LOG = "stderr.log"
_LOG_BYTES = 4096


class RunnerProcess:
    """One runner, which takes one message at a time. Its folder lies among the system's temporary files."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="portico-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._bundle: Bundle | None = None
        self._credentials = Credentials()
        self._knows = self._trusts = ""
        self._task: Task | None = None

    @property
    def busy(self) -> bool:
        """Whether a task was started whose outcome has not been read."""
        return self._task is not None

    @property
    def alive(self) -> bool:
        """Whether its process has been started and lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def task(self) -> Task | None:
        """The task that it works on."""
        return self._task

    def fileno(self) -> int:
        """Return what becomes readable when the outcome is there."""
        return self._stdout.fileno()

    def use(self, bundle: Bundle) -> None:
        """Run the following tasks with this bundle."""
        self._bundle = bundle

    def entrust(self, credentials: Credentials) -> None:
        """Run the following tasks with these credentials."""
        self._credentials = credentials

    def start(self, task: Task) -> None:
        """Send a task; its outcome is read with `outcome`."""
        self._task = task
        self._begin({"op": "chunk", **task.to_json()}, [])

    def outcome(self) -> Outcome:
        """Wait for the outcome of the task that was started."""
        task = self._task
        if task is None:
            raise RuntimeError("no task was started")
        answer, blobs = self._finish({"op": "chunk", **task.to_json()}, [])
        self._task = None
        if "failed" in answer:
            return Failed(task, answer["failed"], answer["message"], answer.get("log", ""), answer["metrics"])
        return Done(task, blobs[0], answer["metrics"])

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Send a message and wait for its answer, which tells ``failed`` and ``message`` if it failed."""
        self._begin(content, blobs)
        return self._finish(content, blobs)

    def stop(self) -> None:
        """End the process, whatever it does, and remove its folder."""
        self._kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, content: dict[str, Any], blobs: list[bytes]) -> None:
        """Send a message, with the bundle if the process does not hold it; a dead process shows on reading."""
        self._ensure()
        if self._bundle is not None and self._knows != self._bundle.digest:
            content, blobs = {**content, "bundle": self._bundle.describe()}, [self._bundle.archive, *blobs]
        if self._trusts != self._credentials.digest:
            content, blobs = {**content, "credentials": list(self._credentials.files)}, [
                *self._credentials.files.values(), *blobs,
            ]  # fmt: skip
            self._trusts = self._credentials.digest
        with suppress(BrokenPipeError):
            send(self._stdin, content, blobs)

    def _finish(self, content: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        for _ in range(2):
            try:
                answer, payload = receive(self._stdout)
            except EOFError:
                return self._crashed(), []
            if not answer.get("stale"):
                self._knows = answer.get("holds", "")
                return answer, payload
            self._kill()  # it holds older C++ than the bundle: a new process holds the new one
            self._begin(content, blobs)
        return {"failed": "internal", "message": "a new process was stale", "metrics": {}}, []

    def _crashed(self) -> dict[str, Any]:
        code = self._process.wait() if self._process is not None else 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        log = self._log_tail()
        self._kill()
        return {"failed": "crash", "message": f"the process that worked on it {how}", "log": log, "metrics": {}}

    def _log_tail(self) -> str:
        path = self._folder / _LOG
        return path.read_bytes()[-_LOG_BYTES:].decode(errors="replace") if path.exists() else ""

    def _ensure(self) -> None:
        if self.alive:
            return
        self._kill()
        with (self._folder / _LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "portico.executors.runner", str(self._folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()
        self._process, self._knows, self._trusts = None, "", ""

    @property
    def _stdin(self) -> IO[bytes]:
        return _piped(self._process.stdin if self._process else None)

    @property
    def _stdout(self) -> IO[bytes]:
        return _piped(self._process.stdout if self._process else None)


def _piped(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the process is not running")
    return stream
