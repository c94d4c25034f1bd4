"""The table of ratios: Portico against other programs on the same events, interleaved, with equal answers.

Usage: python -m bench.table [--events N] [--rounds N] [--kind KIND] [--format FORMAT] [--only NAME] [--output FOLDER]
       python -m bench.table --page runs/bench/table.json

Events and compiled C++ are kept in $PORTICO_BENCH, by default `bench` in the cache folder of the user. The exit status
is 1 if answers differ or a program fails; a ratio that is not reached is none of that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console

from bench.table import output
from bench.table.columns import KINDS
from bench.table.inputs import Input, made
from bench.table.page import draw, update
from bench.table.rounds import run
from bench.table.rows import fill, rows
from bench.table.scenarios import scenarios

DOCS = Path(__file__).parents[2] / "docs"
PLACE = Path(os.environ.get("PORTICO_BENCH") or Path.home() / ".cache" / "portico" / "bench") / "table"


def main() -> int:
    """Make the events, run the rounds, print the table, and write JSON and picture."""
    given = _arguments()
    if given.page is not None:
        update(DOCS / "performance.md", DOCS / "images" / "performance.png", json.loads(given.page.read_text()))
        return 0
    kinds, formats, errors = given.kind or list(KINDS), given.format or ["TTree", "RNTuple"], Console(stderr=True)
    chosen = [
        one for one in scenarios(kinds, formats) if not given.only or any(word in str(one) for word in given.only)
    ]
    if not chosen:
        errors.print(f"no scenario has {' or '.join(given.only)} in its name; there are:", markup=False)
        errors.print("\n".join(map(str, scenarios(kinds, formats))), markup=False)
        return 2
    inputs: dict[tuple[str, str], Input] = {}
    for kind in kinds:
        needed = {one.format for one in chosen if one.kind == kind}
        if needed:
            errors.print(f"events of {kind}: {given.events:,} in {PLACE}", markup=False, highlight=False)
            inputs |= {(kind, layout): files for layout, files in made(kind, given.events, PLACE, needed).items()}
    if any(one.kind == "hnl" for one in chosen):
        from bench.table.contenders.hnl_select import skimmed

        inputs["hnl", "RNTuple"] = skimmed(PLACE)
    about = output.conditions(inputs, given.rounds)
    found = run(
        chosen, inputs, given.rounds, PLACE / "lib", lambda text: errors.print(text, markup=False, highlight=False)
    )
    names = {*found.measured, *found.missing, *found.failed}
    table = [fill(row, found) for row in rows(kinds, formats)
             if all(side is None or side[0] in names for side in (row.above, row.below))]  # fmt: skip
    output.print_table(table, found, about, Console(width=max(Console().width, 200)))
    text = output.as_json(table, found, about)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "table.json").write_text(text + "\n", encoding="utf-8")
    draw(json.loads(text), given.output / "table.png")
    print(f"{given.output}/table.json, {given.output}/table.png")
    return 1 if found.differences or found.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="of each kind; default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="of events; default: all")
    parser.add_argument("--format", action="append", choices=["TTree", "RNTuple"], help="of ROOT files; default: both")
    parser.add_argument("--only", action="append", default=[], help="scenarios with this in their names")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="for JSON and picture; %(default)s")
    parser.add_argument("--page", type=Path, metavar="JSON", help="only put this earlier run into docs/performance.md")
    given = parser.parse_args()
    if given.events < 1 or given.rounds < 1:
        parser.error("events and rounds are 1 or more")
    return given


if __name__ == "__main__":
    sys.exit(main())
