"""Tables of a value for each event: read and checked. No ROOT."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portico.errors import ConfigError, MissingExtra, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from portico.corrections.model import Lookup

__all__ = ["Table", "read_table"]

_SHORT = 2**32
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Parameters
    ----------
    block, event : array of uint64
        Run in the upper and luminosity block in the lower half of ``block``; event number. No pair is there twice.
    value : array of float64
        Finite.
    """

    block: NDArray[np.uint64]
    event: NDArray[np.uint64]
    value: NDArray[np.float64]


def read_table(lookup: Lookup, path: Path, content: bytes, where: str) -> Table:
    """Read the table of a look-up.

    Parameters
    ----------
    lookup : Lookup
        What to read.
    path : Path
        The file, whose ending says what it is.
    content : bytes
        Of the file.
    where : str
        For messages.

    Raises
    ------
    ConfigError
        If the file is not as declared: no such tree or column, a column that is no plain number, a number that is not
        whole, an event that is there twice, a value that is not finite.
    MissingExtra
        If pyarrow is needed and not there.
    """
    readers: dict[str, Callable[..., Mapping[str, Any]]] = {".root": _root, ".parquet": _parquet, ".json": _json}
    if path.suffix not in readers:
        raise ConfigError(f"{where}: a table ends in {', '.join(readers)}, not in '{path.suffix}'")
    if lookup.tree is not None and path.suffix != ".root":
        raise ConfigError(f"{where}: only a ROOT file has a 'tree'")
    wanted = (*lookup.key, lookup.value)
    columns = readers[path.suffix](content, wanted, lookup.tree, where)
    arrays = [_plain(columns[name], f"{where}: column '{name}'") for name in wanted]
    if len({len(array) for array in arrays}) > 1:
        raise ConfigError(f"{where}: its columns are not of one length")
    run, lumi, event = (_whole(a, f"{where}: column '{n}'") for a, n in zip(arrays, lookup.key, strict=False))
    for name, numbers in zip(lookup.key, (run, lumi), strict=False):
        if len(numbers) and numbers.max() >= _SHORT:
            raise ConfigError(f"{where}: column '{name}' has {numbers.max()}, more than 32 bits; is 'key' in order?")
    return _checked((run << np.uint64(32)) | lumi, event, np.ascontiguousarray(arrays[3], np.float64), where)


def _checked(block: Any, event: Any, value: Any, where: str) -> Table:
    wrong = np.flatnonzero(~np.isfinite(value))
    if len(wrong):
        first = _name(block[wrong[0]], event[wrong[0]])
        raise ConfigError(f"{where}: the value of {first} is {value[wrong[0]]}; {len(wrong):,} values are not finite")
    mixed = np.sort(block * _ODD ^ event)  # ten times as fast as sorting pairs, which only equal ones ask for
    if (mixed[1:] == mixed[:-1]).any():
        order = np.lexsort((event, block))
        pairs = np.stack([block, event])[:, order]
        double = np.flatnonzero((pairs[:, 1:] == pairs[:, :-1]).all(axis=0))
        if len(double):
            one, two = order[double[0] : double[0] + 2]
            first, values = _name(block[one], event[one]), f"{value[one]:g} and {value[two]:g}"
            raise ConfigError(f"{where}: {first} is there twice, with {values}; {len(double):,} entries are too many")
    return Table(block, event, value)


def _name(block: np.uint64, event: np.uint64) -> str:
    return f"run {int(block) >> 32}, lumi {int(block) % _SHORT}, event {int(event)}"


def _plain(column: Any, where: str) -> NDArray[Any]:
    try:
        array = np.asarray(column)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where} is no plain number: {error}") from error
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise ConfigError(f"{where} is no plain number: it has the type {array.dtype}, {array.ndim} dimensions")
    return array.astype(array.dtype.newbyteorder("="))


def _whole(array: NDArray[Any], where: str) -> NDArray[np.uint64]:
    if array.dtype.kind == "i":  # a negative one is the bit pattern of a large one
        return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").astype(np.uint64)
    if array.dtype.kind == "f":
        exact = 2.0 ** (np.finfo(array.dtype).nmant + 1)
        bad = ~((array >= 0) & (array < exact) & (np.floor(array) == array))
        if bad.any():
            raise ConfigError(f"{where} has {array[bad][0]!s}: not whole, or too large to be exact in {array.dtype}")
    return array.astype(np.uint64)


def _check_columns(wanted: tuple[str, ...], found: list[str], where: str) -> None:
    for name in wanted:
        if name not in found:
            raise ConfigError(f"{where}: has no column '{name}'; {nearest(name, found)}")


def _root(content: bytes, wanted: tuple[str, ...], tree: str | None, where: str) -> Mapping[str, Any]:
    import awkward as ak
    import uproot

    try:
        with uproot.open(io.BytesIO(content)) as file:
            trees = [n for n, c in file.classnames(cycle=False).items() if c in {"TTree", "ROOT::RNTuple"}]
            if tree is None and len(trees) != 1:
                names = ", ".join(trees) or "none"
                raise ConfigError(f"{where}: holds {len(trees)} trees ({names}); say which with 'tree'")
            if tree is not None and tree not in trees:
                raise ConfigError(f"{where}: has no tree '{tree}'; {nearest(tree, trees)}")
            table = file[tree or trees[0]]
            _check_columns(wanted, list(table.keys()), where)
            read = table.arrays(list(wanted))
    except (OSError, ValueError, uproot.KeyInFileError) as error:
        raise ConfigError(f"{where}: cannot be read: {' '.join(str(error).split())}") from error
    columns = {}
    for name in wanted:
        try:
            columns[name] = ak.to_numpy(read[name], allow_missing=False)
        except ValueError as error:
            raise ConfigError(f"{where}: column '{name}' is no plain number: {read[name].type.content}") from error
    return columns


def _parquet(content: bytes, wanted: tuple[str, ...], _: str | None, where: str) -> Mapping[str, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("parquet", where) from error
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        _check_columns(wanted, list(file.schema_arrow.names), where)
        table = file.read(columns=list(dict.fromkeys(wanted)))
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{where}: cannot be read: {error}") from error
    for name in wanted:
        if table[name].null_count:
            raise ConfigError(f"{where}: column '{name}' has {table[name].null_count:,} empty entries")
    return {name: table[name].to_numpy() for name in wanted}


def _json(content: bytes, wanted: tuple[str, ...], _: str | None, where: str) -> Mapping[str, Any]:
    try:
        loaded = json.loads(content)
    except ValueError as error:
        raise ConfigError(f"{where}: no JSON: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(column, list) for column in loaded.values()):
        raise ConfigError(f'{where}: must hold a list for each column, such as {{"run": [1], "lumi": [1], ...}}')
    _check_columns(wanted, list(loaded), where)
    return loaded
