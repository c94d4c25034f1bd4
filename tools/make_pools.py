"""Make the generator pools shipped in ``hnl/pools`` with Pythia 8.

Two files come out, each reproducible from its seeds and counts:

``ds.root``
    Ds mesons of 13 TeV proton collisions, prompt (from charm pairs) and from b hadrons kept apart by a flag.
``background.root``
    Events of charm and beauty pairs with a muon that can fire the trigger, with their charged particles.

The branching ratios to muons of the weakly decaying charm and beauty hadrons are raised to get more events with two
muons, and each event carries the product of (true / raised) ratios as its weight: no event class is lost. Events with
one muon only are kept with a probability and weighted by its inverse. Hard scatters are generated with a harder
spectrum than nature's, and Pythia's weight undoes it. ``pools.json`` holds cross sections, counts and the fraction of
everything generated that the pools stand for.

The only script that needs ``pythia8mc``. Run as ``python tools/make_pools.py OUTPUT_FOLDER``; about 25 minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uproot

LOG = logging.getLogger("make_pools")

BEAM_ENERGY = 13000.0  # GeV
PT_HAT_MIN = 8.0  # GeV
PT_HAT_BIAS = 1.5  # power of pT-hat by which the spectrum is hardened
DS_PT_MIN, DS_ETA_MAX = 6.0, 2.5  # no muon above 6.5 GeV comes from a softer Ds
TRACK_PT_MIN, TRACK_ETA_MAX = 0.4, 2.5
TRIGGER_PT_MIN, TRIGGER_ETA_MAX = 6.3, 1.7
SECOND_MUON_PT_MIN = 1.0
SINGLE_MUON_KEPT = 0.3  # fraction of events with one muon only that is kept, weighted by its inverse
CHARM = (411, 421, 431, 4122, 4132, 4232, 4332)
BEAUTY = (511, 521, 531, 541, 5122, 5132, 5232, 5332)
RAISED = {**dict.fromkeys(CHARM, 0.3), **dict.fromkeys(BEAUTY, 0.25)}
SPECIES = {11: 1, 13: 2, 211: 3, 321: 4, 2212: 5}  # stored as +-code, the sign being the charge
PROCESSES = {4: "hardccbar", 5: "hardbbbar"}


@dataclass
class DsPool:
    """Ds mesons of one process, and how much was generated for them."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    events: int = 0
    generated: int = 0
    weight_sum: float = 0.0  # over all Ds generated
    event_weight_sum: float = 0.0
    cross_section: float = 0.0


@dataclass
class EventPool:
    """Background events of one process: weights, tracks and vertices, and how much was generated for them."""

    events: list[tuple[int, int, float]] = field(default_factory=list)
    tracks: list[tuple[float, ...]] = field(default_factory=list)
    vertices: list[tuple[float, float, float]] = field(default_factory=list)
    generated: int = 0
    weight_sum: float = 0.0  # over all events generated
    cross_section: float = 0.0


