"""The history of a seed: a few drivers, one after the other, in one run folder, and the checks after each."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from portico.results.partial import decode
from portico.runfolder.ledger import Ledger
from portico.worker.task import FailureKind
from tests.simulation.checks import check, check_overtaken
from tests.simulation.data import STEP, Data
from tests.simulation.disks import LOCAL, REMOTE, Disks
from tests.simulation.farm import Farm, Mood
from tests.simulation.ledgers import Sqlite
from tests.simulation.life import Driver, Life, Settings, installed
from tests.simulation.world import PowerLoss, World

__all__ = ["End", "Failure", "History", "run_seed"]

_SURVIVED = tuple(kind for kind in FailureKind if not kind.stops_the_run)
_MEMORY = Path("/dev/shm")  # quicker than a disk, where there is one


@dataclass(slots=True)
class Failure:
    """A seed that found something.

    Parameters
    ----------
    seed : int
        Which.
    error : BaseException
        What.
    history : list of str
        How it came to it.
    """

    seed: int
    error: BaseException
    history: list[str]

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"python -m tests.simulation --seeds {self.seed} -v"

    def __str__(self) -> str:
        last = "\n".join(self.history[-12:])
        return f"seed {self.seed}: {type(self.error).__name__}: {self.error}\n{last}\nrepeat it with: {self.command}"


@dataclass(frozen=True, slots=True)
class End:
    """How a driver ended.

    Parameters
    ----------
    operations : int
        What it did, by which kills are counted.
    verdict : str
        State of the step or kind of error, and the keys of the chunks that are lost.
    results : tuple of bytes
        The numbers of each sample.
    """

    operations: int
    verdict: str
    results: tuple[bytes | None, ...]


@dataclass(slots=True)
class History:
    """What a seed decides.

    Parameters
    ----------
    seed : int
        The seed.
    settings : Settings
        Of all of its drivers.
    lives : list of Life
        Its drivers; the last one works in peace.
    workers : list of (int, bool)
        Of each: workers at first, and whether jobs go on without it.
    """

    seed: int
    settings: Settings = field(init=False)
    lives: list[Life] = field(default_factory=list)
    workers: list[tuple[int, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers = random.Random(f"{self.seed} history")
        is_small = numbers.random() < 0.5
        self.settings = Settings(
            subtree=4 if is_small else 64, separate=numbers.choice((0, 3000)) if is_small else 10**8,
            commits=numbers.choice((1, 3, 200)), store=numbers.choice((LOCAL, LOCAL, REMOTE)),
            claims=numbers.random() < 0.15, locks=numbers.random() < 0.5, exports=numbers.random() < 0.2,
        )  # fmt: skip
        data = Data.draw(numbers)
        versions = [data]
        is_bounded = numbers.random() < 0.7
        for _ in range(numbers.choice((0, 1, 1, 2, 2, 3))):
            if numbers.random() < 0.2:
                is_new = len(versions) == 1 or numbers.random() < 0.5
                data = data.changed(numbers) if is_new else numbers.choice(versions)
                versions.append(data)
            life = _life(data, is_bounded, numbers)
            self.workers.append((numbers.choice((0, 1, 2, 5, 20)), numbers.random() < 0.2))
            if self.workers[-1][0] > 2 and life.mood.changing == 0:
                life = replace(life, mood=replace(life.mood, is_blind=True))
            self.lives.append(life)
        last = Life(data, Mood(), allow_partial=numbers.random() < 0.7)
        self.lives.append(last)
        self.workers.append((numbers.choice((1, 3, 50)), False))
        if numbers.random() < 0.3:
            self.lives.append(replace(last, allow_partial=True))
            self.workers.append((1, False))


def _life(data: Data, is_bounded: bool, numbers: random.Random) -> Life:
    kinds = _SURVIVED if numbers.random() < 0.6 else (numbers.choice(_SURVIVED),)
    if not is_bounded and numbers.random() < 0.1:
        kinds = tuple(FailureKind)
    mood = Mood(
        failing=numbers.choice((0.0, 0.1, 0.3, 0.8)), kinds=kinds, is_bounded=is_bounded,
        changing=numbers.choice((0.0, 0.1, 0.4)), late=numbers.choice((0.0, 0.1)),
        doubled=numbers.choice((0.0, 0.2)), jumping=numbers.choice((0.0, 0.1)),
        interrupted=numbers.choice((0.0, 0.0, 0.0, 0.05)),
    )  # fmt: skip
    kill = (numbers.randint(1, numbers.choice((10, 60, 200))), numbers.random() < 0.5)
    return Life(
        data, mood, chance=numbers.choice((0.0, 0.03, 0.2)), allowed=numbers.choice((1, 2, 5)),
        kill_at=kill if numbers.random() < 0.5 else None, loses_power=numbers.random() < 0.4,
        allow_partial=numbers.random() < 0.7, rival=numbers.random() < 0.6,
    )  # fmt: skip


def run_seed(
    seed: int, *, tells: bool = False, counts: Counter[str] | None = None,
    change: Callable[[History], None] = lambda _: None, ends: list[End] | None = None,
) -> Failure | None:  # fmt: skip
    """Run the history of a seed.

    Parameters
    ----------
    seed : int
        The seed.
    tells : bool
        Print what happens.
    counts : Counter, optional
        Takes the faults by kind.
    change : callable
        Changes the history before it runs.
    ends : list of End, optional
        Takes how each driver ended.

    Returns
    -------
    Failure, optional
        If something that must hold did not.
    """
    history = History(seed)
    change(history)
    world = World(seed, is_told=tells)
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        _run(history, world, folder / "run", ends)
    except Exception as error:  # whatever it is, it is a finding
        return Failure(seed, error, world.history)
    finally:
        shutil.rmtree(folder)
        if counts is not None:
            counts.update(world.counts)
    return None


def _run(history: History, world: World, folder: Path, ends: list[End] | None) -> None:
    disks, sqlite = Disks(world), Sqlite(world, in_memory=not history.settings.claims)
    driver = Driver(world, disks, sqlite, folder, history.settings)
    farm, data = None, history.lives[0].data
    with installed(driver):
        if not history.settings.claims:
            folder.mkdir()
            (folder / "ledger.sqlite").touch()
        for life, (workers, keeps_running) in zip(history.lives, history.workers, strict=True):
            if farm is None or not (farm.keeps_running and keeps_running):
                farm = Farm(world, life.data, disks, life.mood, workers, keeps_running)
            if life.data is not data:
                disks.removed.clear()  # what jobs of other code or input have left is not needed
            data = life.data
            driver.live(life, farm)
            if driver.was_killed:
                farm.die()
                driver.seem_dead()
            if driver.has_settled:
                disks.removed.clear()  # nor what they have left of a step that came to its end
            if driver.overtaken:
                check_overtaken(driver)
            if isinstance(driver.death, PowerLoss):
                disks.lose_power()
            if driver.began:
                check(driver, life, farm, disks)
            if ends is not None and driver.began:
                ends.append(_end_of(driver))
            sqlite.close()
        sqlite.end()


def _end_of(driver: Driver) -> End:
    ledger = Ledger(driver.folder / "ledger.sqlite", locks=driver.settings.locks)
    try:
        lost = sorted(loss.key for loss in ledger.lost(STEP))
        how = type(driver.error).__name__ if driver.error is not None else driver.reporter.state
        results = tuple(_numbers(ledger.result(STEP, sample)) for sample in driver.plan.chunks)
    finally:
        ledger.close()
    return End(driver.world.operations, f"{how}, lost: {lost}", results)


def _numbers(result: bytes | None) -> bytes | None:
    """Return the numbers of a result alone: trees differ from attempt to attempt."""
    if result is None:
        return None
    return b"".join(array.tobytes() for product in decode(result).values() for array in product.arrays.values())
