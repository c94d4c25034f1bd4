"""C++ compiled with g++ -O3: by hand with TTreeReader or with RNTuple's bulk interface, and RDataFrame."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np

from bench.table.adl import steps as adl
from bench.table.inputs import Input
from bench.table.native import load
from bench.table.wztree import HISTOGRAMS

_BY_HAND = {"TTree": "best_ttree", "RNTuple": "best_rntuple"}


def source(method: str, layout: str) -> str:
    """Return the name of the C++ source of a method."""
    return {"by_hand": _BY_HAND[layout], "rdataframe": "best_rdf", "adl": "adl_rdf"}[method]


class Contender:
    """Libraries, which are loaded by the first query."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._given, self._libraries = given, Path(os.environ["BENCH_LIBRARIES"])
        self._files = (ctypes.c_char_p * len(given.files))(*(file.encode() for file in given.files))

    def by_hand(self, pt: float = 7.5, bins: int = 64, rule: str = "mass") -> dict[str, list[float]]:
        """Run the loop that is written by hand."""
        return self._best(_BY_HAND[self._given.format], pt, bins, rule)

    def rdataframe(self, pt: float = 7.5, bins: int = 64, rule: str = "mass") -> dict[str, list[float]]:
        """Run the compiled RDataFrame."""
        return self._best("best_rdf", pt, bins, rule)

    def adl(self, query: str) -> dict[str, list[float]]:
        """Run a query of the ADL benchmark with the compiled RDataFrame."""
        names = adl.HISTOGRAMS[query]
        contents = np.zeros((len(names), adl.BINS + 2))
        program, to = load("adl_rdf", self._libraries).adl_rdf, contents.ctypes.data_as(ctypes.c_void_p)
        if program(self._files, len(self._files), list(adl.HISTOGRAMS).index(query) + 1, to):
            raise RuntimeError(f"{query} failed; its message is above")
        return dict(zip(names, contents.tolist(), strict=True))

    def _best(self, name: str, pt: float, bins: int, rule: str) -> dict[str, list[float]]:
        contents = np.zeros((len(HISTOGRAMS), bins + 2))
        program = getattr(load(name, self._libraries), name)
        of, to = ctypes.c_double(pt), contents.ctypes.data_as(ctypes.c_void_p)
        if program(self._files, len(self._files), of, bins, int(rule == "mass"), to):
            raise RuntimeError(f"{name} failed; its message is above")
        return dict(zip(HISTOGRAMS, contents.tolist(), strict=True))

    def close(self) -> None:
        """Nothing is left open."""
