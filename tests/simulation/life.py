"""One driver in the world: from its claim of the run folder to its end, whichever that is."""

from __future__ import annotations

import errno
import itertools
import os
import sys
import time
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from portico.analysis.analysis import StepEntry
from portico.environment.bundle import Bundle
from portico.errors import PorticoError, RunFolderError
from portico.files import atomic
from portico.files import storage as storages
from portico.runfolder import claim, database, owner, subtrees
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Attempt, Ledger
from portico.runfolder.owner import Held
from portico.runfolder.tidy import settle
from portico.step import Needs
from portico.workflow import chunk_loop, chunk_scheduler, merging, run, step_runner
from portico.workflow.credential_refresh import CredentialRefresh
from portico.workflow.plan import Arguments
from portico.workflow.state import State
from portico.workflow.step_runner import run_plan
from tests.simulation.data import STEP, Data
from tests.simulation.disks import LOCAL, Disks
from tests.simulation.farm import Farm, Mood
from tests.simulation.ledgers import Sqlite
from tests.simulation.world import Killed, World

__all__ = ["Driver", "Life", "Settings", "installed"]

_ENTRY = StepEntry(name=STEP, function="simulated:fill")
_TABLES = ("step", "plan", "done", "attempt", "subtree", "result", "current", "lost", "version")
_BUNDLE = Bundle("simulated:fill", Needs(), (), {}, {}, "", "", b"")


@dataclass(frozen=True, slots=True)
class Settings:
    """Constants of the code that are smaller here, so that little input reaches what needs much.

    Parameters
    ----------
    subtree : int
        Chunks of a subtree.
    separate : int
        Bytes of partial results that are kept one by one.
    commits : int
        Chunks of one commit.
    store : str
        Where trees are written.
    claims : bool
        Whether drivers claim the folder; else they open the ledger alone, which is quicker.
    locks : bool
        Whether the file system of the folder has locks.
    exports : bool
        Whether drivers write results.root and results.json.
    """

    subtree: int = subtrees.SIZE
    separate: int = merging.SEPARATE_BYTES
    commits: int = chunk_scheduler._COMMIT_CHUNKS
    store: str = LOCAL
    claims: bool = False
    locks: bool = True
    exports: bool = False


@dataclass(frozen=True, slots=True)
class Life:
    """What one driver is to do.

    Parameters
    ----------
    data : Data
        The input.
    mood : Mood
        How workers behave.
    chance, allowed
        Of faults of storage and ledger, in each operation, and how many at most.
    kill_at : tuple of (int, bool), optional
        The operation before or after which it is killed.
    loses_power : bool
        Then the machine goes down with it.
    allow_partial : bool
        As `portico.run` takes it.
    rival : bool
        Another driver tries to work in the same folder meanwhile.
    """

    data: Data
    mood: Mood = field(default_factory=Mood)
    chance: float = 0.0
    allowed: int = 0
    kill_at: tuple[int, bool] | None = None
    loses_power: bool = False
    allow_partial: bool = True
    rival: bool = False


