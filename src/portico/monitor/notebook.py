"""Output of a notebook's cell that is updated in place, and the progress of a run in it.

It is HTML and no widget: what it shows last is part of the notebook, and is there when the notebook is opened again,
without a kernel, also where its outputs are not trusted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from html import escape
from typing import Any

from rich.progress import Progress as Bars
from rich.progress import ProgressColumn, Task
from rich.text import Text

from portico.shown import shown

__all__ = ["Board", "BoardBars", "Shown"]

_SECONDS = 0.25
_COLORS = {"yellow": "#9a6700"}
"""Warnings are legible on white and on black."""
_LEFT = "text-align:left"
_NAME = f"{_LEFT};min-width:6rem;overflow-wrap:anywhere"  # a long name leaves room for the words after it


class Shown:
    """HTML below the cell that runs now, to be updated in place by any thread.

    Parameters
    ----------
    html : str
        What to show.
    text : str
        The same where HTML cannot be shown.
    """

    def __init__(self, html: str, text: str) -> None:
        from IPython import display

        show: Any = display.display
        self._handle: Any = show(_bundle(html, text), raw=True, display_id=True)

    def update(self, html: str, text: str) -> None:
        """Show this in its place."""
        self._handle.update(_bundle(html, text), raw=True)


def _bundle(html: str, text: str) -> dict[str, str]:
    return {"text/html": html, "text/plain": shown(text)}


class Board:
    """Lines that stay, and bars below them for as long as a step runs."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []
        self._bars = self._last = ""
        self._shown: Shown | None = None
        self._lock = threading.Lock()

    def say(self, text: str, style: str = "") -> None:
        """Add a line; ``yellow`` for a warning."""
        self._lines.append((shown(text), _COLORS.get(style, "")))
        self._draw()

    def show(self, bars: str) -> None:
        """Show these bars, in HTML, instead of those of before."""
        self._bars = bars
        self._draw()

    def _draw(self) -> None:
        with self._lock:
            lines = "\n".join(
                f'<span style="color:{color}">{escape(line)}</span>' if color else escape(line)
                for line, color in self._lines
            )
            kept = f'<pre style="margin:0;white-space:pre-wrap">{lines}</pre>' if lines else ""
            if (html := f"<div>{kept}{self._bars}</div>") == self._last:
                return
            self._last, text = html, "\n".join(line for line, _ in self._lines)
            if self._shown is None:
                self._shown = Shown(html, text)
            else:
                self._shown.update(html, text)


class BoardBars(Bars):
    """Bars on a `Board`, drawn by the browser.

    Parameters
    ----------
    board : Board
        Where to show them.
    columns : sequence of ProgressColumn
        Words after each bar, as `Text`.
    """

    def __init__(self, board: Board, columns: Sequence[ProgressColumn]) -> None:
        super().__init__(*columns, auto_refresh=False)
        self._board, self._words = board, tuple(columns)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="portico progress", daemon=True)

    def start(self) -> None:
        """Begin to draw, four times a second."""
        self._thread.start()

    def stop(self) -> None:
        """Remove the bars."""
        self._ended.set()
        self._thread.join()
        self._board.show("")

    def refresh(self) -> None:
        """Draw what has changed with the next picture."""

    def _follow(self) -> None:
        while not self._ended.is_set():
            rows = "".join(self._row(task) for task in self.tasks if task.visible)
            self._board.show(f"<table>{rows}</table>")
            self._ended.wait(_SECONDS)

    def _row(self, task: Task) -> str:
        at = "" if task.total is None else f' value="{task.completed:g}" max="{task.total:g}"'
        words = (column(task) for column in self._words)
        texts = (escape(word.plain if isinstance(word, Text) else str(word)) for word in words)
        said = "&ensp; ".join(f'<span style="white-space:nowrap">{text}</span>' for text in texts if text)
        name = f'<td style="{_NAME}">{escape(shown(task.description))}</td>'
        return f'<tr>{name}<td><progress{at} style="width:5rem"></progress></td><td style="{_LEFT}">{said}</td></tr>'
