"""Trees and arrays of either side as tables, whose rows are read a batch at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from portico.compare.columns import Batch, Column, concatenate, pick, split
from portico.errors import ConfigError, InputError, PorticoError, ProductError, nearest
from portico.files import summarise
from portico.files.kept import checked_path
from portico.results.columns import arrays_of, names_of
from portico.results.product import Product

__all__ = ["Table", "array_table", "tree_table"]

_READ = "50 MB"  # of a file in memory at a time


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in files, or in memory.

    Parameters
    ----------
    label : str
        Name of the table, for messages.
    tree : str
        Name of the tree in the files.
    files : tuple of mapping
        ``path`` of each file, and its ``size``, ``adler32`` and ``uuid`` as far as the ledger has them.
    names : mapping of str to str
        From our names of the columns to those in the files.
    memory : mapping of str to Column
        The rows, if they are in memory.
    choose : mapping of str to float
        Of lists, the element to take: values by column, as it is called in the files.
    """

    label: str
    tree: str
    files: tuple[Mapping[str, Any], ...]
    names: Mapping[str, str]
    memory: Batch = field(default_factory=dict)
    choose: Mapping[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the files; those of unknown size count as 0."""
        return sum(int(item.get("size", 0)) for item in self.files)

    def only(self, names: Iterable[str]) -> Table:
        """Return the table with some of its columns."""
        kept = {name: self.names[name] for name in names}
        memory = {
            own: column for own, column in self.memory.items() if own in kept or _top(own) in kept or own in self.choose
        }
        return replace(self, names=kept, memory=memory)

    def choosing(self, wanted: Mapping[str, float]) -> Table:
        """Return the table with one element of each list.

        Raises
        ------
        ConfigError
            If a column does not exist.
        """
        for name in wanted:
            if name not in self.names:
                near = nearest(name, self.names)
                raise ConfigError(f"mapping: choose: '{self.label}' has no column '{name}'; {near}")
        return replace(self, choose={self.names[name]: value for name, value in wanted.items()})

    def renamed(self, names: Mapping[str, str], also: Iterable[str]) -> Table:
        """Return the table with some of its columns.

        Parameters
        ----------
        names : mapping of str to str
            Columns, from our names to those in the files.
        also : iterable of str
            Columns to keep under their own names, if they exist.

        Raises
        ------
        ConfigError
            If a column of ``names`` does not exist.
        """
        for name in names.values():
            if name not in self.names:
                where = self.files[0]["path"] if self.files else self.label
                raise ConfigError(f"{where}: '{self.tree}' has no column '{name}'; {nearest(name, self.names)}")
        kept = {name: name for name in also if name in self.names}
        return Table(self.label, self.tree, self.files, {**kept, **names})

    def rows(self) -> int:
        """Count the rows; only the headers of files are read, unless elements are chosen."""
        if self.choose:
            return sum(len(next(iter(batch.values()))) for batch in self.batches(list(self.names)[:1]))
        if self.memory:
            return len(next(iter(self.memory.values())))
        return sum(self._rows(item) for item in self.files)

    def batches(self, names: Iterable[str]) -> Iterator[Batch]:
        """Return some columns, by our names, a batch of rows at a time.

        Raises
        ------
        InputError
            If a file is missing, changed or damaged, or has not all the columns.
        """
        chosen = list(names)
        if self.memory:
            whole = pick(self.memory, self.choose) if self.choose else self.memory
            yield {n: column for n, column in whole.items() if n in chosen or _top(n) in chosen}
            return
        for item in self.files:
            yield from self._read(item, chosen)

    @contextmanager
    def _open(self, path: str) -> Iterator[Any]:
        import uproot

        try:
            with uproot.open({path: None}, object_cache=None, array_cache=None) as file:
                yield file[self.tree]
        except ProductError as error:
            raise ProductError(f"{path}: '{self.tree}': {error}") from error
        except PorticoError:
            raise
        except Exception as error:  # uproot raises many types of exceptions for damaged files
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise InputError(f"{path}: '{self.tree}' cannot be read, it may be damaged: {reason}") from error

    def _rows(self, item: Mapping[str, Any]) -> int:
        with self._open(checked_path(item)) as tree:
            return int(tree.num_entries)

    def _read(self, item: Mapping[str, Any], chosen: Sequence[str]) -> Iterator[Batch]:
        path = checked_path(item)
        theirs = dict.fromkeys([*(self.names[name] for name in chosen), *self.choose])
        seen = 0
        with self._open(path) as tree:
            for name in theirs:
                if name not in tree:
                    raise InputError(f"{path}: '{tree.name}' has no column '{name}', which the first file has")
            entries = int(tree.num_entries)
            for part in tree.iterate([*theirs], step_size=_READ, how=dict, library="ak") if entries else ():
                batch = dict(pair for own in chosen for pair in split(own, part[self.names[own]]))
                seen += len(next(iter(batch.values())))
                yield self._chosen(batch, part) if self.choose else batch
        if seen != entries:
            raise InputError(f"{path}: only {seen:,} of {entries:,} rows of '{self.tree}' could be read")

    def _chosen(self, batch: Batch, part: Mapping[str, Any]) -> Batch:
        """Return rows with the chosen elements; a column that says which need not be asked for."""
        keys = {f"choose {name}": name for name in self.choose}
        more = {key: column for key, name in keys.items() for _, column in split(key, part[name])}
        picked = pick({**batch, **more}, {key: self.choose[name] for key, name in keys.items()})
        return {name: picked[name] for name in batch}


def gathered(batches: Iterable[Batch], least: int) -> Iterator[Batch]:
    """Join small batches until they hold ``least`` bytes: many steps write many small files."""
    waiting: list[Batch] = []
    held = 0
    for batch in batches:
        waiting.append(batch)
        held += sum(column.nbytes for column in batch.values())
        if held >= least:
            yield concatenate(waiting)
            waiting, held = [], 0
    if waiting:
        yield concatenate(waiting)


def tree_table(label: str, tree: str, files: Sequence[Mapping[str, Any]]) -> Table:
    """Return the trees of a step, or of another program, as a table.

    Parameters
    ----------
    label : str
        Name of the table, for messages.
    tree : str
        The tree's name.
    files : sequence of mapping
        Each with a ``path``.

    Raises
    ------
    InputError
        If the first file is missing or damaged, or has no such tree.
    """
    columns = summarise(checked_path(files[0]), tree).columns if files else ()
    return Table(label, tree, tuple(files), {column.name: column.name for column in columns})


def array_table(label: str, product: Product) -> Table:
    """Return the result of Take or AsNumpy as a table in memory."""
    import awkward

    memory: dict[str, Column] = {}
    for name, values in arrays_of(product).items():
        memory |= {name: Column(values)} if isinstance(values, np.ndarray) else dict(split(name, awkward.Array(values)))
    return Table(label, "", (), {name: name for name in names_of(product)}, memory)


def _top(name: str) -> str:
    return re.split("[#.]", name)[0]
