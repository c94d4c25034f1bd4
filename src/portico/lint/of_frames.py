"""Rules about frames: the methods called, their order, and the use of their results.

Where a step is refused for the same reason when it runs, the words are those of that refusal.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

from portico.errors import PorticoError
from portico.lint.finding import Finding
from portico.lint.graph import ANY_CUT, FrameCall
from portico.lint.trace import Trace
from portico.lint.values import Frame, Function
from portico.worker.arguments import LOOP_WHILE_BUILT, RANGE, refuse_discarded, refuse_local_entry, require_model

__all__ = ["RULES"]

_LOOP_WHY, _, _LOOP_FIX = LOOP_WHILE_BUILT.partition("; ")
_RANGE_WHY, _, _RANGE_USE = RANGE.partition("; ")
_INDEX = re.compile(r"(?<![\w.>])([A-Za-z_]\w*)((?:\[[A-Za-z_]\w*\])?)\[(\d+)\]")
_SIZES = re.compile(
    r"\bn_?[A-Z]\w*|\bn_\w+|\w+_n\b|\w*[nN]um\w*|\.size\(\)|\bsize\(|\.empty\(\)|\bSum\(|\bAny\(|\bNonzero\(|\b\w*[cC]ount\w*"
)
_OBJECT = re.compile(
    r"(?:good|sel|gen|reco|calo|tight|loose|iso)?_?(?:muons?|mu|electrons?|ele?|leptons?|leps?|photons?|gammas?|taus?|"
    r"(?:fat)?jets?|tracks?|trk|vertex|vtx|sv|part|particles?|cands?|hits?|clusters?)_\w+$",
    re.IGNORECASE,
)
"""Columns of objects, of which an event has any number; what has another name may be an array of fixed size."""

_CALL = re.compile(r"\b([A-Za-z_][\w:]*)\s*\(")
_MATHS = {
    "abs", "All", "acos", "asin", "atan", "atan2", "cos", "cosh", "DeltaPhi", "DeltaR", "exp", "fabs", "hypot", "log",
    "log10", "max", "Max", "min", "Min", "pow", "sin", "sinh", "sqrt", "tan", "tanh", "return", "if",
}  # fmt: skip
_NOT_PRODUCTS = {
    "Aggregate": "how to merge a number from Aggregate over chunks is unknown",
    "Reduce": "how to merge a number from Reduce over chunks is unknown",
    "Display": "Display prints events and cannot be returned",
}


def _refusal(check: Callable[..., None], *arguments: Any) -> tuple[str, str] | None:
    """Return why a step would be refused and what to do, in the words of the run."""
    try:
        check(*arguments)
    except PorticoError as error:
        why, _, fix = str(error).partition("; ")
        return why, fix
    return None


def _in_order(call: FrameCall) -> list[Any]:
    """Return the arguments, with parameters of Python functions, which are columns, by their names."""
    found: list[Any] = []
    for one in call.arguments:
        found.append(one)
        if isinstance(one, Function):
            found += [argument.arg for argument in one.node.args.args]
    return found


def _local_entry(followed: Trace) -> Iterator[Finding]:
    for call in followed.graph.calls:
        if words := _refusal(refuse_local_entry, call.method, _in_order(call)):
            yield Finding("error", "local-entry", call.line, f"{call.method} uses the number of an entry", *words)


def _range(followed: Trace) -> Iterator[Finding]:
    members = [one for one in followed.evaluator.members if one.sure]  # not if an option switches them on
    threads = [one.node.lineno for one in members if one.path.endswith("EnableImplicitMT")]
    for call in followed.graph.calls:
        if call.method == "Range":
            if threads:
                why = f"{_RANGE_WHY}; ROOT itself refuses it under the threads of line {threads[0]}"
            else:
                why = _RANGE_WHY
            fix = "leave it out, and take fewer files to try something (portico run --sample NAME)"
            yield Finding("error" if threads else "warning", "range", call.line, "Range takes some entries", why, fix)


def _model(followed: Trace) -> Iterator[Finding]:
    for call in followed.graph.calls:
        if words := _refusal(require_model, call.method, list(call.arguments)):
            yield Finding("error", "no-model", call.line, f"{call.method} without a model", *words)


def _loops(followed: Trace) -> Iterator[Finding]:
    for line, handle, later in followed.graph.loops():
        what = f"the result of {handle.action} (line {handle.line}) is read here, and line {later} books more"
        why = f"reading it runs the event loop, and what is booked later needs another; a run would say: {_LOOP_WHY}"
        yield Finding("error", "extra-loop", line, what, why, f"book everything first; in a step, {_LOOP_FIX}")
    for call in followed.graph.calls:
        if call.method in {"Foreach", "ForeachSlot"}:
            why = "it runs the event loop at once, and what it changes stays in one process"
            fix = "fill a histogram, or return Take or AsNumpy of the columns"
            yield Finding("error", "foreach", call.line, f"{call.method} calls a function for each event", why, fix)


def _dependent(followed: Trace) -> Iterator[Finding]:
    for line, read in followed.graph.dependent:
        what = f"the graph depends on a result that is read at line {read}"
        why = (
            "a step books everything before its event loop, and its results are those of one chunk until all are merged"
        )
        fix = (
            "for a weight by the number of generated events, write this number as processed_events into datasets.yaml "
            "and use sample.processed_events; else make two steps: the first returns the result, a summary step makes "
            "a file of it, and the second has this file under 'files' in analysis.yaml"
        )
        yield Finding("error", "result-in-graph", line, what, why, fix)


def _snapshots(followed: Trace) -> Iterator[Finding]:
    for handle in followed.discarded.values():
        tree = handle.node.args[0] if handle.node.args else None
        name = tree.value if isinstance(tree, ast.Constant) and isinstance(tree.value, str) else "tree"
        if handle.action == "Snapshot" and (words := _refusal(refuse_discarded, name)):
            fix = 'keep what Snapshot returns, and return it: {"events": frame.Snapshot(...)}; in a step it is lazy'
            yield Finding("error", "snapshot", handle.line, f"the Snapshot '{name}' is not kept", words[0], fix)


def _products(followed: Trace) -> Iterator[Finding]:
    for handle in followed.graph.booked:
        if why := _NOT_PRODUCTS.get(handle.action):
            fix = "remove it" if handle.action == "Display" else "return a Sum, Min, Max, Count, Take or histogram"
            yield Finding("error", "product", handle.line, f"{handle.action} is not a product", why, fix)


def _indices(followed: Trace) -> Iterator[Finding]:
    for call in followed.graph.calls:
        texts = [one for one in call.arguments if isinstance(one, str)]
        if call.method not in {"Define", "Redefine", "Filter", "Vary"} or not texts:
            continue
        text = texts[0] if call.method == "Filter" else texts[1] if len(texts) > 1 else ""
        for match in _INDEX.finditer(text):
            if _OBJECT.match(match[1]) and not _is_checked(match[1], text[: match.start()], call.frame):
                what = f"{match[0]}, and no cut before it on how many there are"
                why = "in an event with fewer, it reads what lies behind the last one: a wrong number, without an error"
                fix = f'cut first, for example Filter("{match[1]}.size() > {match[3]}")'
                yield Finding("warning", "index", call.line, what, why, fix)


def _is_checked(column: str, before: str, frame: Frame) -> bool:
    """Whether a cut, or what stands before in the expression, may tell how many there are; in doubt it does."""
    if column in frame.columns and not re.fullmatch(r"\s*\w+\[[^\]\d][^\]]*\]\s*", frame.columns[column]):
        return True  # a column of the script's own: it may have a fixed size
    if any(cut.startswith(ANY_CUT) for cut in frame.cuts):
        return True
    texts = [*frame.cuts, *(frame.columns.get(word, "") for cut in frame.cuts for word in re.findall(r"\w+", cut))]
    if re.search(r"&&|\?", before):
        texts.append(before)
    return any(_SIZES.search(text) or set(_CALL.findall(text)) - _MATHS for text in texts)


RULES: tuple[Callable[[Trace], Iterator[Finding]], ...] = (
    _local_entry, _range, _model, _loops, _dependent, _snapshots, _products, _indices,
)  # fmt: skip
