"""Runs seeds of the simulation, and prints those that find something."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.history import run_seed


def seeds_of(text: str) -> range:
    """Return the seeds that a text names: one, or the first and the last, such as ``1-2000``."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    """Run the seeds that the command line names; return 1 if one found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="1-2000", help="one seed, or the first and the last: 1-2000")
    parser.add_argument("--most", type=int, default=5, help="stop when so many have found something")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what happens")
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    found, number, began, cpu = 0, 0, time.perf_counter(), time.process_time()
    for seed in seeds_of(given.seeds):
        number += 1
        failure = run_seed(seed, tells=given.verbose, counts=counts)
        if failure is not None:
            found += 1
            print(failure, flush=True)
            if found == given.most:
                break
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{number} seeds, {found} found something; {seconds:.1f} s, {number / cpu:.0f} seeds per second of CPU")
    for fault, count in sorted(counts.items()):
        print(f"{count:9d}  {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
