"""Pulls of the control channel's fits over toys: yields of the mass, and the fraction of prompt Ds with sPlot weights.

A toy draws Ds, D+ and background with the numbers of the demonstration, ten times these, and with much more background;
every event has a mass and a decay length. The mass is fitted, events are weighted, and the decay length of the Ds is
fitted with templates of as many simulated events as the demonstration has, drawn anew in every toy and weighted.

Yields of fewer than 30 events are left out, because their errors are far from Gaussian.

Aim: means within 0.1 of 0, widths within 0.1 of 1.

Usage: python bench/control_pulls.py [TOYS] [SETTING ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hnl.constants import CONTROL_RANGE
from hnl.fits.mass import COMPONENTS, MASS_DIFFERENCE, MassFit, Shape, fit_mass, splot_weights
from hnl.fits.prompt import fit_prompt
from portico.errors import FitError

Array = npt.NDArray[np.float64]

#: Events of Ds, D+ and background, and how much simulation there is, in units of that of the demonstration.
SETTINGS = {
    "demonstration": ((1186, 671, 9), 1),
    "ten times": ((11860, 6710, 90), 10),
    "more background": ((1200, 400, 2000), 1),
}
SHAPE = Shape(core=0.60, tail=1.53, dplus=0.98)
MASS, WIDTH, SLOPE = 1.96835, 0.0098, -2.0
FRACTION = 0.45
SIMULATED = {"prompt": 430, "b": 480}
FEWEST = 30
AIM = 0.1


def masses(rng: np.random.Generator, component: str, count: int) -> Array:
    """Masses in the fit range, in GeV."""
    low, high = CONTROL_RANGE
    if component == "background":
        u = rng.uniform(size=count)
        return np.asarray(low + np.log1p(u * np.expm1(SLOPE * (high - low))) / SLOPE)
    mean, width = (MASS, WIDTH) if component == "Ds" else (MASS - MASS_DIFFERENCE, WIDTH * SHAPE.dplus)
    drawn = rng.normal(mean, width * np.where(rng.uniform(size=2 * count) < SHAPE.core, 1.0, SHAPE.tail))
    return drawn[(drawn > low) & (drawn < high)][:count]


def lengths(rng: np.random.Generator, kind: str, count: int) -> Array:
    """Decay lengths in cm, near those of the demonstration."""
    power, mean = {"prompt": (2.2, 0.027), "b": (2.5, 0.052), "Dplus": (2.2, 0.05), "background": (1.0, 0.03)}[kind]
    return rng.gamma(power, mean / power, count)


def toy(rng: np.random.Generator, yields: tuple[int, ...]) -> tuple[Array, Array]:
    """Masses and decay lengths of data."""
    mass, length = [], []
    for component, count in zip(COMPONENTS, rng.poisson(yields), strict=True):
        mass.append(masses(rng, component, count))
        prompt = rng.binomial(count, FRACTION) if component == "Ds" else 0
        if component == "Ds":
            length += [lengths(rng, "prompt", prompt), lengths(rng, "b", count - prompt)]
        else:
            length.append(lengths(rng, component, count))
    return np.concatenate(mass), np.concatenate(length)


def template(rng: np.random.Generator, kind: str, scale: int) -> tuple[Array, Array]:
    """Decay lengths and weights of simulation."""
    count = rng.poisson(scale * SIMULATED[kind])
    return lengths(rng, kind, count), rng.normal(0.93, 0.1, count)


def pull(fit: MassFit, name: str, true: float) -> float:
    """Return the residual of a yield over the likelihood's error in the direction of the truth, if it has one."""
    residual = fit.values[name] - true
    below, above = fit.minos.get(name, (fit.errors[name], fit.errors[name]))
    return residual / abs(below if residual > 0 else above)


def pulls(setting: str, toys: int) -> Iterator[dict[str, float]]:
    """Yield the pulls of each toy; an empty mapping if its fit fails."""
    yields, scale = SETTINGS[setting]
    for seed in range(toys):
        rng = np.random.default_rng([seed, scale, yields[-1]])
        mass, length = toy(rng, yields)
        try:
            fit = fit_mass(mass, SHAPE)
            known = [(name, true) for name, true in zip(COMPONENTS, yields, strict=True) if true >= FEWEST]
            found = {name: pull(fit, name, true) for name, true in known}
            templates = (template(rng, kind, scale) for kind in SIMULATED)
            prompt = fit_prompt((length, splot_weights(mass, fit)), *templates)
        except FitError:
            yield {}
            continue
        yield {**found, "prompt fraction": (prompt.fraction - FRACTION) / prompt.error}


def main() -> None:
    toys = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    missed = 0
    for setting in sys.argv[2:] or SETTINGS:
        yields, _ = SETTINGS[setting]
        began = time.perf_counter()
        all_toys = list(pulls(setting, toys))
        found = [of_toy for of_toy in all_toys if of_toy]
        seconds = time.perf_counter() - began
        print(f"{setting}: {yields} Ds, D+, background; {toys} toys in {seconds:.0f} s, {toys - len(found)} do not fit")
        for name in found[0]:
            values = np.array([of_toy[name] for of_toy in found])
            mean, width = float(values.mean()), float(values.std(ddof=1))
            good = abs(mean) < AIM and abs(width - 1) < AIM
            missed += not good
            print(
                f"  {name:16} mean {mean:+.3f} +- {width / len(values) ** 0.5:.3f}, "
                f"width {width:.3f} +- {width / (2 * len(values)) ** 0.5:.3f}{'' if good else '  misses its aim'}"
            )
    print(f"aim: |mean| < {AIM}, |width - 1| < {AIM}; missed: {missed}")


if __name__ == "__main__":
    main()
