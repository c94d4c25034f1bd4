"""Histograms, profiles and graphs of any ROOT file as products, read with uproot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from portico.errors import InputError, nearest
from portico.files import trees
from portico.files.buffered import unbinned
from portico.results.product import Product, ProductKind

__all__ = ["RootFile"]

_BINNED: Final = re.compile(r"TH[123][CSILFD]|TProfile|TProfile[23]D|THnT<.*")
_TREES: Final = {"TTree", "ROOT::RNTuple", "TNtuple", "TNtupleD"}
_POINTS: Final = {"x": "fX", "y": "fY"}
_GRAPHS: Final = {
    "TGraph": _POINTS,
    "TGraphErrors": {**_POINTS, "ex": "fEX", "ey": "fEY"},
    "TGraphAsymmErrors": {**_POINTS, "exlow": "fEXlow", "exhigh": "fEXhigh", "eylow": "fEYlow", "eyhigh": "fEYhigh"},
}
_ERROR_OPTIONS: Final = ("", "s", "i", "g")  # of a profile, as TProfile::SetErrorOption numbers them


class RootFile:
    """The objects of a ROOT file by their paths in it.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InputError
        If it is missing, damaged or not a ROOT file.
    """

    def __init__(self, path: str | Path) -> None:
        import uproot

        self.path = str(path)
        trees(self.path)  # raises an error that explains the problem with a file
        self._file = uproot.open({self.path: None}, object_cache=None, array_cache=None)
        self.classes: dict[str, str] = dict(self._file.classnames(recursive=True, cycle=False))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def histograms(self) -> list[str]:
        """Paths of the histograms, profiles and graphs."""
        return [path for path, name in self.classes.items() if _is_drawn(name)]

    @property
    def trees(self) -> list[str]:
        """Paths of the trees."""
        return [path for path, name in self.classes.items() if name in _TREES]

    @property
    def others(self) -> dict[str, str]:
        """Classes of the other objects by their paths, such as efficiencies; folders are left out."""
        known = {*self.histograms, *self.trees}
        return {
            path: name for path, name in self.classes.items()
            if path not in known and not name.startswith("TDirectory")
        }  # fmt: skip

    def histogram(self, path: str) -> Product:
        """Read a histogram, profile or graph.

        Raises
        ------
        InputError
            If it does not exist or cannot be read.
        """
        if not _is_drawn(self.classes.get(path, "")):
            there = f"'{path}' is a {self.classes[path]}" if path in self.classes else f"no histogram '{path}'"
            raise InputError(f"{self.path}: {there}; {nearest(path, self.histograms)}")
        try:
            stored = self._file[path]
            product, waiting = _product(stored, self.classes[path]), unbinned(stored)
        except Exception as error:  # uproot raises many types of exceptions for damaged files
            words = " ".join(str(error).split())[:200]
            raise InputError(f"{self.path}: '{path}' cannot be read: {type(error).__name__}: {words}") from error
        if waiting:
            raise InputError(
                f"{self.path}: '{path}' has {waiting:,} entries in its buffer that are in no bin; call BufferEmpty(1) "
                "before the histogram is written"
            )
        return product


def _is_drawn(name: str) -> bool:
    return _BINNED.fullmatch(name) is not None or name in _GRAPHS


def _product(stored: Any, name: str) -> Product:
    if name.startswith("TGraph"):
        arrays = {key: np.asarray(stored.member(member), np.float64) for key, member in _GRAPHS[name].items()}
        meta = {"class": name, "name": stored.member("fName"), "title": stored.member("fTitle")}
        return Product(ProductKind.GRAPH, meta, arrays)
    if name.startswith("THnT<"):
        axes, values = list(stored.member("fAxes")), np.asarray(stored.member("fArray").member("fData"), np.float64)
        squares = np.asarray(stored.member("fSumw2").member("fData"), np.float64)
    else:
        axes, values = list(stored.axes), _contents(stored)
        squares = np.asarray(stored.member("fSumw2"), np.float64)
    meta = {
        "class": "THnD" if name.startswith("THnT<") else name,
        "name": stored.member("fName"), "title": stored.member("fTitle"), "axes": [_axis(axis) for axis in axes],
    }  # fmt: skip
    arrays = {
        "values": values, "sumw2": squares, "stats": np.zeros(0),
        "entries": np.array([float(stored.member("fEntries"))]),
    }  # fmt: skip
    if not name.startswith("TProfile"):
        return Product(ProductKind.HISTOGRAM, meta, arrays)
    arrays["bin_entries"] = np.asarray(stored.member("fBinEntries"), np.float64)
    arrays["bin_sumw2"] = np.asarray(stored.member("fBinSumw2"), np.float64)
    return Product(ProductKind.PROFILE, {**meta, "option": _ERROR_OPTIONS[int(stored.member("fErrorMode"))]}, arrays)


def _contents(stored: Any) -> npt.NDArray[np.float64]:
    """Return the stored array of bins; for a profile these are the sums."""
    for base in stored.bases:
        if type(base).__name__.startswith("Model_TArray"):
            return np.asarray(base, np.float64)
        if getattr(base, "bases", None):
            try:
                return _contents(base)
            except LookupError:
                continue
    raise LookupError("no array of bins")


def _axis(axis: Any) -> dict[str, Any]:
    edges = [float(edge) for edge in axis.member("fXbins")]
    stored = axis.member("fLabels", none_if_missing=True)
    labels = {str(label.member("@fUniqueID")): str(label) for label in stored} if stored is not None else {}
    return {
        "bins": int(axis.member("fNbins")), "low": float(axis.member("fXmin")), "high": float(axis.member("fXmax")),
        "edges": edges or None, "title": str(axis.member("fTitle")), "labels": labels,
    }  # fmt: skip
