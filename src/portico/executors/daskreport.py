"""Dask's own performance report, for which the scheduler needs Bokeh."""

from __future__ import annotations

import importlib.util
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from portico.errors import MissingExtra, WorkerError
from portico.executors.daskscheduler import SchedulerLink

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["performance_report", "watch_tasks"]

_SECONDS = 60.0
_ICON = re.compile(r"<link rel=\"shortcut icon\"[^>]*>")  # from the network


def _has_bokeh() -> bool:
    return importlib.util.find_spec("bokeh") is not None


def watch_tasks(client: Client, link: SchedulerLink) -> None:
    """Have the scheduler keep when and where tasks ran, if a report of it can be made."""
    if _has_bokeh():
        scheduler: Any = client.scheduler

        async def keep() -> None:
            await scheduler.get_task_stream(start=0, stop=0)

        with link.asking(), suppress(Exception):  # without it, the report has no tasks
            link.sync(keep, seconds=_SECONDS)


def performance_report(client: Client, link: SchedulerLink, since: float) -> str:
    """Return Dask's performance report as one HTML page, which loads nothing from the network.

    Raises
    ------
    MissingExtra
        If Bokeh is not installed here; a scheduler elsewhere needs it too.
    WorkerError
        If the scheduler does not make it.
    """
    if not _has_bokeh():
        raise MissingExtra("dask-report", "Dask's performance report")
    scheduler: Any = client.scheduler

    async def ask() -> Any:
        return await scheduler.performance_report(start=since, last_count=0, code="", mode="inline")

    try:
        with link.asking():
            return _ICON.sub("", str(link.sync(ask, seconds=_SECONDS)))
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise WorkerError(f"Dask's scheduler made no performance report: {what}; is bokeh installed there?") from error
