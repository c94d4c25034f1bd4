"""Shapes of distributions over one variable, normalised in a window: signal peaks, background families, templates.

A shape has parameters with names, start values and bounds. ``density`` is its value at points, normalised to 1 in
[low, high]; ``contents`` are the probabilities of bins that cover the window or a part of it. Both take the parameters
as an array in the order of ``parameters``.

The families of backgrounds are positive for every value of their parameters, so that no fit can end in a negative
density. With u = (x - low)/(high - low):

- exponentials:  sum_i f_i exp(s_i u) / norm_i,  f_i >= 0 and sum f_i = 1;
- power laws:    sum_i f_i (x/low)^{a_i} / norm_i, for low > 0;
- Bernstein:     sum_i c_i B_{i,n}(u) (n + 1) / sum c,  c_0 = 1 and c_i = exp(p_i).

Fractions f_i are made of parameters in (0, 1) as f_1 = q_1, f_2 = (1 - q_1) q_2, ..., so that any of them is allowed.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator, model_validator
from scipy import special

from portico.config import Model

__all__ = [
    "Array",
    "Bernstein",
    "DoubleCrystalBall",
    "Exponentials",
    "Parameter",
    "PowerLaws",
    "Shape",
    "Template",
    "interpolation",
]

Array = npt.NDArray[np.float64]

_TINY: Final = 1e-300
_MOST: Final = 4  # exponentials or powers in a sum
_SPREAD: Final = 3.0  # between the start values of the slopes of a sum


class Parameter(Model):
    """A parameter of a likelihood.

    Attributes
    ----------
    name : str
    start : float
        Where fits begin.
    low, high : float
        Bounds.
    step : float
        A small change of it, of the order of its uncertainty: for first steps and numerical derivatives.
    constrained : bool
        Whether it has a standard normal constraint, as nuisance parameters do.
    """

    name: str
    start: float
    low: float = -math.inf
    high: float = math.inf
    step: float = 0.1
    constrained: bool = False

    @field_validator("low", "high", mode="before")
    @classmethod
    def _unbounded(cls, value: Any, info: ValidationInfo) -> Any:
        """Read null as no bound: infinity is written as null, since JSON has none."""
        return value if value is not None else -math.inf if info.field_name == "low" else math.inf

    @model_validator(mode="after")
    def _ordered(self) -> Parameter:
        if not self.low <= self.start <= self.high:
            raise ValueError(f"parameter '{self.name}': {self.start} is not between {self.low} and {self.high}")
        return self


class _Windowed(Model):
    """Base of all shapes, which have a window."""

    low: float
    high: float

    @model_validator(mode="after")
    def _has_width(self) -> Any:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a window from {self.low} to {self.high} is empty")
        return self

    def _unit(self, x: Array) -> Array:
        return (x - self.low) / (self.high - self.low)


class _Family(_Windowed):
    """Base of the families of backgrounds, with optional start values in the order of the parameters."""

    starts: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _as_many(self) -> Any:
        if self.starts and len(self.starts) != len(self._defaults()):
            raise ValueError(f"{len(self.starts)} start values for {len(self._defaults())} parameters")
        return self

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters of the shape, named as its class says."""
        found = self._defaults()
        for i, start in enumerate(self.starts):
            inside = min(max(start, found[i].low), found[i].high)
            found[i] = found[i].model_copy(update={"start": inside})
        return tuple(found)

    @abstractmethod
    def _defaults(self) -> list[Parameter]:
        """Parameters with default start values."""


