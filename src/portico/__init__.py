"""Portico carries a ROOT analysis from the batch farm to an interactive facility, and proves the numbers.

The public names are loaded when they are first used, so that importing costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from portico._version import __version__
from portico.errors import PorticoError
from portico.step import points, step, summary

if TYPE_CHECKING:
    from portico.analysis.analysis import Analysis, load_analysis
    from portico.analysis.dataset import Dataset, Sample, load_dataset
    from portico.executors.where import connect
    from portico.interactive.fill import Fill
    from portico.interactive.session import Session, session
    from portico.monitor.progress import Progress
    from portico.results.view import Results
    from portico.runfolder.load import Run, load
    from portico.workflow.run import run

__all__ = [
    "Analysis",
    "Dataset",
    "Fill",
    "PorticoError",
    "Progress",
    "Results",
    "Run",
    "Sample",
    "Session",
    "__version__",
    "connect",
    "load",
    "load_analysis",
    "load_dataset",
    "points",
    "run",
    "session",
    "step",
    "summary",
]

_LAZY = {
    "Analysis": "portico.analysis.analysis",
    "Dataset": "portico.analysis.dataset",
    "Fill": "portico.interactive.fill",
    "Progress": "portico.monitor.progress",
    "Results": "portico.results.view",
    "Sample": "portico.analysis.dataset",
    "Run": "portico.runfolder.load",
    "Session": "portico.interactive.session",
    "connect": "portico.executors.where",
    "load": "portico.runfolder.load",
    "load_analysis": "portico.analysis.analysis",
    "load_dataset": "portico.analysis.dataset",
    "run": "portico.workflow.run",
    "session": "portico.interactive.session",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'portico' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