def start(process: int, seed: int, extra: list[str]) -> Any:
    """Return Pythia set up for pair creation of charm (4) or beauty (5).

    Parameters
    ----------
    process : int
        The quark's PDG number.
    seed : int
        Pythia's seed.
    extra : list of str
        Further settings.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    settings = [
        "Print:quiet = on",
        f"Beams:eCM = {BEAM_ENERGY}",
        f"HardQCD:{PROCESSES[process]} = on",
        f"PhaseSpace:pTHatMin = {PT_HAT_MIN}",
        "PhaseSpace:bias2Selection = on",
        f"PhaseSpace:bias2SelectionPow = {PT_HAT_BIAS}",
        "PhaseSpace:bias2SelectionRef = 20.",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
        *extra,
    ]
    for line in settings:
        if not pythia.readString(line):
            raise ValueError(f"Pythia refused the setting {line!r}")
    if not pythia.init():
        raise RuntimeError(f"Pythia did not start for {PROCESSES[process]}")
    return pythia


def collect_ds(process: int, seed: int, wanted: int) -> DsPool:
    """Generate until ``wanted`` Ds mesons with enough transverse momentum are found."""
    pythia = start(process, seed, ["431:mayDecay = off"])
    pool = DsPool()
    while len(pool.rows) < wanted:
        if not pythia.next():
            continue
        weight = pythia.infoPython().weight()
        pool.events += 1
        pool.event_weight_sum += weight
        for particle in pythia.event:
            if particle.idAbs() != 431 or not particle.isFinal():
                continue
            pool.generated += 1
            pool.weight_sum += weight
            if particle.pT() > DS_PT_MIN and abs(particle.eta()) < DS_ETA_MAX:
                momentum = (particle.px(), particle.py(), particle.pz())
                origin = (particle.xProd(), particle.yProd(), particle.zProd())
                pool.rows.append((*momentum, *origin, math.copysign(1, particle.id()), process == 5, weight))
    pool.cross_section = pythia.infoPython().sigmaGen() * 1e9  # mb to pb
    return pool


def is_muonic(channel: Any) -> bool:
    """Tell whether a decay channel has a muon among its direct products."""
    return any(abs(channel.product(k)) == 13 for k in range(channel.multiplicity()))


def raise_muonic_decays(pythia: Any) -> dict[int, tuple[float, float]]:
    """Raise the muonic branching ratios; return the weights (muonic, other) of each hadron."""
    weights: dict[int, tuple[float, float]] = {}
    for hadron, raised in RAISED.items():
        entry = pythia.particleData.findParticle(hadron)
        channels = [entry.channel(k) for k in range(entry.sizeChannels())]
        muonic = [is_muonic(channel) for channel in channels]
        total = sum(channel.bRatio() for channel in channels)
        true = sum(channel.bRatio() for channel, yes in zip(channels, muonic, strict=True) if yes) / total
        if not 0.0 < true < raised:
            continue
        for channel, yes in zip(channels, muonic, strict=True):
            channel.rescaleBR(raised / true if yes else (1.0 - raised) / (1.0 - true))
        weights[hadron] = (true / raised, (1.0 - true) / (1.0 - raised))
    return weights


def event_weight(event: Any, weights: dict[int, tuple[float, float]]) -> float:
    """Return the product of true over raised branching ratios of the hadrons that decayed in one event."""
    product = 1.0
    for particle in event:
        ratios = weights.get(particle.idAbs())
        if ratios is None or particle.isFinal():
            continue
        daughters = [event[k].idAbs() for k in particle.daughterList()]
        if particle.idAbs() in daughters:  # a copy of itself, not the decay
            continue
        product *= ratios[0] if 13 in daughters else ratios[1]
    return product


def heavy_ancestor(event: Any, index: int) -> int:
    """Return the index of the highest charm or beauty hadron above a particle, 0 if there is none."""
    found = 0
    while index > 0:
        particle = event[index]
        if particle.isHadron() and particle.idAbs() in RAISED:
            found = index
        index = particle.mother1() if particle.status() < 0 or found or abs(particle.status()) > 80 else 0
    return found


def add_event(pool: EventPool, event: Any, weight: float) -> None:
    """Append the charged particles of one event to the pool."""
    vertices: dict[tuple[float, float, float], int] = {}
    ancestors: dict[int, int] = {0: 0}
    tracks: list[tuple[float, ...]] = []
    for index in range(event.size()):
        particle = event[index]
        species = SPECIES.get(particle.idAbs())
        if not (particle.isFinal() and species) or particle.pT() < TRACK_PT_MIN or abs(particle.eta()) > TRACK_ETA_MAX:
            continue
        origin = (particle.xProd(), particle.yProd(), particle.zProd())
        if math.hypot(*origin) < 1e-6:
            origin = (0.0, 0.0, 0.0)
        if math.hypot(origin[0], origin[1]) > 1000.0 or len(vertices) > 250:
            continue
        ancestor = ancestors.setdefault(heavy_ancestor(event, index), len(ancestors))
        vertex = vertices.setdefault(origin, len(vertices))
        momentum = (particle.px(), particle.py(), particle.pz())
        code = math.copysign(species, particle.charge())
        tracks.append((*momentum, code, vertex, ancestor, event[particle.mother1()].id()))
    pool.events.append((len(tracks), len(vertices), weight))
    pool.tracks.extend(tracks)
    pool.vertices.extend(vertices)


def collect_background(process: int, seed: int, wanted: int) -> EventPool:
    """Generate until ``wanted`` events with a muon that can fire the trigger are found."""
    pythia = start(process, seed, [])
    weights = raise_muonic_decays(pythia)
    thinning = np.random.default_rng(seed)
    pool = EventPool()
    while len(pool.events) < wanted:
        if not pythia.next():
            continue
        weight = pythia.infoPython().weight()
        pool.generated += 1
        pool.weight_sum += weight
        event = pythia.event
        muons = [p for p in event if p.idAbs() == 13 and p.isFinal() and abs(p.eta()) < TRACK_ETA_MAX]
        if not any(p.pT() > TRIGGER_PT_MIN and abs(p.eta()) < TRIGGER_ETA_MAX for p in muons):
            continue
        kept = 1.0 if sum(p.pT() > SECOND_MUON_PT_MIN for p in muons) > 1 else SINGLE_MUON_KEPT
        if kept == 1.0 or thinning.random() < kept:
            add_event(pool, event, weight * event_weight(event, weights) / kept)
    pool.cross_section = pythia.infoPython().sigmaGen() * 1e9
    return pool


def rounded(values: Any) -> np.ndarray[Any, Any]:
    """Return float32 with 12 bits of mantissa (relative error 1.2e-4), which compress well."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << 10)) & np.uint32(0xFFFFF800)).view(np.float32)


