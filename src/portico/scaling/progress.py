"""Progress of many runs of the same step."""

from __future__ import annotations

from typing import Any

from portico.monitor.progress import Progress

__all__ = ["RunsProgress"]


class RunsProgress(Progress):
    """Progress that shows each warning once, and leaves the end of a run to whoever measures it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._warned: set[str] = set()

    def warn(self, message: str) -> None:
        """Show a warning, unless it was shown before."""
        if message not in self._warned:
            self._warned.add(message)
            super().warn(message)

    def end(self, step: str, state: str, seconds: float, ran: int) -> None:
        """Note that a run ended, if it is not done."""
        if state != "done":
            super().end(step, state, seconds, ran)
