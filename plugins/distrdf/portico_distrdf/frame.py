"""The frame of a step on ROOT's distributed RDataFrame, which refuses the operations that do not work there.

ROOT has more operations in its list than work. Some crash workers, some the client, some give wrong numbers; see
``docs/scaling.md``. Each of them is refused by name, at the user's own line, before any data are read.
"""

from __future__ import annotations

import array
import re
import types
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from portico.errors import ProductError, StepError, nearest
from portico.results import root_objects
from portico.results.product import Product, ProductKind
from portico.worker.arguments import refuse_local_entry, require_model

__all__ = ["ELSEWHERE", "Booking", "DistributedFrame", "book_reports", "check_kinds", "collect"]

ELSEWHERE = "--on local, dask, tcp://HOST:PORT or a site does not have this limit"

_TRANSFORMATIONS = (
    "Alias", "DefaultValueFor", "Define", "DefinePerSample", "Filter", "FilterAvailable", "FilterMissing", "Redefine",
    "Vary",
)  # fmt: skip
_ACTIONS = (
    "Count", "Graph", "Histo1D", "Histo2D", "Histo3D", "Max", "Mean", "Min", "Profile1D", "Profile2D",
    "Stats", "StdDev", "Sum",
)  # fmt: skip
_SPECIAL = ("AsNumpy", "Report", "Snapshot")
_QUESTIONS = ("GetColumnNames", "GetColumnType", "GetDefinedColumnNames", "HasColumn")
_POSSIBLE = (*_TRANSFORMATIONS, *_ACTIONS, *_SPECIAL)
_TAGGED = {"Count", "Sum", "Min", "Max", "Graph", "Stats"}
_NUMBER = re.compile(r"(?:(?:un)?signed )?(?:char|short|int|long(?: long)?)|float|double|bool|(?:std::)?\w+_t")
_OF_PART = re.compile(r"\b(?:NEntries|NEntriesTotal|EntryRange|GetSampleName|GetSampleId)\b")
_TRAVELS = re.compile(r"ROOT\.RDF\.|(?:std\.)?vector<|RDF::|T\w+Model|RSnapshotOptions")


