"""`portico init`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import Command, echo

__all__ = ["init"]


@click.command(
    cls=Command,
    short_help="Create a new analysis that runs at once.",
    epilog="""\b
Examples:
  portico init mysearch
  cd mysearch && portico run .""",
)
@click.argument("name")
def init(name: str) -> int:
    """Create the folder NAME with a small analysis as a starting point for your own.

    It generates its own events, so it runs at once, without any data. It never overwrites a file.
    """
    from portico.analysis.init_template import create

    for path in create(name, Path()):
        echo(f"  {path}")
    echo(f"next:\n  cd {name}\n  portico run .")
    return 0
