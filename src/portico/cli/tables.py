"""Tables that commands show to people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portico.columns import column_cache
from portico.files import TreeSummary
from portico.monitor.batch import BatchStatus
from portico.monitor.console import SafeConsole
from portico.monitor.metrics import Cost, StepMetrics
from portico.monitor.status import RunStatus
from portico.monitor.units import duration, rate, share, size
from portico.runfolder.version import STALE, SUMMARY
from portico.workflow.checks import Checked
from portico.workflow.dry_run import Preview

__all__ = ["show_preview", "show_run", "show_status", "show_trees"]

_COLOURS = {"done": "green", "failed": "red", "partial": "yellow", "interrupted": "yellow", "running": "cyan",
            "submitted": "cyan"}  # fmt: skip
_FAULTS = 10
_VERSIONS = 5


def new_console() -> Console:
    """Return the console of standard output; a pipe gets lines as long as they need to be."""
    return SafeConsole() if sys.stdout.isatty() else SafeConsole(width=1000)


def new_table(*columns: str, left: Iterable[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    return table


def _state(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, ""))


def _of(part: int, whole: int) -> str:
    return f"{whole:,}" if part == whole else f"{part:,} of {whole:,}"


def show_run(status: RunStatus, report: Path | None) -> None:
    """Show what a run did, a line for each step, and where its results are."""
    console = new_console()
    console.print()
    console.print(_steps(status))
    console.print()
    _columns(console, status)
    _failures(console, status)
    _stale(console, status)
    _say(console, f"results: {status.path}")
    _say(console, f"report:  {report}" if report is not None else f"report:  portico report {status.path}")


def show_status(status: RunStatus) -> None:
    """Show how far a run is: steps, samples, failures."""
    console = new_console()
    head = Text.assemble((status.analysis, "bold"), " in ", str(status.path), ": ", _state(status.state))
    if status.driver:
        head.append(f" ({status.driver})")
    console.print(head, soft_wrap=True)
    if status.batch is not None:
        _batch(console, status.batch)
    if not status.steps:
        _say(console, "no step has begun")
        return
    console.print()
    console.print(_steps(status))
    for step in status.steps:
        if len(step.samples) > 1 or step.total.chunks_done < step.total.chunks:
            console.print()
            console.print(Text(step.step, style="bold"))
            console.print(_samples(step))
    console.print()
    _columns(console, status)
    _failures(console, status)
    _stale(console, status)
    if len(status.versions) > 1:
        earlier = [f"@{number} ({_moment(time)})" for number, time in status.versions[-_VERSIONS - 1 : -1]]
        _say(console, f"earlier versions: {', '.join(earlier)}; portico compare {status.path} {status.path}@previous")
    if status.state == "interrupted":
        _say(console, f"interrupted: portico run {status.file} --run {status.path}  continues where it stopped")
    if status.state == "submitted" and status.batch is not None:
        command = f"portico run {status.file} --run {status.path} --on {status.batch.site} --batch"
        _say(console, f"submitted: {command}  collects results and continues")
        _say(console, f"           portico cancel {status.path}  removes the jobs")


def _batch(console: Console, batch: BatchStatus) -> None:
    """Show what batch jobs do, and why some do not."""
    states = [f"{count:,} {state}" for state in ("running", "idle", "held") if (count := batch.count(state))]
    jobs = f"{len(batch.jobs):,} job{'' if len(batch.jobs) == 1 else 's'}"
    words = [f"{jobs} ({', '.join(states)})" if states else jobs]
    words += [f"{batch.chunks:,} chunks to come"] if batch.chunks else []
    words += [f"{batch.results:,} results not collected yet"] if batch.results else []
    words += [f"{batch.lost:,} chunks of jobs that ended without a result"] if batch.lost else []
    _say(console, f"batch on {batch.site}: {', '.join(words)}")
    for (state, reason), names in batch.reasons().items():
        which = f"{len(names):,} {state} ({names[0]}{', ...' if len(names) > 1 else ''})"
        text = Text.assemble((which, "red" if state == "held" else ""), f": {reason or 'no reason given'}")
        console.print(text, soft_wrap=True)
    if batch.trouble:
        console.print(Text.assemble(("not known", "red"), f": {batch.trouble}"), soft_wrap=True)


def _steps(status: RunStatus) -> Table:
    table = new_table(
        "step", "state", "chunks", "entries", "time", "rate", "per core", "read", "CPU", "memory",
        left=("step", "state"),
    )  # fmt: skip
    for step in status.steps:
        state = _state(status.state_of(step))
        if step.kind == "summary":
            table.add_row(Text(step.step), state, "", "", duration(step.seconds))
        else:
            table.add_row(Text(step.step), state, *_numbers(step.total))
    return table


def _samples(step: StepMetrics) -> Table:
    columns = ("sample", "chunks", "entries", "time", "rate", "per core", "read", "CPU", "memory")
    table = new_table(*columns, left=("sample",))
    for name, cost in step.samples.items():
        table.add_row(Text(name), *_numbers(cost))
    return table


def _numbers(cost: Cost) -> list[str]:
    counts = [_of(cost.chunks_done, cost.chunks), _of(cost.entries_done, cost.entries)]
    if not cost.chunks_done:
        return counts
    return [
        *counts, duration(cost.elapsed), rate(cost.rate), rate(cost.core_rate), size(cost.bytes_read),
        share(min(cost.cpu, cost.busy), cost.busy), size(cost.peak_memory),
    ]  # fmt: skip


def _failures(console: Console, status: RunStatus) -> None:
    for step in status.steps:
        failed, word = step.failed, "failed earlier" if status.state_of(step) == "running" else "failed"
        for fault in failed[:_FAULTS]:
            times = f" ({fault.attempts} attempts)" if fault.attempts > 1 else ""
            where = f": step '{step.step}', sample '{fault.sample}', {fault.chunk}{times}: {fault.message}"
            console.print(Text.assemble((word, "red"), where), soft_wrap=True)
        if len(failed) > _FAULTS:
            _say(console, f"... and {len(failed) - _FAULTS} more; all with --json")
        for loss in step.lost_files[:_FAULTS]:
            what = f"{loss.entries:,} entries of {loss.file or 'generated events'}: {loss.message}"
            where = f": step '{step.step}', sample '{loss.sample}', {what}"
            console.print(Text.assemble(("lost", "yellow"), where), soft_wrap=True)
        if len(step.lost_files) > _FAULTS:
            _say(console, f"... and {len(step.lost_files) - _FAULTS} more files; all with --json")
        for machine, count in step.failing.items():
            where = f": step '{step.step}', machine {machine} failed {count:,} chunks that others did"
            console.print(Text.assemble(("sick", "yellow"), where), soft_wrap=True)
        again = [fault for fault in step.faults if fault.recovered]
        if again:
            words = f"{len(again)} chunk{'' if len(again) == 1 else 's'} had to be tried again"
            _say(console, f"step '{step.step}': {words}; this cost {duration(step.lost_seconds)} of a worker")


def _columns(console: Console, status: RunStatus) -> None:
    """Tell what steps had from the column cache, and how large it is on this machine."""
    words = []
    for step in status.steps:
        found, columns = step.total.columns_found, step.total.columns_found + step.total.columns_filled
        if columns:
            words.append(f"{step.step} {share(found, columns)}")
    if not words:
        return
    cache = column_cache()
    here = "" if cache is None else f"; {size(sum(held.size for held in cache.held()))} in {cache.folder}"
    _say(console, f"columns found in the cache: {', '.join(words)}{here}")


def _stale(console: Console, status: RunStatus) -> None:
    """Name the results that are not those of the analysis as it is now."""
    for step in status.steps:
        if step.stale:
            which = "".join(f", '{sample}'" for sample in step.stale if sample != SUMMARY)
            text = f": step '{step.step}'{which}: {STALE} or input than those of now"
            console.print(Text.assemble(("stale", "yellow"), text), soft_wrap=True)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def show_preview(preview: Preview) -> None:
    """Show what would run."""
    console = new_console()
    table = new_table("step", "sample", "chunks", "entries", "done", "to run", "", left=("step", "sample", ""))
    for row in preview.rows:
        sample = "all" if row.sample == "*" else row.sample
        if row.blocked:
            table.add_row(Text(row.step), Text(sample), "", "", "", "", "see below")
        elif row.after:
            table.add_row(Text(row.step), Text(sample), "", "", "", "", f"after {row.after}")
        else:
            left = row.chunks - row.chunks_done
            numbers = (row.chunks, row.entries, row.chunks_done, left)
            table.add_row(Text(row.step), Text(sample), *(f"{n:,}" for n in numbers), "" if left else "nothing to do")
    console.print(table)
    console.print()
    left = sum(row.chunks - row.chunks_done for row in preview.rows)
    waiting = any(row.after for row in preview.rows)
    later = ", and what follows from it" if left and waiting else ""
    _say(console, f"{left:,} chunk{'' if left == 1 else 's'} would run in {preview.folder}{later}; nothing was started")
    if preview.script is not None:
        print(f"\none of its jobs:\n{preview.script}")
    if preview.checked is not None:
        _show_checked(console, preview.checked)


def _show_checked(console: Console, checked: Checked) -> None:
    """Show all problems in one list, and the steps that could not be looked at."""
    console.print()
    for problem in checked.problems:
        _say(console, f"{problem.level}: {problem}")
    for reason in checked.unchecked:
        _say(console, f"not checked: {reason}")
    errors = f"{checked.errors} error{'' if checked.errors == 1 else 's'}"
    _say(console, f"{errors}: the run would fail" if checked.errors else "every step that could be built can run")


def show_trees(file: str, summaries: Sequence[TreeSummary]) -> None:
    """Show the trees of a file and their columns."""
    console = new_console()
    console.print(Text(file, style="bold"), soft_wrap=True)
    for summary in summaries:
        clusters = len(summary.ends)
        words = [
            f"{summary.entries:,} entries",
            f"{clusters:,} cluster{'' if clusters == 1 else 's'}" if clusters else "cluster boundaries unknown",
            f"{len(summary.columns):,} columns",
            size(summary.size),
        ]
        head = Text.assemble(("  " + summary.tree, "bold"), f" ({summary.format}): {', '.join(words)}")
        console.print(head, soft_wrap=True)
        if not summary.columns:
            continue
        table = new_table("column", "type", "size", "share", "bytes/entry", left=("column", "type"))
        for column in summary.columns:
            table.add_row(Text(column.name), Text(column.type), *_sizes(column.size, summary))
        table.add_section()
        table.add_row("total", "", *_sizes(sum(column.size for column in summary.columns), summary))
        console.print(table)
        console.print()


def _sizes(count: int, summary: TreeSummary) -> tuple[str, str, str]:
    """Write a size, its share and the bytes per entry; dashes where they are unknown."""
    if count == 0 or summary.entries == 0:
        return "-", "-", "-"
    return size(count), share(count, summary.size), f"{count / summary.entries:,.1f}"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
