"""Decorators of steps, and what they declare: the kind of a step and the files it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Needs", "points", "step", "summary"]

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Needs:
    """What a function needs besides its module.

    Parameters
    ----------
    kind : {"frame", "points", "summary", "list"}
        ``frame``: called with a frame over each chunk. ``points``: called with each point of a list. ``summary``:
        called once with all results of the step before. ``list``: called once, returns a list of points.
    headers : tuple of str
        C++ headers, relative to the module's folder, declared before the function is called.
    files : tuple of str
        Other files, relative to the module's folder; on a worker they lie at the same relative path.
    """

    kind: str = "frame"
    headers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def step(*, headers: list[str] | None = None, files: list[str] | None = None) -> Callable[[Function], Function]:  # noqa: ARG001
    """Declare what a step needs on the worker.

    A step is ``def name(frame, sample, *, option=default)`` and returns a mapping of names to lazy
    results of RDataFrame. The lists must be literals: they are read without running the module.

    Parameters
    ----------
    headers, files : list of str, optional
        As in `Needs`.

    Examples
    --------
    >>> @step(headers=["include/vertex.h"])
    ... def skim(frame, sample, *, min_pt=0.5):
    ...     return {"events": frame.Count()}
    """
    return _unchanged


def points(*, files: list[str] | None = None) -> Callable[[Function], Function]:  # noqa: ARG001
    """Declare a step over points: ``def name(point, *, option=default)`` in plain Python, called for each point.

    A point and the value that the function returns for it are what JSON can hold: numbers (also ones that are not
    finite), text, lists and mappings of these. The value must depend on the point and the options alone.

    Parameters
    ----------
    files : list of str, optional
        As in `Needs`; the list must be a literal.

    Examples
    --------
    >>> @points()
    ... def scan(point, *, cl=0.95):
    ...     return {"limit": point["mass"] * cl}
    """
    return _unchanged


def summary(function: Function) -> Function:
    """Declare a summary step: ``def name(results, samples, *, option=default)``, called once.

    ``results`` maps sample names to `portico.results.view.Results` of the step before, ``samples`` to
    `portico.Sample`. It returns a mapping of names to numbers, text, lists and mappings of these
    (saved as JSON), to matplotlib figures (saved as PNG and PDF), or to tables: mappings of columns, all of
    them one-dimensional numpy arrays of numbers of one length (saved as a ROOT file with one TTree).
    """
    return function


def _unchanged(function: Function) -> Function:
    """Return the function: what it declares is read from the source, see `portico.environment.bundle`."""
    return function
