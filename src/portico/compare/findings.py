"""The collector of the differences in one sample of one step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from portico.compare.model import Difference, Example, Tally, Value
from portico.compare.numbers import Agreement, Tolerance, agree
from portico.results.product import Product

__all__ = ["MOST_EXAMPLES", "Findings", "value_of"]

Blind = Callable[[str], list[tuple[float, float]]]
MOST_EXAMPLES = 100
"""Per kind and product; the total number is reported as well."""


@dataclass(slots=True)
class _Group:
    count: int = 0
    largest: float = 0.0
    examples: list[Example] = field(default_factory=list)


class Findings:
    """The differences in one sample of one step, grouped by kind, product, what and side.

    Parameters
    ----------
    step, sample : str
        Their names; the sample of a summary step is empty.
    tolerance : Tolerance
        Numbers within it count as equal.
    blind : callable, optional
        Returns the intervals in which a product is blinded.
    """

    def __init__(self, step: str, sample: str, tolerance: Tolerance, blind: Blind = lambda _: []) -> None:
        self.step, self.sample, self.tolerance, self._blind = step, sample, tolerance, blind
        self.tally = Tally()
        self.notes: dict[str, None] = {}
        self._groups: dict[tuple[str, str, str, str], _Group] = {}

    def fresh(self) -> Findings:
        """Return empty findings of the same sample, for an attempt that may have to be repeated."""
        return Findings(self.step, self.sample, self.tolerance, self._blind)

    def absorb(self, other: Findings) -> None:
        """Add the findings of another."""
        self.tally.add(other.tally)
        self.notes |= other.notes
        for (kind, product, what, side), group in other._groups.items():
            self.add(kind, product, what, group.count, group.examples, side=side, largest=group.largest)

    def add(
        self,
        kind: str,
        product: str,
        what: str,
        count: int = 1,
        examples: Iterable[Example] = (),
        *,
        side: str = "",
        largest: float = 0.0,
    ) -> None:
        """Add ``count`` differences; only the first `MOST_EXAMPLES` examples are kept."""
        group = self._groups.setdefault((kind, product, what, side), _Group())
        group.count += count
        group.largest = max(group.largest, largest)
        room = MOST_EXAMPLES - len(group.examples)
        if room > 0:
            group.examples.extend(example for example, _ in zip(examples, range(room), strict=False))

    def add_missing(self, product: str, what: str, first: Collection[str], second: Collection[str]) -> None:
        """Add the names that only one side has as missing on the other."""
        for side, present, others in (("second", first, second), ("first", second, first)):
            absent = [name for name in present if name not in others]
            if absent:
                examples = (Example(name, None, None) for name in absent)
                self.add("missing", product, what, len(absent), examples, side=side)

    def touched(self, product: str) -> bool:
        """Return whether a product differs by more than rounding."""
        return any(name == product and kind != "rounding" for kind, name, *_ in self._groups)

    def blind(self, name: str, product: Product) -> list[tuple[float, float]]:
        """Return the intervals in which a product is blinded; a variation is blinded like its nominal product."""
        return self._blind(product.meta.get("variation", [name])[0])

    def differences(self) -> Iterator[Difference]:
        """Return all differences."""
        for (kind, product, what, side), group in self._groups.items():
            examples = tuple(group.examples)
            yield Difference(kind, self.step, self.sample, product, what, side, group.count, group.largest, examples)

    def count(self, agreement: Agreement) -> None:
        """Count compared numbers."""
        self.tally.numbers += agreement.identical.size
        unequal = int(agreement.identical.size - np.count_nonzero(agreement.identical))
        if unequal:
            self.tally.unequal += unequal
            self.tally.beyond += int(agreement.close.size - np.count_nonzero(agreement.close))
            self.tally.largest = max(self.tally.largest, largest_of(agreement, agreement.close))

    def compare(
        self, product: str, what: str, first: npt.ArrayLike, second: npt.ArrayLike, where: Callable[[int], str]
    ) -> None:
        """Compare two arrays of one shape number by number; differences are ``other`` or ``rounding``.

        Parameters
        ----------
        product, what : str
            The product, and which of its numbers these are.
        first, second : array
            The numbers.
        where : callable
            Names a number, given its index in the flattened array.
        """
        a, b = np.asarray(first).ravel(), np.asarray(second).ravel()
        agreement = agree(a, b, self.tolerance)
        self.count(agreement)
        for kind, chosen in (("other", ~agreement.close), ("rounding", agreement.close & ~agreement.identical)):
            found = np.flatnonzero(chosen)
            examples = (Example(where(int(i)), value_of(a[i]), value_of(b[i])) for i in found)
            if found.size:
                self.add(kind, product, what, found.size, examples, largest=largest_of(agreement, chosen))


def largest_of(agreement: Agreement, chosen: npt.NDArray[np.bool_]) -> float:
    """Return the largest relative difference among the chosen pairs."""
    return float(agreement.relative[chosen].max(initial=0.0))


def value_of(number: Any) -> Value:
    """Convert a number of numpy to one of Python."""
    value: Value = number.item() if isinstance(number, np.generic) else number
    return value
