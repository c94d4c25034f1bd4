"""`portico metrics`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from portico.cli.base import Command, echo, json_option, show_json

__all__ = ["metrics"]


@click.command(
    cls=Command,
    short_help="Times, rates and resources of a run, for programs.",
    epilog="""\b
Examples:
  portico metrics runs/hnl --json | jq '.steps[] | {step, overall_rate, worker_rate}'
  portico metrics runs/hnl -o measured
  portico metrics --grafana > dashboard.json""",
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Write metrics.json, chunks.parquet and machines.parquet there.")  # fmt: skip
@click.option("--grafana", is_flag=True, help="Print a dashboard of what portico run --metrics-port serves.")
@json_option()
def metrics(run: Path | None, output: Path | None, grafana: bool, as_json: bool) -> int:
    """Show times, rates and resources of the run folder RUN, by step; docs/metrics.md describes them."""
    if grafana:
        click.echo((files("portico.monitor") / "grafana.json").read_text(encoding="utf-8"), nl=False)
        return 0
    if run is None:
        raise click.UsageError("Missing argument 'RUN'.")
    import json

    from portico.files.atomic import write_atomic
    from portico.monitor.measures import measures, write_tables

    found = measures(run)
    if output is not None:
        written = write_tables(run, output)
        with write_atomic(output / "metrics.json") as aside:
            aside.write_text(json.dumps(found, indent=1), encoding="utf-8")
        for path in [output / "metrics.json", *written]:
            echo(str(path), err=as_json)
    if as_json:
        show_json(found)
    elif output is None:
        from portico.cli.tables import show_measures

        show_measures(found)
    return 0
