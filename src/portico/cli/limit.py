"""`portico limit`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.base import Command, echo, json_option, on_option, show_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from click.shell_completion import CompletionItem

    from portico.stats.infer import Inference

__all__ = ["limit"]


def _complete_format(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete the part before the equals sign."""
    from click.shell_completion import CompletionItem as Item

    from portico.stats.exports.formats import FORMATS

    return [Item(f"{name}=", help=text) for name, text in FORMATS.items() if name.startswith(incomplete)]


@click.command(
    cls=Command,
    short_help="Limits from a pyhf workspace, published likelihood, datacard or Portico model.",
    epilog="""\b
Examples:
  portico limit workspace.json
  portico limit background.json --patch signal.json --mu 1
  portico limit background.json --patch patchset.json:C1N2_Wh_hbb_300_150 --backend jax
  portico limit workspace.json --measurement Meas --cl 0.9 --mu 0.5 --mu 1 --json | jq .limit.observed
  portico limit workspace.json --blind
  portico limit likelihoods.tar.gz --list
  portico limit likelihoods.tar.gz --workspace RegionA --patch C1N2_Wh_hbb_300_150
  portico limit card.txt --mass 125
  portico limit model.json --export combine=card.txt --export hs3=model.hs3.json
  portico limit workspace.json --toys 1000 --on htcondor --workers 50 --run runs/toys

Exit status: 0 done; 1 the model is invalid, or fits do not converge; 2 wrong usage.""",
)
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--list", "listing", is_flag=True,
              help="Show the workspaces, measurements and patches in MODEL instead of limits.")  # fmt: skip
@click.option("--workspace", default="", metavar="NAME",
              help="Workspace in an archive; part of its name suffices.  [default: the only one, or the one that the "
              "patch needs]")  # fmt: skip
@click.option("--patch", "patches", multiple=True, metavar="FILE[:NAME]|NAME",
              help="JSON Patch, or a patch of a patch set or of the archive; may be repeated, in order.")  # fmt: skip
@click.option("--measurement", default="", metavar="NAME", help="Measurement of the workspace.  [default: the first]")
@click.option("--mass", type=float, default=120.0, show_default=True, metavar="NUMBER",
              help="Value of $MASS in a datacard.")  # fmt: skip
@click.option("--cl", type=float, default=0.95, show_default=True, metavar="NUMBER", help="Confidence level.")
@click.option("--mu", "mus", type=float, multiple=True, metavar="NUMBER",
              help="Also compute CLs of this signal strength; may be repeated.")  # fmt: skip
@click.option("--backend", type=click.Choice(["numpy", "jax", "minuit"]), default="numpy", show_default=True,
              help="Program that fits a workspace: numpy is the fastest, the others check it.")  # fmt: skip
@click.option("--toys", type=click.IntRange(min=1), metavar="N",
              help="Throw N toys per hypothesis and signal strength instead of using asymptotic formulae: for few "
                   "expected events.")  # fmt: skip
@on_option("Where toys are thrown, as in portico run.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="Number of workers that throw toys; by default as in portico run.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, metavar="N",
              help="Seed of the toys: equal seeds give equal numbers.")  # fmt: skip
@click.option("--run", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Where toys are kept, so that the same command continues where it stopped; by default runs/ and the "
                   "name of MODEL with -toys.")  # fmt: skip
@click.option("--export", "exports", multiple=True, metavar="FORMAT=PATH", shell_complete=_complete_format,
              help="Write the model for another program: pyhf=FILE.json, hs3=FILE.json, roofit=FILE.root, "
                   "combine=FILE.txt, or the limits: hepdata=FOLDER; may be repeated.")  # fmt: skip
