"""`portico scale`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portico.cli.base import Command, json_option, on_option, show_json
from portico.cli.complete import analyses, names_of_analysis

if TYPE_CHECKING:
    from rich.table import Table

    from portico.analysis.analysis import Analysis
    from portico.scaling.law import Interval
    from portico.scaling.measure import Wanted
    from portico.scaling.record import Record
    from portico.scaling.result import Prediction, Scaling

__all__ = ["scale"]

_LIST = re.compile(r"\s*,\s*")


class _Workers(click.ParamType[tuple[int, ...]]):
    """Numbers of workers, separated by commas."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers, ascending."""
        try:
            found = sorted({int(word) for word in _LIST.split(value.strip())})
        except ValueError:
            found = [0]
        if found[0] < 1:
            self.fail(f"'{value}': write numbers of workers, 1 or more, separated by commas, such as 1,2,4", param, ctx)
        return tuple(found)


class _Parts(click.ParamType[tuple[float, ...]]):
    """Parts of the input in percent, separated by commas."""

    name = "parts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the parts, ascending, as fractions."""
        try:
            found = sorted({float(word.removesuffix("%")) / 100 for word in _LIST.split(value.strip())})
        except ValueError:
            found = [0.0]
        if not all(0 < part <= 1 for part in found):
            self.fail(f"'{value}': write parts in percent, separated by commas, such as 25,50,100", param, ctx)
        return tuple(found)


@click.command(
    cls=Command,
    short_help="Speed-up of a step over workers and input, its limits, and predictions.",
    epilog="""\b
Examples:
  portico scale examples/dimuon
  portico scale hnl --step skim --workers 1,2,4 --repeat 5
  portico scale mysearch --on mysite --workers 4,16,64 --sample 'signal_*'
  portico scale mysearch --predict 0.5TB --cores 128 --storage '2 GB/s'
  portico scale mysearch --predict '3e9 entries' --cores 64 --cores 1000 --json

Exit status: 0 done; 1 a run failed; 2 wrong usage; 130 interrupted, the same command continues.""",
)
@click.argument("analysis", shell_complete=analyses)
@click.option("--step", metavar="NAME", shell_complete=names_of_analysis,
              help="The step to measure, one over events; needed if there are several.")  # fmt: skip
@click.option("--sample", "samples", multiple=True, metavar="NAME", shell_complete=names_of_analysis,
              help="Only this sample, or all that match, such as 'signal_*'; may be repeated.")  # fmt: skip
@on_option("Where the workers run, as in portico run.")
@click.option("--workers", type=_Workers(), metavar="N,N,...",
              help="Numbers of workers; by default 1, 2, 4, ... up to all cores of this machine.")  # fmt: skip
