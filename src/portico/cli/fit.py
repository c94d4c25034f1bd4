"""`portico fit`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.base import Command, json_option, show_json

if TYPE_CHECKING:
    from portico.stats.workspace_results import Fitted

__all__ = ["fit"]


@click.command(
    cls=Command,
    short_help="Parameters, pulls, impacts, goodness of fit and yields of a workspace or datacard.",
    epilog="""\b
Examples:
  portico fit workspace.json
  portico fit card.txt --mass 125 --impacts
  portico fit likelihoods.tar.gz --workspace RegionA --patch C1N2_Wh_hbb_300_150 --json | jq .yields

\b
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
@click.option("--blind", is_flag=True, help="Fit the expectation without signal instead of the data.")
@json_option()
def fit(
    model: Path, workspace: str, patches: tuple[str, ...], measurement: str, mass: float, backend: str, impacts: bool,
    blind: bool, as_json: bool,
) -> int:  # fmt: skip
    """Fit MODEL to its data: parameters with pulls, goodness of fit, yields before and after, and impacts.

    MODEL is any input of portico limit: a workspace, an archive of workspaces, a datacard, HS3 or HistFactory XML.
    """
    from portico.errors import ConfigError
    from portico.stats.model_file import read_model
    from portico.stats.workspace import Workspace
    from portico.stats.workspace_results import fit_workspace

    read = read_model(model, patches, measurement, workspace=workspace, mass=mass)
    if not isinstance(read, Workspace):
        raise ConfigError(
            f"{model} is a model of portico, whose shapes are no histograms; export it with portico limit --export "
            "pyhf=FILE.json and fit that, or use portico.stats.impacts and portico.stats.goodness"
        )
    result = fit_workspace(read, backend=backend, impacts=impacts, blind=blind)
    if as_json:
        show_json(result.to_json())
    else:
        _show(result)
    return 0


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
    table = new_table("channel", "sample", "before", "after", "+-", "observed", left=("channel", "sample"))
    for row in result.yields:
        numbers = map(_number, (row.before, row.after, row.error, row.observed))
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
        f"{result.degrees} degrees of freedom, p = {_number(result.p_value)}", highlight=False,
    )  # fmt: skip
    for note in result.notes:
        out.print(Text.assemble(("note", "yellow"), f": {note}"), soft_wrap=True)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"
