"""Run the tests in four processes of pytest side by side, and end with one summary of all.

One has most unit tests, one the runs of whole analyses, one what mostly waits for services, one the storms and the
rest of the runs; the second and the third have the rest of the unit tests too. Lines appear as they come, and how each
process ended; failures, errors and warnings follow when all have ended. The last line is that of pytest, with the
counts of all.

usage: run_tests.py [ARGUMENTS OF PYTEST...]; with paths of tests among them, one process runs these.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

# The notebook needs the run of hnl.
HNL = "tests/integration/test_hnl.py"
XROOTD = "tests/services/test_xrootd.py"
# What takes longest is shared by two processes.
RUNS, UNITS, FEW = "tests/integration/test_[m-z]*.py", "tests/unit/test_s*.py", "tests/unit/test_e*.py"
GROUPS = {
    "units": ["tests/unit", f"--ignore-glob={UNITS}", f"--ignore-glob={FEW}"],
    "runs": ["tests/integration", f"--ignore={HNL}", f"--ignore-glob={RUNS}", *sorted(map(str, Path().glob(FEW)))],
    "services": [
        HNL,
        "tests/browser",
        "tests/notebooks",
        "tests/services",
        f"--ignore={XROOTD}",
        *sorted(map(str, Path().glob(UNITS))),
    ],
    "storms": ["tests/simulation", XROOTD, "tests/storms", *sorted(map(str, Path().glob(RUNS)))],
}
ORDER = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warnings", "errors")
SECTION = re.compile(r"^=+ (ERRORS|FAILURES|XPASSES|warnings summary|short test summary info|slowest .*) =+$")
SUMMARY = re.compile(r"^=+ ((?:\d+ [a-z]+(?:, )?)+|no tests ran) in [\d.]+s.* =+$")
NO_TESTS = 5
"""Exit status of pytest when nothing was selected."""


class Group:
    """One process of pytest: what it says before its report is printed at once, the report is kept."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name, self.report = name, list[str]()
        command = [sys.executable, "-u", "-m", "pytest", "-o", f"cache_dir=.pytest_cache/{name}", *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self.report or SECTION.match(line.rstrip()) or SUMMARY.match(line.rstrip()):
                self.report.append(line.rstrip())
            else:
                print(line, end="", flush=True)
        for line in filter(SUMMARY.match, self.report):
            print(f"\n{self.name}: {line.strip('= ')}", flush=True)

    def interrupt(self) -> None:
        """Have it end as with Ctrl-C: tidy up, and say what was done."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Return the exit status, when all has been read."""
        self._thread.join()
        return self._process.wait()


def counts(report: Sequence[str]) -> Counter[str] | None:
    """Read the counts of pytest's summary; none if it ended without one."""
    found = [match[1] for line in report if (match := SUMMARY.match(line))]
    if not found:
        return None
    plural = {"error": "errors", "warning": "warnings"}
    return Counter({plural.get(word, word): int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", found[-1])})


def summary(total: Mapping[str, int], seconds: float, width: int = 80) -> str:
    """Write pytest's last line of these counts."""
    one = {"errors": "error", "warnings": "warning"}
    words = [f"{total[word]} {one.get(word, word) if total[word] == 1 else word}" for word in ORDER if total.get(word)]
    minutes = f" ({seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f})" if seconds >= 60 else ""
    return f" {', '.join(words) or 'no tests ran'} in {seconds:.2f}s{minutes} ".center(width, "=")


def run(groups: Mapping[str, Sequence[str]], arguments: Sequence[str]) -> int:
    """Run all groups at once; return the exit status, which is 0 only if every group's is."""
    began, total, bad = time.monotonic(), Counter[str](), False
    started = [Group(name, [*paths, *arguments]) for name, paths in groups.items()]
    signal.signal(signal.SIGTERM, lambda *_: [group.interrupt() for group in started])
    try:
        statuses = [group.wait() for group in started]
    except KeyboardInterrupt:  # which the processes have as well: they tidy up and say what was done
        statuses = [group.wait() for group in started]
    for group, status in zip(started, statuses, strict=True):
        found = counts(group.report)
        for line in group.report:
            if not SUMMARY.match(line):
                print(line)
        if found is None:
            print(f"the process '{group.name}' ended without a summary, status {status}")
            found = Counter(errors=1)
        bad = bad or status not in {0, NO_TESTS}
        total += found
    bad = bad or not total
    print(summary(total, time.monotonic() - began))
    return int(bad or bool(total["failed"] or total["errors"]))


def main(arguments: Sequence[str]) -> int:
    """Run all groups, or the tests that are named."""
    named = any(argument and Path(argument.partition("::")[0]).exists() for argument in arguments)
    return run({"named": []} if named else GROUPS, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
