"""The input of a seed: samples, files, what is wrong with them, and what any chunk of them gives."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.environment.bundle import key_of
from portico.results.partial import encode
from portico.results.product import Product, ProductKind
from portico.runfolder.ledger import Planned
from portico.worker.task import FailureKind
from portico.workflow.plan import Plan

__all__ = ["STEP", "Data", "Input", "Trouble", "expected", "partial_of"]

STEP = "fill"
Numbers = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a file whenever it is read.

    Parameters
    ----------
    kind : FailureKind
        How its chunks fail.
    chunks : tuple of int
        Which of them, counted in the file.
    replicas : tuple of int
        On which of its replicas.
    most : int
        For `FailureKind.MEMORY`: so many entries fit.
    """

    kind: FailureKind
    chunks: tuple[int, ...]
    replicas: tuple[int, ...]
    most: int = 0


@dataclass(frozen=True)
class Input:
    """One file.

    Parameters
    ----------
    name : str
        Its name; also tells its content.
    chunks, size : int
        Number of chunks, and entries of each.
    replicas : int
        How many.
    trouble : Trouble, optional
        What is wrong with it.
    """

    name: str
    chunks: int
    size: int
    replicas: int = 1
    trouble: Trouble | None = None

    @property
    def uuid(self) -> str:
        """Its identity."""
        return f"{self.name}/{self.size}"

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Its replicas."""
        return tuple(f"root://r{number}//{self.name}" for number in range(self.replicas))

    def failure(self, chunk: Chunk) -> FailureKind | None:
        """Return how a chunk of it always fails."""
        trouble = self.trouble
        if trouble is None or chunk.first // self.size not in trouble.chunks:
            return None
        if self.places.index(chunk.file) not in trouble.replicas:
            return None
        return None if trouble.kind is FailureKind.MEMORY and chunk.entries <= trouble.most else trouble.kind

    @property
    def lost(self) -> tuple[int, ...]:
        """The chunks that cannot be read, whatever happens."""
        trouble = self.trouble
        if trouble is None or len(trouble.replicas) < self.replicas or trouble.kind is FailureKind.USER:
            return ()
        if trouble.kind is FailureKind.MEMORY:
            return trouble.chunks if trouble.most < 1 else ()
        return tuple(range(self.chunks)) if trouble.kind.is_of_the_file else trouble.chunks


@dataclass(frozen=True, slots=True)
class Data:
    """The samples, and the version of the code that reads them."""

    samples: Mapping[str, tuple[Input, ...]]
    code: int = 0

    @classmethod
    def draw(cls, numbers: random.Random) -> Data:
        """Return some input."""
        number, troubled = 0, numbers.choice((0.0, 0.2, 0.5))
        samples = {}
        for name in ("a", "b")[: numbers.choice((1, 1, 2))]:
            files = []
            for _ in range(numbers.randint(1, 4)):
                chunks, size = numbers.choice((1, 1, 2, 3, 6)), numbers.choice((4, 8))
                replicas = numbers.choice((1, 1, 2, 3))
                file = Input(f"f{number}.root", chunks, size, replicas)
                files.append(_with_trouble(file, numbers) if numbers.random() < troubled else file)
                number += 1
            samples[name] = tuple(files)
        return cls(samples)

    def changed(self, numbers: random.Random) -> Data:
        """Return the same with other code, or with a file more or less."""
        if numbers.random() < 0.5:
            return replace(self, code=self.code + 1)
        name = numbers.choice(sorted(self.samples))
        files = list(self.samples[name])
        if len(files) > 1 and numbers.random() < 0.4:
            files.pop(numbers.randrange(len(files)))
        else:
            new = Input(f"new{numbers.randrange(3)}{name}.root", numbers.choice((1, 2, 4)), 4)
            if new.name not in {file.name for file in files}:
                files.insert(numbers.choice((0, len(files))), new)
        return replace(self, samples={**self.samples, name: tuple(files)})

    def plan(self) -> Plan:
        """Return the plan of the step."""
        chunks: dict[str, list[Planned]] = {}
        for name, files in self.samples.items():
            ranges = [(file, number * file.size) for file in files for number in range(file.chunks)]
            chunks[name] = [
                Planned(
                    name, position, _key(self.code, file.uuid, first, first + file.size),
                    Chunk(file.places[0], file.uuid, "events", first, first + file.size),
                )
                for position, (file, first) in enumerate(ranges)
            ]  # fmt: skip
        samples = {
            name: Sample(
                name=name, files=tuple(file.places[0] for file in files),
                replicas={file.places[0]: file.places[1:] for file in files if file.replicas > 1},
            )
            for name, files in self.samples.items()
        }  # fmt: skip
        return Plan(chunks, {name: {} for name in chunks}, samples)

    def file_of(self, chunk: Chunk) -> Input:
        """Return the file of a chunk, from whichever replica it is read."""
        name = chunk.file.rpartition("/")[2]
        return next(file for files in self.samples.values() for file in files if file.name == name)

    def lost(self) -> set[str]:
        """Return the keys of the chunks that cannot be read, whatever happens."""
        return {
            _key(self.code, file.uuid, number * file.size, (number + 1) * file.size)
            for files in self.samples.values() for file in files for number in file.lost
        }  # fmt: skip

    def troubles(self, kind: FailureKind) -> int:
        """Return how many chunks always fail in one way."""
        files = [file for of in self.samples.values() for file in of if file.trouble is not None]
        return sum(len(f.trouble.chunks) for f in files if f.trouble is not None and f.trouble.kind is kind)


def _with_trouble(file: Input, numbers: random.Random) -> Input:
    kinds = [FailureKind.INPUT, FailureKind.TRANSIENT, FailureKind.CRASH, FailureKind.MEMORY, FailureKind.USER]
    kind = numbers.choices(kinds, weights=(8, 4, 6, 6, 1))[0]
    every = tuple(range(file.replicas))
    chunks = tuple(sorted(numbers.sample(range(file.chunks), k=numbers.randint(1, min(3, file.chunks)))))
    match kind:
        case FailureKind.INPUT | FailureKind.TRANSIENT:
            some = numbers.randint(1, file.replicas)
            if kind is FailureKind.TRANSIENT:
                chunks = tuple(range(file.chunks))
            return replace(file, trouble=Trouble(kind, chunks, every[:some]))
        case FailureKind.MEMORY:
            return replace(file, trouble=Trouble(kind, chunks, every, numbers.choice((0, 1, 1, 2))))
        case _:
            return replace(file, trouble=Trouble(kind, chunks, every))


@lru_cache(100_000)
def _key(code: int, uuid: str, first: int, last: int) -> str:
    return key_of("simulated", code, uuid, first, last)


@lru_cache(100_000)
def numbers_of(code: int, uuid: str, first: int, last: int) -> Numbers:
    """Return the arrays of a range of entries, computed without the code under test.

    The contents of a range are sums of whole numbers, which are exact however it is cut, times a factor of its chunk:
    sums over chunks round, and show in which order they were made.
    """
    factor = random.Random(f"{code} {uuid} {first // int(uuid.rpartition('/')[2])}")
    scale = factor.randrange(2**29 + 1, 2**30, 2) * 2.0 ** factor.randint(-60, 0)
    entries = np.arange(first, last)
    values = np.array([float(sum((int(e) * 7 + b * 3 + code) % 11 for e in entries)) for b in range(3)]) * scale
    return {
        "values": values,
        "sumw2": values * 3.0,
        "entries": np.array([len(entries)], np.int64),
        "n": np.array([len(entries)], np.int64),
        "event": (entries + 1000 * factor.randrange(2**40)).astype(np.uint64),
    }


@lru_cache(100_000)
def partial_of(code: int, uuid: str, first: int, last: int) -> bytes:
    """Return the encoded partial result of a range of entries."""
    arrays = numbers_of(code, uuid, first, last)
    histogram = {key: arrays[key] for key in ("values", "sumw2", "entries")}
    return encode({
        "h": Product(ProductKind.HISTOGRAM, {"name": "h", "axes": [[3, 0.0, 3.0]]}, histogram),
        "n": Product(ProductKind.COUNT, {}, {"value": arrays["n"]}),
        "events": Product(ProductKind.ARRAY, {}, {"event": arrays["event"]}),
        "kept": Product(ProductKind.TREE, {"tree": "kept", "format": "ttree"}, {}),
    })  # fmt: skip


def merged(nodes: list[tuple[int, Numbers]]) -> Numbers:
    """Return what results merge to along the tree of the bits of positions, as the documentation defines it."""
    if len(nodes) == 1:
        return nodes[0][1]
    first, last = nodes[0][0], nodes[-1][0]
    bit = (first ^ last).bit_length() - 1
    middle = last >> bit << bit
    a, b = merged([n for n in nodes if n[0] < middle]), merged([n for n in nodes if n[0] >= middle])
    return {key: np.concatenate([a[key], b[key]]) if key == "event" else a[key] + b[key] for key in a}


def expected(code: int, chunks: Iterable[Planned]) -> Numbers | None:
    """Return the arrays of the result of chunks; None if there are none."""
    nodes = [(c.position, numbers_of(code, c.chunk.uuid, c.chunk.first, c.chunk.last)) for c in chunks]
    return merged(nodes) if nodes else None
