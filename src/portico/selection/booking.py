"""Booking of a selection on a frame: compiled once per process, then booked in one call."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.corrections import Correction, Lookup
from portico.corrections.compiled import CALLS, Registered, prepare, register
from portico.errors import ConfigError, PorticoWarning, StepError
from portico.selection.calls import Compiled, Empty
from portico.selection.choice import choice
from portico.selection.compiled import Piece, compile_pieces, piece, take_libraries
from portico.selection.empty import content_of, empty
from portico.selection.functions import functions, parameters
from portico.selection.kernel import Kernel, kernel
from portico.selection.loop import Loop, new_trees, rows_of, written
from portico.selection.resolve import resolve

if TYPE_CHECKING:
    from portico.analysis.dataset import Sample
    from portico.selection.model import Selection
    from portico.selection.resolved import Resolved

__all__ = ["book", "event_weight"]

_PB_PER_FB = 1000.0
_KEPT = 64
_classes: set[str] = set()  # that this process has been asked for


def event_weight(sample: Sample) -> float:
    """Return the weight of an event: cross section x luminosity x filter efficiency / processed events.

    Parameters
    ----------
    sample : Sample
        Cross section in pb, luminosity in fb^-1.

    Returns
    -------
    float
        1 for data.

    Raises
    ------
    ConfigError
        If one of these numbers of a simulated sample is missing or not positive.
    """
    if sample.kind == "data":
        return 1.0
    factors = {
        "cross_section": sample.cross_section,
        "luminosity": sample.luminosity,
        "filter_efficiency": sample.filter_efficiency,
        "processed_events": sample.processed_events,
    }
    wrong = [f"{name} = {value!r}" for name, value in factors.items() if value is None or not value > 0]
    if wrong:
        raise ConfigError(f"sample '{sample.name}' ({sample.kind}) cannot be normalised: {', '.join(wrong)}")
    cross_section, luminosity, efficiency, processed = (float(value) for value in factors.values() if value)
    return cross_section * luminosity * _PB_PER_FB * efficiency / processed


def book(selection: Selection, frame: Any, sample: Sample, *, folder: Path, where: str = "selection") -> dict[str, Any]:
    """Book everything that a selection fills and writes, in one event loop.

    Parameters
    ----------
    selection : Selection
        From `portico.selection.load_selection`.
    frame : RDataFrame node
        Ntuples with one entry per event.
    sample : Sample
        Its kind and parameters select the weights, histograms and columns.
    folder : Path
        Base of the relative paths of corrections and lookups.
    where : str
        Name of the selection file for messages.

    Returns
    -------
    dict
        Products for the step to return. ``cutflow``: the report. ``counts``: for every selection S the cutflow
        ``cutflow_S``, with the weights of the event, and a histogram ``candidates_S`` of the number of passing
        candidates; for every rule R histograms ``choices_R`` and ``correct_R`` with a bin per selection.
        ``histograms_N``: histograms ``S_NAME``. ``candidates``: the tree.

    Raises
    ------
    ConfigError
        If an expression uses an unknown name, or if the sample cannot be normalised.
    StepError
        If the frame has variations, or an expression does not compile.
    """
    import ROOT

    if above := str(frame.GetVariations().AsString()).strip():
        raise StepError(
            f"{where}: a Vary above a selection does not reach it: {above}; declare variations under shapes or weights"
        )
    columns = {str(name): str(frame.GetColumnType(name)) for name in frame.GetColumnNames()}
    prepared = _prepare(selection, columns, sample, folder, where)
    resolved, generated = prepared.resolved, prepared.generated
    for sentence in resolved.skipped:
        warnings.warn(sentence, PorticoWarning, stacklevel=2)
    used = {name for e in resolved.expressions() for name in e.names.functions}
    wanted = {name: function for name, function in _sources(selection).items() if name in used}
    called = register(wanted, folder) if wanted else None
    name = called.namespace if called is not None else ""
    if name not in prepared.compiled:
        prepared.compiled[name] = _compiled(resolved, called, generated, where)
    take_libraries()
    compiled, weight, given = prepared.compiled[name], event_weight(sample), list(resolved.parameters.values())
    trees = new_trees(selection.output.formats if selection.output is not None else ())
    if (loop := Loop.over(frame, compiled, weight, given, generated, prepared.empty, trees)) is not None:
        return loop.handles()
    space = getattr(ROOT, compile_pieces([piece("selection_actions.h", generated.book)], where, library=False))
    numbers = (ROOT.std.vector["double"](list(of)) for of in (given, compiled.numbers))
    made = ROOT.portico.make_kernel(compiled.kernel, compiled.choice, weight, *numbers)
    filled = empty(prepared.empty.content)
    return _handles(space.portico_book(ROOT.RDF.AsRNode(frame), made, filled, rows_of(trees)), trees)


@dataclass
class _Prepared:
    """What does not change from one chunk of a sample to the next."""

    selection: Selection  # whose identity is a part of the key
    resolved: Resolved
    generated: Kernel
    empty: Empty
    compiled: dict[str, Compiled] = field(default_factory=dict)  # by the namespace of the corrections


_prepared: dict[tuple[object, ...], _Prepared] = {}


def _prepare(selection: Selection, columns: dict[str, str], sample: Sample, folder: Path, where: str) -> _Prepared:
    key = (id(selection), *columns.items(), repr(sample.model_dump(exclude={"files", "checksums"})), where)
    if key not in _prepared:
        try:
            resolved = resolve(selection, columns, sample, where)
        except ConfigError as error:  # with what would be the next one
            files = {name: folder / function.file for name, function in _sources(selection).items()}
            absent = [f"{where}: {name}: no file {file}" for name, file in files.items() if not file.is_file()]
            raise ConfigError("\n".join([str(error), *absent])) from None
        generated = kernel(resolved)
        _prepared[key] = _Prepared(selection, resolved, generated, Empty(content_of(resolved, generated.cuts)))
        for old in list(_prepared)[:-_KEPT]:
            del _prepared[old]
    return _prepared[key]


def _sources(selection: Selection) -> dict[str, Correction | Lookup]:
    return {**selection.corrections, **selection.lookups}


def _compiled(resolved: Resolved, called: Registered | None, generated: Kernel, where: str) -> Compiled:
    """Compile of a selection's class and of its choice what changed, but for numbers."""
    of_sample = piece("choices.h", parameters(resolved))
    called_ones = [] if called is None else [Piece(called.namespace, (called.text,), "corrections.h", CALLS, prepare)]
    choosing = resolved.choice_expressions()
    choosing += [resolved.definitions[name] for name in resolved.needed(choosing)[1]]
    called_by_choice = called_ones if any(expression.names.functions for expression in choosing) else []

    def names(of: list[Piece]) -> tuple[str | None, str]:
        return next((one.namespace for one in of), None), of_sample.namespace

    look, choose, numbers = choice(resolved, *names(called_by_choice), list(generated.columns))
    # The class calls functions and no more: to optimise it fully takes another second, and gains little.
    of_class = piece("selection.h", functions(resolved, *names(called_ones)), generated.text)
    first = of_class.namespace not in _classes  # of changed cuts no libraries are made
    _classes.add(of_class.namespace)
    of_choice = [of_sample, *called_by_choice, piece("choices.h", look, choose)]
    chosen = compile_pieces(of_choice, where, ahead_of_time=first)
    return Compiled(compile_pieces([of_sample, *called_ones, of_class], where, ahead_of_time=True), chosen, numbers)


def _handles(booked: Any, trees: dict[str, tuple[str, str, Path]]) -> dict[str, Any]:
    filled = list(booked.filled)
    products: dict[str, Any] = {"cutflow": booked.report, "counts": booked.counts}
    products |= {f"histograms_{n}": handle for n, handle in enumerate(reversed(filled))}
    return products | {name: written(tree, filled[-1]) for name, tree in trees.items()}
