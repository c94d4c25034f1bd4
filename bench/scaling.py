"""3 million events in 10 files: two local processes against one, warm and cold.

Usage: python bench/scaling.py [EVENTS]
"""

from __future__ import annotations

import sys

from _common import made_files, paired, run_once

from portico.executors.local import LocalExecutor


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    files = made_files(events, 10)

    def cold(workers: int) -> float:
        executor = LocalExecutor(workers)
        try:
            return run_once(files, "dimuon", executor)[0]
        finally:
            executor.close()

    one, two, ratio = paired(lambda: cold(1), lambda: cold(2), 2)
    print(f"cold: 1 process {one:.1f} s, 2 processes {two:.1f} s, {ratio:.2f} times as fast (aim 1.8)")
    single, double = LocalExecutor(1), LocalExecutor(2)
    try:
        run_once(files, "dimuon", single), run_once(files, "dimuon", double)
        one, two, ratio = paired(
            lambda: run_once(files, "dimuon", single)[0], lambda: run_once(files, "dimuon", double)[0], 3
        )
    finally:
        single.close()
        double.close()
    print(f"warm: 1 process {one:.1f} s, 2 processes {two:.1f} s, {ratio:.2f} times as fast (aim 1.8)")


if __name__ == "__main__":
    main()
