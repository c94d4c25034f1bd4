"""`portico status`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from portico.cli.base import Command, json_option, show_json

__all__ = ["status"]


@click.command(
    cls=Command,
    short_help="Show what is done, running and failed in a run, and why.",
    epilog="""\b
Examples:
  portico status runs/dimuon
  portico status runs/dimuon --watch
  portico status runs/dimuon --json | jq .state""",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Show it every two seconds until the run ends; Ctrl-C leaves it alone.")
@json_option()
def status(run: Path, watch: bool, as_json: bool) -> int:
    """Show what is done, running and failed in the run folder RUN, and why.

    The run may be in progress, in another terminal or on another machine.
    """
    from portico.monitor.status import read_status

    if watch:
        if as_json:
            raise click.UsageError("--watch is for people, and --json for programs; give one of them")
        from portico.cli.tables import watch_status

        with suppress(KeyboardInterrupt):
            watch_status(run)
        return 0
    found = read_status(run)
    if as_json:
        show_json(found.to_json())
    else:
        from portico.cli.tables import show_status

        show_status(found)
    return 0
