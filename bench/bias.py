"""Mean pulls of injected signals, with every family of the background as the truth: the aim is |mean| < 0.1.

Families are those that the F-test selects. The first degree of the polynomial that it refuses, which also competes in
the fits, is a truth as well: it shows the bias from a curvature that the data cannot resolve.

One channel like those of the search: a window of 10 resolutions on each side of the mass, a falling background, and
a systematic uncertainty of the efficiency. The families are chosen on one set of made data. Each truth is fitted with
the envelope and with each family alone.

Usage: python bench/bias.py [TOYS] [BACKGROUND EVENTS] [likelihood | hesse]
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
from _bias import ENVELOPE, Bias, bias_study

from portico.stats.families import choose_families
from portico.stats.model import Channel, Component, Model
from portico.stats.shapes import DoubleCrystalBall, Exponentials, Parameter

AIM = 0.1
TAKEN = 0.05  # the F-test accepts an order if p is below
INJECTED = (0.0, 1.0, 2.0, 5.0)
MASS = 1.5
WIDTH = 6.98e-4 + 7.78e-3 * MASS  # arXiv:2403.04584


def channel(events: float, seed: int = 1) -> tuple[Model, set[str]]:
    """Return the model, and the families that the F-test refused."""
    low, high = MASS - 10 * WIDTH, MASS + 10 * WIDTH
    edges = np.linspace(low, high, 81)
    truth = Exponentials(low=low, high=high).contents(edges, np.array([-0.8])) * events
    counts = np.random.default_rng(seed).poisson(truth)
    chosen = choose_families(edges, counts)
    refused = {f"{row.kind}{row.order}" for row in chosen.tried if row.kept and row.p >= TAKEN}
    for row in chosen.tried:
        print(f"# {row.kind} {row.order}: -log L {row.nll:.2f}, p {row.p:.3f}{' kept' if row.kept else ''} {row.note}")
    peak = DoubleCrystalBall(
        low=low, high=high, mean=MASS, width=WIDTH, alpha_left=1.5, n_left=3, alpha_right=1.5, n_right=4
    )
    signal = Component(
        name="signal", shapes=(peak,), events=10.0, strength="mu", effects={"efficiency": (1 / 1.05, 1.05)}
    )
    background = Component(name="background", shapes=chosen.shapes, events=1.0, strength="n", floating=True)
    made = Channel(
        name="made", edges=tuple(edges), counts=tuple(map(float, counts)), components=(signal, background)
    )
    free = (
        Parameter(name="mu", start=0.0, low=0.0, high=100.0),
        Parameter(name="n", start=events, low=0.0, high=100 * events + 100, step=max(events, 1.0) ** 0.5),
    )
    return Model(channels=(made,), parameters=free), refused


def one(model: Model, toys: int, errors: Literal["likelihood", "hesse"], injected: float) -> list[Bias]:
    return bias_study(model, injected=(injected,), toys=toys, errors=errors)


def main() -> None:
    toys = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    events = float(sys.argv[2]) if len(sys.argv) > 2 else 100.0
    errors = "hesse" if sys.argv[3:] == ["hesse"] else "likelihood"
    began = time.perf_counter()
    model, refused = channel(events)
    print(f"{events:g} background events, {toys} toys each, errors from {errors}")
    print(f"{'truth':16} {'fitted':16} sigma   mean pull          width  median   failed")
    rows = []
    with ProcessPoolExecutor(len(INJECTED)) as pool:  # each with seeds of its own: the same as all in one
        for found in pool.map(partial(one, model, toys, errors), INJECTED):
            rows += found
            for row in found:
                far = "  above the aim" if row.fitted == ENVELOPE and abs(row.mean) > AIM else ""
                print(
                    f"{row.truth:16} {row.fitted:16} {row.injected:5.1f}  {row.mean:+.3f} +- {row.error:.3f}   "
                    f"{row.width:.3f}  {row.median:+.3f}  {row.failed:5d}{far}",
                    flush=True,
                )
    of_envelope = [row for row in rows if row.fitted == ENVELOPE]
    for what, wanted in (("that the F-test asks for", False), ("that it refuses", True)):
        if found := [row for row in of_envelope if (row.truth in refused) is wanted]:
            worst = max(found, key=lambda row: abs(row.mean))
            print(f"worst of the envelope, families {what}: {worst.mean:+.3f} +- {worst.error:.3f}, aim |mean| < {AIM}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
