"""Checks of the handles that a step returns, before and after the event loop."""

from __future__ import annotations

import linecache
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from portico.errors import ProductError, StepError
from portico.results import root_objects
from portico.worker.arguments import LOOP_WHILE_BUILT, refuse_discarded

__all__ = ["check_handles", "explain_handles", "line_of_loop", "refuse_foreign"]

_UNFILLED = re.compile(r"\bRResultPtr<|\bAsNumpyResult\b|\bportico(\.|::)Numbers\b")
_INSTALLED = tuple({*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), str(Path(__file__).parents[1]), "<"})


def line_of_loop(build: Callable[[], object], loops: Callable[[], int]) -> str:
    """Return the line of the user's code in which the event loop runs; empty if it is not found.

    Parameters
    ----------
    build : callable
        Builds the graph once more.
    loops : callable
        Returns how often the event loop has run so far.
    """
    before, last = loops(), ("", 0)
    found: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal last
        file = frame.f_code.co_filename
        if file.startswith(_INSTALLED):
            return None
        if not found and last[1] and loops() > before:
            found.append(last)
        if event in {"call", "line"}:
            last = (file, frame.f_lineno)
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(Exception):  # the second time it may fail otherwise
            build()
    finally:
        sys.settrace(former)
    if not found and last[1] and loops() > before:
        found.append(last)
    file, line = found[0] if found else ("", 0)
    return f"{file}:{line} ({linecache.getline(file, line).strip()})" if file else ""


def check_handles(handles: Any, booked: list[tuple[str, str, Path]], loops: int) -> None:
    """Refuse what cannot be collected before the event loop is run for it.

    Parameters
    ----------
    handles : object
        What the step returned.
    booked : list of (tree, format, Path)
        The Snapshots that it booked; each is the tag of a handle.
    loops : int
        How often the event loop has run.

    Raises
    ------
    StepError, ProductError
        If it is not a mapping of names to handles, or a Snapshot is missing from it.
    """
    if not isinstance(handles, Mapping):
        found = "nothing" if handles is None else f"a {type(handles).__name__}"
        raise StepError(
            f"the step returned {found}; return a mapping of names to products, such as {{'mass': histogram}}"
        )
    if not handles:
        raise StepError(
            "the step returned no products; return a mapping of names to products, such as {'mass': histogram}"
        )
    for name in handles:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.+-]*", name):
            raise StepError(f"{name!r} cannot name a product; use letters, digits, _ . + -")
        if type(handles[name]).__name__ == "RResultMap<ROOT::RDF::RCutFlowReport>":  # would end the process
            raise ProductError(f"product '{name}': ROOT cannot vary a Report; use VariationsFor of a Count after a cut")
    if loops > 0:
        raise StepError(LOOP_WHILE_BUILT)
    for name, handle in handles.items():
        if isinstance(handle, Mapping):  # no handle is one
            raise ProductError(
                f"product '{name}' is a {type(handle).__name__} that the event loop does not fill, so that every chunk "
                "would count it again; return handles, each under a name of its own (AsNumpy for arrays of columns)"
            )
    _check_snapshots(handles, booked)


def _check_snapshots(handles: Mapping[str, Any], booked: list[tuple[str, str, Path]]) -> None:
    returned = {name: root_objects.tag_of(handle) for name, handle in handles.items()}
    trees = [tree for tree, _, _ in booked]
    for snapshot in booked:
        if trees.count(snapshot[0]) > 1:
            raise ProductError(f"two Snapshots are named '{snapshot[0]}'; give each tree a name of its own")
        names = [f"'{name}'" for name, tag in returned.items() if tag == snapshot]
        if not names:
            refuse_discarded(snapshot[0])
        if len(names) > 1:
            raise ProductError(
                f"the Snapshot '{snapshot[0]}' is returned as {' and '.join(names)}; return it once: it is one file"
            )


def explain_handles(error: Exception, loops: int) -> None:
    """Add to an error of a step why it has no values, if it used a result as a number or array while it was built."""
    if loops > 0:
        error.add_note(LOOP_WHILE_BUILT)
    elif _UNFILLED.search(_said(error)) or (isinstance(error, NotImplementedError) and not str(error)):  # of count > 5
        error.add_note(
            "a result has no value while the step is built, because its entries come from all chunks; return it, and "
            "compute with it in a summary step"
        )


def _said(error: Exception) -> str:
    """Return the text of an error without the signatures of C++ functions, which name the types that they return."""
    return "\n".join(line for line in str(error).splitlines() if not line.rstrip().endswith("=>"))


def refuse_foreign(handles: Mapping[str, Any]) -> None:
    """Refuse handles that the event loop of the chunk's frame has not filled.

    Raises
    ------
    StepError
        If one is that of another frame, which every chunk would count again.
    """
    import ROOT

    for name, handle in handles.items():
        kind = type(handle).__name__
        own = list(handle._result_ptrs.values()) if kind == "AsNumpyResult" else [handle]
        if kind.startswith("RResultMap<"):
            own = [ROOT.RDF.RResultHandle(handle)]
        elif not type(own[0] if own else handle).__name__.startswith("RResultPtr<"):
            own = []
        if not all(one.IsReady() for one in own):
            raise StepError(
                f"product '{name}' is that of another RDataFrame than the one that the step was given, and every chunk "
                "would count it again; make it a step of its own, with its own input"
            )
