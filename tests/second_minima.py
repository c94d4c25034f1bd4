"""Random HistFactory models whose likelihoods may have several minima, and their limits by a search of everything.

The search shares nothing with the fits of Portico: the likelihood is written out for these models, evaluated on a grid
of all nuisance parameters, and each minimum of the grid is followed by L-BFGS-B.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage, optimize, special

Spec = dict[str, Any]
_HIGHEST = 5.0  # of a nuisance parameter, in pyhf
_POINTS = {1: 201, 2: 51, 3: 23}  # of the grid, for each parameter
_DEPTH = 6.0  # of -2 log L, above the lowest point of the grid


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
    """Profiles of a random model by a search of everything."""

    def __init__(self, spec: Spec) -> None:
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
        axes = [np.linspace(-_HIGHEST, _HIGHEST, _POINTS[count])] * count
        self.grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        self.shifts = self.moved(self.grid)

    def moved(self, alpha: np.ndarray) -> np.ndarray:
        """Return what the variations add, of shape (..., bins): code 4p."""
        x = alpha[..., None]
        odd, even = 0.5 * (self.up + self.down), 0.0625 * (self.up - self.down)
        inside = x * (odd + x * even * (15 + x**2 * (3 * x**2 - 10)))
        outside = np.where(x > 0, x * self.up, x * self.down)
        total: np.ndarray = np.where(np.abs(x) >= 1, outside, inside).sum(axis=-2)
        return total

    def minimum(self, mu: float, n: np.ndarray, center: np.ndarray, *, exact: bool = True) -> float:
        """Return the lowest -2 log L for a strength, relative to the saturated model; on the grid unless `exact`."""
        table = self.values(self.background + mu * self.signal + self.shifts, n)
        table = table + np.sum((self.grid - center) ** 2, axis=-1)
        if not exact:
            return float(table.min())

        def objective(alpha: np.ndarray) -> float:
            rates = self.background + mu * self.signal + self.moved(alpha)
            return float(self.values(rates, n)) + float(np.sum((alpha - center) ** 2))

        bounds = [(-_HIGHEST, _HIGHEST)] * len(self.names)
        near = (table == ndimage.minimum_filter(table, size=3, mode="nearest")) & (table < table.min() + _DEPTH)
        return min(
            float(optimize.minimize(objective, self.grid[tuple(at)], method="L-BFGS-B", bounds=bounds,
                                    options={"ftol": 1e-12, "gtol": 1e-6}).fun)
            for at in np.argwhere(near)
        )  # fmt: skip

    @staticmethod
    def values(rates: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Return -2 log L of the counts, relative to the saturated model."""
        safe = np.maximum(rates, 1e-9)
        terms = np.where(rates > 0, safe - n + special.xlogy(n, n / safe), 1e6 * (1 - rates))
        total: np.ndarray = 2 * np.sum(terms, axis=-1)
        return total

    def at_background(self) -> np.ndarray:
        """Return the nuisance parameters of the fit without signal."""
        none = np.zeros(len(self.names))
        table = self.values(self.background + self.shifts, self.n) + np.sum(self.grid**2, axis=-1)

        def objective(alpha: np.ndarray) -> float:
            return float(self.values(self.background + self.moved(alpha), self.n)) + float(alpha @ alpha)

        near = (table == ndimage.minimum_filter(table, size=3, mode="nearest")) & (table < table.min() + _DEPTH)
        found = [
            optimize.minimize(objective, self.grid[tuple(at)], method="L-BFGS-B", options={"ftol": 1e-13, "gtol": 1e-7})
            for at in np.argwhere(near)
        ]
        return np.array(min(found, key=lambda result: result.fun).x) + none

    def limits(self) -> tuple[float, float]:
        """Return the observed and the median expected limit at 95%, from q~."""
        none, center = np.zeros(len(self.names)), self.at_background()
        asimov = np.maximum(self.background + self.moved(center), 1e-9)
        scale = 1 / math.sqrt(float(np.sum(self.signal**2 / self.background)))
        scan = np.concatenate([[0.0], np.geomspace(0.05 * scale, 60 * scale, 50)])
        at = int(np.argmin([self.minimum(mu, self.n, none, exact=False) for mu in scan]))
        fine = optimize.minimize_scalar(
            lambda mu: self.minimum(mu, self.n, none), method="bounded",
            bounds=(scan[max(at - 1, 0)], scan[min(at + 1, len(scan) - 1)]), options={"xatol": 3e-3 * scale},
        )  # fmt: skip
        best, best_mu = min((fine.fun, fine.x), (self.minimum(0.0, self.n, none), 0.0))

        def cls(mu: float, exact: bool = True) -> float:
            q_a = math.sqrt(max(self.minimum(mu, asimov, center, exact=exact), 0.0))
            q = max(self.minimum(mu, self.n, none, exact=exact) - best, 0.0) if mu > best_mu else 0.0
            if q <= q_a**2:
                return float(special.ndtr(-math.sqrt(q)) / special.ndtr(q_a - math.sqrt(q)))
            return float(special.ndtr(-(q + q_a**2) / (2 * q_a)) / special.ndtr(-(q - q_a**2) / (2 * q_a)))

        def expected(mu: float, exact: bool = True) -> float:
            return 2 * float(special.ndtr(-math.sqrt(max(self.minimum(mu, asimov, center, exact=exact), 0.0))))

        return _last(cls, scan[1:]), _last(expected, scan[1:])


def _last(cls: Callable[..., float], scan: np.ndarray) -> float:
    """Return the largest strength at which CLs crosses 0.05."""
    at = int(np.flatnonzero(np.array([cls(mu, exact=False) for mu in scan]) >= 0.05)[-1])
    low, high = at, at + 1  # of the grid, whose values are a little too high
    while cls(scan[low]) < 0.05:
        low -= 1
    while cls(scan[high]) >= 0.05:
        high += 1
    return float(optimize.brentq(lambda mu: cls(mu) - 0.05, scan[low], scan[high], rtol=1e-4))