def write_tree(file: Any, name: str, columns: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write plain columns as a TTree in one basket each."""
    file.mktree(name, {column: values.dtype for column, values in columns.items()}).extend(columns)


def write_ds(folder: Path, pools: dict[int, DsPool]) -> dict[str, Any]:
    """Write ``ds.root`` and return its description."""
    table = np.array([row for pool in pools.values() for row in pool.rows], dtype=np.float64)
    scales = [pool.cross_section / pool.event_weight_sum for pool in pools.values() for _ in pool.rows]
    columns = {name: rounded(table[:, k]) for k, name in enumerate(("px", "py", "pz", "x", "y", "z"))}
    columns |= {name: table[:, 6 + k].astype(np.int8) for k, name in enumerate(("charge", "from_b"))}
    columns["weight"] = rounded(table[:, 8] * scales)  # pb
    with uproot.recreate(folder / "ds.root", compression=uproot.LZMA(7)) as file:
        write_tree(file, "ds", columns)
    return {
        PROCESSES[process]: {
            "cross_section_pb": pool.cross_section,
            "events": pool.events,
            "ds_generated": pool.generated,
            "ds_cross_section_pb": pool.cross_section * pool.weight_sum / pool.event_weight_sum,
            "ds_kept": len(pool.rows),
            "ds_kept_cross_section_pb": pool.cross_section * sum(row[8] for row in pool.rows) / pool.event_weight_sum,
        }
        for process, pool in pools.items()
    }


def write_background(folder: Path, pools: dict[int, EventPool]) -> dict[str, Any]:
    """Write ``background.root`` and return its description."""
    events, tracks, vertices, description = [], [], [], {}
    for process, pool in pools.items():
        scale = pool.cross_section / pool.weight_sum
        events += [(n, m, weight * scale, process) for n, m, weight in pool.events]
        tracks += pool.tracks
        vertices += pool.vertices
        weights = np.array([row[2] for row in pool.events])
        description[PROCESSES[process]] = {
            "cross_section_pb": pool.cross_section,
            "events": pool.generated,
            "kept": len(pool.events),
            "kept_cross_section_pb": float(weights.sum() * scale),
            "effective_kept": float(weights.sum() ** 2 / (weights**2).sum()),
        }
    e, t, v = np.array(events), np.array(tracks), np.array(vertices)
    event_types = {"tracks": np.uint16, "vertices": np.uint16, "weight": np.float32, "process": np.int8}
    track_types = {"code": np.int8, "vertex": np.uint8, "ancestor": np.uint8, "mother": np.int32}
    with uproot.recreate(folder / "background.root", compression=uproot.LZMA(7)) as file:
        write_tree(file, "events", {n: e[:, k].astype(kind) for k, (n, kind) in enumerate(event_types.items())})
        momenta = {n: rounded(t[:, k]) for k, n in enumerate(("px", "py", "pz"))}
        labels = {n: t[:, 3 + k].astype(kind) for k, (n, kind) in enumerate(track_types.items())}
        write_tree(file, "tracks", momenta | labels)
        write_tree(file, "vertices", {n: rounded(v[:, k]) for k, n in enumerate(("x", "y", "z"))})
    return description


def main() -> None:
    """Make both pools and their description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where ds.root, background.root and pools.json go")
    parser.add_argument("--ds", type=int, default=5000, help="Ds mesons of each origin")
    parser.add_argument("--charm-events", type=int, default=1000, help="background events from charm pairs")
    parser.add_argument("--beauty-events", type=int, default=2200, help="background events from beauty pairs")
    parser.add_argument("--seed", type=int, default=20260, help="first of the four seeds")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.folder.mkdir(parents=True, exist_ok=True)
    description: dict[str, Any] = {"seed": options.seed, "pt_hat_min_gev": PT_HAT_MIN, "energy_gev": BEAM_ENERGY}
    wanted = {4: options.charm_events, 5: options.beauty_events}
    background = {}
    for process, name in PROCESSES.items():
        background[process] = collect_background(process, options.seed + process, wanted[process])
        LOG.info("background %s: %d generated", name, background[process].generated)
    description["background"] = write_background(options.folder, background)
    ds = {}
    for process, name in PROCESSES.items():
        ds[process] = collect_ds(process, options.seed + 10 + process, options.ds)
        LOG.info("Ds %s: %d events generated", name, ds[process].events)
    description["ds"] = write_ds(options.folder, ds)
    (options.folder / "pools.json").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
