"""Portico carries a ROOT analysis from the batch farm to an interactive facility, and proves the numbers.

The public names are loaded when they are first used, so that importing costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from portico._version import __version__
from portico.errors import PorticoError
from portico.step import step, summary

if TYPE_CHECKING:
    from portico.analysis import Analysis, load_analysis
    from portico.dataset import Dataset, Sample, load_dataset
    from portico.monitor.progress import Progress
    from portico.results import Results
    from portico.runs import Run, load
    from portico.workflow import connect, run

__all__ = [
    "Analysis",
    "Dataset",
    "PorticoError",
    "Progress",
    "Results",
    "Run",
    "Sample",
    "__version__",
    "connect",
    "load",
    "load_analysis",
    "load_dataset",
    "run",
    "step",
    "summary",
]

_LAZY = {
    "Analysis": "portico.analysis",
    "Dataset": "portico.dataset",
    "Progress": "portico.monitor.progress",
    "Results": "portico.results",
    "Sample": "portico.dataset",
    "Run": "portico.runs",
    "connect": "portico.workflow",
    "load": "portico.runs",
    "load_analysis": "portico.analysis",
    "load_dataset": "portico.dataset",
    "run": "portico.workflow",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'portico' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
