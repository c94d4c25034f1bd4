"""One step of a run: planned, run over what is missing, merged, exported; or a summary of another step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from portico._version import __version__
from portico.analysis.analysis import StepEntry
from portico.environment.bundle import Bundle, key_of
from portico.errors import Detached, InputError, ProductError, RunFolderError, WorkerError
from portico.files.storage import storage_of
from portico.results.packed import to_bytes
from portico.results.partial import decode, merge_encoded
from portico.results.view import describe
from portico.runfolder.ledger import Ledger, Lost, Planned
from portico.runfolder.step_files import StepFiles
from portico.runfolder.tidy import remove_leftovers, settle
from portico.runfolder.version import STALE
from portico.worker.task import Failed, FailureKind, Task
from portico.workflow.chunk_loop import run_chunks
from portico.workflow.chunk_scheduler import StepJob
from portico.workflow.explain import explain
from portico.workflow.input_identity import changed
from portico.workflow.merging import Merging
from portico.workflow.partial_runs import completeness_of, losses, partial_label
from portico.workflow.plan import (
    Arguments,
    Plan,
    arguments_of,
    bundle_of,
    missing,
    plan_step,
    sample_fields,
)
from portico.workflow.points import plan_points
from portico.workflow.recipes import inputs_of
from portico.workflow.references import references
from portico.workflow.shrunk_input import refuse_shrunk, shrunk
from portico.workflow.state import State
from portico.workflow.summary_step import run_summary, tell_faults

__all__ = ["run_plan", "run_step", "write_exports"]

_SHOWN = 3
_AT_ONCE = 2**25  # bytes of results that enter the ledger in one transaction


def run_step(state: State, position: int, step: StepEntry) -> None:
    """Run what is missing of a step, and write its results."""
    bundle = bundle_of(state.analysis, step)
    started = time.monotonic()
    state.credentials.refresh()
    if absent := [name for name in step.after if name in state.left_out]:
        state.left_out.add(step.name)
        state.reporter.warn(f"step '{step.name}' is left out: it needs step '{absent[0]}', which was left out")
        return
    arguments = arguments_of(state.analysis, step, state.folder, state.ledger)
    if bundle.needs.kind == "summary":
        run_summary(state, position, step, bundle, arguments, started)
        return
    plan = _plan(state, step, bundle, arguments) if step.points is None else plan_points(state, step, bundle, arguments)
    _check_shrunk(state, step, plan)
    run_plan(state, position, step, bundle, arguments, plan, started)


def run_plan(
    state: State, position: int, step: StepEntry, bundle: Bundle, arguments: Arguments, plan: Plan, started: float
) -> None:
    """Run what is missing of the plan of a step, and write its results.

    Parameters
    ----------
    state : State
        Of the run.
    position : int
        Of the step in the analysis.
    step, bundle, arguments, plan
        What is to be run.
    started : float
        When the step began, of ``time.monotonic()``.

    Raises
    ------
    PorticoError
        As `portico.workflow.run.run`; what is done is in the ledger.
    """
    _remove_leftovers(state, step.name)
    with state.ledger.transaction():
        state.ledger.plan(step.name, position, bundle.needs.kind, plan.chunks, others=bool(state.samples))
        if (chunks := _missing(state, step, plan)) and not bundle.library:  # which may have to be compiled first
            state.ledger.set_state(step.name, "running", executor=state.executor.name)
    if needed := bool(chunks or state.export):  # what is exported may need it without a chunk to run
        bundle = bundle.with_library(state.reporter.note)
    _begin(state, step, plan, chunks)
    _warn_of_files(state, step, plan)
    if needed:
        state.executor.prepare(bundle)
    if chunks:
        state.ledger.set_state(step.name, "running", executor=state.executor.name)
    ended = "failed"
    try:
        failed = _run(state, step, arguments.only(bundle.options), plan, chunks)
        ended = _finish(state, step, plan, failed)
    except (Detached, KeyboardInterrupt):
        ended = "interrupted"
        raise
    except WorkerError:
        ended = "interrupted" if state.executor.lost else "failed"
        raise
    finally:
        seconds = time.monotonic() - started
        state.ledger.set_state(step.name, ended, seconds if chunks else 0.0, state.executor.workers)
        state.reporter.end(step.name, ended, seconds, len(chunks))


def _missing(state: State, step: StepEntry, plan: Plan) -> list[Planned]:
    """Forget the chunks whose files are gone, and return those that are to run: also what was merged with them."""
    chunks, lost = missing(step, plan, state.ledger)
    if lost:
        _tell_lost(state, step, lost)
        state.ledger.forget(lost)
        chunks, _ = missing(step, plan, state.ledger)
    if chunks and (count := state.ledger.subtrees.unused(step.name)):
        state.reporter.warn(
            f"step '{step.name}': {count:,} chunks run again: their results were merged with those of chunks that are "
            "no longer their neighbours or that must run again"
        )
    return chunks


def _run(state: State, step: StepEntry, arguments: Arguments, plan: Plan, chunks: Sequence[Planned]) -> list[Failed]:
    """Run chunks, and again those that had been merged with one that turned out to be bad; return what failed."""
    failed: list[Failed] = []
    while chunks:
        left = {planned.key for planned in chunks}
        others = (planned for of in plan.chunks.values() for planned in of if planned.key not in left)
        job = StepJob(step.name, _tasks(state, step, arguments, plan, chunks), plan.files, plan.samples, others)
        merging = Merging(state.ledger, step.name, plan.chunks)
        failed += run_chunks(job, state.executor, state.ledger, state.reporter, state.credentials.refresh, merging)
        bad = {failure.task.chunk.file for failure in failed}
        failed += [f for f in _changed_files(state, step, plan, chunks) if f.task.chunk.file not in bad]
        chunks = _torn(state, step, plan, failed) if state.allow_partial else ()
    return failed


def _torn(state: State, step: StepEntry, plan: Plan, failed: list[Failed]) -> list[Planned]:
    """Take bad chunks out of the results of their neighbours; return those of which nothing is left."""
    lost = {loss.key for loss in losses(plan, failed)}
    state.ledger.dissolve(lost)
    done = state.ledger.done(step.name)
    return [c for chunks in plan.chunks.values() for c in chunks if c.key not in done and c.key not in lost]


def _plan(state: State, step: StepEntry, bundle: Bundle, arguments: Arguments) -> Plan:
    intact = [name for name in state.analysis.samples_of(step) if name not in state.broken]
    wanted = [name for name in intact if not state.samples or name in state.samples]
    plan = plan_step(state.analysis, step, bundle, arguments, state.ledger, wanted, state.allow_partial)
    return replace(plan, chunks=state.executor.replan(plan.chunks))


def _check_shrunk(state: State, step: StepEntry, plan: Plan) -> None:
    """Refuse input that has shrunk since results were made of it, unless the user accepts that."""
    if not state.accept_changed_input:
        refuse_shrunk(step, plan, state.ledger)
        return
    for line in shrunk(step, plan, state.ledger):
        state.reporter.warn(line)


def _warn_of_files(state: State, step: StepEntry, plan: Plan) -> None:
    """Name files in several samples (once a run), those left out, and those of which another replica is read."""
    for warning in plan.warnings:
        if warning not in state.said:
            state.said.add(warning)
            state.reporter.warn(warning)
    for loss in plan.lost:
        state.reporter.warn(f"step '{step.name}', sample '{loss.sample}', {loss.file}: {loss.message}; left out")
    for name, sample in plan.samples.items():
        first = {sample.reads(file)[0] for file in sample.files}
        moved = [file for file in plan.files[name] if file not in first]
        if moved:
            what = f"{len(moved)} of its files are read from another replica, such as {moved[0]}"
            state.reporter.warn(f"step '{step.name}', sample '{name}': {what}")


def _changed_files(state: State, step: StepEntry, plan: Plan, chunks: Sequence[Planned]) -> list[Failed]:
    """Forget what was read of files that changed meanwhile, since its keys are those of the older file.

    Returns
    -------
    list of Failed
        One chunk of each such file: the file counts as bad.
    """
    failed: dict[str, Failed] = {}
    for name, summaries in plan.files.items():
        files = set(changed(summaries.values()))
        ran = [planned for planned in chunks if planned.sample == name] if files else []
        # A chunk of an executor that takes whole samples names no single file.
        affected = [planned for planned in ran if planned.chunk.file in files or planned.chunk.file not in summaries]
        state.ledger.forget(planned.key for planned in affected)
        for planned in affected:
            task = Task(planned.key, 1, planned.chunk, step.function, {}, {}, "")
            message = "the file was written to while the step read it"
            failed.setdefault(planned.chunk.file, Failed(task, FailureKind.INPUT, message))
    return list(failed.values())


def _tell_lost(state: State, step: StepEntry, lost: Mapping[str, str]) -> None:
    """Tell which trees are not as they were written; their chunks run again."""
    for fault in list(lost.values())[:_SHOWN]:
        state.reporter.warn(f"step '{step.name}': {fault.partition('; ')[0]}; it will be recreated")
    if len(lost) > _SHOWN:
        state.reporter.warn(f"step '{step.name}': {len(lost) - _SHOWN} more trees will be recreated")


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
    folders = {} if plan.points else {name: state.folder.trees(step.name, name) for name in plan.samples}
    for folder in folders.values():
        storage_of(folder).make(folder)
    known = {name: references(of.values()) for name, of in plan.files.items()}
    for planned in chunks:
        name, key, file = planned.sample, planned.key, planned.chunk.file
        task = Task(key, 1, planned.chunk, step.function, fields[name], arguments.given, folders.get(name, ""),
                    seconds=state.chunk_seconds)  # fmt: skip
        if (summary := plan.files[name].get(file)) is not None:
            source = plan.sources.get(file, "") if state.cache else ""
            friends = tuple(friend.file for friend in summary.friends)
            task = replace(task, friends=friends, source=source, version=summary.version)
        yield planned, replace(task, points=plan.points.get(key), reference=known[name].get(file, ""))


def _finish(state: State, step: StepEntry, plan: Plan, failed: list[Failed]) -> str:
    """Merge the complete samples (with ``allow_partial`` all), export them, and return the final state of the step."""
    lost, by_key = losses(plan, failed), plan.by_key
    for failure in failed:
        planned = by_key[failure.task.key]
        state.failures.append((failure.kind, explain(failure, step.name, planned, plan.files, final=True)))
    if not state.allow_partial:
        state.broken |= {failure.sample for failure in lost}
    state.ledger.set_lost(step.name, lost)
    _write(state.ledger, (
        (0, partial(state.ledger.drop_result, step.name, name)) if name in state.broken
        else _merge(state, step, plan, name, chunks, lost) for name, chunks in plan.chunks.items()
    ))  # fmt: skip
    if not state.samples:
        state.ledger.keep_only(step.name, plan.chunks)
    _settle(state, step.name, plan)
    write_exports(state, step.name)
    if lost and not state.allow_partial:
        return "failed"
    return "partial" if lost or any(sample.completeness < 1 for sample in plan.samples.values()) else "done"


def _settle(state: State, step: str, plan: Plan) -> None:
    """Leave only the trees of the current results in the step's folders, and tell what else was there."""
    ledger, samples = state.ledger, plan.chunks.keys() if state.samples else None
    wanted, planned = ledger.trees_of(step), ledger.planned_keys(step)
    moved = settle(state.folder.base, step, samples, wanted=wanted, known=ledger.trees(), keys=planned)
    for path, now in moved.items():
        what = f"is not of this run, and a pattern such as {path.rpartition('/')[0]}/*.root would count it"
        state.reporter.warn(f"step '{step}': {path} {what}; it was moved to {now}")


