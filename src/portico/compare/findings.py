"""Where differences of one sample of one step are gathered while it is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
"""Of each kind in each product; the number of all is told beside them."""


@dataclass(slots=True)
class _Group:
    count: int = 0
    largest: float = 0.0
    examples: list[Example] = field(default_factory=list)


class Findings:
    """The differences of one sample of one step, by kind, product, what and side.

    Parameters
    ----------
    step, sample : str
        Which; the sample of a summary step is empty.
    tolerance : Tolerance
        Within which numbers count as equal.
    blind : callable, optional
        Returns the intervals in which a product is not shown.
    """

    def __init__(self, step: str, sample: str, tolerance: Tolerance, blind: Blind = lambda _: []) -> None:
        self.step, self.sample, self.tolerance, self._blind = step, sample, tolerance, blind
        self.tally = Tally()
        self.notes: dict[str, None] = {}
        self._groups: dict[tuple[str, str, str, str], _Group] = {}

    def fresh(self) -> Findings:
        """Return empty findings of the same sample, for what may have to be begun again."""
        return Findings(self.step, self.sample, self.tolerance, self._blind)

    def absorb(self, other: Findings) -> None:
        """Add what another has found."""
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
        """Note ``count`` differences; only the first `MOST_EXAMPLES` examples are kept."""
        group = self._groups.setdefault((kind, product, what, side), _Group())
        group.count += count
        group.largest = max(group.largest, largest)
        room = MOST_EXAMPLES - len(group.examples)
        if room > 0:
            group.examples.extend(example for example, _ in zip(examples, range(room), strict=False))

    def touched(self, product: str) -> bool:
        """Say whether a product differs by more than rounding."""
        return any(name == product and kind != "rounding" for kind, name, *_ in self._groups)

    def blind(self, name: str, product: Product) -> list[tuple[float, float]]:
        """Return where a product is not shown; a variation is hidden where its nominal one is."""
        return self._blind(product.meta.get("variation", [name])[0])

    def differences(self) -> Iterator[Difference]:
        """Return what was found."""
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
        """Compare two arrays of one shape number by number; what differs is ``other`` or ``rounding``.

        Parameters
        ----------
        product, what : str
            What they are.
        first, second : array
            The numbers.
        where : callable
            Names the place of a number, given its index in the flattened array.
        """
        a, b = np.asarray(first).ravel(), np.asarray(second).ravel()
        agreement = agree(a, b, self.tolerance)
        self.count(agreement)
        self.note("other", product, what, ~agreement.close, agreement, (a, b), where)
        self.note("rounding", product, what, agreement.close & ~agreement.identical, agreement, (a, b), where)

    def note(
        self,
        kind: str,
        product: str,
        what: str,
        chosen: npt.NDArray[np.bool_],
        agreement: Agreement,
        numbers: tuple[npt.NDArray[Any], npt.NDArray[Any]],
        where: Callable[[int], str],
    ) -> None:
        """Note the pairs of numbers that are chosen, if any are."""
        found = np.flatnonzero(chosen)
        if found.size:
            examples = (Example(where(int(i)), value_of(numbers[0][i]), value_of(numbers[1][i])) for i in found)
            self.add(kind, product, what, found.size, examples, largest=largest_of(agreement, chosen))


def largest_of(agreement: Agreement, chosen: npt.NDArray[np.bool_]) -> float:
    """Return the largest relative difference among those chosen."""
    return float(agreement.relative[chosen].max(initial=0.0))


def value_of(number: Any) -> Value:
    """Return a number of numpy as one of Python."""
    value: Value = number.item() if isinstance(number, np.generic) else number
    return value
