"""Export of the trees of a step as Parquet files, one for each sample."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portico.errors import ConfigError, InputError, MissingExtra, PorticoWarning, ProductError, RunFolderError, nearest
from portico.files.atomic import write_atomic
from portico.files.kept import checked_path
from portico.results.kinds import KINDS
from portico.results.product import Product
from portico.runfolder.load import Run

__all__ = ["Exported", "export_parquet"]

_BATCH = "50 MB"  # in memory at a time, and a row group


@dataclass(frozen=True, slots=True)
class Exported:
    """One file that was written.

    Parameters
    ----------
    sample : str
        Whose trees it holds.
    path : str
        Where it lies.
    entries, size : int
        Rows, and bytes.
    partial : bool
        Whether the step was finished without some of its chunks.
    note : str
        What else is to be known, such as that they were made with other options; empty if nothing.
    """

    sample: str
    path: str
    entries: int
    size: int
    partial: bool
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)


def export_parquet(
    run: str | Path, step: str, folder: str | Path, *, tree: str | None = None, samples: Iterable[str] = ()
) -> Iterator[Exported]:
    """Write the trees of a step as ``FOLDER/SAMPLE.parquet``, in chunk order; yield each file when it is complete.

    Columns keep their names and types: vectors become lists. Memory does not grow with the number of events. Warns of
    other Parquet files in the folder.

    Parameters
    ----------
    run : str or Path
        The run folder.
    step : str
        A step that wrote trees.
    folder : str or Path
        Where the files are written; made if need be.
    tree : str, optional
        Which tree, if the step wrote several.
    samples : iterable of str
        Only these.

    Raises
    ------
    MissingExtra
        If pyarrow is not installed.
    ConfigError
        If there is no such step, sample or tree.
    ProductError
        If the step wrote no trees.
    RunFolderError
        If this is not a run folder, or the step is not done.
    InputError
        If a tree is missing, was changed or is damaged.
    """
    try:
        from pyarrow import parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtra("parquet", "exporting to Parquet") from error
    opened = Run(Path(run))
    if step not in opened:
        raise ConfigError(f"{opened.path}: no step '{step}'; {nearest(step, opened)}")
    state = opened.states[step]
    if state not in {"done", "partial"}:
        raise RunFolderError(f"{opened.path}: step '{step}' is {state}; run it to its end first")
    results = opened[step]
    wanted = tuple(samples) or tuple(results)
    for name in wanted:
        if name not in results:
            raise ConfigError(f"{opened.path}: step '{step}' has no sample '{name}'; {nearest(name, results)}")
    chosen = {name: _choose(results[name].products, step, tree) for name in wanted}
    if not chosen:
        raise ProductError(f"{opened.path}: step '{step}' wrote no trees")
    Path(folder).mkdir(parents=True, exist_ok=True)
    _tell_others(Path(folder), results, step)
    for name, product in chosen.items():
        path = Path(folder) / f"{name}.parquet"
        entries = _write(path, product.meta["tree"], product.items)
        yield Exported(name, str(path), entries, path.stat().st_size, state == "partial", results[name].note)


def _tell_others(folder: Path, samples: Iterable[str], step: str) -> None:
    """Warn of files in the folder that are of no sample, such as one that the analysis has no more."""
    others = sorted({path.name for path in folder.glob("*.parquet")} - {f"{name}.parquet" for name in samples})
    if others:
        names = ", ".join(others[:5]) + (f" and {len(others) - 5:,} more" if len(others) > 5 else "")
        warnings.warn(
            f"{folder}: {names}: of no sample of step '{step}'; programs that read *.parquet would count them, so "
            "remove them or export to another folder",
            PorticoWarning,
            stacklevel=3,
        )


def _choose(products: Mapping[str, Product], step: str, tree: str | None) -> Product:
    found = {product.meta["tree"]: product for product in products.values() if KINDS[product.kind].has_files}
    if not found:
        raise ProductError(f"step '{step}' wrote no trees; only Snapshots can be exported")
    name = tree if tree is not None else next(iter(found))
    if name not in found or (tree is None and len(found) > 1):
        raise ConfigError(f"choose which tree of step '{step}' with --tree; {nearest(name, found)}")
    return found[name]


def _write(path: Path, tree: str, items: Iterable[Mapping[str, Any]]) -> int:
    """Write one file; return its number of rows, which is that of all trees together."""
    from pyarrow import parquet

    expected = 0
    writer = None
    with write_atomic(path) as aside:
        try:
            for item in items:
                for table, entries in _tables(checked_path(item), tree):
                    expected += entries
                    writer = writer or parquet.ParquetWriter(aside, table.schema, compression="zstd")
                    writer.write_table(_fitting(table, writer.schema, item["path"]))
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise ProductError(f"{path}: no file of the tree '{tree}' is left; run the step again")
        written = int(parquet.read_metadata(aside).num_rows)
        if written != expected:
            raise InputError(f"{path}: {written} rows were written of {expected} entries")
    return written


def _tables(path: str, name: str) -> Iterator[tuple[Any, int]]:
    """Read a tree in parts, as Arrow tables; an empty one first, for the types."""
    import awkward as ak
    import uproot

    with uproot.open({path: None}, object_cache=None, array_cache=None) as file:  # nothing is read twice
        tree = file[name]
        total = int(tree.num_entries)
        yield ak.to_arrow_table(tree.arrays(entry_stop=0), extensionarray=False), 0
        read = 0
        for part in tree.iterate(step_size=_BATCH) if total else ():
            read += len(part)
            yield ak.to_arrow_table(part, extensionarray=False), len(part)
        if read != total:
            raise InputError(f"{path}: {read} entries of '{name}' could be read of {total}")


def _fitting(table: Any, schema: Any, path: str) -> Any:
    if table.schema.names != schema.names:
        odd = sorted(set(table.schema.names) ^ set(schema.names))
        raise InputError(f"{path}: column '{(odd or schema.names)[0]}' is not in all trees, or at another position")
    for ours, theirs in zip(schema, table.schema, strict=True):
        if ours.type != theirs.type:
            raise InputError(f"{path}: column '{ours.name}' is {theirs.type} instead of {ours.type}")
    return table.cast(schema)
