"""What an executor can do."""

from __future__ import annotations

from typing import Any, Protocol

from portico.environment.credentials import Credentials
from portico.worker.task import Outcome, Task

__all__ = ["Executor"]


class Executor(Protocol):
    """Runs tasks. The driver submits while ``free`` is positive and takes outcomes as they come."""

    @property
    def outlives(self) -> bool:
        """Whether what was submitted goes on when this process ends, and is found again by its key."""

    @property
    def whole(self) -> str:
        """A word if it is given whole samples, whose results are kept under keys with this word; else empty."""

    @property
    def workers(self) -> int:
        """Number of workers at present."""

    @property
    def free(self) -> int:
        """How many more tasks should be submitted now, so that no worker waits."""

    def prepare(self, bundle: Any) -> None:
        """Make the bundle (`portico.environment.bundle.Bundle`) known to all workers, also later ones."""

    def submit(self, task: Task) -> None:
        """Start a task."""

    def wait(self, timeout: float) -> list[Outcome]:
        """Return what ended, at the latest after ``timeout`` seconds."""

    def call(self, content: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Have one worker answer a message of `portico.worker.wire`, when no task is running."""

    def call_all(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Have every worker answer a message, when no task is running; answers by the worker's name."""

    def entrust(self, credentials: Credentials) -> None:
        """Send credentials to all workers, also later ones; they replace what was sent before."""

    def problems(self) -> list[str]:
        """Say why nothing happens, in the words of the system beneath; asked when nothing has come for a while."""

    def cancel(self) -> None:
        """Forget all tasks that were submitted and have not ended."""

    def close(self) -> None:
        """Stop all that this executor started."""
