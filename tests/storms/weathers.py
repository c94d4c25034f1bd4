"""Weathers, which a run goes through: failing disks, jumping clocks, processes that are stopped or killed.

Each takes a storm, has a run of the other cut go through it, and says what it did. Then the storm goes on.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faulty import can_mount, failing, mounted
from tests.storms.bench import everything

if TYPE_CHECKING:
    from tests.storms.storm import Storm

__all__ = ["WEATHERS"]

_PARTS = ("/run/", "ledger.sqlite", ".part", ".root", "lock", "results")
_ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "ESTALE", "EACCES", "ETIMEDOUT", "EMFILE")
_SHORT, _LONG = (1, 2), 100_000
_DAY = 86_400


def killed(storm: Storm) -> str:
    """Kill the driver at a system call."""
    what, part = storm.chance.choice(["write", "sync", "rename", "read"]), storm.chance.choice(_PARTS[:4])
    after = storm.chance.choice([0, 1, 2, 5, 10, 20])
    return f"killed at {what} number {after} of {part}: " + storm.elsewhere(failing(f"{what}@{part}:KILL", after))


def failing_calls(storm: Storm) -> str:
    """Have calls of the driver fail, once or from then on."""
    what, part = storm.chance.choice(["write", "sync", "rename", "read"]), storm.chance.choice(_PARTS)
    error, after = storm.chance.choice(_ERRORS), storm.chance.choice([0, 1, 2, 5, 10, 20, 50])
    times = storm.chance.choice([*_SHORT, _LONG])
    done = storm.elsewhere(failing(f"{what}@{part}:{error}", after, times))
    return f"{error} at {what} number {after} of {part}, {times} times: {done}"


def failing_workers(storm: Storm) -> str:
    """Have the disk fail on which the processes that run chunks write their trees."""
    error, after, times = storm.chance.choice(_ERRORS[:5]), storm.chance.choice([0, 1, 3]), storm.chance.choice(_SHORT)
    done = storm.elsewhere({**failing(f"write@.part:{error}", after, times), "FAULTY_WORKERS": "1"})
    return f"{error} at write number {after} of a tree, {times} times: {done}"


def without_locks(storm: Storm) -> str:
    """Run on a file system without locks."""
    error = storm.chance.choice(["ENOLCK", "ENOTSUP", "ENOSYS", "EIO"])
    return f"locks say {error}: " + storm.elsewhere(failing(f"flock:{error} lock:{error}"))


def late_names(storm: Storm) -> str:
    """Run on a network disk that shows files some time after they were written."""
    after, times = storm.chance.choice([0, 1, 3, 8]), storm.chance.choice([1, 2, 4])
    return f"rename number {after} finds nothing {times} times: " + storm.elsewhere(
        failing("rename@.root:ENOENT", after, times)
    )


def jumping_clock(storm: Storm) -> str:
    """Have the clock of the driver jump, forth or back."""
    after, jump = storm.chance.choice([0, 10, 50, 200]), storm.chance.choice([-400 * _DAY, -60, 60, 3600, 400 * _DAY])
    return f"the clock jumps by {jump} s: " + storm.elsewhere(failing("", after, jump=jump))


@contextmanager
def _at_random(storm: Storm, act: Callable[[int], None]) -> Iterator[list[int]]:
    """Do something to the process that runs chunks, a few times while a run goes on; yield the processes it was."""
    over, chance, met = threading.Event(), random.Random(storm.verdict.seed), list[int]()

    def rage() -> None:
        while len(met) < 2 and not over.wait(chance.uniform(0.0, 0.3)):
            working = [runner for runner in storm.bench.executor._runners if runner.task is not None]
            processes = [process for runner in working if (process := runner._process) is not None]
            if processes:
                met.append(processes[0].pid)
                with suppress(ProcessLookupError):
                    act(processes[0].pid)

    thread = threading.Thread(target=rage)
    thread.start()
    try:
        yield met
    finally:
        over.set()
        thread.join()


def stopped_workers(storm: Storm) -> str:
    """Stop the process that runs chunks for a while."""

    def act(process: int) -> None:
        os.kill(process, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(process, signal.SIGCONT)

    with _at_random(storm, act) as met:
        storm.attempt("run of the other cut", lambda: storm.run(storm.other))
    return f"stopped {len(met)} times"


def killed_workers(storm: Storm) -> str:
    """Kill the process that runs chunks."""
    with _at_random(storm, lambda process: os.kill(process, signal.SIGKILL)) as met:
        storm.attempt("run of the other cut", lambda: storm.run(storm.other))
    return f"killed {len(met)} times"


def full_store(storm: Storm) -> str:
    """Write trees to a store that is full, beside input that is good; then free its space."""
    if not can_mount():
        return "cannot be done here"
    place, run = storm.folder.parent / "disk", storm.folder.parent / "stored"
    with mounted(place, "size=64k"):
        (place / "ballast").write_bytes(bytes(56 * 1024))
        error = storm.attempt("run", lambda: _stored(storm, run, place))
        if "space" not in error or str(place) not in error:
            storm.verdict.wrong.append(f"a full store is told as: {error or 'nothing'}")
        (place / "ballast").unlink()
        if storm.attempt("run again", lambda: _stored(storm, run, place)):
            storm.verdict.wrong.append("a store with space again is of no use")
    return "a full store"


def _stored(storm: Storm, run: Path, place: Path) -> str:
    made = storm.bench.run(run, storm.cut, store=str(place / "store"))
    if everything(made) != storm.bench.expected[storm.cut]:
        storm.verdict.wrong.append("reading: silently wrong: the run with a store")
    return ""


WEATHERS = {
    weather.__name__: weather
    for weather in (
        killed, failing_calls, failing_workers, without_locks, late_names, jumping_clock, stopped_workers,
        killed_workers, full_store,
    )
}  # fmt: skip
"""By name."""
