"""Time of limits: one point of the six-category model, the whole plane on two processes, and its share by step.

Usage: python bench/plane.py [MASSES] [COUPLINGS]

Six categories with 40 to 500 background events in the fit window, four shapes each, 32 nuisance parameters: limits
are from fits of all categories. Aims: a point (CLs of one mu, observed and expected) 0.3 s; 4 masses x 20 couplings
5 minutes.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from _common import scratch

import portico
from hnl import theory
from hnl.fits.signal import cms_resolution
from hnl.hypotheses import Hypothesis, Point, WindowCounts, Yield
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at
from portico.stats.families import choose_families
from portico.stats.limit import Limit
from portico.stats.model import Channel, Component, Model
from portico.stats.shapes import DoubleCrystalBall, Exponentials, Parameter

BACKGROUNDS = {
    "SSlxy0to1": 400, "SSlxy1to5": 200, "SSlxy5toInf": 60, "OSlxy0to1": 500, "OSlxy1to5": 150, "OSlxy5toInf": 40,
}  # fmt: skip
NUISANCES = 12
STEPS = """
import json
from pathlib import Path

from portico import points
from hnl.scan import scan as of_hnl


def listed(*, path):
    return json.loads(Path(path).read_text())


@points()
def scan(point):
    return of_hnl(point)
"""


def hypothesis(mass: float, couplings: int, random: np.random.Generator) -> Hypothesis:
    """Return a mass with data from a falling spectrum without signal."""
    sigma = cms_resolution(mass)
    low, high = mass - 10 * sigma, mass + 10 * sigma
    edges = np.linspace(low, high, 101)
    tails = {"alpha_left": 1.5, "n_left": 4.0, "alpha_right": 1.6, "n_right": 5.0}
    peak = DoubleCrystalBall(low=low, high=high, mean=mass, width=sigma, **tails)
    common = {f"systematic_{i}": (1 / (1.01 + 0.005 * (i % 4)), 1.01 + 0.005 * (i % 4)) for i in range(NUISANCES)}
    shifts = {"scale": {"mean": 0.001 * mass}, "resolution": {"width": 0.05 * sigma}}
    channels, parameters = [], [Parameter(name="mu", start=0.0, low=0.0)]
    for name, number in BACKGROUNDS.items():
        slope = Exponentials(low=low, high=high)
        counts = random.poisson(number * slope.contents(edges, np.array([-0.7]))).astype(float)
        own = {f"signal_{part}_{name}": {part: 0.03 * sigma} for part in ("mean", "width")}
        signal = Component(
            name="signal", shapes=(peak,), events=1.0, strength="mu", effects=common, shifts={**shifts, **own}
        )
        shapes = choose_families(edges, counts).shapes
        background = Component(name="background", shapes=shapes, events=1.0, strength=f"b_{name}", floating=True)
        parameters.append(Parameter(name=f"b_{name}", start=float(counts.sum()), low=0.0, step=number**0.5))
        channels.append(Channel(name=name, edges=tuple(edges), counts=tuple(counts), components=(signal, background)))
    points = []
    for v in np.geomspace(theory.coupling_squared(mass, 1000.0), 1.0, couplings):
        of = {n: Yield(events=2e5 * v**2 / (1 + 300 * v) ** 2 * (1 + i), statistical=0.05, effective_events=400.0)
              for i, n in enumerate(BACKGROUNDS)}  # fmt: skip
        points.append(Point(coupling_squared=v, ctau=theory.proper_decay_length(mass, v), yields=of))
    sides = {n: WindowCounts(background=b / 3, uncertainty=1.0, observed=None, signal_fraction=1.0, systematic=0.1)
             for n, b in BACKGROUNDS.items()}  # fmt: skip
    model = Model(channels=tuple(channels), parameters=tuple(parameters))
    return Hypothesis(mass=mass, window=(low, high), method="asymptotic", why="bench", model=model, counts=sides,
                      points=tuple(points))  # fmt: skip


def one_point(h: Hypothesis) -> None:
    began = time.perf_counter()
    profiles = ModelProfiles(h.model_at(h.points[len(h.points) // 2]))
    prepared = time.perf_counter()
    limit = asymptotic_limit(profiles)
    ended = time.perf_counter()
    seconds = []
    for mu in np.linspace(0.5, 2.0, 15) * limit.expected[2]:
        start = time.perf_counter()
        cls_at(profiles, float(mu) * 1.0001)
        seconds.append(time.perf_counter() - start)
    print(f"one point: {np.median(seconds):.3f} s, slowest {max(seconds):.3f} s (aim 0.3 s); fits to the data "
          f"{prepared - began:.2f} s; all six limits {ended - prepared:.2f} s")  # fmt: skip


def main() -> None:
    given = [int(word) for word in sys.argv[1:3]]
    masses, couplings = [*given, *(4, 20)[len(given) :]]
    random = np.random.default_rng(1)
    began = time.perf_counter()
    tested = [hypothesis(float(m), couplings, random) for m in np.linspace(1.0, 1.8, masses)]
    print(f"models of {masses} masses, families by F-test: {time.perf_counter() - began:.1f} s")
    one_point(tested[0])
    with scratch() as folder:
        path = folder / "points.json"
        path.write_text(json.dumps([one.model_dump(mode="json") for h in tested for one in h.each()]))
        (folder / "steps.py").write_text(STEPS)
        (folder / "analysis.yaml").write_text(
            "name: plane\nsteps: [{name: scan, function: 'steps:scan', points: 'steps:listed', chunk: 4 points, "
            f"options: {{path: '{path}'}}}}]\n"
        )
        began = time.perf_counter()
        run = portico.run(portico.load_analysis(folder), folder=folder / "run", workers=2)
        wall = time.perf_counter() - began
        found = run["scan"]["points"]["values"]
        failed = sum(value["failed"] for value in found)
        excluded = sum(Limit.from_json(v["limit"]).median < 1 for v in found if v["limit"])
        print(f"plane of {masses} x {couplings} on 2 processes: {wall:.0f} s (aim 300 s for 4 x 20), {failed} failed, "
              f"{excluded} expected to be excluded")  # fmt: skip


if __name__ == "__main__":
    main()
