"""The state of one run, carried from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.analysis.analysis import Analysis
from portico.errors import PorticoError
from portico.executors.base import Executor
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger
from portico.worker.task import FailureKind
from portico.workflow.chunk_loop import Reporter
from portico.workflow.credential_refresh import CredentialRefresh

__all__ = ["State"]


@dataclass(slots=True)
class State:
    """What one call of `run` carries from step to step."""

    analysis: Analysis
    folder: RunFolder
    ledger: Ledger
    executor: Executor
    reporter: Reporter
    credentials: CredentialRefresh
    recipes: Mapping[tuple[str, str], str]
    samples: tuple[str, ...]
    allow_partial: bool
    accept_changed_input: bool
    cache: bool = False
    export: bool = True
    chunk_seconds: float = 0.0
    said: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    failures: list[tuple[FailureKind, str]] = field(default_factory=list)

    @property
    def losses(self) -> tuple[frozenset[str], frozenset[str], tuple[tuple[FailureKind, str], ...]]:
        """The samples and steps that cannot be made, and the failures, so far; can be set back."""
        return frozenset(self.broken), frozenset(self.left_out), tuple(self.failures)

    @losses.setter
    def losses(self, before: tuple[frozenset[str], frozenset[str], tuple[tuple[FailureKind, str], ...]]) -> None:
        broken, left_out, failures = before
        self.broken, self.left_out, self.failures = set(broken), set(left_out), list(failures)

    def call(self, content: dict[str, Any], blobs: list[bytes], what: str) -> tuple[dict[str, Any], list[bytes]]:
        """Let one worker answer a message.

        Parameters
        ----------
        content, blobs
            As `Executor.call` takes them.
        what : str
            What the message asks for; begins the text of an error.

        Raises
        ------
        PorticoError
            If the worker fails.
        """
        answer, answered = self.executor.call(content, blobs)
        if "failed" in answer:
            log = f"\n{answer['log'].strip()}" if answer.get("log", "").strip() and answer["failed"] == "crash" else ""
            raise PorticoError(f"{what}: {answer['message']}{log}")
        return answer, answered