class DoubleCrystalBall(_Windowed):
    """A Gaussian core with a power-law tail on each side.

    exp(-z^2/2) for -a_l < z < a_r with z = (x - mean)/width; beyond, (n/a)^n exp(-a^2/2) (n/a - a + |z|)^-n, continuous
    with its first derivative (as RooCrystalBall). Parameters are ``mean`` and ``width``; the tails are fixed.

    Attributes
    ----------
    mean, width : float
        Start values, in units of x.
    alpha_left, alpha_right : float
        Where the tails begin, in widths.
    n_left, n_right : float
        Their powers, above 1.
    """

    kind: Literal["double_crystal_ball"] = "double_crystal_ball"
    mean: float
    width: float = Field(gt=0)
    alpha_left: float = Field(gt=0)
    n_left: float = Field(gt=1)
    alpha_right: float = Field(gt=0)
    n_right: float = Field(gt=1)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """``mean`` and ``width``."""
        return (
            Parameter(name="mean", start=self.mean, step=0.1 * self.width),
            Parameter(
                name="width", start=self.width, low=0.05 * self.width, high=20 * self.width, step=0.1 * self.width
            ),
        )

    def density(self, x: Array, values: Array) -> Array:
        """Density at points, normalised in the window."""
        return np.asarray(self._height((x - values[0]) / values[1])[0] / (values[1] * self._norm(values)))

    def contents(self, edges: Array, values: Array) -> Array:
        """Probabilities of bins."""
        inside = self._between((edges - values[0]) / values[1])
        whole = edges[0] == self.low and edges[-1] == self.high
        return np.asarray(inside / (max(float(inside.sum()), _TINY) if whole else self._norm(values)))

    def derivatives(self, x: Array, values: Array, *, bins: bool) -> Array:
        """Derivatives of `contents` for edges of bins, or of `density` at points, by mean and width: (2, n)."""
        z, ends = ((at - values[0]) / values[1] for at in (x, np.array([self.low, self.high])))
        (height, slope), at_ends, norm = self._height(z), self._height(ends)[0], self._norm(values)
        of_norm = -np.diff([at_ends, ends * at_ends]) / (values[1] * norm)
        if bins:
            return np.asarray(-np.diff([height, z * height]) / (values[1] * norm) - of_norm * self.contents(x, values))
        of_height = np.array([-slope, -slope * z - 1]) / values[1]
        return np.asarray((of_height - of_norm) * (height / (values[1] * norm)))

    def _height(self, z: Array) -> tuple[Array, Array]:
        """Return the shape with maximum 1, and the derivative of its logarithm."""
        a = np.where(z < 0, self.alpha_left, self.alpha_right)
        n = np.where(z < 0, self.n_left, self.n_right)
        far = np.maximum(n / a - a + np.abs(z), n / a)
        inside = np.abs(z) < a
        logarithm = np.where(inside, -0.5 * z * z, n * (np.log(n / a) - np.log(far)) - 0.5 * a * a)
        return np.exp(logarithm), np.where(inside, -z, -np.sign(z) * n / far)

    def _norm(self, values: Array) -> float:
        inside = self._between((np.array([self.low, self.high]) - values[0]) / values[1])
        return max(float(inside[0]), _TINY)

    def _between(self, z: Array) -> Array:
        """Integrals of the shape with maximum 1 between neighbours; differences of small numbers far from the mean."""
        right = self._beyond(np.maximum(z, 0.0), self.alpha_right, self.n_right)
        left = self._beyond(np.maximum(-z, 0.0), self.alpha_left, self.n_left)
        return np.asarray((left[1:] - left[:-1]) - (right[1:] - right[:-1]))

    @staticmethod
    def _beyond(z: Array, a: float, n: float) -> Array:
        """Integral from z >= 0 to infinity."""
        root = math.sqrt(2)
        core = math.sqrt(math.pi / 2) * (special.erfc(np.minimum(z, a) / root) - math.erfc(a / root))
        b, scale = n / a - a, (n / a) * math.exp(-0.5 * a * a) / (n - 1)
        return np.asarray(core + scale * ((b + np.maximum(z, a)) / (n / a)) ** (1 - n))


