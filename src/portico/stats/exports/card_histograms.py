"""The histograms of a datacard: one-dimensional ones of ROOT files, by the patterns of its lines ``shapes``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portico.errors import InputError, nearest_of_many
from portico.files.buffered import refuse_unbinned
from portico.files.troubles import is_regular
from portico.stats.exports.card_content import Card, ShapeSource
from portico.stats.shapes import Array

__all__ = ["Content", "Histograms"]


@dataclass(frozen=True)
class Content:
    """Contents, variances, edges and title of the axis of a histogram."""

    events: Array
    variances: Array
    edges: Array
    title: str = ""


class Histograms:
    """Histograms of the files of a card, each file opened once.

    Parameters
    ----------
    card : Card
    folder : Path
        Where the files are; those that are not there are looked for in the current folder.
    mass : float or str
        What ``$MASS`` stands for.

    Attributes
    ----------
    axes : dict of str to (str, array)
        By channel, title and edges of the histograms that were read.
    """

    def __init__(self, card: Card, folder: Path, mass: float | str) -> None:
        self._card, self._folder = card, folder
        self._mass = mass if isinstance(mass, str) else f"{mass:.0f}" if mass % 1 == 0 else str(mass)
        self._known: dict[tuple[str, str], Content] = {}
        self._names: dict[str, list[str]] = {}
        self.axes: dict[str, tuple[str, Array]] = {}

    def wrong(self, what: str, line: int) -> InputError:
        """Return an error of the card."""
        return InputError(f"{self._card.where}{f', line {line}' if line else ''}: {what}")

    def source(self, process: str, channel: str) -> ShapeSource | None:
        """Return where the shapes of a process are; None for a counting experiment.

        Raises
        ------
        InputError
            If the card has lines of shapes, and none for this process.
        """
        for wanted in ((process, channel), ("*", channel), (process, "*"), ("*", "*")):
            for source in self._card.shapes:
                if (source.process, source.bin) == wanted:
                    return None if source.file == "FAKE" else source
        if self._card.shapes:
            what = f"no line of shapes is for process '{process}' in channel '{channel}'"
            raise self.wrong(what, self._card.row("process"))
        return None

    def has(self, source: ShapeSource, process: str, channel: str, systematic: str) -> bool:
        """Whether there is a histogram at one standard deviation above."""
        if not source.varied:
            return False
        file, path = self._place(source, source.varied, process, channel, f"{systematic}Up")
        return path in self._paths(source, file)

    def read(self, source: ShapeSource, process: str, channel: str, systematic: str = "") -> Content:
        """Return a histogram.

        Parameters
        ----------
        source : ShapeSource
        process, channel : str
        systematic : str
            With ``Up`` or ``Down`` at its end; empty for the nominal histogram.

        Raises
        ------
        InputError
            If it is not there, is not a histogram of one dimension, or has other bins than others of the channel.
        """
        pattern = source.varied if systematic else source.nominal
        if not pattern:
            raise self.wrong(f"'{systematic}' needs the names of varied histograms", source.line)
        file, path = self._place(source, pattern, process, channel, systematic)
        found = self._load(source, file, path)
        _, edges = self.axes.setdefault(channel, (found.title, found.edges))
        if len(found.edges) != len(edges):
            raise self.wrong(
                f"histogram '{path}' has {len(found.edges) - 1} bins, others of channel '{channel}' have "
                f"{len(edges) - 1}", source.line,
            )  # fmt: skip
        if not np.allclose(found.edges, edges):
            note = f"line {source.line}: histogram '{path}' has other edges than others of channel '{channel}'"
            if note not in self._card.notes:
                self._card.notes.append(f"{note}; bins are compared by their order, as Combine does")
        return found

    def place(self, source: ShapeSource, process: str, channel: str) -> tuple[str, str]:
        """Return file and path in it of a nominal shape."""
        return self._place(source, source.nominal, process, channel, "")

    def _place(self, source: ShapeSource, pattern: str, process: str, channel: str, systematic: str) -> tuple[str, str]:
        found = []
        for text in (source.file, pattern):
            filled = text
            for word, value in (("SYSTEMATIC", systematic), ("PROCESS", process), ("CHANNEL", channel)):
                filled = filled.replace(f"${word}", value)
            filled = filled.replace("$MASS", self._mass)
            if "$" in filled:
                known = "$PROCESS, $CHANNEL, $SYSTEMATIC, $MASS"
                raise self.wrong(f"'{text}' has a word that nothing replaces; valid: {known}", source.line)
            found.append(filled)
        return found[0], found[1].lstrip("/")

    def _open(self, file: str) -> Any:
        import uproot

        beside = self._folder / file
        path = beside if beside.exists() or not Path(file).exists() else Path(file)
        if not is_regular(path):
            raise OSError("it is a pipe, a device or a folder")
        return uproot.open(path)

    def _paths(self, source: ShapeSource, file: str) -> list[str]:
        if file not in self._names:
            try:
                with self._open(file) as opened:
                    self._names[file] = opened.keys(cycle=False)
            except Exception as error:  # uproot and zlib have many of their own
                raise self.wrong(f"{file}: cannot be read: {_short(error)}", source.line) from error
        return self._names[file]

    def _load(self, source: ShapeSource, file: str, path: str) -> Content:
        if (file, path) in self._known:
            return self._known[file, path]
        if ":" in path:
            raise self.wrong(f"'{path}' is in a RooWorkspace; histograms are needed here", source.line)
        names = self._paths(source, file)
        if path not in names:
            near = nearest_of_many(path, names, "histograms")
            raise self.wrong(f"{file} has no histogram '{path}'; {near}", source.line)
        try:
            with self._open(file) as opened:
                histogram = opened[path]
                kind = str(histogram.classname)
                refuse_unbinned(histogram)
                events, edges = (np.asarray(values, dtype=np.float64) for values in histogram.to_numpy())
                title = str(histogram.member("fXaxis").member("fTitle"))
                found = Content(events, np.asarray(histogram.variances(), dtype=np.float64), edges, title)
        except Exception as error:  # see above
            raise self.wrong(f"{file}: '{path}' cannot be read: {_short(error)}", source.line) from error
        if not kind.startswith("TH1"):
            raise self.wrong(f"{file}: '{path}' is a {kind}, no TH1", source.line)
        if not np.all(np.isfinite(found.events)):
            raise self.wrong(f"{file}: '{path}' has contents that are not numbers", source.line)
        self._known[file, path] = found
        return found


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
