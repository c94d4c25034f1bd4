"""`portico fit`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.base import Command, echo, json_option, show_json

if TYPE_CHECKING:
    from portico.stats.fitted import Fitted

__all__ = ["fit"]


@click.command(
    cls=Command,
    short_help="Parameters, pulls, impacts, goodness of fit, yields and post-fit plots of any model.",
    epilog="""\b
Examples:
  portico fit workspace.json
  portico fit card.txt --mass 125 --impacts --plots figures
  portico fit model.json --toys 200
  portico fit likelihoods.tar.gz --workspace RegionA --patch C1N2_Wh_hbb_300_150 --json | jq .yields

Exit status: 0 done; 1 the model is invalid, or fits do not converge; 2 wrong usage.""",
)
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--workspace", default="", metavar="NAME", help="Workspace in an archive, as in portico limit.")
@click.option("--patch", "patches", multiple=True, metavar="FILE[:NAME]|NAME", help="JSON Patch, as in portico limit.")
@click.option("--measurement", default="", metavar="NAME", help="Measurement of the workspace.  [default: the first]")
@click.option("--mass", type=float, default=120.0, show_default=True, metavar="NUMBER",
              help="Value of $MASS in a datacard.")  # fmt: skip
@click.option("--backend", type=click.Choice(["numpy", "jax", "minuit"]), default="numpy", show_default=True,
              help="Program that fits.")  # fmt: skip
@click.option("--impacts", is_flag=True,
              help="Compute the impact of each constrained parameter on the parameter of interest, with two fits "
              "each.")  # fmt: skip
@click.option("--toys", type=click.IntRange(min=1), default=None, metavar="N",
              help="Throw N toys from the fit and fit them, for the goodness of fit.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, metavar="N", help="Seed of the toys.")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Draw every channel before and after the fit, pulls and impacts, as PDF and PNG.")  # fmt: skip
@click.option("--blind", is_flag=True, help="Fit the expectation without signal instead of the data.")
@json_option()
def fit(
    model: Path, workspace: str, patches: tuple[str, ...], measurement: str, mass: float, backend: str, impacts: bool,
    toys: int | None, seed: int, plots: Path | None, blind: bool, as_json: bool,
) -> int:  # fmt: skip
    """Fit MODEL to its data: parameters with pulls, goodness of fit, yields before and after, and impacts.

    MODEL is any input of portico limit: a workspace, an archive of workspaces, a datacard, HS3, HistFactory XML, a ROOT
    file with a RooWorkspace, or a model that Portico wrote.
    """
    from portico.cli.models import naming
    from portico.stats.model_file import read_model
    from portico.stats.results import fit_to_data

    read = read_model(model, patches, measurement, workspace=workspace, mass=mass)
    with naming(model):
        result = fit_to_data(read, backend=backend, impacts=impacts, blind=blind, toys=toys or 0, seed=seed)
    if plots is not None:
        for path in _draw(result, plots):
            echo(f"written: {path}", err=as_json)
    if as_json:
        show_json(result.to_json())
    else:
        _show(result)
    return 0


def _draw(result: Fitted, folder: Path) -> list[Path]:
    """Write the figures, and return their files."""
    from portico.files.atomic import write_atomic
    from portico.plot.fitted import figures_of_fitted

    written = []
    for name, figure in figures_of_fitted(result).items():
        for end in ("pdf", "png"):
            path = folder / f"{name}.{end}"
            with write_atomic(path) as aside:
                figure.savefig(aside, format=end, dpi=150)
            written.append(path)
    return written


def _show(result: Fitted) -> None:
    from rich.text import Text

    from portico.cli.tables import new_console, new_table

    out = new_console()
    table = new_table("parameter", "value", "+-", "pull", "constraint", "", left=("parameter", ""))
    for of in result.parameters:
        note = "fixed" if of.fixed else "at a bound" if of.at_bound else ""
        table.add_row(Text(of.name), *map(_number, (of.value, of.error, of.pull, of.constraint)), note)
    out.print(table)
    out.print()
    table = new_table("channel", "sample", "before", "+-", "after", "+-", "observed", left=("channel", "sample"))
    for row in result.yields:
        numbers = map(_number, (row.before, row.before_error, row.after, row.error, row.observed))
        table.add_row(Text(row.channel), Text(row.sample), *numbers)
    out.print(table)
    if result.impacts:
        out.print()
        table = new_table("impact on " + result.poi, "up", "down", "", left=("impact on " + result.poi, ""))
        for impact in result.impacts:
            table.add_row(Text(impact.name), _number(impact.up), _number(impact.down), Text(impact.note))
        out.print(table)
    out.print()
    out.print(
        f"goodness of fit: -2 log of the ratio to the saturated model = {result.statistic:.4g}, "
        f"{result.degrees} degrees of freedom, "
        + (f"p = {_number(result.p_value)}" if result.degrees else "so that it has no p-value")
        + (f", of {result.toys} toys p = {_number(result.p_toys)}" if result.toys else ""), highlight=False,
    )  # fmt: skip
    for note in result.notes:
        out.print(Text.assemble(("note", "yellow"), f": {note}"), soft_wrap=True)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"
