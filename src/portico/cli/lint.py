"""`portico lint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.base import FAILED, Command, echo, json_option, show_json

if TYPE_CHECKING:
    from portico.lint import Finding, Written

__all__ = ["lint"]

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command(
    cls=Command,
    short_help="Show what to change to turn an RDataFrame script into a step.",
    epilog="""\b
Examples:
  portico lint analysis.py
  portico lint analysis.py --write mysearch
  portico lint analysis.py --json | jq '.findings[] | select(.level == "error")'

Exit status: 0 without errors, also with warnings and notes; 1 with errors, also if --write dealt with
them; 2 if the script cannot be read, or FOLDER exists.""",
)
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--write", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Turn the script into a first analysis in a new folder, and list what is left to do.")  # fmt: skip
@json_option()
def lint(script: Path, folder: Path | None, as_json: bool) -> int:
    """Find what would not work in a step of an analysis in SCRIPT, a Python script that uses RDataFrame.

    Each finding has a line, a reason and a fix. The script is neither run nor changed.
    """
    from portico.lint import check, read_script, write

    read = read_script(script)
    findings = check(read)
    written = write(read, folder) if folder is not None else None
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        content: dict[str, object] = {"script": str(script), "errors": errors}
        content["findings"] = [finding.to_json() for finding in findings]
        if written is not None:
            content["written"] = [str(file) for file in written.files]
            content["by_hand"] = [{"line": line, "what": what} for line, what in written.by_hand]
        show_json(content)
    else:
        _show(script, findings)
        if written is not None and folder is not None:
            _show_written(folder, written)
    return FAILED if errors else 0


def _show(script: Path, findings: list[Finding]) -> None:
    for finding in findings:
        echo(f"{script}:{finding.line}: ", nl=False)
        click.secho(f"{finding.level}: ", fg=_COLOURS[finding.level], bold=True, nl=False)
        echo(f"{finding.what} [{finding.rule}]")
        echo(f"    why: {finding.why}")
        echo(f"    fix: {finding.fix}")
    counts = {level: sum(finding.level == level for finding in findings) for level in _COLOURS}
    words = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count]
    echo(f"{script}: {', '.join(words) if words else 'nothing found'}")


def _show_written(folder: Path, written: Written) -> None:
    echo("written:")
    for file in written.files:
        echo(f"  {file}")
    if written.by_hand:
        echo("left to do by hand, by lines of the script:")
        for line, what in written.by_hand:
            echo(f"  {line}: {what}")
    echo(f"next:\n  portico run {folder}")
