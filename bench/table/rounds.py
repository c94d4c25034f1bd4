"""The rounds: every scenario once in each, one after the other, and all answers compared."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.table.contenders.compiled import source
from bench.table.inputs import Input
from bench.table.native import build
from bench.table.process import Measured, Process
from bench.table.scenarios import Ask, Scenario, missing_packages

__all__ = ["Answers", "Found", "run"]

TOLERANCE = 1e-12  # relative, of contents that are no counts


@dataclass(slots=True)
class Found:
    """What the rounds found.

    Parameters
    ----------
    measured : mapping
        From a scenario, as text, and a label to the measurements of each round.
    missing : mapping of str to list of str
        From a scenario to the packages without which it did not run.
    failed : mapping of str to str
        From a scenario to why it failed.
    differences : list of str
        Where answers differ.
    compared : int
        How many answers were compared with an earlier one.
    """

    measured: dict[str, dict[str, list[list[Measured]]]] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    compared: int = 0


class Answers:
    """The first answer to each question, with which the others are compared."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, Mapping[str, list[float]]]] = {}
        self.compared = 0

    def check(self, question: str, who: str, contents: Mapping[str, list[float]]) -> Iterator[str]:
        """Yield a sentence for each histogram that differs from that of whoever answered first."""
        if question not in self._first:
            self._first[question] = who, contents
            return
        first, expected = self._first[question]
        self.compared += 1
        if contents.keys() != expected.keys():
            yield f"{question}: {who} has other histograms than {first}"
            return
        for name, values in expected.items():
            left, right = np.array(values), np.array(contents[name])
            if left.shape != right.shape:
                yield f"{question}: {name} of {who} has {len(right)} bins, that of {first} {len(left)}"
                continue
            tolerance = 0.0 if np.all(left == np.rint(left)) else TOLERANCE
            different = ~(np.abs(left - right) <= tolerance * np.abs(left))  # not-a-number differs
            if different.any():
                largest = np.max(np.abs(left - right)[different])
                yield (
                    f"{question}: {name} of {who} differs from that of {first} in {np.count_nonzero(different)} of "
                    f"{len(left)} bins, by {largest:g} at most; sums {right.sum():g} and {left.sum():g}"
                )


def run(
    scenarios: Sequence[Scenario], inputs: Mapping[tuple[str, str], Input], rounds: int, folder: Path,
    tell: Callable[[str], None] = lambda text: None,
) -> Found:  # fmt: skip
    """Run the scenarios, each in a new process and one after the other, as often as there are rounds.

    Parameters
    ----------
    scenarios : sequence of Scenario
        One whose packages are not installed is left out and noted; so is one that fails.
    inputs : mapping of (kind, format) to Input
        What they read.
    rounds : int
        How many.
    folder : Path
        Where compiled C++ is kept.
    tell : callable
        Is told what runs.
    """
    found, answers = Found(), Answers()
    for scenario in scenarios:
        absent = missing_packages(scenario.contender)
        if absent or (scenario.kind, scenario.format) not in inputs:
            found.missing[str(scenario)] = absent or ["pyarrow"]
    _compile(scenarios, folder, tell)
    for number, scenario in itertools.product(range(rounds), scenarios):
        name = str(scenario)
        if name in found.missing or name in found.failed:
            continue
        tell(f"round {number + 1} of {rounds}: {name}")
        try:
            _ask_all(scenario, inputs[scenario.kind, scenario.format], number, folder, found, answers)
        except RuntimeError as error:
            found.failed[name] = str(error)
            tell(f"{name}: {error}")
    found.compared = answers.compared
    return found


def _compile(scenarios: Sequence[Scenario], folder: Path, tell: Callable[[str], None]) -> None:
    """Compile the C++ that users of C++ would have compiled before."""
    for scenario in scenarios:
        if scenario.contender == "compiled":
            for method in sorted({ask.method for ask in scenario.asks}):
                name = source(method, scenario.format)
                tell(f"compiling {name}.cpp")
                build(name, folder)


def _ask_all(
    scenario: Scenario, given: Input, number: int, libraries: Path, found: Found, answers: Answers
) -> None:  # fmt: skip
    place = Path(tempfile.mkdtemp(prefix="portico-bench-"))
    measured = found.measured.setdefault(str(scenario), {})
    try:
        process = Process(scenario.contender, given, scenario.workers, place, libraries)
        try:
            for ask in scenario.asks:
                if not ask.label and number:
                    continue
                costs = [_ask(process, scenario, ask, arguments, found, answers) for arguments in ask.arguments]
                if ask.label:
                    measured.setdefault(ask.label, []).append(costs)
        finally:
            process.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _ask(
    process: Process, scenario: Scenario, ask: Ask, arguments: Mapping[str, Any], found: Found, answers: Answers
) -> Measured:  # fmt: skip
    cost = process(ask.method, **ask.options, **arguments)
    question = f"{scenario.kind} {json.dumps(dict(arguments), sort_keys=True)}"
    for sentence in answers.check(question, f"{scenario} ({ask.label or 'check'})", cost.contents):
        if sentence not in found.differences:
            found.differences.append(sentence)
    return cost