class _Sum(_Family):
    """A sum of terms of one kind, each with one parameter, and fractions between them."""

    order: int = Field(default=1, ge=1, le=_MOST)

    def _fractions(self, values: Array) -> list[float]:
        rest, fractions = 1.0, []
        for q in values[self.order :]:
            fractions.append(rest * float(q))
            rest *= 1 - float(q)
        return [*fractions, rest]

    def _parameters(self, name: str, bound: float) -> list[Parameter]:
        starts = np.linspace(-_SPREAD, _SPREAD, self.order) - 1.0 if self.order > 1 else [-1.0]
        slopes = [
            Parameter(name=f"{name}{i}", start=float(start), low=-bound, high=bound, step=0.3)
            for i, start in enumerate(starts, 1)
        ]
        fractions = [
            Parameter(name=f"fraction{i}", start=0.5, low=0.0, high=1.0, step=0.1) for i in range(1, self.order)
        ]
        return slopes + fractions


class Exponentials(_Sum):
    """A sum of exponentials: ``slope1`` ... of each over the whole window, and ``fraction1`` ...."""

    kind: Literal["exponentials"] = "exponentials"

    def _defaults(self) -> list[Parameter]:
        return self._parameters("slope", 50.0)

    def density(self, x: Array, values: Array) -> Array:
        """Density at points, normalised in the window."""
        u, width = self._unit(x), self.high - self.low
        terms = (f * np.exp(s * u) / special.exprel(s) for f, s in zip(self._fractions(values), values, strict=False))
        return np.asarray(sum(terms) / width)

    def contents(self, edges: Array, values: Array) -> Array:
        """Probabilities of bins."""
        u = self._unit(edges)
        terms = (
            f * _integrals(u, s) / special.exprel(s) for f, s in zip(self._fractions(values), values, strict=False)
        )
        return np.asarray(sum(terms))


def _integrals(u: Array, slope: float) -> Array:
    """Integrals of exp(slope u) between neighbours: above 0 even where they are tiny."""
    width = u[1:] - u[:-1]
    return np.asarray(np.exp(slope * u[:-1]) * width * special.exprel(slope * width))


class PowerLaws(_Sum):
    """A sum of powers of x/low, for a window above 0: ``power1`` ..., times log(high/low), and ``fraction1`` ...."""

    kind: Literal["power_laws"] = "power_laws"

    @model_validator(mode="after")
    def _positive(self) -> PowerLaws:
        if self.low <= 0:
            raise ValueError(f"a power law needs a window above 0, this one begins at {self.low}")
        return self

    def _defaults(self) -> list[Parameter]:
        return self._parameters("power", 50.0)

    def density(self, x: Array, values: Array) -> Array:
        """Density at points, normalised in the window."""
        scale = math.log(self.high / self.low)
        t = np.log(x / self.low) / scale
        # x^(s/scale) dx = low exp((s + scale) t) scale dt
        terms = (
            f * np.exp(s * t) / (self.low * scale * special.exprel(s + scale))
            for f, s in zip(self._fractions(values), values, strict=False)
        )
        return np.asarray(sum(terms))

    def contents(self, edges: Array, values: Array) -> Array:
        """Probabilities of bins."""
        scale = math.log(self.high / self.low)
        t = np.log(edges / self.low) / scale
        terms = (
            f * _integrals(t, s + scale) / special.exprel(s + scale)
            for f, s in zip(self._fractions(values), values, strict=False)
        )
        return np.asarray(sum(terms))


class Bernstein(_Family):
    """A polynomial of positive Bernstein coefficients: the first is 1, the others are exp of ``log1`` ...."""

    kind: Literal["bernstein"] = "bernstein"
    order: int = Field(default=1, ge=0, le=8)

    def _defaults(self) -> list[Parameter]:
        return [Parameter(name=f"log{i}", start=0.0, low=-8.0, high=8.0, step=0.3) for i in range(1, self.order + 1)]

    def coefficients(self, values: Array) -> Array:
        """Coefficients of the basis, which add up to order + 1."""
        c = np.exp(np.concatenate([[0.0], values]))
        return np.asarray(c * (self.order + 1) / c.sum())

    def density(self, x: Array, values: Array) -> Array:
        """Density at points, normalised in the window."""
        u, n = self._unit(x)[:, None], self.order
        i = np.arange(n + 1)
        basis = special.binom(n, i) * u**i * (1 - u) ** (n - i)
        return np.asarray(basis @ self.coefficients(values) / (self.high - self.low))

    def contents(self, edges: Array, values: Array) -> Array:
        """Probabilities of bins: the integral of B_{i,n} is I_u(i + 1, n - i + 1)/(n + 1)."""
        integrals = _bernstein_integrals(self.order, np.ascontiguousarray(self._unit(edges)).tobytes())
        return np.asarray(integrals @ self.coefficients(values))


