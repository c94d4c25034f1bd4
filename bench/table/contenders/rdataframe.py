"""RDataFrame in Python, with expressions as strings that ROOT compiles just in time."""

from __future__ import annotations

from pathlib import Path

from bench.table.adl import steps as adl
from bench.table.analysis import steps
from bench.table.inputs import Input

HEADER = steps.FOLDER / "choose.h"


class Contender:
    """A session in which ROOT was imported and a helper function declared."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        import ROOT

        self._root, self._given = ROOT, given
        header = HEADER if given.kind == "wztree" else adl.FOLDER / "adl.cc"
        ROOT.gInterpreter.Declare(f'#include "{header}"')

    def best(self, pt: float = 7.5, bins: int = 64, rule: str = "mass") -> dict[str, list[float]]:
        """Run the query."""
        frame = self._root.RDataFrame(self._given.tree, list(self._given.files))
        booked = steps.book(frame, pt, bins, rule)
        return {name: contents(handle.GetValue()) for name, handle in booked.items()}

    def adl(self, query: str) -> dict[str, list[float]]:
        """Run a query of the ADL benchmark."""
        frame = self._root.RDataFrame(self._given.tree, list(self._given.files))
        return {name: contents(handle.GetValue()) for name, handle in adl.book(query, frame).items()}

    def close(self) -> None:
        """Nothing is left open."""


def contents(histogram) -> list[float]:
    """Return the contents of a TH1, with those of the flow bins."""
    return [histogram.GetBinContent(i) for i in range(histogram.GetNbinsX() + 2)]
