"""Random HistFactory models whose likelihoods may have several minima, and their limits by a search of everything.

The search shares nothing with the fits of Portico: the likelihood is written out for these models with its second
derivatives, and for each of many strengths a damped Newton's method goes down from a lattice of all nuisance
parameters, from all points at once. Between these strengths it goes down from where it ended at the two nearest ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from scipy import optimize, special

Spec = dict[str, Any]
_HIGHEST = 5.0  # of a nuisance parameter, in pyhf
#: The lattice, for each parameter: rates bend between -1 and 1, and are straight beyond.
_LATTICE = (-1.5, -0.5, 0.0, 0.5, 1.5)
_SCAN = np.concatenate([[0.0], np.geomspace(0.05, 60, 40)])  # of the strength, in what the data can tell
_ITERATIONS = 60
_DISTANCE = 1e-8  # to a minimum, of -2 log L
_SAME = 2  # digits of parameters of one minimum


def random_model(seed: int) -> Spec:
    """Return a workspace of one to three channels with one to three large histosys, one- and two-sided, and normsys."""
    rng = np.random.default_rng(seed)
    names = [f"shape{i}" for i in range(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))]
    size = float(rng.choice([0.1, 0.2, 0.4]))
    channels, observations = [], []
    for c in range(rng.integers(1, 4)):
        bins = int(rng.integers(1, 4))
        background = rng.uniform(20, 200, bins)
        signal = rng.uniform(5, 60, bins) * (1.0 if c == 0 else float(rng.random() < 0.3))
        modifiers, truth = [], background.copy()
        for name in names:
            if c and rng.random() < 0.3:
                continue
            up, down = (background * (1 + rng.uniform(-size, size, bins)) for _ in range(2))
            if rng.random() < 0.4:  # both variations lead to the same side
                down = background + (up - background) * rng.uniform(0.3, 1.5)
            truth += (up - background) * rng.normal() * 0.7
            modifiers.append({"name": name, "type": "histosys",
                              "data": {"hi_data": up.tolist(), "lo_data": down.tolist()}})  # fmt: skip
        samples = [{"name": "bkg", "data": background.tolist(), "modifiers": modifiers}]
        if signal.any():
            samples.append({"name": "sig", "data": signal.tolist(),
                            "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]})  # fmt: skip
        mean = np.maximum(truth, 1.0) + signal * float(rng.choice([0.0, 0.0, 1.0]))
        channels.append({"name": f"c{c}", "samples": samples})
        observations.append({"name": f"c{c}", "data": rng.poisson(mean).astype(float).tolist()})
    measurement = {"name": "m", "config": {"poi": "mu", "parameters": []}}
    return {"channels": channels, "observations": observations, "measurements": [measurement], "version": "1.0.0"}


class Searched:
    """Limits of a random model by a search of everything. Points hold the strength, and then all nuisance parameters.

    Parameters
    ----------
    spec : dict
    lattice : sequence of float
        Where descents begin, for each nuisance parameter.
    """

    def __init__(self, spec: Spec, lattice: Sequence[float] = _LATTICE) -> None:
        samples = [(channel, sample) for channel in spec["channels"] for sample in channel["samples"]]
        self.names = sorted({m["name"] for _, s in samples for m in s["modifiers"] if m["type"] == "histosys"})
        widths = [len(channel["samples"][0]["data"]) for channel in spec["channels"]]
        starts = dict(zip((c["name"] for c in spec["channels"]), np.cumsum([0, *widths[:-1]]), strict=True))
        bins, count = sum(widths), len(self.names)
        self.background, self.signal = np.zeros(bins), np.zeros(bins)
        self.up, self.down = np.zeros((count, bins)), np.zeros((count, bins))
        for channel, sample in samples:
            part = slice(starts[channel["name"]], starts[channel["name"]] + len(sample["data"]))
            nominal = np.array(sample["data"])
            (self.signal if sample["name"] == "sig" else self.background)[part] += nominal
            for modifier in sample["modifiers"]:
                if modifier["type"] == "histosys":
                    at = self.names.index(modifier["name"])
                    self.up[at, part] = np.array(modifier["data"]["hi_data"]) - nominal
                    self.down[at, part] = nominal - np.array(modifier["data"]["lo_data"])
        self.n = np.concatenate([np.array(entry["data"]) for entry in spec["observations"]])
        self.odd, self.even = 0.5 * (self.up + self.down), 0.0625 * (self.up - self.down)
        self.scale = 1 / math.sqrt(float(np.sum(self.signal**2 / self.background)))
        self.lattice = np.array(list(product(lattice, repeat=count)))

    def rates(self, at: np.ndarray) -> np.ndarray:
        """Return expected events at points, of shape (points, bins): code 4p."""
        x = at[:, 1:, None]
        inside = x * (self.odd + x * self.even * (15 + x**2 * (3 * x**2 - 10)))
        moved = np.where(np.abs(x) >= 1, np.where(x > 0, self.up, self.down) * x, inside)
        total: np.ndarray = self.background + at[:, :1] * self.signal + moved.sum(axis=1)
        return total

    def values(self, at: np.ndarray, n: np.ndarray, center: np.ndarray) -> np.ndarray:
        """Return -2 log L at points, relative to the saturated model; infinite without expected events."""
        rates = self.rates(at)
        safe = np.maximum(rates, 1e-9)
        terms = np.where(rates > 0, safe - n + special.xlogy(n, n / safe), np.inf)
        total: np.ndarray = 2 * terms.sum(axis=1) + np.sum((at[:, 1:] - center) ** 2, axis=1)
        return total

    def derivatives(self, at: np.ndarray, n: np.ndarray, center: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the first derivatives of -2 log L, the second ones, and those without the bends of the rates."""
        x, rates = at[:, 1:, None], self.rates(at)
        near = np.abs(x) < 1
        slopes = np.where(near, self.odd + x * self.even * (30 + x**2 * (18 * x**2 - 40)),
                          np.where(x > 0, self.up, self.down))  # fmt: skip
        bends = np.where(near, self.even * (30 + x**2 * (90 * x**2 - 120)), 0.0)
        changes = np.concatenate([np.broadcast_to(self.signal, (len(at), 1, len(n))), slopes], axis=1)
        residuals = 2 * (1 - n / rates)
        first = np.einsum("pib,pb->pi", changes, residuals)
        first[:, 1:] += 2 * (at[:, 1:] - center)
        straight = (changes * (2 * n / rates**2)[:, None]) @ changes.transpose(0, 2, 1)
        other = np.arange(1, at.shape[1])
        straight[:, other, other] += 2.0
        second = straight.copy()
        second[:, other, other] += np.einsum("pib,pb->pi", bends, residuals)
        return first, second, straight

    def descend(
        self, at: np.ndarray, n: np.ndarray, center: np.ndarray, *, free: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Go down from points, with the strength held or free above 0; return where that ends, and -2 log L there.

        A step solves (second derivatives + damping) step = -slope; it is taken if it leads down, and the damping grows
        if not. What would lead out of bounds stays.
        """
        at, value = at.copy(), self.values(at, n, center)
        low, high = np.full(at.shape[1], -_HIGHEST), np.full(at.shape[1], _HIGHEST)
        low[0], high[0] = 0.0, np.inf
        damping, active = np.full(len(at), 0.1), np.flatnonzero(np.isfinite(value))
        for _ in range(_ITERATIONS):
            here = at[active]
            slope, second, straight = self.derivatives(here, n, center)
            stays = ((here <= low) & (slope > 0)) | ((here >= high) & (slope < 0))
            stays[:, 0] |= not free
            slope[stays] = 0.0
            size = np.maximum(np.einsum("pii->pi", straight), 1e-12 / self.scale**2)
            matrix = second + damping[active, None, None] * np.eye(len(low)) * size[:, None, :]
            matrix[stays[:, :, None] | stays[:, None, :]] = 0.0
            matrix[:, range(len(low)), range(len(low))] += np.where(stays, 1.0, 0.0)
            step = -np.linalg.solve(matrix, slope[:, :, None])[:, :, 0]
            there = np.clip(here + step, low, high)
            found = self.values(there, n, center)
            down = found < value[active]
            done = np.sum(slope**2 / size, axis=1) < _DISTANCE
            at[active[down]], value[active[down]] = there[down], found[down]
            damping[active] = np.where(down, damping[active] / 8, np.maximum(damping[active], 1e-3) * 6)
            active = active[~done & (damping[active] < 1e6)]
            if not len(active):
                break
        return at, value

    def limits(self) -> tuple[float, float]:
        """Return the observed and the median expected limit at 95%, from q~."""
        none = np.zeros(len(self.names))
        data = Profile(self, self.n, none)
        center = data.lowest[0, 1:]
        asimov = Profile(self, np.maximum(self.rates(data.lowest[:1])[0], 1e-9), center)
        best, best_mu = data.best()

        def cls(mu: float) -> float:
            q_a = math.sqrt(max(asimov(mu), 0.0))
            q = max(data(mu) - best, 0.0) if mu > best_mu else 0.0
            if q <= q_a**2:
                return float(special.ndtr(-math.sqrt(q)) / special.ndtr(q_a - math.sqrt(q)))
            return float(special.ndtr(-(q + q_a**2) / (2 * q_a)) / special.ndtr(-(q - q_a**2) / (2 * q_a)))

        def expected(mu: float) -> float:
            return 2 * float(special.ndtr(-math.sqrt(max(asimov(mu), 0.0))))

        return _last(cls, data.scan), _last(expected, data.scan)


class Profile:
    """The lowest -2 log L as a function of the strength.

    Attributes
    ----------
    scan : array
        Strengths with descents from the whole lattice.
    lowest : array
        The minimum for each of them.
    """

    def __init__(self, model: Searched, n: np.ndarray, center: np.ndarray) -> None:
        self.model, self.n, self.center, self.scan = model, n, center, _SCAN * model.scale
        lattice = np.tile(model.lattice, (len(self.scan), 1))
        starts = np.column_stack([np.repeat(self.scan, len(model.lattice)), lattice])
        ends, values = model.descend(starts, n, center)
        self.ends = ends.reshape(len(self.scan), len(model.lattice), -1)
        values = values.reshape(len(self.scan), -1)
        self.minima = values.min(axis=1)
        self.lowest = self.ends[range(len(self.scan)), values.argmin(axis=1)]

    def __call__(self, mu: float) -> float:
        """Return the lowest -2 log L, from all minima of the two nearest strengths of the scan."""
        above = min(int(np.searchsorted(self.scan, mu)), len(self.scan) - 1)
        if self.scan[above] == mu:
            return float(self.minima[above])
        near = np.concatenate([self.ends[above - 1], self.ends[above]])
        near[:, 0] = mu
        return float(self.model.descend(_distinct(near), self.n, self.center)[1].min())

    def best(self) -> tuple[float, float]:
        """Return the lowest -2 log L of all strengths, and where it is."""
        at, values = self.model.descend(self.lowest, self.n, self.center, free=True)
        return float(values.min()), float(at[values.argmin(), 0])


def _distinct(points: np.ndarray) -> np.ndarray:
    found: np.ndarray = points[np.unique(points[:, 1:].round(_SAME), axis=0, return_index=True)[1]]
    return found


def _last(cls: Callable[[float], float], scan: np.ndarray) -> float:
    """Return the largest strength at which CLs crosses 0.05."""
    at = int(np.flatnonzero(np.array([cls(mu) for mu in scan[1:]]) >= 0.05)[-1]) + 1
    return float(optimize.brentq(lambda mu: cls(mu) - 0.05, scan[at], scan[at + 1], rtol=1e-4))
