"""`portico cache`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from portico.cli.base import Command, echo, json_option, show_json

__all__ = ["cache"]


@click.command(
    cls=Command,
    short_help="Show or clear the column cache of this machine.",
    epilog="""\b
Examples:
  portico cache
  portico cache --clear""",
)
@click.option("--clear", is_flag=True, help="Remove all columns; running chunks keep those that they use.")
@json_option()
def cache(clear: bool, as_json: bool) -> int:
    """Show the columns that runs with --cache have cached on this machine, by input file.

    The cache is in $PORTICO_COLUMNS, or in the folder 'columns' of $PORTICO_CACHE.
    """
    from portico.columns import column_cache
    from portico.monitor.units import duration, size

    found = column_cache()
    kept = [] if found is None else found.contents()
    held = sum(file.size for file in kept)
    limit = 0 if found is None else found.limit(held)
    freed = found.clear() if found is not None and clear else 0
    if as_json:
        show_json({
            "folder": None if found is None else str(found.folder), "size": held, "limit": limit, "freed": freed,
            "files": [asdict(file) for file in kept],
        })  # fmt: skip
        return 0
    if found is None:
        echo("no columns are cached: PORTICO_COLUMNS or PORTICO_CACHE is empty, or the folder cannot be used")
        return 0
    if clear:
        echo(f"removed: {size(freed)} in {found.folder}")
        return 0
    for file in kept:
        parts = f"{file.columns} columns of {file.chunks} chunks"
        ago = duration(max(0.0, time.time() - file.used))
        echo(f"{size(file.size):>8}  {parts}, used {ago} ago: {file.file or '(unknown)'}")
    echo(f"{size(held):>8}  of at most {size(limit)} in {found.folder}")
    return 0
