"""`portico verify`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import FAILED, Command, json_option, show_json

__all__ = ["verify"]


@click.command(
    cls=Command,
    short_help="Compare all files of a run with their checksums.",
    epilog="""\b
Examples:
  portico verify runs/dimuon
  portico verify runs/dimuon --json | jq .faults""",
)
@click.argument("run", type=click.Path(path_type=Path))
@json_option()
def verify(run: Path, as_json: bool) -> int:
    """Read all files of the run folder RUN, and compare them with their checksums and the ledger.

    Exit status 1 if anything is wrong: the next run recreates it, after portico repair if the message says so.
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
    wrong = f"{len(found.faults):,} wrong; portico run recreates them" if found.faults else "all unchanged"
    click.echo(f"{run}: {many}: {wrong}")
    return FAILED if found.faults else 0
