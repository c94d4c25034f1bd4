"""The graph of a script: calls of RDataFrame's methods, in the order in which they are followed."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from portico.lint.values import UNKNOWN, Arms, Frame, Handle, Read, Source

__all__ = ["ANY_CUT", "DISTINCT", "FrameCall", "Graph"]

_TRANSFORMATIONS = {
    "Alias", "Cache", "DefaultValueFor", "Define", "DefinePerSample", "DefineSlot", "DefineSlotEntry", "Filter",
    "FilterAvailable", "FilterMissing", "Range", "Redefine", "RedefineSlot", "RedefineSlotEntry", "Vary",
}  # fmt: skip
_ACTIONS = {
    "Aggregate", "AsNumpy", "Book", "Count", "Display", "Fill", "Graph", "GraphAsymmErrors", "Histo1D", "Histo2D",
    "Histo3D", "HistoND", "HistoNSparseD", "Max", "Mean", "Min", "Profile1D", "Profile2D", "Reduce", "Report",
    "Snapshot", "Stats", "StdDev", "Sum", "Take",
}  # fmt: skip
_AT_ONCE = {"Foreach", "ForeachSlot"}
DISTINCT = {
    "Define", "DefinePerSample", "DefineSlotEntry", "Filter", "Histo1D", "Histo2D", "Histo3D", "Redefine", "Snapshot",
    "Vary",
}  # fmt: skip
"""Names that no other class is likely to have: what has such a method is taken for a frame."""

ANY_CUT = "?()"
"""A cut that is not known."""

_DEFINE = {"Alias", "Define", "DefinePerSample", "DefineSlot", "Redefine"}
_COPIES = {"GetValue", "GetPtr"}
_NO_LOOP = {"OnPartialResult", "OnPartialResultSlot", "IsReady"}


@dataclass(frozen=True, eq=False, slots=True)
class FrameCall:
    """A call of a method of a frame, with the values of its arguments."""

    node: ast.Call
    method: str
    frame: Frame
    arguments: tuple[Any, ...]

    @property
    def line(self) -> int:
        """The line on which the method is named."""
        return self.node.func.end_lineno or self.node.lineno


@dataclass(frozen=True, eq=False, slots=True)
class _Event:
    order: int
    line: int
    source: Source
    arms: Arms


@dataclass(slots=True)
class Graph:
    """What is booked and read, in order.

    Attributes
    ----------
    calls : list of FrameCall
        Of all methods of frames.
    booked : list of Handle
        The results.
    reads : list of (event, Handle)
        Where a result is read.
    dependent : list of (int, int)
        Lines of calls whose arguments follow from a result, and the line where it is read.
    copied : set of int
        Identities of the calls of ``GetValue`` on results.
    """

    calls: list[FrameCall] = field(default_factory=list)
    booked: list[Handle] = field(default_factory=list)
    reads: list[tuple[_Event, Handle]] = field(default_factory=list)
    dependent: list[tuple[int, int]] = field(default_factory=list)
    copied: set[int] = field(default_factory=set)
    arms: Arms = ()
    _order: int = 0
    _events: list[_Event] = field(default_factory=list)

    def use(self, node: ast.Call, name: str, frame: Frame, arguments: list[Any]) -> Any:
        """Note the call of a frame's method; return what it gives."""
        call = FrameCall(node, name, frame, tuple(arguments))
        self.calls.append(call)
        self.dependent += [(call.line, value.line) for value in arguments if isinstance(value, Read)]
        if name in _TRANSFORMATIONS:
            return self._transformed(frame, name, arguments)
        if name in _AT_ONCE:
            self._note(call.line, frame.source)
            return UNKNOWN
        if name in _ACTIONS:
            event = self._note(call.line, frame.source)
            handle = Handle(frame.source, name, node, self.arms, event.order)
            self.booked.append(handle)
            return handle
        return UNKNOWN

    def _note(self, line: int, source: Source) -> _Event:
        self._order += 1
        event = _Event(self._order, line, source, self.arms)
        self._events.append(event)
        return event

    @staticmethod
    def _transformed(frame: Frame, name: str, arguments: list[Any]) -> Frame:
        texts = [one for one in arguments if isinstance(one, str)]
        if name == "Filter":
            cut = texts[0] if arguments and isinstance(arguments[0], str) else ANY_CUT
            columns = [word for one in arguments if isinstance(one, list) for word in one if isinstance(word, str)]
            return Frame(frame.source, (*frame.cuts, " ".join([cut, *columns])), frame.columns)
        if name in _DEFINE and arguments and isinstance(arguments[0], str):
            body = texts[1] if len(texts) > 1 else ""
            return Frame(frame.source, frame.cuts, {**frame.columns, arguments[0]: body})
        return frame

    def read(self, node: ast.expr, handle: Handle, name: str = "") -> Any:
        """Note that a result is read, by one of its methods or otherwise; return what that gives."""
        if name in _NO_LOOP:
            return UNKNOWN
        line = node.end_lineno or node.lineno
        self._order += 1
        self.reads.append((_Event(self._order, line, handle.source, self.arms), handle))
        if name in _COPIES:
            self.copied.add(id(node))
            return handle
        return Read(line)

    def varied(self, node: ast.Call, handle: Handle) -> Handle:
        """Note the variations of a result; they are booked, too."""
        order = self._note(node.lineno, handle.source).order
        found = Handle(handle.source, "VariationsFor", node, self.arms, order, handle)
        self.booked.append(found)
        return found

    def loops(self) -> list[tuple[int, Handle, int]]:
        """Return the line, the result, and the line of what is booked later, of each reading in the middle.

        One that follows a reading with nothing booked in between starts no loop.
        """
        found = []
        ready: dict[int, int] = {}
        for event, handle in self.reads:
            started = ready.get(id(event.source), 0)
            later = [one for one in self._events if one.source is event.source and one.order > event.order]
            later = [one for one in later if _together(one.arms, event.arms)]
            if later and handle.order > started:
                found.append((event.line, handle, later[0].line))
            ready[id(event.source)] = event.order
        return found


def _together(one: Arms, other: Arms) -> bool:
    """Whether what is in these branches can happen in one execution."""
    arms = dict(one)
    return all(arms.get(branch, arm) == arm for branch, arm in other)
