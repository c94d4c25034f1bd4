"""Limits of random models with several minima, against a search of everything: how many are off by more than 0.5%.

Usage: python bench/second_minima.py [MODELS] [--pyhf]

With --pyhf the limits of pyhf (scipy, interpolation codes 4 and 4p) are counted beside ours, in seconds a model.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from portico.errors import FitError
from portico.stats.asymptotic import asymptotic_limit
from portico.stats.workspace import INTERPOLATION, Workspace, using
from portico.stats.workspace_profiles import PyhfProfiles

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.second_minima import Searched, random_model

Limits = tuple[float, float]


def ours(spec: dict[str, Any]) -> Limits:
    """Return the observed and the median expected limit."""
    try:
        limit = asymptotic_limit(PyhfProfiles(Workspace("random", spec, "m", "mu")))
    except FitError:
        return math.nan, math.nan
    return limit.observed or math.nan, limit.median


def of_pyhf(spec: dict[str, Any]) -> Limits:
    """Return those of pyhf; not numbers where it fails."""
    import pyhf

    with using("numpy"):
        made = {"channels": spec["channels"]}
        model = pyhf.Model(made, poi_name="mu", validate=False, modifier_settings=INTERPOLATION)
        observed = {entry["name"]: entry["data"] for entry in spec["observations"]}
        data = [n for name in model.config.channels for n in observed[name]]
        try:
            found = pyhf.infer.intervals.upper_limits.upper_limit(
                data + model.config.auxdata, model, scan=None, level=0.05, rtol=1e-4
            )
        except Exception:  # of many kinds: a failure is what is counted
            return math.nan, math.nan
    return float(found[0]), float(found[1][2])


def main() -> None:
    """Print how many are off, and the time of a model."""
    number = next((int(text) for text in sys.argv[1:] if text.isdigit()), 100)
    programs: dict[str, Callable[[dict[str, Any]], Limits]] = {"portico": ours}
    if "--pyhf" in sys.argv:
        programs["pyhf"] = of_pyhf
    off, failed, seconds = (dict.fromkeys(programs, 0.0) for _ in range(3))
    for seed in range(number):
        spec = random_model(seed)
        right = np.array(Searched(spec).limits())
        for name, program in programs.items():
            began = time.process_time()
            found = np.array(program(spec))
            seconds[name] += time.process_time() - began
            failed[name] += bool(np.isnan(found).any())
            off[name] += bool(np.any(np.abs(found / right - 1) > 0.005))
    for name in programs:
        print(
            f"{name}: {off[name]:.0f} of {number} off by more than 0.5%, {failed[name]:.0f} failed, "
            f"{seconds[name] / number:.2f} s a model"
        )


if __name__ == "__main__":
    main()
