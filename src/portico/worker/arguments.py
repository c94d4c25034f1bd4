"""Checks of arguments of RDataFrame's methods that do not work in a chunk or need missing software."""

from __future__ import annotations

import importlib.util
import numbers
import re
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from portico.errors import MissingExtra, PorticoWarning, ProductError, StepError

__all__ = [
    "LOOP_WHILE_BUILT", "RANGE", "by_position", "follow_alias", "refuse_discarded", "refuse_filled",
    "refuse_local_entry", "require_model", "require_numba", "warn_of_range", "words_of",
]  # fmt: skip

RANGE = (
    "Range counts within each chunk, so that its results change with the size of chunks and differ from those of one "
    "loop; it is for a quick look only"
)
LOOP_WHILE_BUILT = (
    "the step ran the event loop while it was being built; return the handle itself and leave out GetValue(), Print(), "
    "loops over results and other uses of them: they need an event loop each"
)

_ENTRY = re.compile(r"\b[rt]dfentry_\b")  # ROOT knows it under both names
_AXES = {"Histo1D": 1, "Histo2D": 2, "Histo3D": 3, "HistoND": 0, "HistoNSparseD": 0, "Profile1D": 1,
         "Profile2D": 2, "Fill": 0}  # fmt: skip
"""Axes of the bins of what an operation fills; 0 if that is for the model to say."""
_TEXTS = {"string", "string_view", "basic_string<char>", "TString"}
_PARAMETERS = {
    "Alias": ("alias", "columnName"), "DefinePerSample": ("name", "expression"), "Stats": ("value", "weight"),
    "FilterAvailable": ("column",),
    "FilterMissing": ("column",), "DefaultValueFor": ("column", "defaultValue"),
}  # fmt: skip


def by_position(name: str, arguments: Sequence[Any], options: dict[str, Any]) -> list[Any]:
    """Return the arguments of a method that portico stands in for, with those by keyword, which are taken out."""
    given = list(arguments)
    for parameter in _PARAMETERS.get(name, ())[len(given) :]:
        if parameter not in options:
            break
        given.append(options.pop(parameter))
    return given


def refuse_local_entry(name: str, arguments: Sequence[Any]) -> None:
    """Refuse the number of an entry within a chunk: in expressions, as a column or as a parameter of a function.

    Raises
    ------
    StepError
        If the method ``name`` would use it.
    """
    if name in {"DefineSlotEntry", "RedefineSlotEntry"} or any(map(_ENTRY.search, words_of(arguments))):
        raise StepError(
            f"{name} uses rdfentry_, which counts within one chunk and is not a property of an event; use a column "
            "such as run, luminosityBlock and event (a generated sample has the column 'entry')"
        )


def words_of(arguments: Sequence[Any]) -> Iterator[str]:
    """Yield the texts among arguments and in lists of them, also of C++, and the names of functions' parameters."""
    for argument in arguments:
        if isinstance(argument, types.FunctionType):  # its parameters are columns
            yield from argument.__code__.co_varnames[: argument.__code__.co_argcount]
        is_list = isinstance(argument, (list, tuple, set)) or type(argument).__name__.startswith("vector<")
        for word in argument if is_list else [argument]:
            if isinstance(word, str) or type(word).__name__ in _TEXTS:
                yield str(word)


def follow_alias(name: str, column: str, aliases: set[str]) -> None:
    """Note an alias, and refuse to ask for the entries that have it: ROOT finds it in none of a TTree.

    Raises
    ------
    StepError
        If another method than ``Alias`` names one.
    """
    if name == "Alias":
        aliases.add(column)
    elif column in aliases:
        raise StepError(f"{name}('{column}'): for ROOT an alias is missing in every entry; give the name of the column")


def refuse_filled(model: Any) -> None:
    """Refuse to fill a histogram that has entries, which ROOT keeps.

    Raises
    ------
    ProductError
        If it has some.
    """
    if callable(entries := getattr(model, "GetEntries", None)) and (n := entries()):
        raise ProductError(
            f"Fill: '{model.GetName()}' has {n:g} entries, which every chunk would count; fill an empty one, and add "
            "the two later"
        )


