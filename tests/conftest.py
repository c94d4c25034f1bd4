"""Fixtures of all tests: real data, small analyses, an executor, a reporter that remembers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import portico
from portico.analysis.analysis import Analysis, load_analysis
from portico.executors.local import LocalExecutor
from portico.runfolder.load import Run
from tests.processes import reused
from tests.reference import small_analysis

# Tests compile far more than they compute. Read by ROOT when a runner imports it.
os.environ.setdefault("EXTRA_CLING_ARGS", "-O0")
os.environ.setdefault("PORTICO_AHEAD", "0")  # nor are libraries made of what they compile
# What tests remember of files lasts as long as the process, but for those that say otherwise.
os.environ["PORTICO_CACHE"] = ""
os.environ.setdefault("PORTICO_LIBRARIES", str(Path(__file__).parents[1] / ".pytest_cache" / "libraries"))
# A shell without job control lets what it starts in the background ignore Ctrl-C, and that would be inherited by every
# driver that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of small CMS open data files."""
    folder = Path(os.environ.get("PORTICO_REAL_DATA", REPOSITORY.parent / "shared" / "real_data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set PORTICO_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files of 250 events (one of them empty besides), x uniform in 0-10, n in 0-4, v a list of n numbers."""
    folder = tmp_path_factory.mktemp("events")
    random = np.random.default_rng(1)
    for number in range(4):
        write_events(folder / f"events{number}.root", random, 250)
    write_events(folder / "empty.root", random, 0)
    return folder


def write_events(path: Path, random: np.random.Generator, entries: int, clusters: int = 5) -> None:
    """Write a TTree ``Events`` with several clusters."""
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "float64", "w": "float32", "n": "int32", "event": "uint64"})
        for part in np.array_split(np.arange(entries), clusters):
            size = len(part)
            if size:
                file["Events"].extend({
                    "x": random.uniform(0, 10, size),
                    "w": random.uniform(0.5, 1.5, size).astype(np.float32),
                    "n": random.integers(0, 5, size).astype(np.int32),
                    "event": part.astype(np.uint64),
                })  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def processes() -> Iterator[None]:
    """Processes of runs on this machine serve the next test too."""
    with reused():
        yield


@pytest.fixture(scope="session")
def local() -> Iterator[LocalExecutor]:
    """Two processes for all tests that need results only: ROOT is loaded once in each."""
    executor = LocalExecutor(2)
    yield executor
    executor.close()


@pytest.fixture(scope="session")
def single() -> Iterator[LocalExecutor]:
    """One process, for tests that run on another number of workers, or that need no more."""
    executor = LocalExecutor(1)
    yield executor
    executor.close()


@pytest.fixture(scope="session")
def root() -> Any:
    """ROOT in the process of the tests."""
    from portico import root

    return root.load()


@pytest.fixture(scope="session")
def small() -> Analysis:
    """The reference analysis with few samples and few events."""
    return small_analysis()


@pytest.fixture(scope="session")
def chain(small: Analysis, local: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole chain of the reference analysis, from simulation to limits, made once."""
    return portico.run(small, folder=tmp_path_factory.mktemp("hnl") / "run", executor=local)


class Remember:
    """A reporter that keeps what it is told."""

    def __init__(self, on_advance: Callable[[int], None] | None = None) -> None:
        self.ran: dict[str, int] = {}
        self.states: dict[str, str] = {}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.advanced = 0
        self._on_advance = on_advance

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None: ...

    def advance(self, sample: str, entries: int, metrics: Mapping[str, Any]) -> None:
        self.advanced += 1
        if self._on_advance is not None:
            self._on_advance(self.advanced)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def end(self, step: str, state: str, seconds: float, ran: int) -> None:
        self.ran[step], self.states[step] = ran, state


@pytest.fixture
def make_analysis(tmp_path: Path) -> Callable[..., Analysis]:
    """Return a function that writes an analysis of one module and loads it."""

    def make(code: str, steps: str, samples: str, **files: str) -> Analysis:
        folder = tmp_path / "analysis"
        folder.mkdir(exist_ok=True)
        (folder / "mysteps.py").write_text(code)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        (folder / "analysis.yaml").write_text(f"name: test\ndataset:\n  samples:\n{samples}\nsteps:\n{steps}\n")
        return load_analysis(folder)

    return make


def numbers_of(run: Any, step: str) -> dict[str, Any]:
    """Return every number of a step's results as bytes, to be compared bit for bit."""
    return {
        f"{sample}/{name}/{key}": array.tobytes()
        for sample, results in run[step].items()
        for name, product in results.products.items()
        for key, array in product.arrays.items()
    }
