"""Credentials during a run: sent to workers, sent again when they are renewed, and warned about before they end."""

from __future__ import annotations

import time
from collections.abc import Callable

from portico.environment.credentials import Credentials, expires_before, find_credentials
from portico.executors.base import Executor
from portico.executors.trust import may_send

__all__ = ["CredentialRefresh"]

_LOOK_SECONDS = 60.0
_MARGIN_SECONDS = 600.0


class CredentialRefresh:
    """Keeps every worker's credentials up to date.

    Parameters
    ----------
    executor : Executor
        Sends them to its workers.
    warn : callable
        Takes a warning for the user.
    needed : bool
        The run reads or writes remote files; if not, no credential leaves this machine.
    """

    def __init__(self, executor: Executor, warn: Callable[[str], None], needed: bool) -> None:
        self._executor, self._warn, self._needed = executor, warn, needed
        self._sent = Credentials()
        self._looked = float("-inf")
        self._warned = ""

    def refresh(self, left: float | None = None) -> None:
        """Send renewed credentials to the workers; looks at most once a minute.

        Parameters
        ----------
        left : float, optional
            Seconds that the step is still expected to take.
        """
        now = time.monotonic()
        if not self._needed or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        found = find_credentials()
        if found.digest != self._sent.digest:
            if may_send(self._executor):  # if not, the check before the run has said so
                self._executor.send_credentials(found)
            self._sent, self._warned = found, ""
        ending = expires_before(found, (left or 0.0) + _MARGIN_SECONDS)
        if ending and not self._warned:
            self._warned = ending
            self._warn(f"{ending}; the renewed one is sent to the workers, nothing has to be started again")
