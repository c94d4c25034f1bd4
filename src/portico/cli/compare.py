"""`portico compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.base import FAILED, WRONG_USAGE, Command, json_option, show_json
from portico.cli.complete import names_of_run

if TYPE_CHECKING:
    from rich.console import Console

    from portico.compare import Comparison, Difference

__all__ = ["compare"]

_COMPARED = "compared"
_ROWS = 20
_ROWS_OF_ROUNDING = 5  # where there is nothing else
_COLOURS = {"rounding": "green", "migrated bin": "yellow"}


class _Compare(Command):
    """A command with status 1 if the two differ, and 2 for every error."""

    def invoke(self, ctx: click.Context) -> None:
        """Run the command; exit with its status."""
        try:
            super().invoke(ctx)
        except click.exceptions.Exit as done:
            if done.exit_code == FAILED and not ctx.meta.get(_COMPARED):
                ctx.exit(WRONG_USAGE)
            raise


@click.command(
    cls=_Compare,
    short_help="Compare two runs number by number, and name the differences.",
    epilog="""\b
Examples:
  portico compare runs/original runs/port
  portico compare runs/local runs/htcondor --rtol 0 --step select
  portico compare runs/hnl batch/histograms.root --mapping original.yaml --html comparison.html
  portico compare runs/original runs/port --html comparison.html --all
  portico compare runs/hnl runs/hnl@previous
  portico compare runs/a runs/b --json | jq .verdict

Exit status: 0 equal within the tolerance; 1 different, or not all could be compared; 2 wrong usage, or one of the
two cannot be read.""",
)
@click.argument("first", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("second", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--rtol", type=float, default=1e-12, show_default=True, metavar="NUMBER",
              help="Relative tolerance of floating-point numbers; 0 requires identical bits.")  # fmt: skip
@click.option("--atol", type=float, default=0.0, show_default=True, metavar="NUMBER",
              help="Absolute tolerance, in the unit of each number.")  # fmt: skip
@click.option("--step", "steps", multiple=True, metavar="NAME", shell_complete=names_of_run,
              help="Only this step; may be repeated.")  # fmt: skip
@click.option("--sample", "samples", multiple=True, metavar="NAME", shell_complete=names_of_run,
              help="Only this sample; may be repeated.")  # fmt: skip
@click.option("--mapping", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="YAML file with the corresponding names and the columns that identify an event.")  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Also write an HTML file with the comparison and plots of histograms that differ.")  # fmt: skip
@click.option("--all", "draw_all", is_flag=True, help="With --html: draw all histograms, also those that are equal.")
@json_option()
@click.pass_context
def compare(
    ctx: click.Context,
    first: Path,
    second: Path,
    rtol: float,
    atol: float,
    steps: tuple[str, ...],
    samples: tuple[str, ...],
    mapping: Path | None,
    html: Path | None,
    draw_all: bool,
    as_json: bool,
) -> int:
    """Compare two run folders, or a run folder and a ROOT file of another program.

    RUN@previous is RUN before its last change, RUN@NUMBER an earlier version listed by "portico status".

    The comparison covers entries, cutflows, every bin with its sum of squared weights, the chosen candidate of every
    event by run, luminosity block and event, yields and limits. It classifies each difference: missing, double, other
    candidate, migrated bin, rounding, other. The number of workers and the chunks do not matter.
    """
    from portico.compare import compare as compare_runs

    if draw_all and html is None:
        raise click.UsageError("--all says what --html draws; give --html FILE as well")
    comparison = compare_runs(
        first, second, rtol=rtol, atol=atol, steps=steps, samples=samples, mapping=mapping, draw_all=draw_all
    )
    page = None
    if html is not None:
        from portico.report.comparison import write_comparison

        page = write_comparison(comparison, html)
    if as_json:
        show_json(comparison.to_json())
    else:
        _show(comparison, page)
    ctx.meta[_COMPARED] = True
    return 0 if comparison.equal else 1


def _show(comparison: Comparison, page: Path | None) -> None:
    from rich.text import Text

    from portico.cli.tables import new_console

    console = new_console()
    word, _, rest = comparison.verdict.partition(":")
    console.print(Text.assemble((word, "bold green" if comparison.equal else "bold red"), f":{rest}"), soft_wrap=True)
    for note in comparison.notes:
        console.print(Text.assemble(("note", "yellow"), f": {note}"), soft_wrap=True)
    if not comparison.equal:
        words = f"tolerance: {comparison.tolerance}"
        console.print(words, markup=False, highlight=False, soft_wrap=True)
    if comparison.differences:
        console.print()
        _show_differences(console, comparison.differences, _ROWS_OF_ROUNDING if comparison.equal else _ROWS)
    if page is not None:
        console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)


def _show_differences(console: Console, differences: tuple[Difference, ...], most: int) -> None:
    from rich.text import Text

    from portico.cli.tables import new_table

    table = new_table("kind", "where", "what", "for example: first | second", left=("kind", "where", "what"))
    table.columns[3].justify = "left"
    for difference in differences[:most]:
        example = str(difference.examples[0]) if difference.examples else ""
        kind = Text(difference.kind, style=_COLOURS.get(difference.kind, "red"))
        table.add_row(kind, Text(difference.address), Text(difference.text), Text(example))
    console.print(table)
    if len(differences) > most:
        console.print(
            f"... and {len(differences) - most:,} more; all with --json", markup=False, highlight=False, soft_wrap=True
        )
