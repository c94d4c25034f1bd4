"""`portico verify`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import FAILED, Command, json_option, show_json

__all__ = ["verify"]


@click.command(
    cls=Command,
    short_help="Read all files of a run, and compare their checksums.",
    epilog="""\b
Examples:
  portico verify runs/dimuon
  portico verify runs/dimuon --json | jq .faults""",
)
@click.argument("run", type=click.Path(path_type=Path))
@json_option()
def verify(run: Path, as_json: bool) -> int:
    """Read everything that the run folder RUN keeps, and compare it with what was written.

    Exit status 1 if anything is wrong: the next run makes it again, after portico repair if that is said.
    """
    from portico.monitor.units import size
    from portico.runfolder.verify import verify as verify_run

    found = verify_run(run)
    if as_json:
        show_json(found.to_json())
        return FAILED if found.faults else 0
    for note in found.notes:
        click.echo(f"note: {note}")
    for fault in found.faults:
        click.secho("wrong: ", fg="red", bold=True, nl=False)
        click.echo(str(fault))
    many = f"{found.files:,} files, {size(found.size)}, of {found.chunks:,} chunks"
    wrong = f"{len(found.faults):,} wrong; portico run makes them again" if found.faults else "all as they were written"
    click.echo(f"{run}: {many}: {wrong}")
    return FAILED if found.faults else 0
