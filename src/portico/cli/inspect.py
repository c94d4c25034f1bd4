"""`portico inspect`."""

from __future__ import annotations

from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from portico.cli.base import Command, json_option, show_json

if TYPE_CHECKING:
    from portico.files import StoredObject, TreeSummary

__all__ = ["inspect"]


@click.command(
    cls=Command,
    short_help="Show trees, entries, clusters, columns and histograms of ROOT files.",
    epilog="""\b
Examples:
  portico inspect data/events.root
  portico inspect nano.root --columns 'Muon_*' --columns nMuon
  portico inspect root://eospublic.cern.ch//eos/opendata/file.root --tree Events
  portico inspect data/*.root --json | jq '.files[].trees[].entries'""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--tree", metavar="NAME", help="Show only this tree.")
@click.option("--columns", multiple=True, metavar="PATTERN",
              help="Show only columns and histograms like 'Muon_*'; may be repeated.")  # fmt: skip
@json_option()
def inspect(files: tuple[str, ...], tree: str | None, columns: tuple[str, ...], as_json: bool) -> int:
    """Show the trees of each FILE (TTree and RNTuple): entries, clusters, columns with types and sizes.

    Histograms and other objects are listed after them.
    """
    from portico.errors import InputError

    shown: list[dict[str, Any]] = []
    problems: list[str] = []
    for file in files:
        try:
            summaries, others = _look(file, tree, columns)
        except InputError as error:
            problems.append(str(error))
            continue
        if as_json:
            plain = [{**asdict(s), "clusters": len(s.ends)} for s in summaries]
            shown.append({"file": file, "trees": plain, "objects": [asdict(o) for o in others]})
        else:
            from portico.cli.tables import show_trees

            show_trees(file, summaries, others)
    if problems:
        raise InputError("\n".join(problems))
    if as_json:
        show_json({"files": shown})
    return 0


def _look(file: str, tree: str | None, patterns: tuple[str, ...]) -> tuple[list[TreeSummary], list[StoredObject]]:
    """Return what is to be shown of a file, or raise an error if there is nothing."""
    from portico.errors import InputError, closest, nearest_of_many
    from portico.files import objects, summarise, trees

    summaries = [summarise(file, tree)] if tree is not None else trees(file)
    summaries = [summary for summary in summaries if summary.tree]
    others = objects(file) if tree is None else []
    if not summaries and not others:
        raise InputError(f"{file}: is empty: it holds no tree (TTree or RNTuple) and no other object")
    if not patterns:
        return summaries, others

    def is_wanted(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    names = [column.name for summary in summaries for column in summary.columns] + [other.name for other in others]
    summaries = [replace(s, columns=tuple(c for c in s.columns if is_wanted(c.name))) for s in summaries]
    summaries = [summary for summary in summaries if summary.columns]
    others = [other for other in others if is_wanted(other.name)]
    if not summaries and not others:
        like = {name[: len(pattern.rstrip("*"))] + "*" for pattern in patterns for name in names if pattern[-1:] == "*"}
        close = closest(patterns[0], like)
        hint = f"did you mean '{close}'? " if close else ""
        raise InputError(
            f"{file}: no column or histogram like {' or '.join(map(repr, patterns))}; {hint}"
            f"{nearest_of_many(patterns[0], list(dict.fromkeys(names)), 'names')}"
        )
    return summaries, others
