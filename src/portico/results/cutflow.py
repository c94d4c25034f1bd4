"""Cutflows: the numbers of entries that reached and passed each cut of a chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from portico.results.table import ShownTable

__all__ = ["Cutflow", "Cutflows"]


@dataclass(frozen=True, slots=True)
class Cutflow:
    """Numbers of entries that reached and passed each named cut.

    Parameters
    ----------
    cuts : tuple of str
        Names, in order.
    reached, passed : tuple of int
        Entries before and after each cut.
    yields, uncertainties : tuple of float
        Sums of weights before all cuts and after each, and square roots of the sums of squared weights; empty if
        entries have no weights.
    note : str
        What is to be known of it, such as that it was made with other options; empty if nothing.
    """

    cuts: tuple[str, ...]
    reached: tuple[int, ...]
    passed: tuple[int, ...]
    yields: tuple[float, ...] = ()
    uncertainties: tuple[float, ...] = ()
    note: str = field(default="", compare=False)

    def rows(self) -> list[tuple[str, int, int, float, float]]:
        """Return name, reached, passed, efficiency and cumulative efficiency of each cut."""
        first = self.reached[0] if self.reached else 0
        return [
            (cut, reached, passed, passed / reached if reached else 0.0, passed / first if first else 0.0)
            for cut, reached, passed in zip(self.cuts, self.reached, self.passed, strict=True)
        ]

    def _table(self) -> ShownTable:
        columns = ["cut", "reached", "passed", "efficiency", "cumulative", *(["yield", "±"] if self.yields else [])]
        weighted = zip(self.yields[1:], self.uncertainties[1:], strict=True)
        pairs = [(f"{y:,.6g}", f"{u:,.3g}") for y, u in weighted] if self.yields else [()] * len(self.cuts)
        rows = [
            [cut, f"{a:,}", f"{b:,}", f"{e:.2%}", f"{c:.2%}", *pair]
            for (cut, a, b, e, c), pair in zip(self.rows(), pairs, strict=True)
        ]
        return ShownTable(columns, rows, note=self.note)

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()


class Cutflows(dict[str, Cutflow]):
    """Cutflows by name, shown one below the other."""

    def __repr__(self) -> str:
        return "\n\n".join(f"{name}\n{flow!r}" for name, flow in self.items())

    def _repr_html_(self) -> str:
        return "".join(f"<div><b>{escape(name)}</b></div>{flow._repr_html_()}" for name, flow in self.items())
