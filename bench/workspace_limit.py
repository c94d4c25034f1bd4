"""CPU time of one CLs point and of a limit on a 4-bin workspace with each backend, without compiling.

Usage: python bench/workspace_limit.py
"""

from __future__ import annotations

import importlib.util
import time

from portico.stats.asymptotic import asymptotic_limit, cls_at
from portico.stats.workspace import BACKENDS, Workspace, using
from portico.stats.workspace_profiles import PyhfProfiles

CHANNEL = {
    "name": "A",
    "samples": [
        {"name": "signal", "data": [2.0, 5.0, 8.0, 3.0],
         "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {
            "name": "background",
            "data": [50.0, 40.0, 30.0, 20.0],
            "modifiers": [
                {"name": "norm", "type": "normsys", "data": {"lo": 0.9, "hi": 1.12}},
                {
                    "name": "shape", "type": "histosys",
                    "data": {"lo_data": [47.0, 39.0, 31.0, 22.0], "hi_data": [54.0, 41.0, 29.0, 17.0]},
                },
                {"name": "stat_A", "type": "staterror", "data": [3.0, 2.5, 2.0, 1.8]},
            ],
        },
    ],
}  # fmt: skip


def main() -> None:
    """Print a line for each backend."""
    spec = {
        "channels": [CHANNEL], "observations": [{"name": "A", "data": [52.0, 43.0, 36.0, 21.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }  # fmt: skip
    for backend in BACKENDS:
        if backend == "jax" and importlib.util.find_spec("jax") is None:
            print("jax: not installed")
            continue
        with using(backend):
            profiles = PyhfProfiles(Workspace("bench", spec, "m", "mu"), backend=backend)
            profiles.statistics(3.3)  # compiles
            times = [time.process_time()]
            for mu in (1.0, 1.5, 2.0, 2.5):
                cls_at(profiles, mu)
            times.append(time.process_time())
            limit = asymptotic_limit(profiles)
            times.append(time.process_time())
        point, whole = (times[1] - times[0]) / 4, times[2] - times[1]
        print(f"{backend}: one CLs point {point:.3f} s, limit {whole:.2f} s, observed {limit.observed:.4f}")


if __name__ == "__main__":
    main()
