"""The driver's connection to the scheduler of a Dask cluster, which detects a scheduler that does not answer.

A scheduler that is stopped, or to which the network is cut, keeps every connection open and never answers. So it is
asked for a sign of life all the time, on the client's own event loop, and each request has a time limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from portico.errors import WorkerError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["SchedulerLink", "unreachable"]

logger = logging.getLogger(__name__)

SILENT_SECONDS = 120.0
"""After so long without an answer, a scheduler counts as gone."""
_BEAT, _ANSWER = 0.5, 5.0  # seconds between two signs of life, and for which one is waited
_QUIET, _LONG = 10.0, 20.0  # without an answer, or without a worker's sign of life, the user is told
_LEAVE = 5.0  # seconds for the last words to a scheduler


class SchedulerLink:
    """The way to a scheduler.

    Parameters
    ----------
    client : Client
        A connected one.
    again : str
        What the user does first if the scheduler is gone, such as "start it again and "; may be empty.
    has_ended : callable
        Returns whether a scheduler that was started for this client is known to have ended.

    Raises
    ------
    WorkerError
        If it does not answer.
    """

    def __init__(self, client: Client, again: str, has_ended: Callable[[], bool] = lambda: False) -> None:
        self._client, self._again, self._has_ended = client, again, has_ended
        self._unanswered = 0
        self._names: tuple[float, dict[str, str]] = (float("-inf"), {})
        self.counts: dict[str, Any] = {}
        self.address = ""
        with self.asking():
            self.counts = dict(self.sync(self._identity, seconds=SILENT_SECONDS))
        self.address = str(self.counts["address"])
        loop: Any = client.loop
        self._beats = asyncio.run_coroutine_threadsafe(self._beat(), loop.asyncio_loop)

    async def _identity(self, workers: int = 0) -> Any:
        scheduler: Any = self._client.scheduler
        return await scheduler.identity(n_workers=workers)

    async def _beat(self) -> None:
        """Count the requests without an answer: time alone also passes while this process is stopped."""
        while True:
            began = time.monotonic()
            try:
                self.counts = dict(await asyncio.wait_for(self._identity(), _ANSWER))
                self._unanswered = 0
            except Exception:
                await asyncio.sleep(max(began + _ANSWER - time.monotonic(), 0.0))
                self._unanswered += 1
            await asyncio.sleep(_BEAT)

    def sync(self, function: Callable[..., Any], *arguments: Any, seconds: float, **options: Any) -> Any:
        """Run a coroutine on the client's event loop, and return what it returns.

        Raises
        ------
        TimeoutError
            If it takes longer.
        """
        return self._client.sync(function, *arguments, callback_timeout=seconds, **options)  # type: ignore[no-untyped-call]

    @property
    def silence(self) -> float:
        """Seconds for which it has been asked without an answer."""
        return self._unanswered * (_ANSWER + _BEAT)

    @property
    def problem(self) -> str:
        """Say that the scheduler does not answer, if it has not for a while; else empty."""
        if self.silence < _QUIET:
            return ""
        return (
            f"the Dask scheduler at {self.address} has not answered for {self.silence:.0f} s: is it stopped, or the "
            f"network cut? the run goes on when it answers, and ends after {SILENT_SECONDS:.0f} s"
        )

    def silent_workers(self) -> list[str]:
        """Say which workers the scheduler has not heard of for a while."""
        with suppress(Exception):
            workers = self.sync(self._identity, -1, seconds=_ANSWER)["workers"]
            now = max((worker["last_seen"] for worker in workers.values()), default=0.0)
            silent = {w["name"]: now - w["last_seen"] for w in workers.values() if now - w["last_seen"] > _LONG}
            return [
                f"worker {name} has not responded for {seconds:.0f} s: is it stopped, or its network cut? the "
                "scheduler gives its chunks to others after its worker-ttl, by default 5 minutes"
                for name, seconds in silent.items()
            ]
        return []

    def names(self) -> dict[str, str]:
        """Return the name of each worker by its address, as last known if the scheduler does not answer."""
        when, found = self._names
        if time.monotonic() - when > _BEAT:
            with self.asking(), suppress(TimeoutError):
                workers = self.sync(self._identity, -1, seconds=_ANSWER)["workers"]
                found = {address: str(worker["name"]) for address, worker in workers.items()}
            self._names = time.monotonic(), found
        return found

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Say of what fails because the scheduler is gone that it is.

        Raises
        ------
        WorkerError
            If it is gone.
        """
        try:
            yield
        except WorkerError:
            raise
        except Exception as error:
            self.raise_if_gone(error)
            raise

    def raise_if_gone(self, cause: Exception | None = None) -> None:
        """Raise if the scheduler is gone, or has not answered for very long.

        Raises
        ------
        WorkerError
            If so.
        """
        if lost := self.lost:
            raise WorkerError(f"{lost}; what is done is kept; {self._again}run the same command") from cause

    @property
    def lost(self) -> str:
        """Say that the scheduler is gone, or has not answered for very long; else empty."""
        if self._client.status != "running" or self._has_ended():
            return f"the Dask scheduler at {self.address} is gone"
        if self.silence > SILENT_SECONDS:
            how = f"has not answered for {self.silence:.0f} s; it may be stopped, or the network cut"
            return f"the Dask scheduler at {self.address} {how}"
        return ""

    def close(self, plugins: set[str]) -> None:
        """Leave the scheduler, without waiting for one that does not answer, and take plugins along."""
        self._beats.cancel()
        logs = [logging.getLogger(name) for name in ("distributed.client", "distributed.utils")]
        levels, here = [log.level for log in logs], not self.lost and not self._unanswered
        for log in logs if not here else ():
            log.setLevel(logging.CRITICAL)  # that it cannot connect again is told already
        try:
            if here:
                with suppress(Exception):  # a worker may be stopped, or the scheduler just now
                    self.sync(self._forget, plugins, seconds=_LEAVE)
            with suppress(Exception):
                self._client.close(timeout=_LEAVE)  # type: ignore[no-untyped-call]
        finally:
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)

    async def _forget(self, plugins: set[str]) -> None:
        client: Any = self._client
        await asyncio.gather(*(client._unregister_worker_plugin(name) for name in plugins), return_exceptions=True)


def unreachable(address: str | None, error: Exception) -> str:
    """Return the words for a scheduler to which no connection can be made."""
    told = " ".join(str(error).split()) or type(error).__name__
    if address is None:
        return f"the Dask cluster cannot be reached: {told}"
    if address.startswith("tls://") and not isinstance(error, (OSError, TimeoutError)):
        return (
            f"no Dask scheduler can be reached at {address}: {told}; a tls:// address needs the cluster's certificates "
            "in Dask's configuration (distributed.comm.tls), see docs/facility.md"
        )
    return f"no Dask scheduler answers at {address}: {told}; is it running and reachable?"
