"""Summary steps of a run: planned by key, run on a worker if their files are not there, written into the run folder."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portico._version import __version__
from portico.analysis.analysis import Analysis, StepEntry
from portico.analysis.dataset import Sample
from portico.environment.bundle import Bundle, key_of
from portico.monitor.timeline import SUMMARY_TIME
from portico.runfolder.folder import SUMMARY_FILE, RunFolder
from portico.runfolder.ledger import Ledger
from portico.runfolder.step_files import StepFiles
from portico.runfolder.version import STALE, SUMMARY
from portico.workflow.plan import Arguments, reduced, sample_fields
from portico.workflow.recipes import inputs_of, mixed
from portico.workflow.state import State

__all__ = ["SummaryInput", "run_summary", "tell_faults"]


@dataclass(frozen=True, slots=True)
class SummaryInput:
    """What a summary step gets.

    Parameters
    ----------
    step : str
        Its name.
    samples : mapping of str to mapping
        What describes each sample to it.
    absent : tuple of str
        The samples whose results it waits for.
    key : str
        Of its code, its arguments, the samples' fields, and the keys of their results.
    """

    step: str
    samples: Mapping[str, Mapping[str, Any]]
    absent: tuple[str, ...]
    key: str

    @classmethod
    def of(
        cls, analysis: Analysis, step: StepEntry, bundle: Bundle, arguments: Arguments, ledger: Ledger
    ) -> SummaryInput:
        """Return what a summary step would get now."""
        names, keys = analysis.samples_of(step), ledger.result_keys(step.input)
        known = {name: analysis.dataset.samples.get(name, Sample(name=name)) for name in names}
        fields = {
            name: sample_fields(reduced(sample, ledger.completeness(step.input, name)))
            for name, sample in known.items()
        }
        results = {name: keys[name] for name in names if name in keys}
        key = key_of(__version__, bundle.code, arguments.keyed, fields, results, list(fields))
        return cls(step.name, fields, tuple(name for name in names if name not in keys), key)

    def is_done(self, folder: RunFolder, ledger: Ledger) -> bool:
        """Return whether the summary of this input has run, and all its files are there."""
        return not self.absent and StepFiles(folder.path, self.step, ledger).are_intact(self.key)


def tell_faults(state: State, step: str, files: StepFiles, key: str) -> None:
    """Tell which files of a step's folder are not as they were written, and are made again."""
    for fault in files.faults(key):
        state.reporter.warn(f"step '{step}': {fault.partition('; ')[0]}; it will be recreated")


def run_summary(
    state: State, position: int, step: StepEntry, bundle: Bundle, arguments: Arguments, started: float
) -> None:
    """Run a summary step if it has not run on this input, or leave it out if samples are absent.

    Parameters
    ----------
    state : State
        Of the run.
    position : int
        Of the step in the analysis.
    step, bundle, arguments
        What is to be run.
    started : float
        When the step began, of ``time.monotonic()``.

    Raises
    ------
    PorticoError
        If it fails.
    """
    state.ledger.plan(step.name, position, "summary", {}, others=False)
    given = SummaryInput.of(state.analysis, step, bundle, arguments, state.ledger)
    absent = [name for name in given.samples if name in given.absent or name in state.broken]
    if absent:
        state.left_out.add(step.name)
        state.reporter.warn(f"step '{step.name}' is left out: it needs all samples, and '{absent[0]}' is not there")
        return
    if old := mixed(step.input, list(given.samples), state.ledger):
        state.left_out.add(step.name)
        what = f"'{old[0]}' of step '{step.input}' was {STALE} than other samples"
        state.reporter.warn(f"step '{step.name}' is left out: {what}; run step '{step.input}' for all samples")
        return
    files = StepFiles(state.folder.path, step.name, state.ledger)
    made, inputs = state.recipes.get((step.name, SUMMARY), ""), inputs_of(step, state.ledger, list(given.samples))
    done = files.bring(given.key, made, inputs)
    if not done:
        tell_faults(state, step.name, files, given.key)
        state.reporter.begin(step.name, {}, {}, 1)
        began = time.time()
        state.executor.prepare(bundle)
        blobs = [state.ledger.result(step.input, name) or b"" for name in given.samples]
        content = {"op": "summary", "function": step.function, "samples": given.samples, "options": arguments.given,
                   "home": str(state.folder.path.resolve())}  # fmt: skip
        answer, written = state.call(content, blobs, f"step '{step.name}'")
        for warning in answer.get("warnings", ()):
            state.reporter.warn(f"step '{step.name}': {warning}")
        text = json.dumps(answer["value"], indent=1, allow_nan=False)
        contents = {**dict(zip(answer["files"], written, strict=True)), SUMMARY_FILE: text.encode()}
        files.write(given.key, contents, text, made=made, inputs=inputs)
        known = {"started": began, "ended": time.time(), "host": socket.gethostname()}
        state.ledger.set_about({f"{SUMMARY_TIME} {step.name}": json.dumps(known)})
    seconds = time.monotonic() - started
    ended = "partial" if any(sample["completeness"] < 1 for sample in given.samples.values()) else "done"
    state.ledger.set_state(step.name, ended, 0.0 if done else seconds, 1, state.executor.name)
    state.reporter.end(step.name, ended, seconds, 0 if done else 1)
