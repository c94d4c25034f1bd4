"""The command line: `portico`. Each command forwards to the library and shows what it returns."""

from __future__ import annotations

import sys

from portico.cli.base import Group, version_option, write_any_text
from portico.cli.interrupt import ready_to_leave

__all__ = ["cli", "main"]

_COMMANDS = {
    "run": "portico.cli.run:run",
    "status": "portico.cli.status:status",
    "cancel": "portico.cli.cancel:cancel",
    "report": "portico.cli.report:report",
    "metrics": "portico.cli.metrics:metrics",
    "trace": "portico.cli.trace:trace",
    "scale": "portico.cli.scale:scale",
    "compare": "portico.cli.compare:compare",
    "prune": "portico.cli.prune:prune",
    "verify": "portico.cli.verify:verify",
    "repair": "portico.cli.repair:repair",
    "cache": "portico.cli.cache:cache",
    "limit": "portico.cli.limit:limit",
    "fit": "portico.cli.fit:fit",
    "export": "portico.cli.export:export",
    "doctor": "portico.cli.doctor:doctor",
    "site": "portico.cli.site:site",
    "inspect": "portico.cli.inspect:inspect",
    "init": "portico.cli.init:init",
    "lint": "portico.cli.lint:lint",
    "corrections": "portico.cli.corrections:corrections",
    "completion": "portico.cli.completion:completion",
}

cli = Group(
    "portico",
    commands_at=_COMMANDS,
    help="""Run ROOT analyses on this machine, on Dask or in batch jobs, with the same results bit for bit.

    In Python and notebooks, portico.session keeps workers while cuts change, and portico.load reads results.

    \b
    Examples:
      portico init mysearch && portico run mysearch
      portico run examples/dimuon --workers 4
      portico status runs/dimuon

    Exit status: 0 all done; 1 failed, with the error; 2 wrong usage or configuration;
    3 done in part (only with --allow-partial); 130 interrupted.
    """,
    params=[version_option()],
)


def main() -> None:
    """Run the command line."""
    ready_to_leave()
    write_any_text(sys.stdout, sys.stderr)
    cli(prog_name="portico")
