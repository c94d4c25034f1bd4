"""`portico doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.base import FAILED, Command, echo, json_option, on_option, show_json
from portico.cli.complete import analyses

if TYPE_CHECKING:
    from rich.console import Console

    from portico.doctor import Finding

__all__ = ["doctor"]

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command(
    cls=Command,
    short_help="Check everything a run needs, before it runs.",
    epilog="""\b
Examples:
  portico doctor
  portico doctor . --on tcp://10.0.0.1:8786
  portico doctor hnl --on mysite --run /shared/hnl
  portico doctor . --json | jq '.findings[] | select(.level == "error")'

Exit status: 0 without errors, also with warnings; 1 with errors.""",
)
@click.argument("analysis", required=False, shell_complete=analyses)
@on_option("Where it will run, as for portico run.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Number of workers to start.")
@click.option("--run", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
              help="The run folder; by default runs/NAME, with the name of the analysis.")  # fmt: skip
@click.option("--store", metavar="FOLDER|URL", help="Where to write trees, if not in the run folder.")
@click.option("--wait", type=click.FloatRange(min=1), default=120, show_default=True, metavar="SECONDS",
              help="How long to wait for the first worker.")  # fmt: skip
@json_option()
def doctor(
    analysis: str | None, on: str, workers: int | None, folder: Path | None, store: str | None, wait: float,
    as_json: bool,
) -> int:  # fmt: skip
    """Check everything that a run of ANALYSIS needs, on every worker: software, machines, code, files, credentials.

    Without ANALYSIS, check only what every run needs. The doctor runs no steps and leaves nothing behind.
    """
    from portico.analysis.analysis import load_analysis
    from portico.doctor import examine

    loaded = load_analysis(analysis, store=store) if analysis is not None else None

    def tell(what: str) -> None:
        if not as_json:
            echo(f"checking {what} ...", err=True)

    found = examine(loaded, on=on, workers=workers, folder=folder, patience=wait, tell=tell)
    findings = list(found) if as_json else _show(found)
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        show_json({"on": on, "errors": errors, "findings": [finding.to_json() for finding in findings]})
    return FAILED if errors else 0


def _show(found: Iterable[Finding]) -> list[Finding]:
    """Show each finding as soon as it is made, and a summary."""
    from portico.cli.tables import new_console

    console = new_console()
    findings: list[Finding] = []
    for finding in found:
        _show_one(console, finding)
        findings.append(finding)
    counts = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning")}
    words = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count]
    console.print()
    console.print(", ".join(words) if words else "all is well", markup=False, highlight=False)
    return findings


def _show_one(console: Console, finding: Finding) -> None:
    from rich.text import Text

    line = Text.assemble((f"{finding.level:8}", _COLOURS[finding.level]), (f"{finding.check:13}", "bold"), finding.what)
    console.print(line, soft_wrap=True)
    for word, text in (("why", finding.why), ("fix", finding.fix)):
        if text:
            console.print(Text.assemble(" " * 8, (f"{word:13}", "dim"), text), soft_wrap=True)
