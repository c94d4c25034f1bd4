"""Rate parameters of a datacard: free factors, factors with a Gaussian constraint, and products of them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from portico.errors import InputError, nearest
from portico.stats.exports.card_content import Card, Column, Constraint, RateParameter

__all__ = ["Rates"]

_HIGHEST: Final = 1000.0  # of factors without a range, over their value
_WIDTHS: Final = 4.0  # of the range of a constrained parameter, as in Combine
_DEEPEST: Final = 20  # formulas of formulas

_Settings = dict[str, dict[str, Any]]


class Rates:
    """Factors of processes.

    Parameters
    ----------
    card : Card
    poi : str
        The strength of all signal.
    settings : dict of str to dict
        Of the parameters of a measurement; filled as factors are used.
    opaque : collection of str
        Factors that something else than a workspace gives a meaning: each is a factor of its own.
    """

    def __init__(self, card: Card, poi: str, settings: _Settings, opaque: Collection[str] = ()) -> None:
        self._card, self._poi, self._settings, self._opaque = card, poi, settings, opaque
        self._constraints: Mapping[str, Constraint] = {of.name: of for of in card.constraints}
        self._free: dict[str, RateParameter] = {}
        self._formulas: dict[str, RateParameter] = {}
        for rate in card.rate_parameters:
            if rate.name == poi:
                raise self._wrong(rate, f"'{rate.name}' is the strength of all signal already; rename it")
            if not rate.source:
                (self._formulas if rate.formula else self._free).setdefault(rate.name, rate)

    def _wrong(self, rate: RateParameter | Constraint, what: str) -> InputError:
        return InputError(f"{self._card.where}, line {rate.line}: {what}")

    def of(self, column: Column) -> tuple[float, list[dict[str, Any]]]:
        """Return a number and modifiers that multiply a process."""
        scale, names = 1.0, list[str]()
        for rate in self._card.rate_parameters:
            if (rate.bin, rate.process) == (column.bin, column.process):
                number, more = self._factors(rate.name, rate)
                scale, names = scale * number, names + more
        twice = [name for name in names if names.count(name) > 1 or (name == self._poi and column.index <= 0)]
        if twice:
            of = next(
                rate for rate in reversed(self._card.rate_parameters)
                if (rate.bin, rate.process) == (column.bin, column.process)
                and twice[0] in self._factors(rate.name, rate)[1]
            )  # fmt: skip
            where = f"'{column.process}' in '{column.bin}'"
            raise self._wrong(of, f"'{twice[0]}' multiplies {where} twice, which a workspace cannot hold")
        return scale, [self._modifier(name) for name in names]

    @property
    def used(self) -> set[str]:
        """Parameters that multiply anything so far."""
        return set(self._settings)

    @property
    def beyond(self) -> set[str]:
        """Factors of processes that are not products of parameters, or have a constraint with two widths."""
        found = set()
        for rate in self._card.rate_parameters:
            constraint = self._constraints.get(rate.name)
            if rate.bin and constraint is not None and constraint.down != constraint.up:
                found.add(rate.name)
            try:
                if rate.bin and self._factors(rate.name, rate)[1] == []:
                    found.add(rate.name)
            except InputError:
                found.add(rate.name)
        return found

    def _factors(self, name: str, rate: RateParameter, depth: int = 0) -> tuple[float, list[str]]:
        """Return a number and the independent parameters whose product a factor is."""
        if name in self._free or name in self._constraints or name in self._opaque or name == self._poi:
            return 1.0, [name]
        if name not in self._formulas or depth > _DEEPEST:
            known = [*self._free, *self._constraints, *self._formulas]
            words = f"'{rate.name}' depends on '{name}', which is not a parameter; {nearest(name, known)}"
            raise self._wrong(rate, words)
        rate = self._formulas[name]
        formula, _, words = rate.formula.rpartition(" ")
        arguments = words.split(",")
        terms = re.fullmatch(
            r"\(*((?:@\d+|[\d.]+(?:e-?\d+)?)(?:\*(?:@\d+|[\d.]+(?:e-?\d+)?))*)\)*", "".join(formula.split())
        )
        if not terms:
            raise self._wrong(
                rate, f"'{name}' is a formula, {rate.formula}, which a workspace cannot hold unless it is a product"
            )
        scale, names = 1.0, list[str]()
        for term in terms[1].split("*"):
            if not term.startswith("@"):
                scale *= float(term)
                continue
            if int(term[1:]) >= len(arguments):
                raise self._wrong(rate, f"'{name}': {term} is beyond the parameters {words}")
            number, more = self._factors(arguments[int(term[1:])], rate, depth + 1)
            scale, names = scale * number, names + more
        return scale, names

    def _modifier(self, name: str) -> dict[str, Any]:
        if name == self._poi:
            return {"name": name, "type": "normfactor", "data": None}
        frozen = {"fixed": True} if name in self._card.frozen else {}
        free = self._free.get(name)
        if name in self._opaque:
            value, width = (of.mean, _WIDTHS * of.up) if (of := self._constraints.get(name)) else (1.0, _HIGHEST)
            self._settings[name] = {"inits": [value], "bounds": [[value - width, value + width]], **frozen}
            return {"name": name, "type": "normfactor", "data": None}
        if (constraint := self._constraints.get(name)) is None:
            assert free is not None  # noqa: S101 (see _factors)
            note = f"line {free.line}: '{name}' multiplies a process, and is kept at 0 or above"
            if math.isfinite(free.low) and free.low < 0 and note not in self._card.notes:
                self._card.notes.append(note)
            reach = _HIGHEST * max(abs(free.value), 1.0)
            bounds = [max(free.low, 0.0), min(free.high, reach)]
            self._settings[name] = {"inits": [free.value], "bounds": [bounds], **frozen}
            return {"name": name, "type": "normfactor", "data": None}
        if constraint.down != constraint.up:
            raise self._wrong(constraint, f"'{name}' has two widths, which a workspace cannot hold for a factor")
        mean, width = constraint.mean, constraint.up
        low, high = constraint.bounds or (mean - _WIDTHS * width, mean + _WIDTHS * width)
        self._settings[name] = {
            "inits": [mean], "bounds": [[max(low, 0.0), high]], "auxdata": [mean], "sigmas": [width], **frozen,
        }  # fmt: skip
        return {"name": name, "type": "lumi", "data": None}
