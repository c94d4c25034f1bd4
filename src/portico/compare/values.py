"""Comparison of products other than histograms, and of the values of summary steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from portico.compare.findings import Findings
from portico.compare.model import Example
from portico.results.kinds import KINDS
from portico.results.product import Product, ProductKind

__all__ = ["compare_cutflows", "compare_graphs", "compare_lists", "compare_numbers", "compare_values"]


def compare_numbers(findings: Findings, name: str, first: Product, second: Product) -> None:
    """Compare two numbers, or products of a few numbers."""
    if first.meta.get("operation") != second.meta.get("operation"):
        pair = first.meta.get("operation"), second.meta.get("operation")
        findings.add("other", name, "operation", 1, [Example("", *pair)])
    numbers = _numbers(first), _numbers(second)
    findings.add_missing(name, "values", *numbers)
    for key in (key for key in numbers[0] if key in numbers[1]):
        a, b = numbers[0][key], numbers[1][key]
        arrays = np.array([a]), np.array([b])
        if object in (arrays[0].dtype, arrays[1].dtype):  # an integer beyond 64 bits
            findings.compare(name, first.kind.value, np.array([0]), np.array([0]), lambda _: "")
            if a != b:
                findings.add("other", name, first.kind.value, 1, [Example(key, a, b)])
        else:
            findings.compare(name, first.kind.value, *arrays, [key].__getitem__)


def _numbers(product: Product) -> dict[str, Any]:
    """Return all numbers of a product; a Mean or StdDev has those of Stats."""
    if product.kind is ProductKind.MOMENTS:
        product = replace(product, meta={**product.meta, "operation": "Stats"})
    value = KINDS[product.kind].view(product)
    return value if isinstance(value, dict) else {"value": value}


def compare_cutflows(findings: Findings, name: str, first: Product, second: Product) -> None:
    """Compare two cutflows cut by cut."""
    rows = _rows(first), _rows(second)
    findings.add_missing(name, "cuts", *rows)
    both = [cut for cut in rows[0] if cut in rows[1]]
    if both != [cut for cut in rows[1] if cut in rows[0]]:
        findings.add("other", name, "order of cuts", 1)
    for cut in both:
        for what, a in rows[0][cut].items():
            b = rows[1][cut].get(what)
            if b is None:
                findings.add("missing", name, what, 1, [Example(cut, a.item(), None)], side="second")
            else:
                findings.compare(name, what, a, b, [f"cut '{cut}'"].__getitem__)
        for what in rows[1][cut].keys() - rows[0][cut].keys():
            findings.add("missing", name, what, 1, [Example(cut, None, rows[1][cut][what].item())], side="first")


def _rows(product: Product) -> dict[str, dict[str, Any]]:
    """Return the numbers of each cut; cuts with the same name are numbered."""
    rows: dict[str, dict[str, Any]] = {}
    arrays = product.arrays
    weighted = {key: arrays[key] for key in ("weights", "squares") if key in arrays}
    if weighted and len(arrays["passed"]):
        rows["before all cuts"] = {_WORDS[key]: array[0] for key, array in weighted.items()}
    for number, cut in enumerate(product.meta["cuts"]):
        title, again = cut, 1
        while title in rows:
            again += 1
            title = f"{cut} ({again})"
        rows[title] = {_WORDS[key]: arrays[key][number] for key in ("all", "passed")}
        rows[title] |= {_WORDS[key]: array[number + 1] for key, array in weighted.items()}
    return rows


_WORDS = {"all": "entries before", "passed": "entries passed", "weights": "sum of weights", "squares": "sum of squares"}


def compare_graphs(findings: Findings, name: str, first: Product, second: Product) -> None:
    """Compare two graphs point by point."""
    points = len(first.arrays["x"]), len(second.arrays["x"])
    if points[0] != points[1]:
        side = "second" if points[1] < points[0] else "first"
        findings.add("missing", name, "points", abs(points[0] - points[1]), [Example("points", *points)], side=side)
        return
    findings.add_missing(name, "values", first.arrays, second.arrays)
    for axis in (key for key in first.arrays if key in second.arrays):
        findings.compare(name, axis, first.arrays[axis], second.arrays[axis], lambda i: f"point {i}")


def compare_lists(findings: Findings, name: str, first: Product, second: Product) -> None:
    """Compare two lists of points, or of their values, one by one."""
    compare_values(findings, name, list(first.items), list(second.items))


def compare_values(findings: Findings, product: str, first: object, second: object, where: str = "") -> None:
    """Compare JSON values: mappings by key, lists by index, numbers within the tolerance, text exactly."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys([*first, *second]):
            inner = f"{where}.{key}" if where else str(key)
            if key in first and key in second:
                compare_values(findings, product, first[key], second[key], inner)
            else:
                side = "first" if key in second else "second"
                findings.add("missing", product, "values", 1, [Example(inner, None, None)], side=side)
    elif isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second):
            findings.add("other", product, "lengths of lists", 1, [Example(where, len(first), len(second))])
            return
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            compare_values(findings, product, a, b, f"{where}[{number}]")
    elif _is_number(first) and _is_number(second):
        findings.compare(product, "values", np.array([first]), np.array([second]), lambda _: where)
    elif type(first) is not type(second) or first != second:
        findings.add("other", product, "values", 1, [Example(where, _short(first), _short(second))])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: object) -> bool | int | float | str | None:
    return value if isinstance(value, (bool, int, float, str)) or value is None else type(value).__name__
