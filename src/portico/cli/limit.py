"""`portico limit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.base import Command, json_option, show_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.stats.answer import Answer

__all__ = ["limit"]


@click.command(
    cls=Command,
    short_help="Limits of any pyhf workspace, or of a model of portico.",
    epilog="""\b
Examples:
  portico limit workspace.json
  portico limit background.json --patch signal.json --mu 1
  portico limit background.json --patch patchset.json:C1N2_Wh_hbb_300_150 --backend jax
  portico limit workspace.json --measurement Meas --cl 0.9 --mu 0.5 --mu 1 --json | jq .limit.observed
  portico limit workspace.json --blind

\b
Exit status: 0 done; 1 the model is not sound, or fits do not converge; 2 wrong usage.""",
)
@click.argument("model", metavar="MODEL.json", type=click.Path(path_type=Path))
@click.option("--patch", "patches", multiple=True, metavar="FILE[:NAME]", type=click.Path(path_type=Path),
              help="JSON Patch, or a patch of a patch set; may be repeated, applied in order.")  # fmt: skip
@click.option("--measurement", default="", metavar="NAME", help="Which of the workspace.  [default: the first]")
@click.option("--cl", type=float, default=0.95, show_default=True, metavar="NUMBER", help="Confidence level.")
@click.option("--mu", "mus", type=float, multiple=True, metavar="NUMBER",
              help="CLs of this signal strength as well; may be repeated.")  # fmt: skip
@click.option("--backend", type=click.Choice(["numpy", "jax", "minuit"]), default="numpy", show_default=True,
              help="What fits a workspace; where scipy fails, minuit tries.")  # fmt: skip
@click.option("--blind", is_flag=True, help="Expected numbers only.")
@json_option()
def limit(
    model: Path, patches: tuple[Path, ...], measurement: str, cl: float, mus: tuple[float, ...], backend: str,
    blind: bool, as_json: bool,
) -> int:  # fmt: skip
    """Upper limits on the signal strength in MODEL.json: CLs, observed and expected.

    MODEL.json is a workspace of pyhf (HistFactory) with data, or a model that portico wrote.
    """
    from portico.stats.answer import ask
    from portico.stats.door import read_model

    answer = ask(read_model(model, patches, measurement), cl=cl, mus=mus, backend=backend, blind=blind)
    if as_json:
        show_json(answer.plain())
    else:
        _show(answer)
    return 0


def _show(answer: Answer) -> None:
    from rich.text import Text

    from portico.cli.tables import new_console, new_table

    out = new_console()
    head = f" at {answer.cl:.4g} CL, CLs, {answer.limit.method}: {answer.why}"
    out.print(Text.assemble((f"upper limits on {answer.poi}", "bold"), head), soft_wrap=True)
    out.print()
    table = new_table("", "observed", "-2 sigma", "-1 sigma", "expected", "+1 sigma", "+2 sigma", left=("",))
    table.add_row("limit", *_numbers([answer.limit.observed, *answer.limit.expected]))
    for mu, of in answer.points:
        table.add_row(Text(f"CLs of {answer.poi} = {mu:g}"), *_numbers([of.observed, *of.expected]))
    out.print(table)
    out.print()
    for mu, of in answer.points:
        if of.clsb is not None and of.clb is not None:
            out.print(f"{answer.poi} = {mu:g}: CLs+b = {of.clsb:.4g}, CLb = {of.clb:.4g}", highlight=False)
    if answer.best is not None and answer.p_value is not None:
        sigma = f"{answer.significance:.2f} sigma"
        out.print(
            f"best fit: {answer.poi} = {answer.best:.4g}; no signal: p = {answer.p_value:.3g}, {sigma}", highlight=False
        )
    else:
        out.print("blinded: no observed numbers", highlight=False)
    for note in answer.notes:
        out.print(Text.assemble(("note", "yellow"), f": {note}"), soft_wrap=True)


def _numbers(values: Iterable[float | None]) -> list[str]:
    return ["-" if value is None else f"{value:.4g}" for value in values]
