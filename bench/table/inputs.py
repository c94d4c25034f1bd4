"""The made events in files: written once into a folder, and checked to be whole by their names alone."""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.table.columns import KINDS, TREES
from bench.table.native import load

__all__ = ["FILES", "FORMATS", "Input", "made"]

FILES = {"wztree": 10, "nano": 4}
FORMATS = ("TTree", "RNTuple", "Parquet")
_HAS_ARRAYS = {"wztree": False, "nano": True}  # instead of std::vector, in a TTree
_ROW_GROUP = 100_000


@dataclass(frozen=True, slots=True)
class Input:
    """Events in files of one format.

    Parameters
    ----------
    kind : str
        ``wztree`` or ``nano``.
    format : str
        One of `FORMATS`.
    files : tuple of str
        In order.
    events : int
        In all of them.
    """

    kind: str
    format: str
    files: tuple[str, ...]
    events: int

    @property
    def tree(self) -> str:
        """The name of the tree."""
        return TREES[self.kind]

    @property
    def megabytes(self) -> float:
        """The size of the files in MB."""
        return sum(Path(file).stat().st_size for file in self.files) / 1e6

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Input:
        """Read what `text` returned."""
        content = json.loads(text)
        return cls(content["kind"], content["format"], tuple(content["files"]), content["events"])


def made(kind: str, events: int, folder: Path, formats: Iterable[str] = FORMATS) -> dict[str, Input]:
    """Return the files of each format, which are written unless they are there.

    Parameters
    ----------
    kind : str
        ``wztree`` or ``nano``.
    events : int
        In all files together.
    folder : Path
        Where the files of all benchmarks are kept.
    formats : iterable of str
        Parquet is left out if pyarrow is not installed.
    """
    place = folder / f"{kind}-{events}"
    found = {}
    for layout in formats:
        if layout == "Parquet" and importlib.util.find_spec("pyarrow") is None:
            continue
        of = place / layout
        if not of.is_dir():
            part = of.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            if layout == "Parquet":
                _write_parquet(made(kind, events, folder, ["RNTuple"])["RNTuple"], part)
            else:
                _write_root(kind, layout, events, part, folder / "lib")
            part.rename(of)
        found[layout] = Input(kind, layout, tuple(map(str, sorted(of.iterdir()))), events)
    return found


def _write_root(kind: str, layout: str, events: int, place: Path, libraries: Path) -> None:
    name = f"make_{layout.lower()}"
    program, arrays = getattr(load(name, libraries), name), [int(_HAS_ARRAYS[kind])] if layout == "TTree" else []
    program.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_int] * len(arrays) + [ctypes.c_long] * 2 + [ctypes.c_int]
    cuts = [events * n // FILES[kind] for n in range(FILES[kind] + 1)]
    for number, (first, last) in enumerate(itertools.pairwise(cuts)):
        words = (str(place / f"events{number:02}.root"), TREES[kind], KINDS[kind].text())
        if program(*(word.encode() for word in words), *arrays, first, last, number):
            raise RuntimeError(f"{words[0]} cannot be written; the reason is above")


def _write_parquet(of: Input, place: Path) -> None:
    """Write the same events as a user of uproot would: lists of single precision, zstd."""
    import awkward as ak
    import uproot

    for file in of.files:
        with uproot.open(file) as opened:
            arrays = opened[of.tree].arrays()
        path = place / Path(file).with_suffix(".parquet").name
        ak.to_parquet(arrays, path, compression="zstd", row_group_size=_ROW_GROUP, list_to32=True, extensionarray=False)