def _remove_leftovers(state: State, step: str) -> None:
    """Remove the trees of attempts that an interrupted run has begun, while their plan is known."""
    ended = next((ended for name, _, ended, *_ in state.ledger.steps() if name == step), "done")
    if ended not in {"done", "partial"}:
        keys, known, hidden = state.ledger.planned_keys(step), state.ledger.trees(), not state.executor.keeps_running
        remove_leftovers(state.folder.base, step, keys, known, hidden=hidden)


def _write(ledger: Ledger, results: Iterable[tuple[int, Callable[[], None]]]) -> None:
    """Write results as they come, many in one transaction, since each waits for the disk; an error loses none."""
    waiting: list[Callable[[], None]] = []
    size = 0

    def write() -> None:
        with ledger.transaction():
            for one in waiting:
                one()
        waiting.clear()

    try:
        for added, one in results:
            waiting.append(one)
            size += added
            if size > _AT_ONCE:
                write()
                size = 0
    finally:
        write()


def _merge(
    state: State, step: StepEntry, plan: Plan, name: str, chunks: Sequence[Planned], lost: Sequence[Lost]
) -> tuple[int, Callable[[], None]]:
    """Return the size of what is to be written, and what makes the result of a sample, new or kept, the current one."""
    ledger, gone = state.ledger, {loss.key for loss in lost if loss.sample == name}
    left = [planned.key for planned in chunks if planned.key not in gone]
    files = [file for of_chunk in ledger.outputs(step.name, name) for file in of_chunk]
    completeness = plan.samples[name].completeness * completeness_of(name, chunks, lost)
    key = key_of(left, completeness, [file["adler32"] for file in files])
    made, inputs = state.recipes.get((step.name, name), ""), inputs_of(step, ledger, [name])
    if ledger.has_result(step.name, name, key):
        return 0, partial(ledger.use_result, step.name, name, key, made, inputs)
    if (there := ledger.count(step.name, name)) != len(left):  # never, but a sum without them would look right
        raise RunFolderError(
            f"step '{step.name}', sample '{name}': the ledger has {there} of {len(left)} chunks; run again"
        )
    try:
        files = ledger.paths.files_written(files)
        merged = merge_encoded(ledger.partials(step.name, name), files)
    except ProductError as error:
        raise ProductError(f"step '{step.name}', sample '{name}': {error}") from error
    if merged is None:
        raise InputError(f"step '{step.name}', sample '{name}': no chunk could be read")
    data, given = to_bytes(merged), (step.name, name, key)
    return len(data), partial(
        ledger.set_result, *given, data, completeness, chunks=left, made=made, inputs=inputs
    )  # fmt: skip


