"""Executors that other packages add, by entry points of the group ``portico.executors``."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from portico.errors import ConfigError

if TYPE_CHECKING:
    from portico.executors.base import Executor

__all__ = ["installed", "open_plugin", "plugin_of"]

_GROUP = "portico.executors"


def installed() -> dict[str, metadata.EntryPoint]:
    """Return the entry point of each installed executor by the name that selects it."""
    return {point.name: point for point in sorted(metadata.entry_points(group=_GROUP))}


def plugin_of(on: str) -> metadata.EntryPoint | None:
    """Return the executor that ``on`` selects, as ``NAME`` or ``NAME+ADDRESS``, or None."""
    return installed().get(on.partition("+")[0])


def open_plugin(point: metadata.EntryPoint, on: str, workers: int | None) -> Executor:
    """Open an executor of another package.

    Parameters
    ----------
    point : EntryPoint
        Of `plugin_of`.
    on : str
        ``NAME`` or ``NAME+ADDRESS``; the plugin gets the address, or None.
    workers : int, optional
        As the user gave it.

    Raises
    ------
    ConfigError
        If it cannot be loaded, makes something else than an executor, or has the name of a site.
    """
    from portico.clusters.site import sites
    from portico.executors.base import Executor

    owner = f"executor '{point.name}' of {point.dist.name if point.dist is not None else point.module}"
    if point.name in sites():
        raise ConfigError(f"there is a site '{point.name}' and an {owner}; rename the site's file")
    try:
        make = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{owner} cannot be loaded from {point.value}: {error}") from error
    executor = make(on.partition("+")[2] or None, workers)
    if not isinstance(executor, Executor):
        found = type(executor).__name__
        raise ConfigError(f"{owner}: {point.value} makes a {found}; it must make a portico.executors.base.Executor")
    return executor
