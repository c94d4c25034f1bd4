"""`portico report`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import Command, echo

__all__ = ["report"]


@click.command(
    cls=Command,
    short_help="Write one HTML file with all results of a run.",
    epilog="""\b
Examples:
  portico report runs/dimuon
  portico report runs/dimuon -o ~/public/dimuon.html""",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where to write it; by default report.html in the run folder.")  # fmt: skip
def report(run: Path, output: Path | None) -> int:
    """Write the report of the run folder RUN: one HTML file with all results."""
    from portico.report import write_report

    echo(str(write_report(run, output)))
    return 0