@lru_cache(maxsize=256)  # fits ask for the same bins thousands of times
def _bernstein_integrals(order: int, edges: bytes) -> Array:
    """Integrals of the basis over bins of u, of shape (bins, order + 1)."""
    u, i = np.frombuffer(edges)[:, None], np.arange(order + 1)
    cumulative = special.betainc(i + 1, order - i + 1, np.clip(u, 0.0, 1.0)) / (order + 1)
    return np.asarray(np.diff(cumulative, axis=0))


class Template(_Windowed):
    """Probabilities of the bins of a histogram, with a change of them for each nuisance parameter.

    Attributes
    ----------
    bins : tuple of float
        Contents, not negative, with a sum above 0; they are normalised.
    changes : mapping of str to (tuple, tuple)
        By nuisance parameter, the contents at -1 and +1, on the same scale as ``bins``: the shape follows, and so does
        the yield. In between `interpolation` is used, bin by bin; contents below 0 are taken as 0.
    """

    kind: Literal["template"] = "template"
    bins: tuple[float, ...]
    changes: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sound(self) -> Template:
        if not all(math.isfinite(b) and b >= 0 for b in self.bins) or sum(self.bins) <= 0:
            raise ValueError("contents of a template must be finite, not negative, and not all 0")
        for name, (down, up) in self.changes.items():
            if len(down) != len(self.bins) or len(up) != len(self.bins):
                raise ValueError(f"template at -1 and +1 of '{name}' has {len(self.bins)} bins as the nominal one")
        return self

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """One for each nuisance parameter that changes the template, under its own name."""
        return tuple(Parameter(name=name, start=0.0, low=-8.0, high=8.0, constrained=True) for name in self.changes)

    def density(self, x: Array, values: Array) -> Array:
        """Density at points, constant in each bin; relative to the nominal sum."""
        edges = np.linspace(self.low, self.high, len(self.bins) + 1)
        at = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(self.bins) - 1)
        return np.asarray((self.contents(edges, values) / np.diff(edges))[at])

    def contents(self, edges: Array, values: Array) -> Array:
        """Contents of the bins over the nominal sum; the edges only have to be as many."""
        if len(edges) != len(self.bins) + 1:
            raise ValueError(f"a template of {len(self.bins)} bins in a channel of {len(edges) - 1}")
        nominal = np.array(self.bins)
        total = nominal.copy()
        for value, (down, up) in zip(values, self.changes.values(), strict=True):
            rise, bend = interpolation(float(value))
            total += rise * (np.array(up) - np.array(down)) / 2 + bend * ((np.array(up) + np.array(down)) / 2 - nominal)
        return np.asarray(np.maximum(total, 0.0) / nominal.sum())


Shape = Annotated[DoubleCrystalBall | Exponentials | PowerLaws | Bernstein | Template, Field(discriminator="kind")]


def interpolation(theta: float) -> tuple[float, float]:
    """Return the odd and the even part of the interpolation between -1, 0 and 1 standard deviations.

    The odd part is theta. The even part is |theta| beyond 1 and (15 t^2 - 10 t^4 + 3 t^6)/8 within, which joins it with
    two continuous derivatives: the asymmetric log-normal of CMS Combine (CAT-23-001, arXiv:2404.06614, section 4.3).
    """
    t = abs(theta)
    return theta, (t if t > 1 else t * t * (15 - 10 * t * t + 3 * t**4) / 8)
