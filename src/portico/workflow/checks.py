"""Checks of an analysis before it runs: each step is built over no entries of its input, all problems in one list.

A step over events is built and compiled as for a chunk, once for each set of columns that the files of a sample have.
Its trees are then empty files with the right columns, over which the steps after it are built. Steps over points and
summary steps are imported; their files must exist, and the function that lists points is called.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from portico.analysis.analysis import DATASET, Analysis, StepEntry
from portico.analysis.chunks import Chunk
from portico.environment.bundle import Bundle, collect
from portico.environment.credentials import find_credentials, needs_credentials
from portico.errors import InputError, PorticoError, RunFolderError
from portico.files import TreeSummary
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger, Lost, Planned
from portico.worker.process import RunnerProcess
from portico.worker.task import Failed, FailureKind, Task, without_entries
from portico.workflow.explain import explain
from portico.workflow.input_identity import copies_between
from portico.workflow.plan import (
    Arguments,
    Plan,
    arguments_of,
    bundle_of,
    missing,
    over_trees,
    plan_step,
    sample_fields,
    tree_read,
)
from portico.workflow.points import known_points, plan_over
from portico.workflow.references import references
from portico.workflow.shrunk_input import shrunk

__all__ = ["Checked", "Problem", "check"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, or may be.

    Parameters
    ----------
    level : {"error", "warning"}
        ``error``: the run would fail.
    step : str
        Name of the step; empty if it is of no single one.
    samples : tuple of str
        The samples for which it was found; empty for all.
    message : str
        What was found and where.
    """

    level: Literal["error", "warning"]
    step: str
    samples: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        names = ", ".join(f"'{name}'" for name in self.samples[:_SHOWN])
        more = f" and {len(self.samples) - _SHOWN} more" if len(self.samples) > _SHOWN else ""
        of = f"sample{'s' * (len(self.samples) > 1)} {names}{more}" if self.samples else ""
        where = ", ".join(part for part in (f"step '{self.step}'" if self.step else "", of) if part)
        return f"{where}: {self.message}" if where else self.message


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks found.

    Parameters
    ----------
    problems : tuple of Problem
        In the order of the steps.
    unchecked : tuple of str
        Steps that could not be built, each with the reason.
    """

    problems: tuple[Problem, ...]
    unchecked: tuple[str, ...]

    @property
    def errors(self) -> int:
        """The number of errors."""
        return sum(problem.level == "error" for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return {"problems": [asdict(problem) for problem in self.problems], "unchecked": list(self.unchecked)}


def check(
    analysis: Analysis, folder: RunFolder, ledger: Ledger, *, steps: Iterable[StepEntry] | None = None,
    samples: Iterable[str] = (), accept_changed_input: bool = False, allow_partial: bool = False,
) -> Checked:  # fmt: skip
    """Find what would stop a run, without running anything.

    Parameters
    ----------
    analysis : Analysis
        The analysis.
    folder, ledger : RunFolder, Ledger
        What has been done before; the ledger may be empty.
    steps : iterable of StepEntry, optional
        Look at these, and at what they read; at all by default.
    samples : iterable of str
        Look at these samples; at all by default.
    accept_changed_input, allow_partial : bool
        Input that shrank is no problem; files that cannot be opened are not an error.
    """
    wanted = _with_inputs(analysis, analysis.steps if steps is None else steps)
    with tempfile.TemporaryDirectory(prefix="portico-check-") as scratch:
        runner = RunnerProcess(optimised=False)
        try:
            if needs_credentials(analysis, None):
                runner.use_credentials(find_credentials())
            allowed = accept_changed_input, allow_partial
            checker = _Checker(analysis, folder, ledger, runner, Path(scratch), tuple(samples), *allowed)
            for step in analysis.steps:
                if step.name in wanted:
                    checker.step(step)
        finally:
            runner.stop()
    return Checked(tuple(checker.problems()), tuple(checker.unchecked))


def _with_inputs(analysis: Analysis, steps: Iterable[StepEntry]) -> set[str]:
    """Return the names of steps, and of those whose trees they read."""
    entries, found = {entry.name: entry for entry in analysis.steps}, set()
    for step in steps:
        entry: StepEntry | None = step
        while entry is not None and entry.name not in found:
            found.add(entry.name)
            entry = entries.get(entry.input)
    return found


@dataclass(slots=True)
class _Checker:
    """The process that builds steps, and what was found: trees by step and sample, and the samples of each problem."""

    analysis: Analysis
    folder: RunFolder
    ledger: Ledger
    runner: RunnerProcess
    scratch: Path
    selected: tuple[str, ...]
    accept_changed_input: bool
    allow_partial: bool
    trees: dict[tuple[str, str], list[Mapping[str, Any]]] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)
    files: dict[str, dict[str, TreeSummary]] = field(default_factory=dict)
    lost: dict[Lost, None] = field(default_factory=dict)
    found: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def problems(self) -> Iterator[Problem]:
        """Yield each problem once, with its samples."""
        for line in copies_between({name: of.values() for name, of in self.files.items()}):
            yield Problem("warning", "", (), line)
        for loss in self.lost:
            yield Problem("warning", "", (loss.sample,), f"{loss.file}: {loss.message}; left out")
        for (step, message), samples in self.found.items():
            yield Problem("error", step, tuple(dict.fromkeys(name for name in samples if name)), message)

    def _note(self, step: StepEntry, message: str, sample: str = "") -> None:
        self.found[step.name, message].append(sample)

    def step(self, step: StepEntry) -> None:
        """Look at one step."""
        try:
            bundle = bundle_of(self.analysis, step).with_library()
        except PorticoError as error:
            self._note(step, str(error).replace(f"step '{step.name}': ", "", 1))
            return
        self.runner.use(bundle)
        over_events = bundle.needs.kind == "frame" and step.points is None
        if not over_events:
            self._import(step)
        try:
            arguments = arguments_of(self.analysis, step, self.folder, self.ledger)
            if step.points is not None:
                self._points(step, bundle, arguments)
        except RunFolderError as error:
            if over_events:
                self._import(step)
            self.unchecked.append(str(error).removeprefix(f"{self.analysis.path}: "))
            return
        except PorticoError as error:
            self._note(step, str(error).replace(f"step '{step.name}': ", "", 1))
            return
        for name in self.analysis.samples_of(step) if over_events else ():
            if not self.selected or name in self.selected:
                self._sample(step, bundle, arguments, name)

    def _import(self, step: StepEntry) -> None:
        answer, _ = self.runner.call({"op": "probe", "function": step.function}, [])
        if "failed" in answer:
            self._note(step, answer["message"])

    def _points(self, step: StepEntry, bundle: Bundle, arguments: Arguments) -> None:
        """List the points of a step, and cut them into chunks."""
        points = known_points(self.analysis, step, arguments, self.folder, self.ledger)
        if points is None:
            listing = collect(step.points or "", self.analysis.folder, "list")
            self.runner.use(listing)
            options = arguments.only(listing.options).given
            answer, _ = self.runner.call({"op": "points", "function": listing.function, "options": options}, [])
            if "failed" in answer:
                self._note(step, f"{listing.function}: {answer['message']}")
                return
            points = answer["points"]
        plan_over(points, step, bundle, arguments)

    def _sample(self, step: StepEntry, bundle: Bundle, arguments: Arguments, name: str) -> None:
        try:
            plan = self._plan(step, bundle, arguments, name)
        except InputError as error:  # the same for all steps that read it
            self.found[step.name if step.input != DATASET else "", str(error)].append(name)
            return
        except PorticoError as error:
            self._note(step, str(error).removeprefix(f"sample '{name}': "), name)
            return
        if plan is None:
            return
        given = arguments.only(bundle.options)
        for planned in _one_of_each(plan, name):
            self._build(step, plan, planned, given)

    def _plan(self, step: StepEntry, bundle: Bundle, arguments: Arguments, name: str) -> Plan | None:
        """Return what the step would read of a sample; None if there is nothing to build."""
        if step.input != DATASET:
            return self._of_empty_trees(step, name)
        plan = plan_step(self.analysis, step, bundle, arguments, self.ledger, [name], self.allow_partial)
        self.lost |= dict.fromkeys(plan.lost)
        self.files |= {sample: dict(of) for sample, of in plan.files.items()}
        if not self.accept_changed_input:
            for line in shrunk(step, plan, self.ledger):
                self._note(step, line.removeprefix(f"step '{step.name}', sample '{name}': "), name)
        todo, _ = missing(step, plan, self.ledger)
        if not todo and name in self.ledger.result_keys(step.name):  # it has run, on this code and these files
            self.trees[step.name, name] = [file for files in self.ledger.outputs(step.name, name)[:1] for file in files]
            return None
        return plan

    def _of_empty_trees(self, step: StepEntry, name: str) -> Plan | None:
        earlier = next(entry for entry in self.analysis.steps if entry.name == step.input)
        if (trees := self.trees.get((step.input, name))) is None:
            if not earlier.samples or name in self.analysis.samples_of(earlier):
                self.unchecked.append(f"step '{step.name}', sample '{name}': step '{step.input}' could not be built")
            return None
        tree = tree_read(step, {file["tree"] for file in trees})
        file = next(file for file in trees if file["tree"] == tree)
        chunk = Chunk(file["path"], file["uuid"], tree, 0, 0)
        sample = over_trees(self.analysis.dataset[name], tree, (chunk.file,))
        return Plan({name: [Planned(name, 0, "", chunk)]}, {name: {}}, {name: sample})

    def _build(self, step: StepEntry, plan: Plan, planned: Planned, arguments: Arguments) -> None:
        """Build and compile the step over no entries, and keep the empty trees that it writes."""
        name, file = planned.sample, planned.chunk.file
        summary = plan.files[name].get(file)
        friends = tuple(friend.file for friend in summary.friends) if summary else ()
        reference = references(plan.files[name].values()).get(file, "")
        task = Task("", 1, planned.chunk, step.function, sample_fields(plan.samples[name]), arguments.given, "",
                    friends=friends, reference=reference)  # fmt: skip
        answer, _ = self.runner.call(without_entries(task.to_json(), self.scratch), [])
        if "failed" not in answer:
            self.trees.setdefault((step.name, name), answer["files"])
            return
        failed = Failed(task, FailureKind(answer["failed"]), answer["message"], answer.get("log", ""))
        if failed.kind is not FailureKind.USER:
            failed = replace(failed, message=f"{file or 'generated events'}: {failed.message}")
        text = explain(failed, step.name, planned, plan.files)
        self._note(step, text.removeprefix(f"step '{step.name}', sample '{name}', {planned.chunk}: "), name)


def _one_of_each(plan: Plan, name: str) -> Iterator[Planned]:
    """Yield the first chunk of each set of columns that the files of a sample have."""
    seen: set[Any] = set()
    for planned in plan.chunks[name]:
        summary = plan.files[name].get(planned.chunk.file)
        columns = summary.columns if summary else ()
        if columns not in seen:
            seen.add(columns)
            yield planned
