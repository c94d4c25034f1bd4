"""`portico prune`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import Command, echo, json_option, show_json

__all__ = ["prune"]


@click.command(
    cls=Command,
    short_help="Remove results of earlier versions of a run.",
    epilog="""\b
Examples:
  portico prune runs/dimuon --dry-run
  portico prune runs/dimuon --keep-days 7
  portico prune runs/dimuon --keep-size "20 GB"
  portico prune runs/dimuon --keep-size "0 GB"      all but the current results""",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--keep-days", type=click.FloatRange(min=0), metavar="DAYS",
              help="Keep results that were current at most DAYS days ago; 30 by default.")  # fmt: skip
@click.option("--keep-size", metavar="SIZE",
              help="Keep at most SIZE, such as '20 GB', the latest first; by default as much as the current results "
              "take, at least 1 GB.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing.")
@json_option()
def prune(run: Path, keep_days: float | None, keep_size: str | None, dry_run: bool, as_json: bool) -> int:
    """Remove results and trees of the run folder RUN that are no longer current, the oldest first.

    Current results are never removed. Each run prunes at its end with the default limits.
    """
    from portico.config import parse_size
    from portico.runfolder.folder import RunFolder
    from portico.runfolder.prune import KEEP_DAYS, prune_run

    size = None if keep_size is None else parse_size(keep_size)
    pruned = prune_run(RunFolder(run), days=KEEP_DAYS if keep_days is None else keep_days, size=size, dry_run=dry_run)
    if as_json:
        show_json(pruned.to_json())
        return 0
    from portico.monitor.units import size as in_words

    names = ", ".join(f"@{number}" for number in pruned.versions) or "no version"
    echo(f"{'would remove' if dry_run else 'removed'}: {names}, {in_words(pruned.freed)}")
    kept = ", ".join(f"@{number}" for number in pruned.kept) or "no earlier version"
    echo(f"kept: {kept}, {in_words(pruned.older)}; the current results take {in_words(pruned.current)}")
    return 0
