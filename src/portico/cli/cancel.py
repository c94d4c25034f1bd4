"""`portico cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import Command, echo, json_option, show_json

__all__ = ["cancel"]


@click.command(
    cls=Command,
    short_help="Remove the batch jobs of a run; finished chunks are kept.",
    epilog="""\b
Examples:
  portico cancel runs/dimuon
  portico cancel runs/dimuon --json | jq .removed""",
)
@click.argument("run", type=click.Path(path_type=Path))
@json_option()
def cancel(run: Path, as_json: bool) -> int:
    """Remove the batch jobs of the run folder RUN from their queue.

    Finished chunks are kept: 'portico run' collects them and computes only what is missing.
    """
    from portico.clusters.queues.submission import cancel as remove

    removed = remove(run)
    counts = {state: sum(job.state == state for job in removed.values()) for state in ("running", "idle", "held")}
    if as_json:
        show_json({"run": str(run), "removed": len(removed), **counts, "jobs": list(removed)})
        return 0
    if not removed:
        echo(f"{run}: no batch jobs are in the queue")
        return 0
    words = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    echo(f"removed {len(removed):,} job{'' if len(removed) == 1 else 's'} ({words})")
    echo(f"finished chunks are kept; portico run computes only what is missing in {run}")
    return 0