def write_exports(state: State, step: str) -> None:
    """Write results.root, manifests of the trees and results.json, unless they are there and of these results.

    In a run without exports, those that are of other results are put aside.
    """
    keys = state.ledger.result_keys(step)
    if not keys:
        return
    partial = {name: label for name in keys if (label := partial_label(state.ledger.completeness(step, name)))}
    stale = {sample: STALE for other, sample in sorted(state.ledger.stale()) if other == step}
    files, key = StepFiles(state.folder.path, step, state.ledger), key_of(__version__, keys, partial, stale)
    if files.bring(key):
        return
    tell_faults(state, step, files, key)
    if not state.export:
        files.clear()
        return
    blobs = {name: state.ledger.result(step, name) or b"" for name in keys}
    described = {name: describe(decode(blob)) for name, blob in blobs.items()}
    labels = {name: "; ".join(of[name] for of in (partial, stale) if name in of) for name in {**partial, **stale}}
    content = {"op": "export", "samples": list(blobs), "labels": labels}
    _, made = state.call(content, list(blobs.values()), f"step '{step}': results.root cannot be written")
    contents = {"results.root": made[0]}
    for sample, products in described.items():
        written = {name: {k: p[k] for k in ("tree", "format", "files")} for name, p in products.items() if "files" in p}
        if written:
            contents[f"{sample}/manifest.json"] = json.dumps(written, indent=1).encode()
    told = {"step": step, "keys": keys, "partial": partial, "stale": stale, "samples": described}
    contents["results.json"] = json.dumps(told, indent=1).encode()
    files.write(key, contents)
