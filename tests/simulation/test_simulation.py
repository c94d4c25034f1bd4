"""The simulation: seeds of all faults, and a kill before and after every operation of some drivers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from portico.worker.task import FailureKind
from tests.simulation.__main__ import seeds_of
from tests.simulation.data import Data, Input, Trouble
from tests.simulation.farm import Mood
from tests.simulation.history import End, History, run_seed
from tests.simulation.life import Life, Settings

REPOSITORY = Path(__file__).parents[2]
PARTS, EACH = 4, 500
FULL = os.environ.get("PORTICO_SIMULATION_SEEDS", "2001-22000")
FAULTS = {
    "kill", "power loss", "lost name", "commit fails", "answer of commit is lost", "ledger is busy", "rename fails",
    "answer of rename is lost", "sync fails", "write fails", "second driver", "overtaken by a driver", "interrupt",
    "clock jumped", "workers changed", "late outcome", "doubled outcome", "answer of a lost worker",
    "machine without input", "chunk: crash",
    "chunk: disk", "chunk: input", "chunk: lost", "chunk: memory", "chunk: space", "chunk: transient",
}  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS))
def test_seeds(part: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(part * EACH + 1, (part + 1) * EACH + 1):
        failure = run_seed(seed, counts=counts)
        assert failure is None, failure
    assert counts.keys() >= FAULTS, f"these faults did not happen: {sorted(FAULTS - counts.keys())}"


@pytest.mark.full
@pytest.mark.timeout(0)
def test_many_seeds() -> None:
    """As many as PORTICO_SIMULATION_SEEDS says, such as 1-1000000, in as many parts as there are machines."""
    for seed in seeds_of(FULL):
        failure = run_seed(seed)
        assert failure is None, failure


def _killed_everywhere(seed: int, data: Data | None = None) -> int:
    """Kill the first driver of a seed before and after each of its operations; return how many there are."""

    def killed_at(history: History, number: int, after: bool, loses_power: bool) -> None:
        first = replace(history.lives[0], chance=0.0, kill_at=(number, after), loses_power=loses_power)
        mood = replace(first.mood, interrupted=0.0)
        first = replace(first, mood=mood, data=data or first.data, kill_at=first.kill_at if number else None)
        history.lives = [first, replace(first, mood=Mood(), kill_at=None)]
        history.workers = [history.workers[0], (2, False)]

    ends: list[End] = []
    failure = run_seed(seed, change=lambda history: killed_at(history, 0, False, False), ends=ends)
    assert failure is None, failure
    for number in range(1, ends[0].operations + 1):
        for after in (False, True):
            loses = after or number % 2 == 0  # what is lost with the power was done before the kill

            def change(history: History, number: int = number, after: bool = after, loses: bool = loses) -> None:
                killed_at(history, number, after, loses)

            counts: Counter[str] = Counter()
            failure = run_seed(seed, change=change, counts=counts)
            assert failure is None, f"killed {'after' if after else 'before'} operation {number}: {failure}"
            assert counts["kill"] + counts["power loss"] == 1
    return ends[0].operations


def test_a_kill_before_and_after_every_operation() -> None:
    assert _killed_everywhere(5, Data({"a": (Input("f0.root", 2, 4),)})) > 20


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10, 40))
def test_kills_of_more_drivers(seed: int) -> None:
    _killed_everywhere(seed)


def _bad(kind: FailureKind, chunks: tuple[int, ...]) -> Input:
    return Input("bad.root", 4, 4, trouble=Trouble(kind, chunks, (0,)))


@pytest.mark.parametrize(
    "bad",
    [
        _bad(FailureKind.INPUT, (1, 3)),
        _bad(FailureKind.TRANSIENT, (0, 1, 2, 3)),
        _bad(FailureKind.MEMORY, (0, 2)),
        _bad(FailureKind.CRASH, (2,)),
        _bad(FailureKind.CRASH, (0, 1, 2, 3)),
    ],
    ids=["input", "transient", "memory", "one chunk that crashes", "a file that crashes"],
)
def test_verdicts_depend_on_neither_order_nor_workers(bad: Input) -> None:
    """Wherever the bad file stands, and whoever runs it."""
    good = [Input(f"f{number}.root", 3, 4) for number in range(3)]
    verdicts, results = set[str](), dict[int, set[tuple[bytes | None, ...]]]()
    for place in range(4):
        data = Data({"a": (*good[:place], bad, *good[place:])})
        for seed, workers in ((1, 1), (2, 2), (3, 5), (4, 50)):

            def change(history: History, data: Data = data, workers: int = workers) -> None:
                history.settings = Settings(commits=3)
                history.lives = [Life(data, Mood(changing=0.3 if workers == 5 else 0.0))]
                history.workers = [(workers, False)]

            ends: list[End] = []
            failure = run_seed(seed, change=change, ends=ends)
            assert failure is None, failure
            verdicts.add(ends[0].verdict)
            results.setdefault(place, set()).add(ends[0].results)
    assert len(verdicts) == 1, verdicts
    assert all(len(of_place) == 1 for of_place in results.values())


def test_a_seed_is_the_same_again() -> None:
    for seed in (3, 8, 9):
        first, second = Counter[str](), Counter[str]()
        assert run_seed(seed, counts=first) is None
        assert run_seed(seed, counts=second) is None
        assert first == second


def test_the_command_line_repeats_a_seed() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "8-9", "-v"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    assert "a driver begins" in done.stdout
    assert "2 seeds, 0 found something" in done.stdout
