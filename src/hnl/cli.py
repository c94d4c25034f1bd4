"""The command line of the reference analysis: `hnl`. It forwards to the library and shows what it returns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hnl.processes import MESONS, MODES, ORIGINS, PARTS, PROCESSES
from portico.cli.base import Command, Group, echo, json_option, show_json, write_any_text
from portico.cli.interrupt import ready_to_leave
from portico.errors import ConfigError, nearest

if TYPE_CHECKING:
    from portico.runfolder.load import Run

__all__ = ["cli", "hepdata", "main", "simulate"]

cli = Group(
    "hnl",
    commands_at={"simulate": "hnl.cli:simulate", "hepdata": "hnl.cli:hepdata"},
    help="""Heavy neutral leptons in decays of Ds mesons: the reference analysis of portico.

    \b
    The steps of the analysis itself:
      portico run hnl
    """,
)


def main() -> None:
    """Run the command line."""
    ready_to_leave()
    write_any_text(sys.stdout, sys.stderr)
    cli(prog_name="hnl")


@click.command(
    cls=Command,
    short_help="Write the limits of a run as a submission to HEPData.",
    epilog="""\b
Examples:
  hnl hepdata runs/hnl hepdata""",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def hepdata(run: Path, folder: Path) -> int:
    """Write the limits of RUN into FOLDER: tables of every point and of the excluded couplings, and an archive.

    Needs the extra 'hepdata'. Exit status: 0 done; 1 failed; 2 wrong usage.
    """
    import portico
    from hnl.exports.hepdata import write_hepdata

    echo(f"written: {write_hepdata(portico.load(run), folder)}")
    return 0


@click.command(
    cls=Command,
    short_help="Generate event files of signal, control channel, background or a mixture.",
    epilog="""\b
Examples:
  hnl simulate --process signal --mass 1.5 --ctau 100 -n 10000 --seed 1 -o signal
  hnl simulate --process control --meson Dplus --origin b -n 5000 --seed 2 -o dplus
  hnl simulate --process background --min-muons 2 --mode data-like -n 20000 --seed 3 -o qcd
  hnl simulate --process background --pileup 45 -n 1000 --seed 4 --format ttree -o crowded
  hnl simulate --process mixture --fraction control=0.5 --fraction control_dplus=0.2 \\
               --fraction background=0.3 --kind data -n 50000 --seed 5 -o data --on dask""",
)
@click.option("--process", type=click.Choice(PROCESSES), required=True,
              help="signal: Ds to mu N, N to mu pi. control: Ds or D+ to phi pi, phi to mu mu. background: charm and "
                   "beauty with muons. mixture: of these, see --fraction.")  # fmt: skip
@click.option("--mass", type=float, metavar="GEV", help="Mass of N, between 0.25 and 1.86 GeV; for signal.")
@click.option("--ctau", type=float, metavar="MM", help="Lifetime of N times c in mm, for signal.")
@click.option("--meson", type=click.Choice(list(MESONS)), help="Meson that decays, for control.  [default: Ds]")
@click.option("--origin", type=click.Choice(list(ORIGINS)),
              help="Mesons of charm pairs (prompt), of beauty pairs (b), or all; for signal and control.  "
                   "[default: all]")  # fmt: skip
@click.option("--fraction", "fractions", multiple=True, metavar="PART=SHARE",
              help=f"A part of a mixture ({', '.join(PARTS)}) and its share of the events; repeated, the shares add "
                   "to 1.")  # fmt: skip
@click.option("--mode", type=click.Choice(list(MODES)), default="fast", show_default=True,
              help="fast: no pile-up. data-like: 30 additional collisions on average.")  # fmt: skip
@click.option("--pileup", type=float, metavar="MEAN", help="Mean number of additional collisions, instead of the "
              "mode's.")  # fmt: skip
@click.option("-n", "--entries", type=click.IntRange(min=1), required=True, metavar="N", help="Number of events.")
@click.option("--min-muons", type=click.IntRange(min=0), default=1, show_default=True, metavar="N",
              help="Identified muons that an event must have; 2 omits events that the skim cannot use.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), required=True, metavar="N",
              help="Equal seeds give equal events, bit for bit.")  # fmt: skip
@click.option("--kind", type=click.Choice(["data", "signal", "background"]),
              help="data has no generator columns.  [default: signal for signal, else background]")  # fmt: skip
@click.option("--format", "written_as", type=click.Choice(["rntuple", "ttree"]), default="rntuple", show_default=True,
              help="File format of the events.")  # fmt: skip
@click.option("--on", default="local", show_default=True, metavar="WHERE",
              help="local: processes on this machine; dask: a new Dask cluster; or the address of a Dask "
                   "scheduler, tcp://HOST:PORT.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Number of workers; by default one per core.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
              help="Folder of the events; if it contains some of them, the rest is added.")  # fmt: skip
@json_option()
def simulate(output: Path, entries: int, written_as: str, on: str, workers: int | None, as_json: bool,
             kind: str | None, fractions: tuple[str, ...], **options: Any) -> int:  # fmt: skip
    """Simulate events as they come from the detector, and write them to ROOT files of a few thousand events.

    After Ctrl-C or any other interruption, the same command continues where it stopped; with another -n it generates
    all events again, the first ones unchanged. docs/events.md describes the columns. Exit status: 0 all done; 1
    failed; 2 wrong usage.
    """
    from hnl.inputs.simulation import simulate_sample
    from portico.monitor.progress import Progress

    parameters = {name: value for name, value in options.items() if value is not None}
    if fractions:
        parameters["fractions"] = dict(_fraction(text) for text in fractions)
    with Progress() as reporter:
        result = simulate_sample(
            output, entries, parameters, kind=kind, written_as=written_as, on=on, workers=workers, reporter=reporter
        )
    _summary(result, as_json)
    return 0


def _fraction(text: str) -> tuple[str, float]:
    part, _, share = text.partition("=")
    if part not in PARTS:
        raise ConfigError(f"--fraction {text}: {nearest(part, PARTS)}")
    try:
        return part, float(share)
    except ValueError:
        raise ConfigError(f"--fraction {text}: give a share, for example --fraction {part}=0.5") from None


def _summary(result: Run, as_json: bool) -> None:
    """Show where the events are, and what share of the generated ones they are."""
    (products,) = result["simulate"].values()
    files = [str(path) for path in products["events"]]
    written, generated = int(products["cutflow"].passed[-1]), float(products["generated"])
    efficiency = written / generated if generated > 0.0 else None
    if as_json:
        numbers = {"events": written, "generated": generated, "filter_efficiency": efficiency}
        show_json({"run": str(result.path), "files": files, **numbers})
        return
    echo(f"events:  {written:,} in {len(files)} files: {Path(files[0]).parent}" if files else "events:  none")
    if efficiency is not None:
        echo(f"filter efficiency: {efficiency:.4g} of {generated:,.0f} generated")
    echo(f"look:    portico inspect {files[0]}" if files else "")
