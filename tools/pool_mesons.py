"""Pools of charmed mesons, which the simulation decays: ``ds.root`` and ``dplus.root``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from pool_common import PROCESSES, rounded, start, write_tree

PT_MIN, ETA_MAX = 6.0, 2.5  # no muon above 6.5 GeV comes from a softer meson
MESONS = {"ds": 431, "dplus": 411}  # name of the pool and PDG number


@dataclass
class MesonPool:
    """Mesons of one process, and how much was generated for them."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    events: int = 0
    generated: int = 0
    weight_sum: float = 0.0  # over all mesons generated
    event_weight_sum: float = 0.0
    cross_section: float = 0.0


def collect_mesons(meson: str, process: int, seed: int, wanted: int) -> MesonPool:
    """Generate until ``wanted`` mesons with enough transverse momentum are found."""
    number = MESONS[meson]
    pythia = start(process, seed, [f"{number}:mayDecay = off"])
    pool = MesonPool()
    while len(pool.rows) < wanted:
        if not pythia.next():
            continue
        weight = pythia.infoPython().weight()
        pool.events += 1
        pool.event_weight_sum += weight
        for particle in pythia.event:
            if particle.idAbs() != number or not particle.isFinal():
                continue
            pool.generated += 1
            pool.weight_sum += weight
            if particle.pT() > PT_MIN and abs(particle.eta()) < ETA_MAX:
                momentum = (particle.px(), particle.py(), particle.pz())
                origin = (particle.xProd(), particle.yProd(), particle.zProd())
                pool.rows.append((*momentum, *origin, math.copysign(1, particle.id()), process == 5, weight))
    pool.cross_section = pythia.infoPython().sigmaGen() * 1e9  # mb to pb
    return pool


def write_mesons(folder: Path, meson: str, pools: dict[int, MesonPool]) -> dict[str, Any]:
    """Write the file of a meson and return its description."""
    table = np.array([row for pool in pools.values() for row in pool.rows], dtype=np.float64)
    scales = [pool.cross_section / pool.event_weight_sum for pool in pools.values() for _ in pool.rows]
    columns = {name: rounded(table[:, k]) for k, name in enumerate(("px", "py", "pz", "x", "y", "z"))}
    columns |= {name: table[:, 6 + k].astype(np.int8) for k, name in enumerate(("charge", "from_b"))}
    columns["weight"] = rounded(table[:, 8] * scales)  # pb
    with uproot.recreate(folder / f"{meson}.root", compression=uproot.LZMA(7)) as file:
        write_tree(file, meson, columns)
    return {
        PROCESSES[process]: {
            "cross_section_pb": pool.cross_section,
            "events": pool.events,
            f"{meson}_generated": pool.generated,
            f"{meson}_cross_section_pb": pool.cross_section * pool.weight_sum / pool.event_weight_sum,
            f"{meson}_kept": len(pool.rows),
            f"{meson}_kept_cross_section_pb": pool.cross_section
            * sum(row[8] for row in pool.rows)
            / pool.event_weight_sum,
        }
        for process, pool in pools.items()
    }
