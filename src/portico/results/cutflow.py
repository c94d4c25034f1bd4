"""Cutflows: the numbers of entries that reached and passed each cut of a chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

__all__ = ["Cutflow"]


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

    def __str__(self) -> str:
        width = max((len(cut) for cut in self.cuts), default=3)
        lines = [f"{'cut':{width}} {'reached':>12} {'passed':>12} {'eff.':>7} {'cum.':>7}"]
        lines += [f"{cut:{width}} {a:>12} {p:>12} {e:>7.2%} {c:>7.2%}" for cut, a, p, e, c in self.rows()]
        if self.yields:
            pairs = zip(self.yields[1:], self.uncertainties[1:], strict=True)
            weighted = [f"{'yield':>12} {'+-':>10}", *(f"{value:>12.5g} {error:>10.2g}" for value, error in pairs)]
            lines = [f"{line} {more}" for line, more in zip(lines, weighted, strict=True)]
        return "\n".join([*lines, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        names = ["cut", "reached", "passed", "efficiency", "cumulative", *(["yield", "±"] if self.yields else [])]
        pairs = zip(self.yields[1:], self.uncertainties[1:], strict=True) if self.yields else [()] * len(self.cuts)
        rows = [
            [escape(cut), f"{a:,}", f"{b:,}", f"{e:.2%}", f"{c:.2%}", *(f"{number:.5g}" for number in pair)]
            for (cut, a, b, e, c), pair in zip(self.rows(), pairs, strict=True)
        ]
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table><tr>{head}</tr>{body}</table>" + (f"<div>{escape(self.note)}</div>" if self.note else "")
