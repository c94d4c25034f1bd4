"""A changed cut of hnl in a session, by the clock: one sample and all, columns cached.

Usage: python bench/changed_cut.py

The events of the demonstration are simulated and skimmed once into the cache. `number` changes the number that a cut
compares with, `code` the cut itself, which cling compiles; `back` returns to a cut that was filled before. Medians of
wall seconds on an idle machine, of which `commits` waits for the disk.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from _common import CACHE

import hnl
import portico
from portico.runfolder.database import Database

TIMES = 7
ONE = ("background",)
CUT = "preselection/soft muons"
TEXT = "C_mu_Ds_isSoft > 0 && C_mu_Hnl_isSoft > 0 && "


def cuts(what: str) -> Iterator[str]:
    """Yield expressions that were never filled in this folder, or only two that were."""
    seed = time.time_ns() % 10**6
    for number in itertools.count():
        if what == "number":
            yield f"{TEXT}C_Hnl_pt > 0.0{seed:06d}{number:03d}"
        elif what == "code":
            yield f"{TEXT}C_Hnl_pt > 1e-9 * {seed} + {number}e-9"
        else:
            yield f"{TEXT}C_Hnl_pt > 0.{number % 2}"


@contextmanager
def commits() -> Iterator[list[float]]:
    """Yield a list that gets the seconds of each transaction that waits for the disk."""
    execute, seconds = Database.execute, list[float]()

    def timed(self: Database, statement: str, values: Sequence[object] = ()) -> object:
        began = time.perf_counter()
        rows = execute(self, statement, values)
        if statement == "COMMIT" and (taken := time.perf_counter() - began) > 1e-3:
            seconds.append(taken)
        return rows

    Database.execute = timed  # type: ignore[method-assign,assignment]
    try:
        yield seconds
    finally:
        Database.execute = execute  # type: ignore[method-assign]


def main() -> None:
    folder = CACHE / "changed-cut"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with portico.session(Path(hnl.__file__).parent, workers=2, folder=folder, cache=True) as session:
        session.fill("select").wait()
        print(f"{'samples':<9}{'cut':<9}{'wall':>8}{'commits':>9}{'of them':>9}")
        for name, samples in (("one", ONE), ("all", ())):
            for what in ("number", "code", "back"):
                fresh, rows = cuts(what), []
                for turn in range(TIMES + 2):  # the first ones compile, or fill what `back` returns to
                    with commits() as waited:
                        began = time.perf_counter()
                        session.fill("select", samples=samples, cuts={CUT: next(fresh)}).wait()
                        wall = time.perf_counter() - began
                    rows += [(wall, sum(waited), len(waited))] if turn > 1 else []
                medians = [statistics.median(column) for column in zip(*rows, strict=True)]
                print(f"{name:<9}{what:<9}{medians[0]:8.3f}{medians[1]:9.3f}{medians[2]:9.0f}", flush=True)


if __name__ == "__main__":
    main()
