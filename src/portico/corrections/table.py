"""Readers of tables with a value for each event, with checks of their content, without ROOT."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portico.config import parse_json
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
    """A table with a value for each event.

    Parameters
    ----------
    block, event : array of uint64
        Run and luminosity block in the upper and lower half of ``block``; event number. All pairs are unique.
    value : array of float64
        Finite values.
    """

    block: NDArray[np.uint64]
    event: NDArray[np.uint64]
    value: NDArray[np.float64]


def read_table(lookup: Lookup, path: Path, content: bytes, where: str) -> Table:
    """Read the table of a look-up.

    Parameters
    ----------
    lookup : Lookup
        Names of tree and columns.
    path : Path
        The file; its ending determines the format.
    content : bytes
        Content of the file.
    where : str
        Name of the file for messages.

    Raises
    ------
    ConfigError
        If a tree or column is missing, a column does not have one number per row, a key is not an integer, an event
        occurs twice, or a value is not finite.
    MissingExtra
        If pyarrow is needed but not installed.
    """
    readers: dict[str, Callable[..., Mapping[str, Any]]] = {".root": _root, ".parquet": _parquet, ".json": _json}
    if path.suffix not in readers:
        raise ConfigError(f"{where}: the name of a table must end in {', '.join(readers)}, not in '{path.suffix}'")
    if lookup.tree is not None and path.suffix != ".root":
        raise ConfigError(f"{where}: key 'tree' is only for ROOT files; remove it")
    wanted = (*lookup.key, lookup.value)
    columns = readers[path.suffix](content, wanted, lookup.tree, where)
    arrays = [_plain(columns[name], f"{where}: column '{name}'") for name in wanted]
    if len({len(array) for array in arrays}) > 1:
        raise ConfigError(f"{where}: its columns must have the same length")
    run, lumi, event = (_integers(a, f"{where}: column '{n}'") for a, n in zip(arrays, lookup.key, strict=False))
    for name, numbers in zip(lookup.key, (run, lumi), strict=False):
        if len(numbers) and numbers.max() >= _SHORT:
            raise ConfigError(f"{where}: column '{name}' has {numbers.max()}, more than 32 bits; is 'key' in order?")
    return _checked((run << np.uint64(32)) | lumi, event, np.ascontiguousarray(arrays[3], np.float64), where)


def _checked(block: Any, event: Any, value: Any, where: str) -> Table:
    wrong = np.flatnonzero(~np.isfinite(value))
    if len(wrong):
        first = _name(block[wrong[0]], event[wrong[0]])
        raise ConfigError(f"{where}: the value of {first} is {value[wrong[0]]}; {len(wrong):,} values are not finite")
    mixed = np.sort(block * _ODD ^ event)  # ten times faster than sorting pairs, which only collisions need
    if (mixed[1:] == mixed[:-1]).any():
        order = np.lexsort((event, block))
        pairs = np.stack([block, event])[:, order]
        double = np.flatnonzero((pairs[:, 1:] == pairs[:, :-1]).all(axis=0))
        if len(double):
            one, two = order[double[0] : double[0] + 2]
            first, values = _name(block[one], event[one]), f"{value[one]:g} and {value[two]:g}"
            raise ConfigError(f"{where}: {first} occurs twice, with {values}; remove {len(double):,} duplicate entries")
    return Table(block, event, value)


def _name(block: np.uint64, event: np.uint64) -> str:
    return f"run {int(block) >> 32}, lumi {int(block) % _SHORT}, event {int(event)}"


def _plain(column: Any, where: str) -> NDArray[Any]:
    try:
        array = np.asarray(column)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where} must have one number per row: {error}") from error
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise ConfigError(
            f"{where} must have one number per row, but its type is {array.dtype}, {array.ndim}-dimensional"
        )
    return array.astype(array.dtype.newbyteorder("="))


def _integers(array: NDArray[Any], where: str) -> NDArray[np.uint64]:
    if array.dtype.kind == "i":  # a negative one is the bit pattern of a large one
        return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").astype(np.uint64)
    if array.dtype.kind == "f":
        exact = 2.0 ** (np.finfo(array.dtype).nmant + 1)
        bad = ~((array >= 0) & (array < exact) & (np.floor(array) == array))
        if bad.any():
            raise ConfigError(f"{where} has {array[bad][0]!s}: not an integer, or too large for exact {array.dtype}")
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
                raise ConfigError(f"{where}: contains {len(trees)} trees ({names}); choose one with 'tree'")
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
            raise ConfigError(
                f"{where}: column '{name}' must have one number per row, but its type is {read[name].type.content}"
            ) from error
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
        loaded = parse_json(content)
    except ValueError as error:
        raise ConfigError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(column, list) for column in loaded.values()):
        raise ConfigError(f'{where}: must have a list for each column, such as {{"run": [1], "lumi": [1], ...}}')
    _check_columns(wanted, list(loaded), where)
    return loaded
