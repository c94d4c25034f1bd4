"""Upper limits and CLs as values, with one JSON form.

In JSON a number that is not finite is the string ``"Infinity"``, ``"-Infinity"`` or ``"NaN"``, since JSON has no other
way to write it; what is not known, such as an observed limit while blinded, is ``null``. Statistical uncertainties, and
what comes with them, are left out where no toys were thrown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["BANDS", "QUANTILES", "CLs", "Limit"]

#: Positions of expected values in the background-only distribution, in standard deviations.
BANDS: Final = (-2, -1, 0, 1, 2)
#: The same as fractions of the outcomes without signal. CMS Combine prints 0.025, 0.16, 0.5, 0.84 and 0.975.
QUANTILES: Final = tuple(0.5 * (1 + math.erf(n / math.sqrt(2))) for n in BANDS)


@dataclass(frozen=True, slots=True)
class CLs:
    """CLs of one signal strength.

    Attributes
    ----------
    mu : float
        The signal strength.
    observed : float, optional
        None while blinded.
    expected : tuple of float
        At -2, -1, 0, 1, 2 standard deviations of the background: the first is the smallest.
    clsb, clb : float, optional
        The observed p-values whose ratio CLs is.
    uncertainty : float, optional
        Of the observed CLs, from the number of toys.
    expected_uncertainties : tuple of float
        Of the expected CLs; empty without toys.
    failed : int
        Toys whose fits did not converge.
    """

    mu: float
    observed: float | None
    expected: tuple[float, ...]
    clsb: float | None = None
    clb: float | None = None
    uncertainty: float | None = None
    expected_uncertainties: tuple[float, ...] = ()
    failed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, see the module."""
        return {**_json(self, "mu", "observed", "expected", "clsb", "clb"), **_toys_json(self, failed=self.failed)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CLs:
        """Return the value that `to_json` wrote.

        Raises
        ------
        KeyError, ValueError
            If it did not write this.
        """
        return cls(
            float(content["mu"]), _read(content["observed"]), _all_read(content["expected"]),
            _read(content["clsb"]), _read(content["clb"]), _read(content.get("uncertainty")),
            _all_read(content.get("expected_uncertainties", ())), content.get("failed", 0),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limit:
    """Upper limits on a signal strength.

    Attributes
    ----------
    method : str
        ``asymptotic``, ``counting`` or ``toys``: how they were found.
    observed : float, optional
        None while blinded.
    expected : tuple of float
        Without signal, at -2, -1, 0, 1, 2 standard deviations.
    uncertainty : float, optional
        Of the observed limit, from the number of toys.
    expected_uncertainties : tuple of float
        Of the expected limits; empty without toys.
    scan : tuple of CLs
        CLs at the strengths where toys were thrown.
    notes : tuple of str
        Warnings, such as a CLs that rises with the strength.
    """

    method: str
    observed: float | None
    expected: tuple[float, ...]
    uncertainty: float | None = None
    expected_uncertainties: tuple[float, ...] = ()
    scan: tuple[CLs, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def median(self) -> float:
        """The median expected limit."""
        return self.expected[BANDS.index(0)]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, see the module."""
        scan = [cls.to_json() for cls in self.scan]
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {"method": self.method, **_json(self, "observed", "expected"), **_toys_json(self, scan=scan), **notes}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Limit:
        """Return the value that `to_json` wrote.

        Raises
        ------
        KeyError, ValueError
            If it did not write this.
        """
        return cls(
            content["method"], _read(content["observed"]), _all_read(content["expected"]),
            _read(content.get("uncertainty")), _all_read(content.get("expected_uncertainties", ())),
            tuple(CLs.from_json(cls) for cls in content.get("scan", ())), tuple(content.get("notes", ())),
        )  # fmt: skip


def _json(of: CLs | Limit, *names: str) -> dict[str, Any]:
    return {name: _written(getattr(of, name)) for name in names}


def _toys_json(of: CLs | Limit, **more: Any) -> dict[str, Any]:
    """Return what there is with toys only."""
    return {**_json(of, "uncertainty", "expected_uncertainties"), **more} if of.expected_uncertainties else {}


def _written(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_written(one) for one in value]
    if value is None or math.isfinite(value):
        return None if value is None else float(value)  # those of numpy as well
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _read(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _all_read(values: Iterable[float | str]) -> tuple[float, ...]:
    return tuple(map(float, values))
