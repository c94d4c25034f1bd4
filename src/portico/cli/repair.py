"""`portico repair`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import Command, json_option, show_json

__all__ = ["repair"]


@click.command(
    cls=Command,
    short_help="Repair the ledger and the manifest of a run.",
    epilog="""\b
Examples:
  portico repair runs/dimuon && portico run examples/dimuon""",
)
@click.argument("run", type=click.Path(path_type=Path))
@json_option()
def repair(run: Path, as_json: bool) -> int:
    """Keep what is intact in the run folder RUN and drop what is damaged: the next run recreates it.

    Nothing is removed: a damaged ledger is moved aside.
    """
    from portico.runfolder.repair import repair as repair_run

    found = repair_run(run)
    if as_json:
        show_json(found.to_json())
        return 0
    for text in found.done:
        click.echo(f"repaired: {text}")
    for text in found.left:
        click.echo(f"to be recreated: {text}")
    rest = "portico run recreates what is missing" if found.done or found.left else "nothing was wrong"
    click.echo(f"{run}: {rest}")
    return 0