@dataclass(slots=True)
class Booking:
    """The operations that one graph has booked so far.

    Parameters
    ----------
    folder : str
        Folder of the Snapshots' temporary files.
    """

    folder: str
    snapshots: list[tuple[str, str, Path]] = field(default_factory=list)
    cuts: list[_Cut] = field(default_factory=list)
    counts: dict[int, Any] = field(default_factory=dict)

    def count(self, node: Any) -> Any:
        """Book a Count on a node, once."""
        if id(node) not in self.counts:
            self.counts[id(node)] = node.Count()
        return self.counts[id(node)]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A Filter with a name, and the nodes before and after it."""

    name: str
    before: Any
    after: Any


class DistributedFrame:
    """A node of ROOT's distributed RDataFrame.

    Parameters
    ----------
    node : object
        ROOT's own.
    booking : Booking
        Of its graph.
    cuts : tuple, optional
        The named Filters before this node, which Report lists. By default all of the graph, as for a plain RDataFrame
        before any Define or Filter.
    """

    def __init__(self, node: Any, booking: Booking, cuts: tuple[_Cut, ...] | None = None) -> None:
        self._node, self._booking, self._cuts = node, booking, cuts

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        local = self._local()
        if name in _POSSIBLE:
            return _Operation(name, self)
        if name in _QUESTIONS:
            return getattr(local, name)
        if hasattr(local, name):
            raise StepError(
                f"{name} is not possible on ROOT's distributed RDataFrame; valid: {', '.join(_POSSIBLE)} and "
                f"VariationsFor; {ELSEWHERE}"
            )
        raise AttributeError(f"RDataFrame has no operation '{name}'; {nearest(name, _POSSIBLE)}")

    def _local(self) -> Any:
        """Return the plain RDataFrame node that belongs to the distributed one; it never runs."""
        return self._node.proxied_node.rdf_node

    def _apply(self, name: str, arguments: list[Any], options: dict[str, Any]) -> Any:
        if name in _TRANSFORMATIONS:
            return self._transform(name, arguments, options)
        if name == "Report":
            return _Report(self)
        if name == "Snapshot":
            return self._snapshot(arguments, options)
        if name == "AsNumpy":
            return self._as_numpy(arguments, options)
        require_model(name, arguments)
        if name == "Stats" and len(arguments) > 1:
            raise StepError(
                "Stats with weights is not possible on ROOT's distributed RDataFrame: ROOT drops entries at which the "
                f"sum of weights passes 0; {ELSEWHERE}"
            )
        if name == "Sum" and len(arguments) > 1:
            raise StepError("Sum takes no more than a column: every part would count the initial value")
        operation = "Stats" if name in {"Mean", "StdDev"} else name  # merge exactly from the sums that Stats keeps
        getattr(self._local(), operation)(*arguments, **options)  # finds unknown columns immediately
        handle = getattr(self._node, operation)(*arguments, **options)
        if operation in _TAGGED:
            setattr(handle, root_objects.TAG, name)
        return handle

    def _transform(self, name: str, arguments: list[Any], options: dict[str, Any]) -> DistributedFrame:
        if name == "DefinePerSample":
            texts = [text for text in (*arguments[1:], *options.values()) if isinstance(text, str)]
            for word in (word for text in texts for word in _OF_PART.findall(text)):
                raise StepError(
                    f"DefinePerSample with {word} is not possible on ROOT's distributed RDataFrame, which knows "
                    f"the part that a worker reads, not the sample; {ELSEWHERE}"
                )
        node = getattr(self._node, name)(*arguments, **options)
        cuts = self._cuts if name == "Vary" else self._cuts or ()
        if name == "Filter" and (title := arguments[1] if len(arguments) > 1 else ""):
            cut = _Cut(str(title), self._node, node)
            self._booking.cuts.append(cut)
            cuts = (*(cuts or ()), cut)
        return DistributedFrame(node, self._booking, cuts)

    def _snapshot(self, arguments: list[Any], options: dict[str, Any]) -> Any:
        import ROOT

        for key, place in (("columnList", 2), ("options", 3)):
            if key in options:
                arguments += [""] * (place - len(arguments)) + [options.pop(key)]
        if len(arguments) < 2 or not all(isinstance(a, str) for a in arguments[:2]):
            raise StepError("Snapshot needs a tree name and a file name")
        settings = ROOT.RDF.RSnapshotOptions(arguments[3]) if len(arguments) > 3 else ROOT.RDF.RSnapshotOptions()
        formats = ROOT.RDF.ESnapshotOutputFormat
        if settings.fOutputFormat == formats.kRNTuple:
            raise StepError(f"Snapshot to RNTuple is not possible on ROOT's distributed RDataFrame; {ELSEWHERE}")
        if getattr(settings, "fIncludeVariations", False):
            raise StepError(f"Snapshot with variations is not possible on ROOT's distributed RDataFrame; {ELSEWHERE}")
        columns = arguments[2] if len(arguments) > 2 else ""
        self._require_columns("Snapshot", [columns] if isinstance(columns, str) else columns)
        settings.fLazy, settings.fMode, settings.fOutputFormat = True, "RECREATE", formats.kTTree
        base = f"{self._booking.folder}/.{uuid.uuid4().hex}.part"
        if ".root" in base or "://" in base:
            raise StepError(
                f"ROOT's distributed RDataFrame cannot write to {self._booking.folder}: it needs a folder on a disk "
                "that all workers share, with no '.root' in its path; give another one with --run"
            )
        handle = self._node.Snapshot(arguments[0], base, columns, settings, **options)
        self._booking.snapshots.append((arguments[0], "TTree", Path(base)))
        setattr(handle, root_objects.TAG, self._booking.snapshots[-1])
        return handle

    def _require_columns(self, name: str, columns: Any) -> None:
        local = self._local()
        for column in columns:
            if re.fullmatch(r"[\w.]+", str(column)) and not local.HasColumn(str(column)):
                raise StepError(f"{name}: no column '{column}'; {nearest(str(column), self._names())}")

    def _names(self) -> list[str]:
        return [str(name) for name in self._local().GetColumnNames()]

    def _as_numpy(self, arguments: list[Any], options: dict[str, Any]) -> Any:
        chosen = arguments[0] if arguments else options.get("columns")
        left_out = arguments[1] if len(arguments) > 1 else options.get("exclude")
        columns = [str(column) for column in (chosen if chosen is not None else self._names())]
        columns = [column for column in columns if column not in (left_out or ())]
        self._require_columns("AsNumpy", columns)
        for column in columns:
            kind = str(self._local().GetColumnType(column))
            if not _NUMBER.fullmatch(kind):
                raise StepError(
                    f"AsNumpy of column '{column}', a {kind}, is not possible on ROOT's distributed RDataFrame: only "
                    f"numbers are; {ELSEWHERE}"
                )
        return self._node.AsNumpy(columns, lazy=True)


class _Operation:
    """A method of a `DistributedFrame`."""

    def __init__(self, name: str, frame: DistributedFrame) -> None:
        self._name, self._frame = name, frame

    def __getitem__(self, given: Any) -> Any:
        raise StepError(
            f"{self._name} with types in brackets is not possible on ROOT's distributed RDataFrame: leave them out; "
            f"{ELSEWHERE}"
        )

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        given = [*arguments, *options.values()]
        refuse_local_entry(self._name, given)
        for argument in given:
            _require_portable(self._name, argument)
        return self._frame._apply(self._name, list(arguments), options)


def _require_portable(name: str, argument: Any) -> None:
    """Refuse arguments that cannot be shipped to the workers."""
    if argument is None or isinstance(argument, (str, bytes, bool, int, float, np.ndarray, np.number, array.array)):
        return
    if isinstance(argument, (list, tuple, set)):
        for one in argument:
            _require_portable(name, one)
        return
    kind = type(argument).__name__
    if _TRAVELS.match(kind):
        return
    what = "a Python function" if isinstance(argument, types.FunctionType) else f"an object of {kind}"
    raise StepError(
        f"{name} with {what} is not possible on ROOT's distributed RDataFrame: write a C++ expression, and declare "
        f"what it calls in a header of the step (@step(headers=[...])); {ELSEWHERE}"
    )


class _Report:
    """A cutflow from Counts: ROOT's own Report kills distributed workers from the second task on."""

    def __init__(self, frame: DistributedFrame) -> None:
        self._frame = frame
        self._rows: list[tuple[str, Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise StepError(f"the step used .{name} of a Report while it was being built; return the Report itself")

    def _book(self) -> None:
        booking = self._frame._booking
        cuts = booking.cuts if self._frame._cuts is None else self._frame._cuts
        self._rows = [(cut.name, booking.count(cut.before), booking.count(cut.after)) for cut in cuts]

    def _product(self) -> Product:
        before = [int(count.GetValue()) for _, count, _ in self._rows]
        after = [int(count.GetValue()) for _, _, count in self._rows]
        arrays = {"passed": np.array(after, np.int64), "all": np.array(before, np.int64)}
        return Product(ProductKind.CUTFLOW, {"cuts": [name for name, _, _ in self._rows]}, arrays)


def book_reports(handles: Mapping[str, Any]) -> None:
    """Book the Counts of the Reports among the handles, once the graph is complete."""
    for handle in handles.values():
        if isinstance(handle, _Report):
            handle._book()


def check_kinds(handles: Mapping[str, Any]) -> None:
    """Refuse handles that cannot be collected, before the graph runs.

    Raises
    ------
    ProductError, StepError
        If there is such a handle.
    """
    from ROOT._distrdf.Proxy import ResultMapProxy, ResultPtrProxy

    for name, handle in handles.items():
        if isinstance(handle, ResultMapProxy):
            nominal = handle.proxied_node.parent.operation.name
            if nominal in _SPECIAL:
                raise StepError(
                    f"product '{name}': VariationsFor of {nominal} is not possible on ROOT's distributed RDataFrame; "
                    f"{ELSEWHERE}"
                )
        elif not isinstance(handle, (_Report, ResultPtrProxy)):
            raise ProductError(
                f"product '{name}' is a {type(handle).__name__}, which cannot be collected; return what an operation "
                "of the frame gave"
            )


def collect(name: str, handle: Any, files: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Product]]:
    """Convert a handle whose graph has run to products, as `portico.results.root_objects.collect` does.

    Parameters
    ----------
    name : str
        The name under which the step returned it.
    handle : object
        An object of ROOT's distributed RDataFrame, or a Report.
    files : mapping
        Properties of each written file, by path, in the order of entries.
    """
    if isinstance(handle, _Report):
        return [(name, handle._product())]
    tag = root_objects.tag_of(handle)
    if isinstance(tag, tuple):
        tree, kind, base = tag
        items = tuple(dict(about) for path, about in files.items() if path.startswith(str(base)))
        return [(name, Product(ProductKind.TREE, {"tree": tree, "format": kind}, {}, items))]
    if type(handle).__name__ == "ResultMapProxy":
        handle["nominal"]  # makes its keys available
        values = ((str(key), handle[key]) for key in handle.GetKeys())
        products = ((key, root_objects.collect_value(name, value, tag or "")) for key, value in values)
        return [root_objects.varied(name, key, product) for key, product in products]
    value = handle.GetValue()
    if isinstance(value, Mapping):
        return root_objects.collect(name, value)
    return [(name, root_objects.collect_value(name, value, tag or ""))]