def warn_of_range(name: str) -> None:
    """Warn of ``Range``, whose entries are others for chunks of another size."""
    if name == "Range":
        warnings.warn(RANGE, PorticoWarning, stacklevel=2)


def refuse_discarded(tree: str) -> None:
    """Refuse a Snapshot that the step does not return.

    Raises
    ------
    ProductError
        Always.
    """
    raise ProductError(f"the Snapshot '{tree}' is not among the returned products and would not be written")


def require_numba(name: str, arguments: Sequence[Any]) -> None:
    """Require what ROOT compiles functions of Python with, which its wheel does not bring.

    Raises
    ------
    MissingExtra
        If numba or cffi is not installed.
    """
    if any(isinstance(argument, types.FunctionType) for argument in arguments):
        for module in ("numba", "cffi"):
            if importlib.util.find_spec(module) is None:
                raise MissingExtra("numba", f"{name} with a Python function")


def require_model(name: str, arguments: Sequence[Any], options: Mapping[str, Any] | None = None) -> None:
    """Refuse histograms and profiles whose axes would be found from the data, chunk by chunk.

    Raises
    ------
    ProductError
        If one has no model, or a model with an axis that ends where it begins.
    """
    if name not in _AXES or not (arguments or options):
        return
    given = [*arguments, *(options or {}).values()]
    model = arguments[0] if arguments else (options or {}).get("model", given[0])
    if isinstance(model, str) and name.startswith("Histo"):
        raise ProductError(
            f"{name}('{model}') chooses its axis from the data of each chunk; give it a model: "
            f'{name}(("name", "title;axis title", bins, low, high), \'{model}\')'
        )
    for bins, ends in _axes(model, _AXES[name]):
        _check_axis(name, bins, ends)


def _check_axis(name: str, bins: Any, ends: Any) -> None:
    """Refuse an axis that ROOT would choose, change or read beyond its edges; `portico.results.axes` does the rest."""
    if isinstance(bins, numbers.Integral) and bins < 1:
        raise ProductError(f"{name}: an axis has {bins} bins; give it 1 or more")
    if isinstance(bins, numbers.Integral) and len(ends) != bins + 1 and not isinstance(ends, tuple):
        raise ProductError(f"{name}: an axis of {bins} bins has {bins + 1} edges, but {len(ends)} are given")
    if isinstance(ends, tuple) and ends[0] >= ends[1]:
        raise ProductError(
            f"{name}: with an axis from {ends[0]:g} to {ends[1]:g}, ROOT chooses its ends from the data of each chunk; "
            "give it fixed ends"
        )


def _axes(model: Any, axes: int) -> Iterator[tuple[Any, Any]]:
    """Yield bins, and the two ends as a tuple or all edges, of the axes of a model.

    It is a tuple, an object of ROOT's, or a histogram; the axes of one of many axes are lists.
    """
    if isinstance(model, (tuple, list)) and not axes:
        bins, edges = [*model[3:], (), ()][:2]
        if hasattr(bins, "__len__") and hasattr(edges, "__len__"):  # else ROOT says what it takes
            of_edges = [each for each in edges if hasattr(each, "__len__")]
            yield from zip(bins, of_edges or [(0, 1)] * len(bins), strict=False)  # of equal bins only how many
    elif isinstance(model, (tuple, list)):
        rest = list(model[2:])
        for _ in range(axes):
            if len(rest) > 2 and all(isinstance(end, numbers.Real) for end in rest[1:3]):
                yield rest[0], (rest[1], rest[2])
                rest = rest[3:]
            elif len(rest) > 1 and hasattr(rest[1], "__len__"):
                yield rest[0], [*rest[1]]
                rest = rest[2:]
            else:
                return  # ROOT says what it takes
    else:
        yield from _axes_of_object(model, axes)


def _axes_of_object(model: Any, axes: int) -> Iterator[tuple[Any, Any]]:
    for axis in "XYZ"[: axes or getattr(model, "GetDimension", int)()]:
        if callable(get := getattr(model, f"Get{axis}axis", None)):
            yield get().GetNbins(), (get().GetXmin(), get().GetXmax())
        elif not len(getattr(model, f"fBin{axis}Edges", [0])):
            yield getattr(model, f"fNbins{axis}"), (getattr(model, f"f{axis}Low"), getattr(model, f"f{axis}Up"))
