"""`portico trace`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import Command, echo

__all__ = ["trace"]


@click.command(
    cls=Command,
    short_help="Every chunk of a run on a time line, for Perfetto or Chrome.",
    epilog="""\b
Examples:
  portico trace runs/dimuon
  portico trace runs/dimuon -o dimuon.json""",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where to write it; by default trace.json in the run folder.")  # fmt: skip
def trace(run: Path, output: Path | None) -> int:
    """Write when and where each chunk of the run folder RUN ran, with its phases, faults and rates.

    Open the file with ui.perfetto.dev, which reads it in the browser and uploads nothing, or with chrome://tracing.
    """
    from portico.monitor.trace import write_trace

    echo(str(write_trace(run, output)))
    return 0
