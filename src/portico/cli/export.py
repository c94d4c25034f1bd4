"""`portico export`."""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.base import Command, echo, json_option, show_json
from portico.cli.complete import names_of_run

__all__ = ["export"]


@click.command(
    cls=Command,
    short_help="Write the trees of a step as Parquet files.",
    epilog="""\b
Examples:
  portico export runs/hnl select -o parquet
  portico export runs/hnl select --tree candidates --sample data -o parquet --json""",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("step", shell_complete=names_of_run)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", required=True,
              help="Where SAMPLE.parquet is written.")  # fmt: skip
@click.option("--tree", metavar="NAME", help="The tree, if the step wrote several.")
@click.option("--sample", "samples", multiple=True, metavar="NAME", shell_complete=names_of_run,
              help="Only this sample; may be repeated.")  # fmt: skip
@click.option("--format", type=click.Choice(["parquet"]), default="parquet", show_default=True,
              expose_value=False, help="File format; so far there is only one.")  # fmt: skip
@json_option()
def export(run: Path, step: str, output: Path, tree: str | None, samples: tuple[str, ...], as_json: bool) -> int:
    """Write the trees of STEP in the run folder RUN as one file per sample, for tools that cannot read ROOT files."""
    import warnings

    from portico.errors import PorticoWarning
    from portico.runfolder.parquet import export_parquet

    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", PorticoWarning)
        warnings.showwarning = lambda message, *_, **__: echo(f"warning: {message}", err=True)
        for exported in export_parquet(run, step, output, tree=tree, samples=samples):
            made.append(exported)
            if not as_json:
                echo(f"{exported.path}: {exported.entries:,} entries, {exported.size / 1e6:.1f} MB")
            if exported.partial:
                echo(f"warning: {exported.path} is of a partial run", err=True)
            if exported.note:
                echo(f"warning: {exported.path}: {exported.note}", err=True)
    if as_json:
        show_json({"files": [exported.to_json() for exported in made]})
    return 0
