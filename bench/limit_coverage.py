"""Coverage of 95% upper limits in four settings, and the time of 1,000 toys of a model of six categories.

A limit covers if CLs of the true strength is 0.05 or more, which needs no inversion. CLs covers at least 95% if its
probabilities are right, and most without sensitivity; the true strengths are the median expected limit without signal,
and twice that.

Usage: python bench/limit_coverage.py [--toys 2000] [--only NAME] [--speed-toys 1000]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from portico.errors import FitError
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at
from portico.stats.counting import Count, counting_cls, counting_limit
from portico.stats.likelihood import Likelihood
from portico.stats.model import Channel, Component, Model, observation
from portico.stats.shapes import Bernstein, DoubleCrystalBall, Exponentials, Parameter, PowerLaws
from portico.stats.toys import ModelToys, throw_toy

MASS, CL = 1.5, 0.95
WIDTH = 6.98e-4 + 7.78e-3 * MASS
LOW, HIGH = MASS - 10 * WIDTH, MASS + 10 * WIDTH

Covers = Callable[[np.random.Generator, float], bool]


def one_count(background: float, signal: float, *, exact: bool, rng: np.random.Generator, mu: float) -> bool:
    """Return whether the limit of one toy of a count is above mu."""
    n = int(rng.poisson(background + mu * signal))
    if exact:
        return (counting_cls([Count("a", background, 0.0, signal, 0.0, n)], mu).observed or 0.0) >= 1 - CL
    return (cls_at(ModelProfiles(counted(n, background, signal)), mu).observed or 0.0) >= 1 - CL


def counted(n: float, background: float, signal: float) -> Model:
    """Return a model of one bin with a known background."""
    flat = (Bernstein(low=0.0, high=1.0, order=0),)
    components = (Component(name="signal", shapes=flat, events=signal, strength="mu"),
                  Component(name="background", shapes=flat, events=background))  # fmt: skip
    channel = Channel(name="a", edges=(0.0, 1.0), counts=(float(n),), components=components)
    return Model(channels=(channel,), parameters=(Parameter(name="mu", start=1.0, low=0.0, high=1000.0),))


def peaks(backgrounds: tuple[float, ...], *, families: bool, bins: int, nuisances: int) -> Model:
    """Return peaks over exponentials; the data are the expectation without signal."""
    edges = np.linspace(LOW, HIGH, bins + 1)
    tails = {"alpha_left": 1.5, "n_left": 3.0, "alpha_right": 1.5, "n_right": 4.0}
    peak = DoubleCrystalBall(low=LOW, high=HIGH, mean=MASS, width=WIDTH, **tails)
    slope = Exponentials(low=LOW, high=HIGH, order=1)
    rivals = (Bernstein(low=LOW, high=HIGH, order=2), PowerLaws(low=LOW, high=HIGH, order=1)) if families else ()
    channels, parameters = [], [Parameter(name="mu", start=1.0, low=0.0, high=1000.0, step=0.3)]
    for c, events in enumerate(backgrounds):
        effects = {f"common{k}": (1 / 1.03, 1.03) for k in range(nuisances)} | {f"own{c}": (1 / 1.05, 1.05)}
        signal = Component(name="signal", shapes=(peak,), events=5.0 * (c + 1), strength="mu", effects=effects,
                           shifts={"scale": {"mean": 0.001 * MASS}, "resolution": {"width": 0.05 * WIDTH}})  # fmt: skip
        background = Component(name="background", shapes=(slope, *rivals), events=1.0, strength=f"n{c}", floating=True)
        counts = tuple((events * slope.contents(edges, np.array([-0.8]))).tolist())
        channels.append(
            Channel(name=f"c{c}", edges=tuple(edges.tolist()), counts=counts, components=(signal, background))
        )
        parameters.append(Parameter(name=f"n{c}", start=events, low=0.0, high=1e6, step=10.0))
    return Model(channels=tuple(channels), parameters=tuple(parameters))


def fitted(truth: Model, values: dict[str, float], rng: np.random.Generator, mu: float) -> bool:
    """Return whether the asymptotic limit of one toy is above mu; auxiliary measurements are thrown as well."""
    nuisances = {name: float(rng.normal()) for name in truth.nuisances}
    expected = Likelihood(truth, observation(truth)).expected({**values, **nuisances, truth.poi: mu})
    channels = tuple(
        channel.model_copy(update={"counts": tuple(rng.poisson(sum(parts.values())).astype(float).tolist())})
        for channel, parts in zip(truth.channels, expected, strict=True)
    )
    return (cls_at(ModelProfiles(truth.model_copy(update={"channels": channels})), mu).observed or 0.0) >= 1 - CL


def settings() -> dict[str, tuple[Covers, float]]:
    """Return by name the function that decides whether a toy covers, and the median expected limit."""
    found: dict[str, tuple[Covers, float]] = {
        "one bin, b = 50, s = 10, asymptotic": (
            lambda rng, mu: one_count(50.0, 10.0, exact=False, rng=rng, mu=mu),
            asymptotic_limit(ModelProfiles(counted(50.0, 50.0, 10.0))).expected[2],
        ),
        "one bin, b = 1.5, counting": (
            lambda rng, mu: one_count(1.5, 1.0, exact=True, rng=rng, mu=mu),
            counting_limit([Count("a", 1.5, 0.0, 1.0, 0.0, None)]).expected[2],
        ),
    }
    for name, backgrounds, families, bins in (
        ("peak, 3 families, b = 100, asymptotic", (100.0,), True, 50),
        ("six categories, b = 10 to 80, asymptotic", (60.0, 30.0, 10.0, 80.0, 25.0, 10.0), False, 50),
    ):
        truth = peaks(backgrounds, families=families, bins=bins, nuisances=3)
        profiles = ModelProfiles(truth)
        values = {n: p.start for n, p in truth.all_parameters.items()}
        values |= {n: -0.8 for n in values if n.endswith("exponentials1_slope1")}
        found[name] = partial(fitted, truth, values), asymptotic_limit(profiles).expected[2]
    return found


def coverage(name: str, covers: Covers, mu: float, toys: int) -> None:
    """Print the fraction of toys that cover, with its binomial error, and the number of failed fits."""
    began, good, failed = time.perf_counter(), 0, 0
    for number in range(toys):
        try:
            good += covers(np.random.default_rng([7, number]), mu)
        except FitError:
            failed += 1
    share = good / max(toys - failed, 1)
    error = math.sqrt(max(share * (1 - share), 1 / toys) / max(toys - failed, 1))
    print(f"{name:44} mu = {mu:6.3g}: {share:.4f} +- {error:.4f} (aim 0.95 or more), {toys} toys, {failed} failed, "
          f"{time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip


def speed(toys: int) -> None:
    """Print the time of toys of the six categories with competing families and 22 nuisance parameters."""
    model = peaks((400.0, 200.0, 60.0, 500.0, 150.0, 40.0), families=True, bins=100, nuisances=15)
    source = ModelToys(model)
    began, cpu = time.perf_counter(), time.process_time()
    values = np.array([throw_toy(source, 0.2, number, signal=number % 2 == 0, seed=1) for number in range(toys)])
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"six categories, 3 families, {len(Likelihood(model, observation(model)).names)} parameters: {toys} toys in "
          f"{wall:.0f} s, {cpu:.0f} s of CPU: 1,000 take {1000 * cpu / toys:.0f} s of CPU, "
          f"{int(np.isnan(values).sum())} failed", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=2000)
    parser.add_argument("--speed-toys", type=int, default=1000)
    parser.add_argument("--only", default="", help="settings whose name has this in it, or 'speed'")
    given = parser.parse_args()
    for name, (covers, median) in settings().items():
        if given.only in name:
            for factor in (1.0, 2.0):
                coverage(name, covers, factor * median, given.toys)
    if given.only in "speed":
        speed(given.speed_toys)


if __name__ == "__main__":
    main()