@click.option("--blind", is_flag=True, help="Expected numbers only.")
@json_option()
def limit(
    model: Path, listing: bool, workspace: str, patches: tuple[str, ...], measurement: str, mass: float, cl: float,
    mus: tuple[float, ...], backend: str, toys: int | None, on: str, workers: int | None, seed: int,
    folder: Path | None, exports: tuple[str, ...], blind: bool, as_json: bool,
) -> int:  # fmt: skip
    """Compute upper limits on the signal strength in MODEL: CLs, observed and expected.

    MODEL is a JSON file with a pyhf (HistFactory) workspace with data, HS3, or a model that Portico wrote; an archive
    or folder of such files, as on HEPData; a CMS Combine datacard; HistFactory XML; or a RooWorkspace in a ROOT file.
    """
    from portico.cli.models import naming, show_listing
    from portico.monitor.progress import Progress
    from portico.stats.exports.formats import FORMATS, LIMITS, export, export_limits
    from portico.stats.infer import Toys, infer
    from portico.stats.model_file import list_models, read_model

    if listing:
        show_listing(list_models(model), model, as_json=as_json)
        return 0
    wanted = [text.partition("=") for text in exports]
    for text, (name, _, path) in zip(exports, wanted, strict=True):
        if name not in FORMATS or not path:
            raise click.UsageError(f"--export {text}: write FORMAT=PATH, with one of {', '.join(FORMATS)}")
    read = read_model(model, patches, measurement, workspace=workspace, mass=mass)
    for name, _, path in wanted:
        if name != LIMITS:  # a model is written also if it has no asymptotic limit
            export(read, name, Path(path))
            _written(path, FORMATS[name], as_json)
    with Progress() if toys is not None else nullcontext() as reporter:
        place = folder if folder is not None else Path("runs") / f"{model.stem}-toys"
        thrown = Toys(toys, place, on, workers, seed, reporter) if toys is not None else None
        with naming(model):
            result = infer(read, cl=cl, mus=mus, backend=backend, blind=blind, toys=thrown)
    for name, _, path in wanted:
        if name == LIMITS:
            export_limits(result, Path(path))
            _written(path, FORMATS[name], as_json)
    if as_json:
        show_json(result.to_json())
    else:
        _show(result)
    return 0


def _written(path: str, what: str, as_json: bool) -> None:
    echo(f"written: {path}, {what.partition(',')[0]}", err=as_json)


def _show(result: Inference) -> None:
    from rich.text import Text

    from portico.cli.tables import new_console, new_table
    from portico.stats.limit import QUANTILES

    out = new_console()
    head = f" at {result.cl:.4g} CL, CLs, {result.limit.method}: {result.why}"
    out.print(Text.assemble((f"upper limits on {result.poi}", "bold"), head), soft_wrap=True)
    out.print()
    table = new_table("", "observed", "-2 sigma", "-1 sigma", "expected", "+1 sigma", "+2 sigma", left=("",))
    table.add_row("limit", *_numbers([result.limit.observed, *result.limit.expected]))
    if errors := result.limit.expected_uncertainties:
        table.add_row("+- from the number of toys", *_numbers([result.limit.uncertainty, *errors], 2))
    for cls in result.points:
        table.add_row(Text(f"CLs of {result.poi} = {cls.mu:g}"), *_numbers([cls.observed, *cls.expected]))
        if errors := cls.expected_uncertainties:
            table.add_row("+- from the number of toys", *_numbers([cls.uncertainty, *errors], 2))
    out.print(table)
    shares = ", ".join(f"{100 * share:.3g}%" for share in QUANTILES)
    out.print(f"-2 to +2 sigma: the quantiles {shares}; Combine prints 2.5%, 16%, 50%, 84%, 97.5%", highlight=False)
    out.print()
    for cls in result.points:
        if cls.clsb is not None and cls.clb is not None:
            out.print(f"{result.poi} = {cls.mu:g}: CLs+b = {cls.clsb:.4g}, CLb = {cls.clb:.4g}", highlight=False)
    if result.best is not None and result.p_value is not None:
        sigma = f"{result.significance:.2f} sigma"
        out.print(
            f"best fit: {result.poi} = {result.best:.4g}; no signal: p = {result.p_value:.3g}, {sigma}", highlight=False
        )
    else:
        out.print("blinded: no observed numbers", highlight=False)
    for note in result.notes:
        out.print(Text.assemble(("note", "yellow"), f": {note}"), soft_wrap=True)


def _numbers(values: Iterable[float | None], digits: int = 4) -> list[str]:
    return ["-" if value is None else f"{value:.{digits}g}" for value in values]
