"""Binnings of corrections, rewritten so that correctionlib evaluates them rightly up to their ends."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bounded", "dumped"]

_HUGE = 1e308
_INTEGERS = range(-(2**63), 2**64)
_EXACT = 15
_NUMBER = re.compile(r'"\\u0000([^"]*)"')  # marked by `_with_texts`


def dumped(parts: Any) -> str:
    """Return a file of corrections as JSON, with edges of bins that correctionlib reads as exactly these numbers.

    Its parser rounds twice, and is one rounding off for a tenth of the numbers that have 16 or 17 digits.
    """
    return _NUMBER.sub(r"\1", json.dumps(_with_texts(parts, edges=False)))


def _with_texts(node: Any, *, edges: bool) -> Any:
    if isinstance(node, dict):
        return {key: _with_texts(value, edges=edges or key == "edges") for key, value in node.items()}
    if isinstance(node, list):
        return [_with_texts(value, edges=edges) for value in node]
    return "\0" + _exact(node) if edges and isinstance(node, float) else node


def _exact(number: float) -> str:
    """Return a text of a number that a parser reads exactly which reads digits as an integer, and then scales it.

    For one number in 200 there is none; it keeps its usual text.
    """
    text = json.dumps(number)
    if len(text) <= _EXACT:
        return text
    exponent = 18 - math.floor(math.log10(abs(number)))
    for shift in range(exponent, exponent - 4, -1):
        whole, power = round(Fraction(number) * Fraction(10) ** shift), float(f"1e{abs(shift)}")
        step = math.ceil(math.ulp(float(whole)))
        for near in (whole + n * step for n in (0, 1, -1)):
            read = float(near) / power if shift >= 0 else float(near) * power
            if read == number and near in _INTEGERS:
                return f"{near}e{-shift}"
    return text


def bounded(node: Any, flow: str) -> Any:
    """Return a node of a correction without values outside bins and without defaults.

    Parameters
    ----------
    node : dict or float
        As in the file.
    flow : str
        ``error`` or ``clamp``; an axis that wraps has no outside.
    """
    if not isinstance(node, dict):
        return node
    kind, changed = node["nodetype"], dict(node)
    if kind in {"binning", "multibinning"}:
        content = [bounded(child, flow) for child in node["content"]]
        flow, one = "wrap" if node["flow"] == "wrap" else flow, kind == "binning"
        names, edges = ([node["input"]], [node["edges"]]) if one else (node["inputs"], node["edges"])
        if one or flow == "wrap" or any(isinstance(axis, dict) for axis in edges):
            return _binning(list(zip(names, edges, strict=True)), content, flow)
        changed |= {"content": content, "flow": flow}
    elif kind == "category":
        changed["content"] = [{**item, "value": bounded(item["value"], flow)} for item in node["content"]]
        changed.pop("default", None)
    elif kind == "transform":
        changed |= {key: bounded(node[key], flow) for key in ("rule", "content")}
    return changed


def _binning(axes: Sequence[tuple[str, Any]], content: list[Any], flow: str) -> Any:
    """Return bins within bins, one axis at a time, which correctionlib evaluates rightly up to their ends."""
    if not axes:
        return content[0]
    (name, edges), rest = axes[0], axes[1:]
    size = edges["n"] if isinstance(edges, dict) else len(edges) - 1
    each = len(content) // size
    inner = [_binning(rest, content[n * each : (n + 1) * each], flow) for n in range(size)]
    made = {"nodetype": "binning", "input": name, "edges": edges, "content": inner, "flow": flow}
    return _guarded(made) if isinstance(edges, dict) or flow == "wrap" else made


def _guarded(node: dict[str, Any]) -> dict[str, Any]:
    """Return a binning with equal bins, or one that wraps, within another that evaluates the ends.

    correctionlib 2.9 computes the number of an equal bin, n ((x - low) / (high - low)). Just below ``high`` it can be
    n, past the last bin: the place of the value for overflow, 0 unless it is given, so it is given as that of the last
    bin. On an axis that wraps, numbers just below the first edge have the same fault. Elsewhere nothing changes, bit
    for bit, but infinities do not wrap any more.
    """
    edges, flow, first, last = node["edges"], node["flow"], node["content"][0], node["content"][-1]
    low, high = (edges["low"], edges["high"]) if isinstance(edges, dict) else (edges[0], edges[-1])
    inside = {**node, "flow": last if isinstance(edges, dict) else "clamp"}
    ends, content = [low, high], [inside]
    if flow == "clamp":
        ends, content = ["-inf", low, "inf"], [first, inside]
    elif flow == "wrap":
        ends, content = [-_HUGE, low, high, _HUGE], [node, inside, node]
        if (below := low - 2**-52 * (high - low)) < low:
            ends, content = [-_HUGE, below, *ends[1:]], [node, last, *content[1:]]
    flow = "error" if flow == "wrap" else flow
    return {"nodetype": "binning", "input": node["input"], "edges": ends, "content": content, "flow": flow}
