"""What a comparison says: what was compared, what differs, and how."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from portico.compare.numbers import Tolerance

if TYPE_CHECKING:
    from portico.results.product import Product

__all__ = ["KINDS", "Comparison", "Difference", "Example", "Overlay", "Tally"]

KINDS: Mapping[str, str] = {
    "missing": "is in one and not in the other",
    "double": "is more often in one than in the other",
    "other candidate": "the same event, another candidate chosen",
    "other": "another value",
    "migrated bin": "entries moved to the neighbouring bin, the total is kept",
    "rounding": "within the tolerance, not the same bits",
}
"""The kinds of differences, the most important first. All but ``rounding`` make a comparison unequal."""

Value = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Example:
    """One place where the two differ.

    Parameters
    ----------
    where : str
        The event, bin, cut or row.
    first, second : bool, int, float, str or None
        The values; None where there is none.
    """

    where: str
    first: Value
    second: Value

    def __str__(self) -> str:
        if self.first is None and self.second is None:
            return self.where
        where = f"{self.where}: " if self.where else ""
        return f"{where}{show(self.first)} | {show(self.second)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences of one kind in one product.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    step, sample, product : str
        Where; ``product`` is empty where the whole sample or step is meant.
    what : str
        What differs: events, bins, a column, a cut.
    side : {"first", "second", ""}
        For ``missing`` in which of the two, for ``double`` which of the two has more.
    count : int
        How many.
    largest : float
        The largest relative difference, infinite where one is no finite number; 0 where nothing is measured.
    examples : tuple of Example
        The first few.
    """

    kind: str
    step: str
    sample: str
    product: str
    what: str
    side: str
    count: int
    largest: float
    examples: tuple[Example, ...]

    @property
    def place(self) -> str:
        """Step, sample and product."""
        return "/".join(part for part in (self.step, self.sample, self.product) if part)

    @property
    def text(self) -> str:
        """What differs, in words."""
        number = f"{self.count:,} " if self.count > 1 or self.kind in {"missing", "double"} else ""
        far = f"up to {self.largest:.2g} relative" if 0 < self.largest < math.inf else ""
        match self.kind:
            case "missing":
                said = f"{number}not in the {self.side}"
            case "double":
                said = f"{number}more often in the {self.side}"
            case _:
                said = ", ".join(part for part in (number.strip(), far) if part)
        return f"{self.what}: {said}" if said else self.what

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            **asdict(self),
            "largest": plain(self.largest),
            "examples": [{"where": e.where, "first": plain(e.first), "second": plain(e.second)} for e in self.examples],
        }


@dataclass(slots=True)
class Tally:
    """How much was compared, in one sample of one step or in all.

    Parameters
    ----------
    products, histograms, bins : int
        Products, those of them that are histograms or profiles, and their bins, flow bins included.
    events, rows : int
        Rows of trees that were found in both by the event's identity; rows compared in order.
    numbers : int
        All numbers compared.
    unequal, beyond : int
        Numbers that are not the same bits; those of them beyond the tolerance.
    largest : float
        Largest relative difference within the tolerance.
    unread : int
        Files that were not read, since both wrote the same.
    """

    products: int = 0
    histograms: int = 0
    bins: int = 0
    events: int = 0
    rows: int = 0
    numbers: int = 0
    unequal: int = 0
    beyond: int = 0
    largest: float = 0.0
    unread: int = 0

    def add(self, other: Tally) -> None:
        """Add another."""
        for name in self.__slots__:
            value, more = getattr(self, name), getattr(other, name)
            setattr(self, name, max(value, more) if name == "largest" else value + more)


@dataclass(frozen=True, slots=True)
class Overlay:
    """A histogram that differs, with both its contents, to be drawn where it is not blinded."""

    step: str
    sample: str
    name: str
    first: Product
    second: Product
    blind: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, or a run and a file, side by side.

    Parameters
    ----------
    first, second : str
        What was compared.
    tolerance : Tolerance
        Within which numbers count as equal.
    tallies : mapping of (str, str) to Tally
        By step and sample, in order.
    differences : tuple of Difference
        The most important first.
    notes : tuple of str
        What else one must know: partial runs, what was left out.
    overlays : tuple of Overlay
        Histograms that differ, the first few hundred.
    """

    first: str
    second: str
    tolerance: Tolerance
    tallies: Mapping[tuple[str, str], Tally]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    overlays: tuple[Overlay, ...] = field(default=(), repr=False, compare=False)

    @property
    def equal(self) -> bool:
        """Whether nothing differs by more than the tolerance."""
        return all(difference.kind == "rounding" for difference in self.differences)

    @property
    def identical(self) -> bool:
        """Whether every number is the same bit for bit."""
        return not self.differences

    @property
    def total(self) -> Tally:
        """The sum of all tallies."""
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total

    @property
    def verdict(self) -> str:
        """The result in one line."""
        if not self.equal:
            return f"different: {', '.join(self.counts())}; compared {self.extent}"
        if self.identical:
            return f"equal: {self.extent}; all bit for bit"
        total = self.total
        words = f"{total.unequal:,} of {total.numbers:,} numbers are not the same bits"
        return f"equal within {self.tolerance}: {self.extent}; {words} (largest {total.largest:.2g} relative)"

    @property
    def extent(self) -> str:
        """How much was compared, in words."""
        total = self.total
        compared = [place for place, tally in self.tallies.items() if tally.products]
        steps = dict.fromkeys(step for step, _ in compared if step)
        samples = dict.fromkeys(sample for _, sample in compared if sample)
        counts = (
            (len(samples), "sample"), (len(steps), "step"), (total.products, "product"),
            (total.histograms, "histogram"), (total.bins, "bin"), (total.events, "event"), (total.rows, "row"),
        )  # fmt: skip
        return ", ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in counts if n) or "nothing"

    def counts(self) -> list[str]:
        """Return how many differences there are of each kind, in words."""
        found: dict[tuple[str, str], int] = {}
        for difference in self.differences:
            key = difference.kind, difference.side if difference.kind == "missing" else ""
            found[key] = found.get(key, 0) + difference.count
        return [f"{n:,} {kind}{f' in the {side}' if side else ''}" for (kind, side), n in found.items()]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it; numbers that are not finite become text."""
        return {
            "first": self.first, "second": self.second, "equal": self.equal, "identical": self.identical,
            "verdict": self.verdict, "rtol": self.tolerance.rtol, "atol": self.tolerance.atol,
            "total": asdict(self.total),
            "samples": [{"step": s, "sample": n, **asdict(tally)} for (s, n), tally in self.tallies.items()],
            "differences": [difference.to_json() for difference in self.differences],
            "notes": list(self.notes),
        }  # fmt: skip


def ordered(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Sort differences: the most important kind first, in it the order in which they were found."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(differences, key=lambda difference: rank[difference.kind]))


def plain(value: Value) -> Value:
    """Return what JSON can hold of a value."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def show(value: Value) -> str:
    """Write a value so that two that differ look different."""
    return "-" if value is None else repr(value) if isinstance(value, float) else str(value)
