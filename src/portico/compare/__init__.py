"""Two runs side by side: the original against the port, and in what they differ."""

from __future__ import annotations

from portico.compare.against import compare
from portico.compare.mapping import Mapping, load_mapping
from portico.compare.model import KINDS, Comparison, Difference, Example, Tally
from portico.compare.numbers import ATOL, RTOL, Tolerance

__all__ = [
    "ATOL", "KINDS", "RTOL", "Comparison", "Difference", "Example", "Mapping", "Tally", "Tolerance", "compare",
    "load_mapping",
]  # fmt: skip
