"""`portico inspect`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from portico.cli.base import Command, json_option, show_json

if TYPE_CHECKING:
    from portico.files import TreeSummary

__all__ = ["inspect"]


@click.command(
    cls=Command,
    short_help="Show trees, entries, clusters and columns of ROOT files.",
    epilog="""\b
Examples:
  portico inspect data/events.root
  portico inspect root://eospublic.cern.ch//eos/opendata/file.root --tree Events
  portico inspect data/*.root --json | jq '.files[].trees[].entries'""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--tree", metavar="NAME", help="Show only this tree.")
@json_option()
def inspect(files: tuple[str, ...], tree: str | None, as_json: bool) -> int:
    """Show the trees of each FILE (TTree and RNTuple): entries, clusters, columns with types and sizes."""
    from portico.errors import InputError
    from portico.files import summarise, trees

    found: dict[str, list[TreeSummary]] = {}
    problems: list[str] = []
    for file in files:
        try:
            summaries = [summarise(file, tree)] if tree is not None else trees(file)
        except InputError as error:
            problems.append(str(error))
            continue
        found[file] = [summary for summary in summaries if summary.tree]
        if not found[file]:
            problems.append(f"{file}: holds no tree (TTree or RNTuple)")
            del found[file]
    if as_json and not problems:
        plain = {file: [{**asdict(s), "clusters": len(s.ends)} for s in of] for file, of in found.items()}
        show_json({"files": [{"file": file, "trees": shown} for file, shown in plain.items()]})
    elif not as_json:
        from portico.cli.tables import show_trees

        for file, summaries in found.items():
            show_trees(file, summaries)
    if problems:
        raise InputError("\n".join(problems))
    return 0
