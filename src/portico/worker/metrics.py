"""The metrics of a chunk, and the rules that combine them for several chunks or parts of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import add
from typing import Any, Final, NamedTuple

__all__ = ["METRICS", "Metric", "join"]


class Metric(NamedTuple):
    """A metric.

    Parameters
    ----------
    unit : str
        Its unit, empty if it has none.
    join : callable
        Combines two values, of which the second belongs to the later entries.
    """

    unit: str
    join: Callable[[Any, Any], Any]


def _last(_: Any, second: Any) -> Any:
    return second


METRICS: Final[Mapping[str, Metric]] = {
    "wait": Metric("s", add),  # from the submission to the start on a worker; added by the driver
    "setup": Metric("s", add),  # loading the step's bundle; not part of `wall`
    "wall": Metric("s", add),  # in the chunk, of which the next five are phases
    "open": Metric("s", add),
    "build": Metric("s", add),
    "jit": Metric("s", add),  # within `build`
    "loop": Metric("s", add),
    "serialise": Metric("s", add),
    "cpu": Metric("s", add),
    "entries": Metric("", add),
    "bytes_read": Metric("bytes", add),
    "loops": Metric("", add),  # event loops
    "columns_found": Metric("", add),  # in the column cache
    "columns_filled": Metric("", add),  # read from files, and kept there
    "peak_memory": Metric("bytes", max),
    "started": Metric("s since 1970", min),
    "ended": Metric("s since 1970", max),
    "host": Metric("", _last),
    "process": Metric("", _last),
    "worker": Metric("", _last),  # its name, if the executor gives names
    "machine": Metric("", add),  # samples of its load once a second, see `portico.worker.machine`
    "attempt": Metric("", max),  # of the chunk; added by the ledger
}
"""Every metric that an attempt may report. The driver ignores others."""


def join(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Combine the metrics of two parts; the second has the later entries."""
    joined = {}
    for name, metric in METRICS.items():
        if name in first and name in second:
            joined[name] = metric.join(first[name], second[name])
        elif name in first or name in second:
            joined[name] = first[name] if name in first else second[name]
    return joined
