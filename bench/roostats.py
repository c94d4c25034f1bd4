"""Time of one asymptotic point of portico and of RooStats, on the same models.

Usage: python bench/roostats.py [POINTS]

Models: a peak on an exponential, 410 events, unbinned; the same with a second channel that shares nuisance parameters;
and both in 100 bins. Aim: not slower than RooStats' AsymptoticCalculator on any of them. The fits to the data are done
before the timing starts; points lie around the limit, and all are different.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _common import scratch

from portico.stats.asymptotic import ModelProfiles, asymptotic_limit, cls_at
from portico.stats.exports.roofit import write_workspace
from portico.stats.model import Channel, Component, Model
from portico.stats.shapes import DoubleCrystalBall, Exponentials, Parameter

ROOSTATS = Path(__file__).parents[1] / "tests" / "roostats.py"
LOW, HIGH = 1.3, 1.7


def model(events: tuple[int, ...], *, binned: bool) -> Model:
    """Return a peak on an exponential in each channel."""
    rng = np.random.default_rng(7)
    edges = np.linspace(LOW, HIGH, 101)
    channels, parameters = [], [Parameter(name="mu", start=1.0, low=0.0, high=50.0, step=0.3)]
    for c, number in enumerate(events):
        x = LOW + rng.exponential(0.25, 5 * number)
        x = x[x < HIGH][:number]
        peak = DoubleCrystalBall(
            low=LOW, high=HIGH, mean=1.5, width=0.012 * (1 + 0.3 * c), alpha_left=1.5, n_left=3, alpha_right=1.6,
            n_right=4,
        )  # fmt: skip
        signal = Component(
            name="signal", shapes=(peak,), events=8.0 * (c + 1), strength="mu",
            effects={"lumi": (1 / 1.025, 1.025), "trigger": (0.93, 1.05), f"mc{c}": (0.95, 1.05)},
            shifts={"scale": {"mean": 0.0015}, "resolution": {"width": 0.0012}},
        )  # fmt: skip
        background = Component(
            name="background", shapes=(Exponentials(low=LOW, high=HIGH),), events=1.0, strength=f"n{c}", floating=True
        )
        parameters.append(Parameter(name=f"n{c}", start=float(number), low=0.0, high=1e5, step=10.0))
        counts = tuple(map(float, np.histogram(x, edges)[0])) if binned else None
        values = None if binned else tuple(x)
        channels.append(
            Channel(name=f"c{c}", edges=tuple(edges), counts=counts, values=values, components=(signal, background))
        )
    return Model(channels=tuple(channels), parameters=tuple(parameters))


def compare(name: str, made: Model, points: int) -> tuple[float, float, float]:
    """Time both in turn on the same points, print and return seconds of ours and of RooStats, and how CLs differ."""
    center = asymptotic_limit(ModelProfiles(made)).expected[2]
    where = [float(mu) for mu in np.linspace(0.5, 1.5, points) * center]
    with scratch() as folder:
        file = write_workspace(made, folder / "workspace.root")
        done = subprocess.run(
            [sys.executable, str(ROOSTATS), "time", str(file)],
            input=json.dumps({"points": where}), capture_output=True, text=True, check=True,
        )  # fmt: skip
    theirs = json.loads(done.stdout)[0]
    profiles, ours = ModelProfiles(made), []
    cls_at(profiles, 0.9 * where[0])
    for mu in where:
        began = time.process_time()
        found = cls_at(profiles, mu)
        ours.append((time.process_time() - began, found.observed or 0.0))
    mine, other = statistics.median(s for s, _ in ours), statistics.median(answer[0] for answer in theirs)
    apart = max(abs(a - b[1]) for (_, a), b in zip(ours, theirs, strict=True))
    verdict = "as aimed" if mine <= other else "short of the aim"
    print(
        f"{name}: {mine * 1e3:.1f} ms of CPU a point, RooStats {other * 1e3:.1f} ms, ratio {mine / other:.2f} "
        f"(aim <= 1: {verdict}); CLs apart by at most {apart:.1e}", flush=True,
    )  # fmt: skip
    return mine, other, apart


def compare_all(points: int) -> dict[str, tuple[float, float, float]]:
    """Compare the models, see `compare`."""
    found = {}
    for channels, events in {"1 channel": (410,), "2 channels": (410, 136)}.items():
        for binned in (False, True):
            name = f"{channels}, {'100 bins' if binned else 'unbinned'}"
            found[name] = compare(name, model(events, binned=binned), points)
    return found


def main() -> None:
    """Compare the models."""
    compare_all(int(sys.argv[1]) if len(sys.argv) > 1 else 20)


if __name__ == "__main__":
    main()
