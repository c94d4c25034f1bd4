"""Changes of the input and of the run that must not change a bit of a result.

Each example draws a small dataset and a random step. One run reads them as several samples: as they are, and with the
files in another order, split, with an empty file, as RNTuple, with another column and with renamed columns. A second
run cuts other chunks, is interrupted and is resumed by another number of workers. Values are multiples of 1/8, so that
sums are exact in any order and even a difference in the last bit is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import portico
from portico.analysis.analysis import load_analysis
from portico.executors.local import LocalExecutor
from tests.conftest import Remember

Columns = dict[str, Any]  # name -> numpy array, or awkward array for lists
FILTERS = ["{p}x > 0", "{p}n != 2", "{p}w >= 0.25", "Any({p}v > 1)", "{p}x > 1000"]
PRODUCTS = {
    "count": "frame.Count()",
    "sum": "frame.Sum('y')",
    "min": "frame.Min('y')",
    "max": "frame.Max(p + 'u')",
    "mean": "frame.Mean('y')",
    "deviation": "frame.StdDev('y')",
    "stats": "frame.Stats('y', p + 'w')",
    "mass": "frame.Histo1D(('mass', '', 7, -5, 5), 'y', p + 'w')",
    "each": "frame.Histo1D(('each', '', 7, -5, 5), p + 'v')",
    "plane": "frame.Histo2D(('plane', '', 3, -5, 5, 4, 0, 4), 'y', p + 'n', p + 'w')",
    "profile": "frame.Profile1D(('profile', '', 4, 0, 4), p + 'n', 'y', p + 'w')",
    "cutflow": "frame.Report()",
    "columns": "frame.AsNumpy(['y', p + 'event', p + 'u'])",
    "lists": "frame.Take['ROOT::RVecF'](p + 'v')",
    "varied": "ROOT.RDF.Experimental.VariationsFor(frame.Histo1D(('varied', '', 7, -5, 5), 'y', p + 'w'))",
    "tree": "frame.Snapshot('Events', 'o.root', ['y', p + 'event'])",
}
STEP = """
import ROOT

def step(frame, sample):
    p = sample.parameters["prefix"]
    frame = frame.Define("y", f"{{p}}x * {{p}}n")
    frame = frame.Vary("y", "ROOT::RVecD{{y - 0.5, y + 0.5}}", ["down", "up"], "shift")
{filters}
    return {{
{products}
    }}
