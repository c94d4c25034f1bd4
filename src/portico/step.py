"""Decorators of steps, which declare the kind of a step and the files it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

__all__ = ["Needs", "forget_needs", "needs_of", "points", "step", "summary"]

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
    sources : tuple of str
        C++ sources, relative to the module's folder, that define what the headers declare. They are compiled and linked
        to a shared library once; where there is no compiler, each process compiles them.
    """

    kind: str = "frame"
    headers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Needs:
        """Read what ``dataclasses.asdict`` and JSON made of it."""
        return cls(content["kind"], *(tuple(content[name]) for name in ("headers", "files", "sources")))


_declared: dict[tuple[str, str], Needs] = {}


def needs_of(module: str, name: str) -> Needs | None:
    """Return what the decorator of a function declared when the module ran; None for a function without one."""
    return _declared.get((module, name))


def forget_needs() -> None:
    """Forget what decorators declared, before modules are imported again."""
    _declared.clear()


def step(
    *, headers: list[str] | None = None, files: list[str] | None = None, sources: list[str] | None = None
) -> Callable[[Function], Function]:
    """Declare what a step needs on the worker.

    A step is ``def name(frame, sample, *, option=default)`` and returns a mapping of names to lazy
    results of RDataFrame. The lists must be literals: they are read without running the module.

    Parameters
    ----------
    headers, files, sources : list of str, optional
        As in `Needs`.

    Examples
    --------
    >>> @step(headers=["include/vertex.h"], sources=["source/vertex.cc"])
    ... def skim(frame, sample, *, min_pt=0.5):
    ...     return {"events": frame.Count()}
    """
    return partial(_declare, Needs("frame", tuple(headers or ()), tuple(files or ()), tuple(sources or ())))


def points(*, files: list[str] | None = None) -> Callable[[Function], Function]:
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
    return partial(_declare, Needs("points", (), tuple(files or ())))


def summary(function: Function) -> Function:
    """Declare a summary step: ``def name(results, samples, *, option=default)``, called once.

    ``results`` maps sample names to `portico.results.view.Results` of the step before, ``samples`` to
    `portico.Sample`. It returns a mapping of names to numbers, text, lists and mappings of these
    (saved as JSON), to matplotlib figures (saved as PNG and PDF), or to tables: mappings of columns, all of
    them one-dimensional numpy arrays of numbers of one length (saved as a ROOT file with one TTree).
    """
    return _declare(Needs("summary"), function)


def _declare(needs: Needs, function: Function) -> Function:
    """Return the function, and note its needs.

    The driver reads them from the source (`portico.environment.decorators`); a worker, which runs the module, compares.
    """
    _declared[getattr(function, "__module__", ""), getattr(function, "__qualname__", "")] = needs
    return function
