"""Tables as text and as HTML: how runs, results and cutflows show themselves in Python and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice

from portico.shown import shown

__all__ = ["ShownTable"]

_ROWS = 60


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table, and the lines around it.

    Parameters
    ----------
    columns : sequence of str
        Heads of the columns.
    rows : sequence of sequence of str
        The cells; of more than 60 rows the rest is counted.
    title, note : str
        A line above it, and lines below it; empty for none.
    left : int
        How many of the first columns are words; numbers are aligned to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    left: int = 1

    def __str__(self) -> str:
        rows = [self.columns, *islice(self.rows, _ROWS)] if self.rows else []
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = ["  ".join(self._aligned(n, cell, widths[n]) for n, cell in enumerate(row)).rstrip() for row in rows]
        return shown("\n".join(line for line in (self.title, *lines, *self._foot()) if line))

    def _aligned(self, column: int, cell: str, width: int) -> str:
        return cell.ljust(width) if column < self.left else cell.rjust(width)

    def _foot(self) -> list[str]:
        more = len(self.rows) - _ROWS
        return [f"... and {more:,} more"] * (more > 0) + [self.note] * bool(self.note)

    def html(self) -> str:
        """Return it as HTML."""
        styles = [f' style="text-align:{"left" if n < self.left else "right"}"' for n in range(len(self.columns))]
        rows = [("th", self.columns), *(("td", row) for row in islice(self.rows, _ROWS))] if self.rows else []
        body = "".join(
            f"<tr>{''.join(f'<{t}{s}>{escape(c)}</{t}>' for s, c in zip(styles, row, strict=True))}</tr>"
            for t, row in rows
        )
        title = f"<div><b>{escape(self.title)}</b></div>" if self.title else ""
        return f"{title}<table>{body}</table>" + "".join(f"<div>{escape(line)}</div>" for line in self._foot())
