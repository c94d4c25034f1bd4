"""The result of a comparison: differences by kind, examples, and counts of all that was compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from portico.compare.numbers import Tolerance
from portico.results.table import ShownTable

if TYPE_CHECKING:
    from portico.results.product import Product

__all__ = ["KINDS", "Comparison", "Difference", "Example", "Overlay", "Tally"]

KINDS: Mapping[str, str] = {
    "missing": "exists on one side only",
    "double": "occurs more often on one side",
    "other candidate": "same event, but another candidate was chosen",
    "other": "another value",
    "migrated bin": "entries moved to a neighbouring bin, the total is the same",
    "rounding": "equal within the tolerance, but not the same bits",
}
"""The kinds of differences, the most important first. All but ``rounding`` make a comparison unequal."""

Value = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a difference.

    Parameters
    ----------
    where : str
        The event, bin, cut or row.
    first, second : bool, int, float, str or None
        The values; None if a side has none.
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
        Names; ``product`` is empty if the entire sample or step differs.
    what : str
        What differs: events, bins, a column, a cut.
    side : {"first", "second", ""}
        For ``missing`` the side without it, for ``double`` the side with more.
    count : int
        Number of differences.
    largest : float
        The largest relative difference, infinite if a number is not finite; 0 for differences without a size.
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
    def address(self) -> str:
        """``STEP/SAMPLE/PRODUCT``, without the parts that are empty."""
        return "/".join(part for part in (self.step, self.sample, self.product) if part)

    @property
    def text(self) -> str:
        """The difference in words."""
        number = f"{self.count:,} " if self.count > 1 or self.kind in {"missing", "double"} else ""
        far = f"up to {self.largest:.2g} relative" if 0 < self.largest < math.inf else ""
        match self.kind:
            case "missing":
                text = f"{number}not in the {self.side}"
            case "double":
                text = f"{number}more often in the {self.side}"
            case _:
                text = ", ".join(part for part in (number.strip(), far) if part)
        return f"{self.what}: {text}" if text else self.what

    def to_json(self) -> dict[str, Any]:
        """Return all fields as a dictionary, ready for JSON."""
        return {
            **asdict(self),
            "largest": plain(self.largest),
            "examples": [{"where": e.where, "first": plain(e.first), "second": plain(e.second)} for e in self.examples],
        }


@dataclass(slots=True)
class Tally:
    """Counts of what was compared, in one sample of one step or in total.

    Parameters
    ----------
    products, histograms, bins : int
        Products, those that are histograms or profiles, and their bins including flow bins.
    events, rows : int
        Rows of trees that were matched by event; rows that were compared in order.
    numbers : int
        All numbers that were compared.
    unequal, beyond : int
        Numbers that are not bit for bit the same; those that differ by more than the tolerance.
    largest : float
        Largest relative difference within the tolerance.
    unread : int
        Files that were not read, because both sides have the same file.
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
    """A histogram with the contents of both sides, to be drawn outside the blinded intervals."""

    step: str
    sample: str
    name: str
    first: Product
    second: Product
    blind: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing two runs, or a run and a file.

    Parameters
    ----------
    first, second : str
        Paths of the two sides.
    tolerance : Tolerance
        Numbers within it count as equal.
    tallies : mapping of (str, str) to Tally
        By step and sample, in order.
    differences : tuple of Difference
        The most important first.
    notes : tuple of str
        Remarks about partial runs and about what was not compared.
    overlays : tuple of Overlay
        Histograms that differ, the first 1,000, and then those that do not, if they were asked for.
    gaps : tuple of str
        Results that could not be compared, because they are missing or were made with other options; also in ``notes``.
    """

    first: str
    second: str
    tolerance: Tolerance
    tallies: Mapping[tuple[str, str], Tally]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    overlays: tuple[Overlay, ...] = field(default=(), repr=False, compare=False)
    gaps: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing that was compared differs by more than the tolerance."""
        return all(difference.kind == "rounding" for difference in self.differences)

    @property
    def equal(self) -> bool:
        """Whether everything was compared, and nothing differs by more than the tolerance."""
        return self.agrees and not self.gaps

    @property
    def identical(self) -> bool:
        """Whether everything was compared, and every number is the same bit for bit."""
        return not self.differences and not self.gaps

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
        if self.agrees and self.gaps:
            more = f" and {len(self.gaps) - 1:,} more" if len(self.gaps) > 1 else ""
            return f"incomplete: {self.gaps[0]}{more}; no difference in what was compared: {self.extent}"
        if not self.equal:
            return f"different: {', '.join(self.counts())}; compared {self.extent}"
        if self.identical:
            return f"equal: {self.extent}; all bit for bit"
        total = self.total
        words = f"{total.unequal:,} of {total.numbers:,} numbers are not the same bits"
        return f"equal within {self.tolerance}: {self.extent}; {words} (largest {total.largest:.2g} relative)"

    @property
    def extent(self) -> str:
        """Counts of what was compared, in words."""
        total = self.total
        compared = [names for names, tally in self.tallies.items() if tally.products]
        steps = dict.fromkeys(step for step, _ in compared if step)
        samples = dict.fromkeys(sample for _, sample in compared if sample)
        counts = (
            (len(samples), "sample"), (len(steps), "step"), (total.products, "product"),
            (total.histograms, "histogram"), (total.bins, "bin"), (total.events, "event"), (total.rows, "row"),
        )  # fmt: skip
        return ", ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in counts if n) or "nothing"

    def _table(self) -> ShownTable:
        rows = [(d.kind, d.address, d.text, str(d.examples[0]) if d.examples else "") for d in self.differences]
        columns = ("kind", "where", "what", "for example: first | second")
        return ShownTable(columns, rows, self.verdict, "\n".join(self.notes), left=4)

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()

    def counts(self) -> list[str]:
        """Return the number of differences of each kind, in words."""
        found: dict[tuple[str, str], int] = {}
        for difference in self.differences:
            key = difference.kind, difference.side if difference.kind == "missing" else ""
            found[key] = found.get(key, 0) + difference.count
        return [f"{n:,} {kind}{f' in the {side}' if side else ''}" for (kind, side), n in found.items()]

    def to_json(self) -> dict[str, Any]:
        """Return all fields as a dictionary, ready for JSON; numbers that are not finite become text."""
        return {
            "first": self.first, "second": self.second, "equal": self.equal, "identical": self.identical,
            "verdict": self.verdict, "rtol": self.tolerance.rtol, "atol": self.tolerance.atol,
            "total": asdict(self.total),
            "samples": [{"step": s, "sample": n, **asdict(tally)} for (s, n), tally in self.tallies.items()],
            "differences": [difference.to_json() for difference in self.differences],
            "notes": list(self.notes),
        }  # fmt: skip


def ordered(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Sort differences by the importance of their kind, then in the order in which they were found."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(differences, key=lambda difference: rank[difference.kind]))


def plain(value: Value) -> Value:
    """Return a value that JSON can hold."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def show(value: Value) -> str:
    """Format a value so that different values look different."""
    return "-" if value is None else repr(value) if isinstance(value, float) else str(value)
