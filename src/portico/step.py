"""What a step is: a function of a frame and a sample, and what it says it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Needs", "needs_of", "step", "summary"]

Function = TypeVar("Function", bound=Callable[..., Any])
_ATTRIBUTE = "__portico__"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a function needs besides its module.

    Parameters
    ----------
    kind : {"frame", "summary"}
        ``frame``: called with a frame over each chunk. ``summary``: called once with all results of
        the step before.
    headers : tuple of str
        C++ headers, relative to the module's folder, declared before the function is called.
    files : tuple of str
        Other files, relative to the module's folder; on a worker they lie at the same place.
    """

    kind: str = "frame"
    headers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def step(*, headers: list[str] | None = None, files: list[str] | None = None) -> Callable[[Function], Function]:
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
    return _mark(Needs("frame", tuple(headers or ()), tuple(files or ())))


def summary(function: Function) -> Function:
    """Declare a summary step: ``def name(results, samples, *, option=default)``, called once.

    ``results`` maps sample names to `portico.results.view.Results` of the step before, ``samples`` to
    `portico.Sample`. It returns a mapping of names to numbers, text, lists and mappings of these
    (saved as JSON), to matplotlib figures (saved as PNG and PDF), or to tables: mappings of columns, all of
    them one-dimensional numpy arrays of numbers of one length (saved as a ROOT file with one TTree).
    """
    return _mark(Needs("summary"))(function)


def needs_of(function: Callable[..., Any]) -> Needs:
    """Return what a function declared, or the default for a plain function."""
    needs = getattr(function, _ATTRIBUTE, None)
    return needs if isinstance(needs, Needs) else Needs()


def _mark(needs: Needs) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        setattr(function, _ATTRIBUTE, needs)
        return function

    return decorate
