"""One step of a run: planned, run over what is missing, merged, exported; or a summary of another step."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from portico.analysis.analysis import Analysis, StepEntry
from portico.environment.bundle import Bundle, key_of
from portico.errors import Detached, InputError, PorticoError
from portico.executors.base import Executor
from portico.files.atomic import write_atomic
from portico.files.storage import storage_of
from portico.results.product import decode, encode, merge_all
from portico.results.summary_step import SUMMARY_FILE
from portico.results.view import describe
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger, Planned
from portico.runfolder.load import SUMMARY
from portico.worker.task import Failed, Task
from portico.workflow.chunk_loop import Reporter, StepJob, explain, run_chunks
from portico.workflow.credential_refresh import Trust
from portico.workflow.partial_runs import completeness_of, lost_of, mark_of
from portico.workflow.plan import (
    Arguments,
    Plan,
    arguments_of,
    bundle_of,
    missing,
    plan_step,
    sample_fields,
    summary_fields,
    summary_is_done,
    summary_key,
    whole_samples,
)

__all__ = ["State", "run_step"]


@dataclass(slots=True)
class State:
    """What one call of `run` carries from step to step."""

    analysis: Analysis
    folder: RunFolder
    ledger: Ledger
    executor: Executor
    on: str
    reporter: Reporter
    samples: tuple[str, ...]
    allow_partial: bool
    trust: Trust
    broken: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def samples_of(self, step: StepEntry) -> tuple[str, ...]:
        """Return the samples that a step runs on: its own choice, or that of its input."""
        entries = {entry.name: entry for entry in self.analysis.steps}
        while not step.samples and step.input in entries:
            step = entries[step.input]
        return step.samples or tuple(self.analysis.dataset.samples)


def run_step(state: State, position: int, step: StepEntry) -> None:
    """Do what is missing of a step."""
    bundle = bundle_of(state.analysis, step)
    started = time.monotonic()
    state.trust.look()
    if absent := [name for name in step.after if name in state.left_out]:
        state.left_out.add(step.name)
        state.reporter.warn(f"step '{step.name}' is left out: it needs step '{absent[0]}', which was left out")
        return
    arguments = arguments_of(state.analysis, step, state.folder, state.ledger)
    if bundle.needs.kind == "summary":
        _run_summary(state, position, step, bundle, arguments, started)
        return
    wanted = [n for n in state.samples_of(step) if n not in state.broken and (not state.samples or n in state.samples)]
    plan = plan_step(state.analysis, step, bundle, arguments, state.ledger, wanted, state.allow_partial)
    if state.executor.whole:
        plan = whole_samples(plan, state.executor.whole)
    state.ledger.plan(step.name, position, "frame", plan.chunks, others=bool(state.samples))
    chunks, lost = missing(step, plan, state.ledger)
    state.ledger.forget(lost)
    _begin(state, step, plan, chunks)
    _tell(state, step, plan)
    state.executor.prepare(bundle)
    state.ledger.set_state(step.name, "running", executor=state.on)
    ended = "failed"
    try:
        tasks = _tasks(state, step, arguments, plan, chunks)
        job = StepJob(step.name, tasks, plan.files, plan.samples, state.trust.look)
        failed = run_chunks(job, state.executor, state.ledger, state.reporter)
        ended = _finish(state, step, plan, failed)
    except (Detached, KeyboardInterrupt):
        ended = "interrupted"
        raise
    finally:
        seconds = time.monotonic() - started
        state.ledger.set_state(step.name, ended, seconds if chunks else 0.0, state.executor.workers)
        state.reporter.end(step.name, ended, seconds, len(chunks))


def _tell(state: State, step: StepEntry, plan: Plan) -> None:
    """Say which files the plan goes without, and which it found at another place than the first."""
    for loss in plan.lost:
        state.reporter.warn(f"step '{step.name}', sample '{loss.sample}', {loss.file}: {loss.message}; left out")
    for name, sample in plan.samples.items():
        moved = [file for file in plan.files[name] if file not in sample.files]
        if moved:
            what = f"{len(moved)} of its files are read from another place than the first, such as {moved[0]}"
            state.reporter.warn(f"step '{step.name}', sample '{name}': {what}")


def _begin(state: State, step: StepEntry, plan: Plan, chunks: Sequence[Planned]) -> None:
    remaining = dict.fromkeys(plan.chunks, 0)
    for planned in chunks:
        remaining[planned.sample] += planned.chunk.entries
    total = {name: sum(planned.chunk.entries for planned in of) for name, of in plan.chunks.items()}
    done = {name: total[name] - remaining[name] for name in plan.chunks}
    state.reporter.begin(step.name, total, done, state.executor.workers)


def _tasks(
    state: State, step: StepEntry, arguments: Arguments, plan: Plan, chunks: Sequence[Planned]
) -> Iterator[tuple[Planned, Task]]:
    fields = {name: sample_fields(sample) for name, sample in plan.samples.items()}
    folders = {name: state.folder.trees(step.name, name) for name in plan.samples}
    for folder in folders.values():
        storage_of(folder).make(folder)
    for planned in chunks:
        name = planned.sample
        task = Task(planned.key, 1, planned.chunk, step.function, fields[name], arguments.given, folders[name])
        yield planned, replace(task, parts=plan.parts.get(planned.key, ()))


def _finish(state: State, step: StepEntry, plan: Plan, failed: list[Failed]) -> str:
    """Merge what is whole (with ``allow_partial``: what there is), export it, and say how the step ended."""
    lost, by_key = lost_of(plan, failed), plan.by_key
    for failure in failed:
        planned = by_key[failure.task.key]
        state.failures.append((failure.kind, explain(failure, step.name, planned, plan.files, final=True)))
    if not state.allow_partial:
        state.broken |= {failure.sample for failure in lost}
    state.ledger.set_lost(step.name, lost)
    known = state.ledger.result_keys(step.name)
    for name, chunks in plan.chunks.items():
        gone = {failure.key for failure in lost if failure.sample == name}
        key = key_of([planned.key for planned in chunks if planned.key not in gone])
        if name in state.broken:
            state.ledger.drop_result(step.name, name)
            continue
        if known.get(name) == key:
            continue
        merged = merge_all(decode(blob) for blob in state.ledger.partials(step.name, name))
        if merged is None:
            raise InputError(f"step '{step.name}', sample '{name}': no chunk could be read")
        completeness = plan.samples[name].completeness * completeness_of(name, chunks, lost)
        state.ledger.set_result(step.name, name, key, encode(merged), completeness)
    if not state.samples:
        state.ledger.prune(step.name, plan.chunks)
        # Trees of older code or inputs: a glob over the folder must not count them.
        done = state.ledger.done(step.name).values()
        state.folder.remove_others(step.name, (output["path"] for outputs in done for output in outputs))
    _export(state, step.name)
    if lost and not state.allow_partial:
        return "failed"
    return "partial" if lost or any(sample.completeness < 1 for sample in plan.samples.values()) else "done"


def _export(state: State, step: str) -> None:
    """Write results.root, manifests of the trees and results.json, unless they are there and of these results."""
    folder = state.folder.step(step)
    paths = folder / "results.root", folder / "results.json"
    keys = state.ledger.result_keys(step)
    if not keys or (paths[0].exists() and _exported(paths[1]) == keys):
        return
    blobs = {name: state.ledger.result(step, name) or b"" for name in keys}
    described = {name: describe(decode(blob)) for name, blob in blobs.items()}
    marks = {name: mark for name in keys if (mark := mark_of(state.ledger.completeness(step, name)))}
    content = {"op": "export", "samples": list(blobs), "marks": marks}
    answer, made = state.executor.call(content, list(blobs.values()))
    _raise_if_failed(answer, f"step '{step}': results.root cannot be written")
    with write_atomic(paths[0]) as aside:
        aside.write_bytes(made[0])
    for sample, products in described.items():
        written = {
            name: {k: p[k] for k in ("tree", "format", "files")} for name, p in products.items() if p["kind"] == "tree"
        }
        if written:
            (folder / sample).mkdir(exist_ok=True)
            with write_atomic(folder / sample / "manifest.json") as aside:
                aside.write_text(json.dumps(written, indent=1), encoding="utf-8")
    with write_atomic(paths[1]) as aside:  # last: it says that all is there
        told = {"step": step, "keys": keys, "partial": marks, "samples": described}
        aside.write_text(json.dumps(told, indent=1), encoding="utf-8")


def _exported(path: Path) -> dict[str, str] | None:
    """Return the keys of the results that ``results.json`` tells of."""
    try:
        keys: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["keys"]
    except (OSError, ValueError, KeyError):
        return None
    return keys


def _raise_if_failed(answer: Mapping[str, Any], what: str) -> None:
    if "failed" in answer:
        log = f"\n{answer['log'].strip()}" if answer.get("log", "").strip() and answer["failed"] == "crash" else ""
        raise PorticoError(f"{what}: {answer['message']}{log}")


def _run_summary(
    state: State, position: int, step: StepEntry, bundle: Bundle, arguments: Arguments, started: float
) -> None:
    state.ledger.plan(step.name, position, "summary", {}, others=False)
    keys = state.ledger.result_keys(step.input)
    wanted = state.samples_of(step)
    absent = [name for name in wanted if name not in keys or name in state.broken]
    if absent:
        state.left_out.add(step.name)
        state.reporter.warn(f"step '{step.name}' is left out: it needs all samples, and '{absent[0]}' is not there")
        return
    fields = summary_fields(state.analysis, step, state.ledger, wanted)
    key = summary_key(bundle, arguments, fields, {name: keys[name] for name in wanted})
    done = summary_is_done(step, key, state.folder, state.ledger)
    if not done:
        state.reporter.begin(step.name, {}, {}, 1)
        folder = state.folder.step(step.name)
        folder.mkdir(parents=True, exist_ok=True)
        state.executor.prepare(bundle)
        blobs = [state.ledger.result(step.input, name) or b"" for name in wanted]
        content = {"op": "summary", "function": step.function, "samples": fields, "options": arguments.given}
        answer, files = state.executor.call(content, blobs)
        _raise_if_failed(answer, f"step '{step.name}'")
        for name, blob in zip(answer["files"], files, strict=True):
            with write_atomic(folder / name) as aside:
                aside.write_bytes(blob)
        with write_atomic(folder / SUMMARY_FILE) as aside:
            aside.write_text(json.dumps(answer["value"], indent=1, allow_nan=False), encoding="utf-8")
        state.ledger.set_result(step.name, SUMMARY, key, json.dumps(answer["files"]).encode())
    seconds = time.monotonic() - started
    ended = "partial" if any(sample["completeness"] < 1 for sample in fields.values()) else "done"
    state.ledger.set_state(step.name, ended, 0.0 if done else seconds, 1, "local")
    state.reporter.end(step.name, ended, seconds, 0 if done else 1)