"""


@dataclass(frozen=True)
class Example:
    """A dataset, as the clusters of its files, and a step."""

    files: tuple[tuple[int, ...], ...]
    seed: int
    filters: tuple[str, ...]
    products: tuple[str, ...]
    chunk: int
    interrupted_after: int

    def module(self) -> str:
        filters = "".join(f"    frame = frame.Filter(f{text!r}, {text!r})\n" for text in self.filters)
        products = "".join(f"        {name!r}: {PRODUCTS[name]},\n" for name in self.products)
        return STEP.format(filters=filters, products=products)

    def events(self) -> list[list[Columns]]:
        """Return the columns of each cluster of each file."""
        random = np.random.default_rng(self.seed)
        numbers = iter(range(10**6))
        return [[make_events(random, size, numbers) for size in file] for file in self.files]


def make_events(random: np.random.Generator, size: int, numbers: Iterator[int]) -> Columns:
    lengths = random.integers(0, 4, size)
    return {
        "x": random.integers(-40, 40, size) / 8,
        "w": (random.integers(-8, 9, size) / 8).astype(np.float32),
        "n": random.integers(0, 4, size).astype(np.int32),
        "u": random.integers(2**63, 2**64 - 1, size, dtype=np.uint64),
        "event": np.array([next(numbers) for _ in range(size)], np.uint64),
        "v": ak.unflatten((random.integers(-40, 40, lengths.sum()) / 8).astype(np.float32), lengths),
    }


examples = st.builds(
    Example,
    files=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple), min_size=2, max_size=3).map(tuple),
    seed=st.integers(0, 2**32),
    filters=st.lists(st.sampled_from(FILTERS), max_size=2, unique=True).map(tuple),
    products=st.lists(st.sampled_from(sorted(PRODUCTS)), min_size=5, max_size=9, unique=True).map(tuple),
    chunk=st.integers(1, 25),
    interrupted_after=st.integers(1, 6),
)
EVERYTHING = Example(
    files=((5, 3, 1), (4, 4), (2,)),
    seed=1,
    filters=("{p}n != 2",),
    products=tuple(PRODUCTS),
    chunk=3,
    interrupted_after=2,
)


def write(path: Path, clusters: list[Columns], kind: str = "TTree") -> None:
    types = {name: "var * float32" if column.ndim > 1 else column.dtype for name, column in clusters[0].items()}
    with uproot.recreate(path) as file:
        (file.mktree if kind == "TTree" else file.mkrntuple)("Events", types)
        for columns in clusters:
            file["Events"].extend(columns)


def write_samples(example: Example, folder: Path) -> list[str]:
    """Write the files of all samples; return the names of the samples."""
    files = example.events()
    empty = [{name: column[:0] for name, column in files[0][0].items()}]
    with_another = [[{**columns, "z": columns["x"]} for columns in file] for file in files]
    renamed = [[{f"other_{name}": column for name, column in columns.items()} for columns in file] for file in files]
    samples = {
        "base": files,
        "reordered": files[::-1],
        "split": [[columns] for file in files for columns in file],
        "emptied": [empty, *files, empty],
        "another": with_another,
        "renamed": renamed,
    }
    for name, clusters_of in {**samples, "ntuple": files}.items():
        for number, clusters in enumerate(clusters_of):
            write(folder / f"{name}{number}.root", clusters, "RNTuple" if name == "ntuple" else "TTree")
    return [*samples, "ntuple"]


def write_analysis(example: Example, folder: Path, chunk: int, names: list[str]) -> None:
    (folder / "mysteps.py").write_text(example.module())
    samples = "".join(
        f'    {name}: {{files: "{name}*.root", parameters: {{prefix: "{"other_" if name == "renamed" else ""}"}}}}\n'
        for name in names
    )
    (folder / "analysis.yaml").write_text(
        f"name: test\nchunk: {chunk} entries\ndataset:\n  tree: Events\n  samples:\n{samples}"
        'steps:\n  - {name: step, function: "mysteps:step"}\n'
    )


def in_order(array: np.ndarray) -> np.ndarray:
    return np.sort(np.where(array == 0, np.zeros_like(array), array), axis=None)  # 0 and -0 have no order


def bits(results: Any, ordered: bool) -> dict[str, Any]:
    """Return every number of a sample as bytes; those of columns and trees by event, unless their order counts."""
    found: dict[str, Any] = {}
    event = "other_event" if results.sample == "renamed" else "event"
    for name, product in results.products.items():
        if name == "tree":
            trees = [uproot.open(path)["Events"].arrays(library="np") for path in results[name]]
            events, values = (np.concatenate([tree[column] for tree in trees]) for column in (event, "y"))
            found[name] = values.tobytes() if ordered else values[np.argsort(events)].tobytes()
            continue
        for key, array in product.arrays.items():
            found[f"{name}/{key.removeprefix('other_')}"] = (
                array.tobytes() if ordered else in_order(array).tobytes()
            )
    return found


def interrupt(after: int) -> Remember:
    def advance(advanced: int) -> None:
        if advanced == after:
            raise KeyboardInterrupt

    return Remember(advance)


def check(example: Example, folder: Path, local: LocalExecutor, single: LocalExecutor) -> None:
    names = write_samples(example, folder)
    write_analysis(example, folder, 10**6, names)
    whole = portico.run(load_analysis(folder), folder=folder / "whole", executor=local)["step"]
    write_analysis(example, folder, example.chunk, names)
    with pytest.raises(KeyboardInterrupt):
        portico.run(
            load_analysis(folder),
            folder=folder / "cut",
            executor=single,
            reporter=interrupt(example.interrupted_after),
        )
    cut = portico.run(load_analysis(folder), folder=folder / "cut", executor=local)["step"]
    for name in names:
        ordered = name != "reordered"
        expected = bits(whole["base"], ordered)
        assert bits(whole[name], ordered) == expected, name
        assert bits(cut[name], ordered) == expected, f"{name} in chunks"


@pytest.mark.full
def test_every_product_keeps_its_bits(local: LocalExecutor, single: LocalExecutor, tmp_path: Path) -> None:
    check(EVERYTHING, tmp_path, local, single)


@pytest.mark.full
@settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(example=examples)
def test_random_steps_keep_their_bits(
    example: Example, local: LocalExecutor, single: LocalExecutor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(example, tmp_path_factory.mktemp("metamorphic"), local, single)
