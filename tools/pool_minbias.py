"""Pool of minimum-bias events for pile-up: ``minbias.root``.

Inelastic, non-diffractive collisions, unweighted, including events without tracks. Each has its charged stable
particles in the tracker's acceptance, with the vertices of strange and heavy hadrons.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import uproot
from pool_common import BEAM_ENERGY, add_tracks, configured, table, write_tree


def write_minbias(folder: Path, seed: int, wanted: int) -> dict[str, Any]:
    """Generate ``wanted`` events, write ``minbias.root``, and return its description."""
    pythia = configured([f"Beams:eCM = {BEAM_ENERGY}", "SoftQCD:nonDiffractive = on"], seed)
    events: list[tuple[int, int]] = []
    tracks: list[tuple[float, ...]] = []
    vertices: list[tuple[float, float, float]] = []
    while len(events) < wanted:
        if pythia.next():
            before = len(vertices)
            count = add_tracks(tracks, vertices, pythia.event)
            events.append((count, len(vertices) - before))
    momentum, point = (dict.fromkeys(names, np.float32) for names in (("px", "py", "pz"), ("x", "y", "z")))
    trees = {
        "events": table(events, {"tracks": np.uint16, "vertices": np.uint16}),
        "tracks": table(tracks, {**momentum, "code": np.int8, "vertex": np.uint8}),
        "vertices": table(vertices, point),
    }
    with uproot.recreate(folder / "minbias.root", compression=uproot.LZMA(7)) as file:
        for name, columns in trees.items():
            write_tree(file, name, columns)
    return {
        "cross_section_pb": pythia.infoPython().sigmaGen() * 1e9,
        "events": wanted,
        "mean_tracks": len(tracks) / wanted,
        "seed": seed,
    }
