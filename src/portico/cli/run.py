"""`portico run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portico.cli.base import FAILED, PARTIAL, Command, echo, json_option, on_option, show_json
from portico.cli.complete import analyses, names_of_analysis

if TYPE_CHECKING:
    from portico.analysis.analysis import Analysis
    from portico.monitor.progress import Progress
    from portico.runfolder.load import Run

__all__ = ["run"]


@click.command(
    cls=Command,
    short_help="Run an analysis; only what is missing runs.",
    epilog="""\b
Examples:
  portico run examples/dimuon
  portico run . --workers 4
  portico run mysearch/analysis.yaml --step histograms --sample signal
  portico run hnl --on dask --run /scratch/hnl
  portico run . --on tcp://10.0.0.1:8786 --allow-partial
  portico run . --on mysite --workers 200
  portico run . --on mysite --batch --detach
  portico run . --store root://eos.example//eos/user/m/me/mysearch
  portico run . --dry-run""",
)
@click.argument("analysis", shell_complete=analyses)
@on_option("local: processes on this machine; dask: a new Dask cluster on this machine; a site, such as htcondor, "
           "slurm or your own (see portico site); the address of a Dask scheduler, tcp://HOST:PORT; or an "
           "installed executor, NAME or NAME+ADDRESS: {executors}.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="Number of workers; by default one per core, on a site its maximum.")  # fmt: skip
@click.option("--step", "steps", multiple=True, metavar="NAME", shell_complete=names_of_analysis,
              help="Run only this step; may be repeated.")  # fmt: skip
@click.option("--sample", "samples", multiple=True, metavar="NAME", shell_complete=names_of_analysis,
              help="Run only over this sample, or all that match, such as 'signal_*'; may be repeated.")  # fmt: skip
@click.option("--run", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
              help="The run folder; by default runs/NAME, with the name of the analysis.")  # fmt: skip
@click.option("--store", metavar="FOLDER|URL",
              help="Where to write trees: a folder, or a URL such as root://host//store/user/me/run.")  # fmt: skip
@click.option("--allow-partial", is_flag=True, help="Continue without input that cannot be read; exit status 3 if so.")
@click.option("--accept-changed-input", is_flag=True,
              help="Also run samples that have fewer files or entries than at their last run.")  # fmt: skip
@click.option("--unblind", is_flag=True, help="Show and fit data in the blinded signal windows, too.")
@click.option("--batch", is_flag=True, help="Submit plain batch jobs on the site of --on; this process need not stay.")
@click.option("--chunks-per-job", type=click.IntRange(min=1), metavar="N",
              help="With --batch: number of chunks that a job runs, one after the other.")  # fmt: skip
@click.option("--chunk-timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Time limit of a chunk; one that takes longer runs again elsewhere.")  # fmt: skip
@click.option("--detach", is_flag=True, help="With --batch: exit after submitting; the same command collects results.")
@click.option("--cache/--no-cache", help="Cache the columns that steps read on the workers' disks, for the next run; "
              "off by default.")  # fmt: skip
@click.option("--metrics-port", type=click.IntRange(0, 65535), metavar="PORT",
              help="During the run, serve metrics for Prometheus at this port of this machine; 0: any.")  # fmt: skip
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show what would run, and every problem that would stop it; exit status 1 if there is a problem.",
)
@json_option()
def run(
    analysis: str, on: str, workers: int | None, steps: tuple[str, ...], samples: tuple[str, ...],
    folder: Path | None, store: str | None, allow_partial: bool, accept_changed_input: bool, unblind: bool, batch: bool,
    chunks_per_job: int | None, chunk_timeout: float | None, detach: bool, cache: bool, metrics_port: int | None,
    dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Run the steps of ANALYSIS in order, over all samples.

    ANALYSIS is an analysis.yaml, a folder that contains one, or an installed package that does (such as hnl).
    After Ctrl-C or any other interruption, the same command resumes the run.
    """
    from portico.analysis.analysis import load_analysis

    loaded = load_analysis(analysis, store=store)
    folder = folder or loaded.run_folder
    options: dict[str, Any] = {
        "folder": folder, "on": on, "workers": workers, "batch": batch, "detach": detach,
        "chunks_per_job": chunks_per_job, "steps": steps, "samples": samples, "unblind": unblind,
    }  # fmt: skip
    allowed = {"allow_partial": allow_partial, "accept_changed_input": accept_changed_input}
    if dry_run:
        return _preview(loaded, {**options, **allowed}, as_json)
    from portico.errors import Detached
    from portico.monitor.progress import Progress
    from portico.workflow.run import run as run_analysis

    _say_what_ctrl_c_waits_for(on, batch)
    try:
        with Progress() as progress, _exported(progress, metrics_port) as reporter:
            options |= {**allowed, "cache": cache, "chunk_timeout": chunk_timeout}
            result = run_analysis(loaded, **options, reporter=reporter)
    except Detached as detached:
        _submitted(str(detached), folder, as_json)
        return 0
    report = _report(result)
    _summary(result, report, loaded, as_json)
    return PARTIAL if result.partial else 0


@contextmanager
def _exported(progress: Progress, port: int | None) -> Iterator[Any]:
    """Yield the reporter of a run, which serves metrics if there is a port for them."""
    if port is None:
        yield progress
        return
    from portico.monitor.exporter import MetricsExporter, Tee

    with MetricsExporter(port) as exporter:
        progress.note(f"metrics for Prometheus: {exporter.address}")
        yield Tee(progress, exporter)


def _say_what_ctrl_c_waits_for(on: str, batch: bool) -> None:
    from portico.cli.interrupt import wait_for
    from portico.clusters.site import RESERVED
    from portico.executors.plugins import plugin_of

    if batch:
        wait_for("the batch system to report which jobs continue", 5)
    elif on not in RESERVED and "://" not in on and not plugin_of(on):
        wait_for(f"the jobs of '{on}' to be removed (without a driver they end by themselves in two minutes)", 15)


def _submitted(words: str, folder: Path, as_json: bool) -> None:
    if as_json:
        from portico.monitor.status import read_status

        show_json(read_status(folder).to_json())
    else:
        echo(words)


def _preview(analysis: Analysis, options: dict[str, Any], as_json: bool) -> int:
    from portico.workflow.dry_run import preview

    planned = preview(analysis, **options, checked=True)
    if as_json:
        show_json(planned.to_json())
    else:
        from portico.cli.tables import show_preview

        show_preview(planned)
    return FAILED if planned.checked is not None and planned.checked.errors else 0


def _report(result: Run) -> Path | None:
    """Write the report; if that fails, the run has not failed."""
    try:
        from portico.report import write_report

        return write_report(result.path)
    except Exception as error:
        text = " ".join(str(error).split())
        echo(f"warning: the report could not be written: {type(error).__name__}: {text}", err=True)
        return None


def _summary(result: Run, report: Path | None, analysis: Analysis, as_json: bool) -> None:
    from portico.monitor.status import read_status
    from portico.runfolder.yields import read_yields

    status = read_status(result.path)
    frames = {name for name, of in result.version.steps.items() if of.kind == "frame"}
    between = {step.input for step in analysis.steps if step.name in frames}
    yields = read_yields(result, [step.name for step in analysis.steps if step.name not in between])
    if as_json:
        content: dict[str, Any] = {**status.to_json(), "report": None if report is None else str(report)}
        content["yields"] = {found.step: found.rows for found in yields}
        show_json(content)
        return
    from portico.cli.tables import show_run

    show_run(status, report, yields)
