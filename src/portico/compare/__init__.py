"""Comparison of two runs, such as the original and its port, with every difference classified."""

from __future__ import annotations

from portico.compare.mapping import Mapping, load_mapping
from portico.compare.model import KINDS, Comparison, Difference, Example, Tally
from portico.compare.numbers import ATOL, RTOL, Tolerance
from portico.compare.runs import compare

__all__ = [
    "ATOL", "KINDS", "RTOL", "Comparison", "Difference", "Example", "Mapping", "Tally", "Tolerance", "compare",
    "load_mapping",
]  # fmt: skip
