"""Limits of random models with several minima, against a search of everything: how many are off by more than 0.5%.

Usage: python bench/second_minima.py [MODELS] [--first SEED] [--backend numpy|jax|minuit ...] [--pyhf]

With --pyhf the limits of pyhf (scipy, interpolation codes 4 and 4p) are counted beside ours, in seconds a model. Models
that are off are printed as they are found.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from portico.errors import FitError
from portico.stats.asymptotic import asymptotic_limit
from portico.stats.workspace import BACKENDS, INTERPOLATION, Workspace, using
from portico.stats.workspace_profiles import PyhfProfiles

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.second_minima import Searched, random_model

Limits = tuple[float, float]

_OFTEN = 20  # models, after which the counts so far are printed


def ours(backend: str, spec: dict[str, Any]) -> Limits:
    """Return the observed and the median expected limit."""
    try:
        with using(backend):
            limit = asymptotic_limit(PyhfProfiles(Workspace("random", spec, "m", "mu"), backend=backend))
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="?", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=["numpy"])
    parser.add_argument("--pyhf", action="store_true")
    options = parser.parse_args()
    programs: dict[str, Callable[[dict[str, Any]], Limits]] = {
        f"portico, {backend}": partial(ours, backend) for backend in options.backend
    }
    if options.pyhf:
        programs["pyhf"] = of_pyhf
    off, failed, seconds = (dict.fromkeys(programs, 0.0) for _ in range(3))
    for seed in range(options.first, options.first + options.models):
        spec = random_model(seed)
        right = np.array(Searched(spec).limits())
        for name, program in programs.items():
            began = time.process_time()
            found = np.array(program(spec))
            seconds[name] += time.process_time() - began
            failed[name] += bool(np.isnan(found).any())
            if np.any(np.abs(found / right - 1) > 0.005):
                off[name] += 1
                print(f"{name}, model {seed}: {found.tolist()} instead of {right.tolist()}", flush=True)
        done = seed - options.first + 1
        if done % _OFTEN and done < options.models:
            continue
        for name in programs:
            print(
                f"{name}: {off[name]:.0f} of {done} off by more than 0.5%, {failed[name]:.0f} failed, "
                f"{seconds[name] / done:.2f} s a model", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