class Reporter:
    """Keeps what a driver tells."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.state = ""
        self.ran = 0

    def begin(self, step: str, entries: Mapping[str, int], done: Mapping[str, int], workers: int) -> None: ...
    def advance(self, sample: str, entries: int, metrics: Mapping[str, Any]) -> None: ...

    def note(self, message: str) -> None:
        self._world.tell(f"note: {message}")

    def warn(self, message: str) -> None:
        self._world.tell(f"warning: {message}")

    def end(self, step: str, state: str, seconds: float, ran: int) -> None:
        self.state, self.ran = state, ran


class Driver:
    """A driver and how it ended.

    Parameters
    ----------
    world, disks, sqlite, folder, settings
        Where it works.
    """

    def __init__(self, world: World, disks: Disks, sqlite: Sqlite, folder: Path, settings: Settings) -> None:
        self.world, self.disks, self.sqlite, self.folder, self.settings = world, disks, sqlite, folder, settings
        self.acknowledged: set[str] = set()
        """Keys of which the ledger has said that they are done."""
        self.failed: Counter[tuple[str, int, str]] = Counter()
        """Failures that came to one of its lives, by chunk, attempt and kind."""
        self.error: PorticoError | None = None
        self.reporter = Reporter(world)
        self.overtaken = ""
        """What the folder was like when another driver that had taken it over was done."""
        self.was_killed = False
        self.has_settled = False
        """Whether it has removed the trees that a step which came to its end does not need."""
        self.death: Killed | None = None
        self.began = False

    def live(self, life: Life, farm: Farm) -> None:
        """Run until it is done, fails, or is killed."""
        world = self.world
        world.operations, world.death = 0, None
        world.kill_at, world.loses_power = life.kill_at, life.loses_power
        world.chance, world.allowed = life.chance, life.allowed
        world.faults.clear()
        self.error, self.was_killed, self.reporter, self.overtaken = None, False, Reporter(world), ""
        self.has_settled = False
        world.tell(f"a driver begins: {life}")
        farm.begin(life.data, life.mood)
        began = world.clock.now
        try:
            self._run(life, farm)
        except Killed:
            pass
        except KeyboardInterrupt:
            self.error = PorticoError("interrupted")
        except PorticoError as error:
            self.error = error
        finally:
            self.sqlite.close()
            farm.on_wait = _nothing
        self.death = world.death  # also if something handled it
        self.was_killed = self.death is not None
        if world.found:  # whatever the code made of it
            raise world.found[0]
        farm.check_time(world.clock.now - began)
        ended = "killed" if self.was_killed else f"error: {self.error!r}" if self.error else self.reporter.state
        world.tell(f"the driver ended: {ended}")
        world.death, world.kill_at, world.allowed = None, None, 0

    def _run(self, life: Life, farm: Farm) -> None:
        with self.opened() as (folder, ledger):
            farm.ledger = ledger
            if life.rival and self.settings.claims:
                farm.on_wait = lambda: self._meet(life, farm)
            entries = types.SimpleNamespace(steps=[_ENTRY], blind={})
            refresh = CredentialRefresh(farm, self.reporter.warn, needed=False)
            recipes = {(STEP, name): str(life.data.code) for name in life.data.samples}
            state = State(
                cast("Any", entries), folder, ledger, farm, self.reporter, refresh, recipes, (), life.allow_partial,
                accept_changed_input=True, export=self.settings.exports,
            )  # fmt: skip
            self.plan, self.began = life.data.plan(), True
            run._run_steps(state, [_ENTRY])

    def _meet(self, life: Life, farm: Farm) -> None:
        """Let another driver try to work in the same folder, after a while in which this one gave no sign of life."""
        numbers = self.world.random("rival")
        if self.overtaken or numbers.random() > 0.1:
            return
        if not self.settings.locks and numbers.random() < 0.5:
            self._is_overtaken(life, farm)
            return
        self.world.count("second driver")
        try:
            with self.opened():
                raise self.world.violation("two drivers work in one folder")
        except RunFolderError as error:
            if "in use by another portico run" not in str(error):
                raise

    def _is_overtaken(self, life: Life, farm: Farm) -> None:
        """Let another driver do all of it, while this one is stopped."""
        world = self.world
        world.count("overtaken by a driver")
        world.clock.now += 100.0
        self.seem_dead()
        kept = {name: getattr(world, name) for name in ("operations", "kill_at", "loses_power", "chance", "allowed")}
        faults, mine = list(world.faults), self.sqlite.leave()
        other = Driver(world, self.disks, self.sqlite, self.folder, self.settings)
        its_farm = farm.another()
        other.live(replace(life, mood=Mood(), chance=0.0, kill_at=None, rival=False), its_farm)
        self.note_failures(its_farm)
        if isinstance(other.error, RunFolderError):
            raise self.world.violation(f"a driver that took a folder over failed: {other.error!r}")
        for name, value in kept.items():
            setattr(world, name, value)
        world.faults[:] = faults
        farm.is_overtaken()
        (self.folder / f".{0:032x}.part").touch()  # of a worker of the other driver
        self.overtaken = self.content()
        self.sqlite.join(mine)

    def note_failures(self, farm: Farm) -> None:
        """Take note of the failures that came to a driver."""
        for (key, attempt, kind), count in farm.distinct_failures.items():
            self.failed[key[:64], attempt, kind] += count

    def seem_dead(self) -> None:
        """Make the last sign of life an old one."""
        lock = self.folder / owner.LOCK
        if not self.settings.locks and lock.exists():
            long_ago = time.time() - 2 * owner.DEAD_SECONDS
            os.utime(lock, (long_ago, long_ago))

    def content(self) -> str:
        """Return what the ledger and the folder of trees hold."""
        there = self.disks.listed(f"{self.settings.store}/{STEP}")
        visible = {path: stamp for path, stamp in there.items() if "/." not in path}
        ledger = Ledger(self.folder / "ledger.sqlite", locks=self.settings.locks)
        try:
            tables = [sorted(ledger._db.execute(f"SELECT * FROM {name}").fetchall()) for name in _TABLES]
        finally:
            ledger.close()
        return repr((visible, tables, sorted(self.folder.glob(".*.part"))))

    def step(self, state: State, position: int, entry: StepEntry) -> None:
        """Stand for `portico.workflow.step_runner.run_step`, whose plan comes from files."""
        run_plan(state, position, entry, _BUNDLE, Arguments({}, {}), self.plan, self.world.clock.monotonic())

    def settle(self, *arguments: Any, **options: Any) -> dict[str, str]:
        """Call `portico.runfolder.tidy.settle`, and take note of that."""
        self.has_settled = True
        return settle(*arguments, **options)

    @contextmanager
    def opened(self) -> Iterator[tuple[RunFolder, Ledger]]:
        """Claim the folder, or open the ledger alone."""
        folder = RunFolder(self.folder, self.settings.store)
        if self.settings.claims:
            with folder.claim({"analysis": "simulated"}) as claimed:
                yield claimed
            return
        self.folder.mkdir(exist_ok=True)
        ledger = Ledger(folder.ledger_path)
        try:
            yield folder, ledger
        finally:
            with suppress(Killed):
                ledger.close()


def _nothing() -> None:
    pass


class _NoLocks:
    """Stands for the module `fcntl` on a file system without locks."""

    LOCK_EX = LOCK_SH = LOCK_NB = 0

    @staticmethod
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


_RECORDS = itertools.count(1)


def _record() -> owner.Record:
    """Return the record of a driver on a machine of its own."""
    number = next(_RECORDS)
    return owner.Record(number, f"host{number}", token=f"{number:032x}")


@lru_cache
def _with_storage() -> list[types.ModuleType]:
    """Return the modules of the driver that use storage."""
    return [module for module in _modules() if vars(module).get("storage_of") is storages.storage_of]


@lru_cache
def _with_clock() -> list[types.ModuleType]:
    """Return the modules of the driver that have a clock."""
    return [module for module in _modules() if vars(module).get("time") is time]


def _modules() -> list[types.ModuleType]:
    ours = ("portico.workflow.", "portico.runfolder.", "portico.files.kept")
    return [module for name, module in sys.modules.items() if name.startswith(ours)]


@contextmanager
def installed(driver: Driver) -> Iterator[None]:
    """Put the world in the place of what the code under test has around it."""
    world, disks = driver.world, driver.disks
    real_storage, real_commit = storages.storage_of, Ledger.commit

    def storage_of(location: str | Path) -> Any:
        return disks if disks.holds_path(str(location)) else real_storage(location)

    def commit(self: Ledger, finished: Iterable[tuple[Attempt, Any, Any]], *others: Any) -> None:
        finished = list(finished)
        real_commit(self, finished, *others)
        driver.acknowledged |= {attempt.key for attempt, *_ in finished}

    @contextmanager
    def hold(folder: Path) -> Iterator[Held]:  # without the thread, and without a farewell of the dead
        with ExitStack() as stack:
            held = owner._taken(folder, stack)
            try:
                yield held
            finally:
                if world.death is None:
                    held.end()

    changes: list[tuple[Any, str, object]] = [
        (Ledger, "commit", commit), (claim, "hold", hold), (database, "sqlite3", driver.sqlite),
        (run, "run_step", driver.step), (step_runner, "settle", driver.settle),
        (subtrees, "SIZE", driver.settings.subtree),
        (merging, "SEPARATE_BYTES", driver.settings.separate),
        (chunk_scheduler, "_COMMIT_CHUNKS", driver.settings.commits), (chunk_loop, "sync_folders", disks.sync),
        (atomic, "sync", disks.sync_path),
    ]  # fmt: skip
    if not driver.settings.locks:
        changes += [(owner, "fcntl", _NoLocks), (owner.Record, "mine", _record)]
    changes += [(module, "storage_of", storage_of) for module in _with_storage()]
    changes += [(module, "time", world.clock) for module in _with_clock()]
    before = [(place, name, vars(place)[name]) for place, name, _ in changes]
    for place, name, value in changes:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
