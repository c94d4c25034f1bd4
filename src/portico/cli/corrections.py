"""`portico corrections`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.base import Command, Group, echo, json_option, show_json

if TYPE_CHECKING:
    from portico.corrections.schema import Function

__all__ = ["convert", "corrections", "show"]

corrections = Group(
    "corrections",
    commands_at={"show": "portico.cli.corrections:show", "convert": "portico.cli.corrections:convert"},
    short_help="Show correction files, or make them.",
    help="""Show correctionlib files (schema version 2), or make them from histograms or tag-and-probe results.

    \b
    Examples:
      portico corrections show src/hnl/corrections/muon.json
      portico corrections convert sf.root muon.json --name muon_id --from h_sf --inputs pt,abseta
    """,
)


@click.command(
    cls=Command,
    short_help="Show the corrections in a file, with their inputs and ranges.",
    epilog="""\b
Examples:
  portico corrections show src/hnl/corrections/muon.json
  portico corrections show muon_JPsi.json.gz --json | jq '.[].name'""",
)
@click.argument("file", type=click.Path(path_type=Path))
@json_option()
def show(file: Path, as_json: bool) -> int:
    """Show the corrections in FILE: names, inputs and covered ranges."""
    from portico.corrections.schema import content_of, functions_in, read_set

    functions = list(functions_in(read_set(content_of(file), str(file)), str(file)))
    if as_json:
        show_json([_plain(function) for function in functions])
    else:
        _show(file, functions)
    return 0


def _plain(function: Function) -> dict[str, object]:
    inputs = [{**asdict(put), "low": _number(put.low), "high": _number(put.high)} for put in function.inputs]
    return {
        "name": function.name, "description": function.description, "compound": function.compound,
        "outside": list(function.flows), "inputs": inputs,
    }  # fmt: skip


def _number(value: float | None) -> float | str | None:
    """Return infinity as the schema writes it: JSON has no such number."""
    return f"{value}" if value is not None and math.isinf(value) else value


def _show(file: Path, functions: list[Function]) -> None:
    from rich.text import Text

    from portico.cli.tables import new_console, new_table

    out = new_console()
    out.print(Text(str(file), style="bold"), soft_wrap=True)
    for function in functions:
        kind = " (compound)" if function.compound else ""
        out.print()
        out.print(Text.assemble((function.name, "bold"), f"{kind}: {function.description or 'no description'}"))
        rows = new_table("input", "type", "covers", "", left=("input", "type", "covers", ""))
        for put in function.inputs:
            rows.add_row(Text(put.name), put.kind, Text(put.covers or "everything"), Text(put.description))
        out.print(rows)
        if function.flows:
            out.print(f"  in the file, outside of bins: {', '.join(function.flows)}; 'range' of the selection decides")


@click.command(
    cls=Command,
    short_help="Make a correction from a histogram or tag-and-probe results.",
    epilog="""\b
Examples:
  portico corrections convert sf.root muon.json --name muon_id --from h_sf --inputs pt,abseta
  portico corrections convert sf.root muon.json --name muon_id --from h --up h_up --down h_down --inputs pt,abseta
  portico corrections convert tnp.json muon.json --name muon_reco --inputs pt,abseta --add
  portico corrections convert tnp.json muon.json --name muon_reco --from NUM_SoftID_DEN_TrackerMuons/abseta_pt""",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the correction.")
@click.option("--from", "source", metavar="NAME",
              help="Histogram, or ENTRY/BINNING of tag and probe, if there are several.")  # fmt: skip
@click.option("--inputs", metavar="A,B,...", default="", help="Names of the axes; for tag and probe their order.")
@click.option("--up", metavar="NAME", help="Histogram of the values varied up; by default value + error.")
@click.option("--down", metavar="NAME", help="Histogram of the values varied down; by default value - error.")
@click.option("--empty", type=float, metavar="VALUE",
              help="Value for bins without content and error, which are an error otherwise.")  # fmt: skip
@click.option("--description", default="", help="Origin of the numbers.")
@click.option("--add", is_flag=True, help="Add to OUTPUT if it exists; replace a correction of the same name.")
def convert(
    file: Path, output: Path, name: str, source: str | None, inputs: str, up: str | None, down: str | None,
    empty: float | None, description: str, add: bool,
) -> int:  # fmt: skip
    """Make OUTPUT (.json or .json.gz) from FILE: a .root file with histograms, or a .json file of tag and probe.

    The correction takes the axes' values and a word: nominal, up or down. A value outside of the bins is an error,
    unless a selection says 'range: clamp'.
    """
    from portico.corrections.convert import to_correction, write_corrections
    from portico.corrections.tagandprobe import read_grid

    axes = [axis.strip() for axis in inputs.split(",") if axis.strip()]
    grid = read_grid(file, source, axes, up=up, down=down, empty=empty)
    text = description or f"made from {file.name}{f', {source}' if source else ''} by portico corrections convert"
    write_corrections(output, [to_correction(grid, name, text)], add=add)
    echo(f"{output}: {name}({', '.join((*grid.inputs, 'variation'))}), {grid.nominal.size} bins")
    return 0
