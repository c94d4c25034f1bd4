"""The world of one seed: its clock, its chances, and the moment at which a driver is killed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Clock", "Killed", "PowerLoss", "Violation", "World"]


class Killed(BaseException):
    """The driver was killed: nothing that it does from now on has an effect."""


class PowerLoss(Killed):
    """The machine lost power: what was not synced may be lost as well."""


class Violation(AssertionError):
    """Something that must hold does not."""


@dataclass(slots=True)
class World:
    """What happens by chance, in streams that do not disturb each other, and what has happened.

    Parameters
    ----------
    seed : int
        Decides everything.
    """

    seed: int
    clock: Clock = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    """Faults of each kind."""
    faults: list[str] = field(default_factory=list)
    """Faults of the present life that may end it with an error."""
    history: list[str] = field(default_factory=list)
    operations: int = 0
    """Of the present life, so far."""
    kill_at: tuple[int, bool] | None = None
    """Number of the operation at which the driver is killed, and whether after it."""
    death: Killed | None = None
    loses_power: bool = False
    """Whether the machine goes down with it."""
    chance: float = 0.0
    """Of a fault of storage or ledger, in each operation."""
    allowed: int = 0
    """So many of them are left."""
    found: list[Violation] = field(default_factory=list)
    is_told: bool = False
    _streams: dict[str, random.Random] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = Clock(self)

    def random(self, stream: str) -> random.Random:
        """Return the numbers of a stream."""
        if stream not in self._streams:
            self._streams[stream] = random.Random(f"{self.seed} {stream}")
        return self._streams[stream]

    def tell(self, what: str) -> None:
        """Keep a line of the history."""
        line = f"{self.clock.now:12.3f} {self.operations:4d}  {what}"
        self.history.append(line)
        if self.is_told:
            print(line)

    def count(self, fault: str, where: object = "") -> None:
        """Take note of a fault."""
        self.counts[fault] += 1
        self.tell(f"FAULT {fault} {where}")

    def fails(self, fault: str, where: object = "") -> bool:
        """Decide whether an operation of storage or ledger fails; a driver may end with an error then."""
        if self.allowed <= 0 or self.random("storage").random() >= self.chance:
            return False
        self.allowed -= 1
        self.faults.append(fault)
        self.count(fault, where)
        return True

    def violation(self, words: str) -> Violation:
        """Return a violation, and remember it: the code under test may raise something else in its place."""
        self.found.append(Violation(words))
        return self.found[-1]

    def alive(self) -> None:
        """Refuse to do anything for a driver that was killed."""
        if self.death is not None:
            raise self.death

    def kill(self, death: Killed, where: str) -> None:
        """End the driver."""
        self.count("power loss" if isinstance(death, PowerLoss) else "kill", where)
        self.death = death
        raise death

    @contextmanager
    def operation(self, what: str) -> Iterator[None]:
        """Perform an operation before or after which the driver may be killed."""
        self.alive()
        self.operations += 1
        if self.kill_at == (self.operations, False):
            self._die(f"before {what}")
        yield
        if self.kill_at == (self.operations, True):
            self._die(f"after {what}")

    def _die(self, where: str) -> None:
        self.kill(PowerLoss() if self.loses_power else Killed(), where)


class Clock:
    """Stands for the module `time` in the driver: nothing waits, and the clock of the wall jumps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.now = 1000.0
        self.wall = 1.8e9

    def monotonic(self) -> float:
        """Return the time, which never runs backwards."""
        self.now += 1e-6
        return self.now

    def time(self) -> float:
        """Return the time of the clock of the wall."""
        return self.wall + self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass: at least so much, and more if the machine is busy."""
        with self._world.operation("sleep"):
            self.now += seconds * self._world.random("clock").choice((1.0, 1.5, 10.0))

    def jump(self, seconds: float) -> None:
        """Set the clock of the wall."""
        self.wall += seconds
