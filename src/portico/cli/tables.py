"""Tables that commands show to people."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from portico.columns import column_cache
from portico.files import StoredObject, TreeSummary
from portico.monitor.batch import BatchStatus
from portico.monitor.console import SafeConsole
from portico.monitor.metrics import Cost, StepMetrics
from portico.monitor.status import RunStatus, read_status
from portico.monitor.units import duration, rate, share, size
from portico.runfolder.version import STALE, SUMMARY
from portico.runfolder.yields import StepYields
from portico.workflow.checks import Checked
from portico.workflow.dry_run import Preview
from portico.workflow.forecast import Forecast

__all__ = ["show_measures", "show_preview", "show_run", "show_status", "show_trees", "watch_status"]

_COLOURS = {"done": "green", "failed": "red", "partial": "yellow", "interrupted": "yellow", "running": "cyan",
            "submitted": "cyan"}  # fmt: skip
_FAULTS = 10
_SAMPLES = 40
_COLUMNS = 8
_VERSIONS = 5
_OBJECTS = 200
_WATCH_SECONDS = 2.0


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


def show_run(status: RunStatus, report: Path | None, yields: Sequence[StepYields] = ()) -> None:
    """Show what a run did, a line for each step, what it found, and where its results are."""
    console = new_console()
    console.print()
    console.print(_steps(status))
    console.print()
    for found in yields:
        console.print(Text.assemble(found.step, (f": {found.what}", "dim")))
        console.print(_yields(found))
        left = [f"{len(found.rows) - _SAMPLES:,} more samples"] * (len(found.rows) > _SAMPLES)
        left += [f"{len(found.columns) - _COLUMNS:,} more columns"] * (len(found.columns) > _COLUMNS)
        if left:
            _say(console, f"... and {' and '.join(left)}; all with --json")
        console.print()
    _columns(console, status)
    _failures(console, status)
    _stale(console, status)
    _say(console, f"results: {status.path}")
    _say(console, f"report:  {report}" if report is not None else f"report:  portico report {status.path}")


def watch_status(path: Path) -> None:
    """Show how far a run is, again and again in the same place, until it has ended.

    Raises
    ------
    RunFolderError
        If ``path`` is not a run folder.
    """
    console = new_console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (status := read_status(path)).state in {"running", "submitted"}:
            with console.capture() as shown:
                show_status(status, console)
            live.update(Text.from_ansi(shown.get()), refresh=True)
            time.sleep(_WATCH_SECONDS)
    show_status(status)


def show_status(status: RunStatus, console: Console | None = None) -> None:
    """Show how far a run is: steps, samples, failures."""
    console = console or new_console()
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


def _yields(found: StepYields) -> Table:
    table = new_table("sample", *found.columns[:_COLUMNS], left=("sample",))
    for sample, numbers in list(found.rows.items())[:_SAMPLES]:
        table.add_row(Text(sample), *(_with_error(numbers.get(name)) for name in found.columns[:_COLUMNS]))
    return table


def _with_error(number: tuple[float, float | None] | None) -> str:
    """Write a number with the digits that its error leaves."""
    if number is None:
        return ""
    value, error = number
    if error is None or not math.isfinite(error):
        return f"{value:,.6g}"
    digits = 1 - math.floor(math.log10(error)) if error > 0 else 0
    return f"{value:,.{max(digits, 0)}f} ± {error:,.{max(digits, 0)}f}" if digits < 7 else f"{value:.3g} ± {error:.2g}"


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
    if preview.expected is not None:
        _show_forecast(console, preview.expected)
    if preview.script is not None:
        print(f"\none of its jobs:\n{preview.script}")
    if preview.checked is not None:
        _show_checked(console, preview.checked)


def _show_forecast(console: Console, expected: Forecast) -> None:
    """Show what the run needs, as far as earlier runs have measured it."""
    console.print()
    if expected.steps:
        columns = ("chunks", "CPU time", "memory", "time", "measured by")
        table = new_table("forecast", *columns, left=("forecast", "measured by"))
        for step in expected.steps:
            table.add_row(
                Text(step.step), f"{step.chunks:,}", duration(step.cpu_seconds), size(step.memory),
                duration(step.seconds), Text(f"{step.measured} on {step.executor}" + ", same input" * step.assumed),
            )  # fmt: skip
        console.print(table)
        console.print()
        end = datetime.now().astimezone() + timedelta(seconds=expected.seconds)
        queue = f"; queue '{expected.queue}'" if expected.queue else ""
        _say(console, f"about {expected.cpu_hours:,.2g} CPU hours, {duration(expected.seconds)} with "
             f"{expected.workers:,} worker{'s' * (expected.workers != 1)}: done at {end:%Y-%m-%d %H:%M} if it starts "
             f"now{queue}")  # fmt: skip
    if expected.unknown:
        names = ", ".join(f"'{step}'" for step in expected.unknown)
        _say(console, f"no forecast of {names}: no earlier run here has measured it; run a part first, with --sample")
    for warning in expected.warnings:
        _say(console, f"warning: {warning}")


def _show_checked(console: Console, checked: Checked) -> None:
    """Show all problems in one list, and the steps that could not be looked at."""
    console.print()
    for problem in checked.problems:
        _say(console, f"{problem.level}: {problem}")
    for reason in checked.unchecked:
        _say(console, f"not checked: {reason}")
    errors = f"{checked.errors} error{'' if checked.errors == 1 else 's'}"
    _say(console, f"{errors}: the run would fail" if checked.errors else "every step that could be built can run")


def show_measures(found: Mapping[str, Any]) -> None:
    """Show the measures of a run, a line for each step."""
    console = new_console()
    columns = ("overall time", "event loop", "entries", "overall rate", "per worker", "network read", "CPU", "memory")
    table = new_table("step", *columns, left=("step",))
    for step in found["steps"]:
        table.add_row(
            Text(step["step"]), duration(step["overall_time"]), duration(step["event_loop_time"]),
            f"{step['entries']:,}", rate(step["overall_rate"]), rate(step["worker_rate"]), size(step["network_read"]),
            share(min(step["cpu_time"], step["worker_time"]), step["worker_time"]), size(step["peak_memory"]),
        )  # fmt: skip
    console.print(table)


def show_trees(file: str, summaries: Sequence[TreeSummary], others: Sequence[StoredObject] = ()) -> None:
    """Show the trees of a file and their columns, and its other objects."""
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
    if others:
        table = new_table("object", "class", "bins", "entries", left=("object", "class"))
        for other in others[:_OBJECTS]:
            entries = "" if other.entries is None else f"{other.entries:,.0f}"
            table.add_row(Text(other.name), Text(other.kind), " x ".join(f"{n:,}" for n in other.bins), entries)
        console.print(table)
        if len(others) > _OBJECTS:
            _say(console, f"... and {len(others) - _OBJECTS:,} more; choose with --columns PATTERN, or all with --json")
        console.print()


def _sizes(count: int, summary: TreeSummary) -> tuple[str, str, str]:
    """Write a size, its share and the bytes per entry; dashes where they are unknown."""
    if count == 0 or summary.entries == 0:
        return "-", "-", "-"
    return size(count), share(count, summary.size), f"{count / summary.entries:,.1f}"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