@click.option("--input", "parts", type=_Parts(), default="25,50,100", show_default=True, metavar="PERCENT,...",
              help="Parts of the input to measure.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="How often each is measured.")  # fmt: skip
@click.option("--cache", is_flag=True, help="Read columns from the column cache, which the first run fills; by default "
              "it is not used.")  # fmt: skip
@click.option("--predict", "volumes", multiple=True, metavar="SIZE",
              help="Predict the time for so much input, such as 0.5TB or '3e9 entries'; may be repeated.")  # fmt: skip
@click.option("--cores", type=click.IntRange(min=1), multiple=True, metavar="N",
              help="With --predict: number of workers, one per core; may be repeated.")  # fmt: skip
@click.option(
    "--storage", metavar="RATE", help="With --predict: the rate that storage delivers there, such as '2 GB/s'."
)
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="For measurements and figures; by default runs/NAME-scale for the analysis NAME.")  # fmt: skip
@json_option()
def scale(
    analysis: str, step: str | None, samples: tuple[str, ...], on: str, workers: tuple[int, ...] | None,
    parts: tuple[float, ...], repeat: int, cache: bool, volumes: tuple[str, ...], cores: tuple[int, ...],
    storage: str | None, folder: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Measure a step of ANALYSIS with several numbers of workers and parts of its input.

    Each is a run of its own in a folder of its own: run folders and their results are not touched, and nothing of them
    is reused. Measurements are kept; the same command, or one with more repetitions, adds what is missing. Amdahl's law
    and the limit of the storage are fitted to them. ANALYSIS is as in portico run.
    """
    from portico.analysis.analysis import load_analysis
    from portico.scaling.measure import Wanted
    from portico.scaling.measure import cores as own_cores
    from portico.scaling.result import Scaling, Volume

    if bool(volumes) != bool(cores) or (storage and not volumes):
        raise click.UsageError("--predict and --cores go together, and --storage with them")
    wanted_volumes, rate = [Volume.parse(text) for text in volumes], _rate(storage)
    loaded = load_analysis(analysis)
    numbers = workers or (own_cores() if on in {"local", "dask"} else ())
    if not numbers:
        raise click.UsageError(f"--workers: say how many workers to measure with on '{on}', such as 1,4,16")
    wanted = Wanted(step or _only_step(loaded), numbers, parts, repeat, on, samples, cache)
    folder = folder or loaded.run_folder.with_name(f"{loaded.name}-scale")
    found = Scaling(_measured(loaded, wanted, folder))
    predictions = [found.predict(volume, n, rate) for volume in wanted_volumes for n in cores]
    files = _draw(found, predictions, folder / wanted.step)
    if as_json:
        predicted = [{**asdict(p), "seconds": p.seconds._asdict()} for p in predictions]
        show_json({**found.to_json(), "predictions": predicted, "files": [str(path) for path in files]})
    else:
        _show(found, predictions, files)
    return 0


def _rate(text: str | None) -> float | None:
    from portico.config import parse_size
    from portico.errors import ConfigError

    if text is None:
        return None
    try:
        found = parse_size(text.strip().removesuffix("/s"))
    except ConfigError:
        found = 0
    if found <= 0:
        raise click.UsageError(f"--storage '{text}': write a rate such as '2 GB/s'")
    return float(found)


def _only_step(analysis: Analysis) -> str:
    from portico.errors import ConfigError
    from portico.scaling.measure import steps_over_events

    frames = steps_over_events(analysis)
    if len(frames) != 1:
        what = f"choose one with --step: {', '.join(frames)}" if frames else "none of its steps runs over events"
        raise ConfigError(f"{analysis.path}: {what}")
    return frames[0]


def _measured(analysis: Analysis, wanted: Wanted, folder: Path) -> Record:
    from portico.scaling.measure import measure
    from portico.scaling.progress import RunsProgress

    try:
        with RunsProgress() as progress:
            return measure(analysis, wanted, folder, progress)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"measurements so far are in {folder / wanted.step}.json")
        raise


def _draw(found: Scaling, predictions: Sequence[Prediction], path: Path) -> list[Path]:
    from portico.files.atomic import write_atomic
    from portico.scaling.figure import figure_of_scaling

    figure, written = figure_of_scaling(found, predictions), []
    for end in ("png", "pdf"):
        file = path.with_name(f"{path.name}.{end}")
        with write_atomic(file) as aside:
            figure.savefig(aside, format=end, dpi=150)
        written.append(file)
    return [path.with_name(f"{path.name}.json"), *written]


def _show(found: Scaling, predictions: Sequence[Prediction], files: Sequence[Path]) -> None:
    from rich.text import Text

    from portico.cli.tables import new_console, new_table
    from portico.monitor.units import duration, rate, share, size

    out = new_console()
    columns = ("workers", "input", "chunks", "time", "+-", "entries/s", "speed-up", "efficiency", "CPU", "read/s")
    table = new_table(*columns)
    for row in found.rows:
        sized = size(row.bytes) if found.unit == "bytes" else f"{row.entries:,} entries"
        numbers = ["-" if x is None else f"{x:.2f}" for x in (row.speedup, row.efficiency)]
        table.add_row(
            str(row.workers), sized, f"{row.chunks:,}", duration(row.seconds), duration(row.spread),
            rate(row.entries / row.seconds), *numbers, share(min(row.cpu_efficiency, 1.0), 1.0),
            size(row.read_rate) if row.read_rate else "-",
        )  # fmt: skip
    out.print(table)
    out.print()
    for line in _laws(found):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if predictions:
        out.print()
        out.print(_predicted(predictions))
        if any(p.times_workers > 1 or p.times_volume > 1 for p in predictions):
            far = max(predictions, key=lambda p: p.times_workers * p.times_volume)
            words = f"{far.times_workers:.3g} times the workers and {far.times_volume:.3g} times the input measured"
            out.print(f"the intervals assume that the model holds up to {words}", highlight=False, soft_wrap=True)
    out.print()
    for note in found.notes:
        out.print(Text.assemble(("note", "yellow"), f": {note}"), soft_wrap=True)
    for path in files:
        out.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)


def _laws(found: Scaling) -> list[str]:
    from portico.monitor.units import duration, size

    law, storage = found.law, found.storage
    unit, per = (1e9, "GB") if found.unit == "bytes" else (1e6, "million entries")
    fraction = law.serial_fraction
    most = f"{1 / fraction.value:,.3g}" if fraction.value > 0 else "no limit found"
    least = f"{1 / fraction.high:,.3g}" if fraction.high > 0 else "1"
    shared, serial = (_interval(of, lambda s: duration(s * unit)) for of in (law.shared, law.serial))
    percent = _interval(fraction, lambda f: f"{100 * f:.3g}%")
    lines = [
        f"fixed time: {_interval(law.fixed, duration)}",
        f"per {per}: {shared} of parallel work, {serial} of serial work",
        f"serial fraction (Amdahl): {percent}; largest speed-up: {most}, at least {least}",
    ]
    if storage is None:
        return [*lines, "storage: no limit known"]
    if storage.seen:
        return [*lines, f"storage: limited to {_interval(storage.rate, lambda b: f'{size(b)}/s')}"]
    return [*lines, f"storage: no limit found up to {size(storage.highest)}/s"]


def _interval(of: Interval, write: Callable[[float], str]) -> str:
    return f"{write(of.value)} ({write(of.low)} to {write(of.high)})"


def _predicted(predictions: Sequence[Prediction]) -> Table:
    from portico.cli.tables import new_table
    from portico.monitor.units import duration, size
    from portico.scaling.result import Volume

    table = new_table("predicted: input", "workers", "time", "68% interval", "storage must deliver", "limited by")
    for p in predictions:
        workers = f"{p.cores:,}" if p.busy == p.cores else f"{p.cores:,}, {p.busy:,} with a chunk"
        rate = "-" if p.rate is None else f"{size(p.rate)}/s"
        far = "" if p.times_highest is None else f", {p.times_highest:.3g} times the highest measured"
        interval = f"{duration(p.seconds.low)} to {duration(p.seconds.high)}"
        table.add_row(str(Volume(p.volume, p.unit)), workers, duration(p.seconds.value), interval, rate + far,
                      p.limited_by)  # fmt: skip
    return table
