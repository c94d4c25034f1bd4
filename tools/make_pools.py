"""Make the generator pools shipped in ``hnl/pools`` with Pythia 8, reproducible from seeds and counts.

``ds.root``, ``dplus.root``
    Ds and D+ mesons of 13 TeV proton collisions, prompt (from charm pairs) and from b hadrons kept apart by a flag.
``background.root``
    Events of charm and beauty pairs: their weakly decaying heavy hadrons and, for some, the other charged tracks; and
    a library of decays of every such hadron at rest, with all that follows (charm, tau, strange hadrons).
``minbias.root``
    Tracks of minimum-bias events.

Events and decays are drawn independently: a few thousand of each are many million combinations. Decays are unweighted
within classes of none, one, and more muons, whose shares are counted before rare ones are enriched. Those with the most
energetic muon come first: each hadron has the number of those that can fire the trigger, and an event's weight contains
the probability that one of its hadrons decays so. Hard scatters are harder than nature's, and events that hardly fire
are thinned; weights undo both. ``pools.json`` holds cross sections and counts.

The only script that needs ``pythia8mc``. Run as ``python tools/make_pools.py FOLDER``, for some pools with
``--only``. On one core the Ds take about eleven minutes, the D+ six, the background ten, minimum bias one.
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
from pool_common import BEAM_ENERGY, PROCESSES, PT_HAT_MIN, SPECIES, add_tracks, configured, start, table, write_tree
from pool_mesons import collect_mesons, write_mesons
from pool_minbias import write_minbias

POOLS = ("background", "ds", "dplus", "minbias")
LOG = logging.getLogger("make_pools")

HADRON_PT_MIN, HADRON_ETA_MAX, HADRONS_MAX = 0.5, 3.0, 8
HARD_PT_MIN, HARD_ETA_MAX = 6.4, 2.6  # of the hardest muon that a decay can make, and of its hadron
THINNING, KEPT_MIN = 1.0, 0.05
FAR = 1e5  # mm: no vertex of the library is further, at rest
MOMENTUM_UNIT = 1e-4  # GeV, of momenta in the library
MUON_MASS = 0.1056584  # GeV
CHARM = (411, 421, 431, 4122, 4132, 4232, 4332)
BEAUTY = (511, 521, 531, 541, 5122, 5132, 5232, 5332)
HEAVY = (*CHARM, *BEAUTY)
MIXING = {511: "ParticleDecays:xBdMix", 531: "ParticleDecays:xBsMix"}
#: Decays with none, one, and more muons that are kept, and how many are generated.
LIBRARY = {
    **dict.fromkeys(HEAVY, (200, 300, 100, 3_000)),
    **dict.fromkeys((511, 521), (3000, 7000, 5000, 420_000)),
    531: (1500, 3000, 2000, 160_000),
    5122: (1000, 2000, 1000, 90_000),
    411: (1500, 5000, 100, 160_000),
    421: (1500, 4000, 100, 160_000),
    431: (1000, 2500, 100, 160_000),
    4122: (1000, 1500, 100, 50_000),
}


@dataclass
class EventPool:
    """Events of one process: heavy hadrons and other tracks, and how much was generated for them."""

    events: list[tuple[float, ...]] = field(default_factory=list)
    hadrons: list[tuple[float, ...]] = field(default_factory=list)
    tracks: list[tuple[float, ...]] = field(default_factory=list)
    vertices: list[tuple[float, float, float]] = field(default_factory=list)
    with_tracks: int = 0
    generated: int = 0
    weight_sum: float = 0.0  # over all events generated
    cross_section: float = 0.0


@dataclass
class DecayLibrary:
    """Decays at rest by species and number of muons (0, 1, more)."""

    species: list[tuple[float, ...]] = field(default_factory=list)
    decays: list[tuple[int, int]] = field(default_factory=list)
    products: list[tuple[float, ...]] = field(default_factory=list)
    vertices: list[tuple[float, ...]] = field(default_factory=list)
    shares: dict[int, tuple[float, float]] = field(default_factory=dict)  # of the classes with muons
    energies: dict[int, list[Any]] = field(default_factory=dict)  # of the hardest muon, the same, ordered

    def hard(self, hadron: Any) -> tuple[int, int]:
        """Return how many decays with one muon, and with more, can make a hard muon for a moving hadron."""
        if abs(hadron.eta()) > HARD_ETA_MAX:
            return 0, 0
        counts = []
        for energy in self.energies[hadron.idAbs()]:
            momentum = np.sqrt(np.maximum(energy**2 - MUON_MASS**2, 0.0))
            best = (hadron.mT() * energy + hadron.pT() * momentum) / hadron.m()
            counts.append(int(np.count_nonzero(best > HARD_PT_MIN)))
        return counts[0], counts[1]

    def hard_share(self, hadron: Any) -> float:
        """Return the probability of such a decay."""
        rows = zip(self.shares[hadron.idAbs()], self.hard(hadron), self.energies[hadron.idAbs()], strict=True)
        return float(sum(share * hard / max(len(energies), 1) for share, hard, energies in rows))


def muon_energy(products: list[tuple[float, ...]]) -> float:
    """Return the energy of the hardest muon in GeV."""
    momenta = [MOMENTUM_UNIT * math.hypot(*row[:3]) for row in products if abs(row[3]) == 2]
    return math.hypot(max(momenta), MUON_MASS)


def decay_products(event: Any) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Return charged products (muons first) and vertices of the decay of particle 1, relative to its end."""
    vertices: dict[tuple[float, ...], int] = {}
    products = []
    end = event[1].vDec()
    for particle in event:
        species = SPECIES.get(particle.idAbs())
        if not (particle.isFinal() and species):
            continue
        origin = (particle.xProd(), particle.yProd(), particle.zProd(), particle.tProd() - end.e())
        index = 0  # the end itself
        if abs(origin[3]) > 1e-4:
            if origin[3] > FAR or len(vertices) == 250:
                continue
            index = vertices.setdefault(origin, len(vertices) + 1)
        momentum = (round(x / MOMENTUM_UNIT) for x in (particle.px(), particle.py(), particle.pz()))
        mother = event[particle.mother1()].id() if species == 2 else 0
        products.append((*momentum, math.copysign(species, particle.charge()), index, mother))
    return sorted(products, key=lambda row: abs(row[3]) != 2), list(vertices)


def collect_decays(seed: int) -> DecayLibrary:
    """Let every heavy hadron decay at rest, without flavour oscillation: the simulation adds that."""
    pythia = configured(["ProcessLevel:all = off", "ParticleDecays:mixB = off"], seed)
    library = DecayLibrary()
    for hadron, (*wanted, tries) in LIBRARY.items():
        add_species(library, pythia, hadron, wanted, tries)
    return library


def add_species(library: DecayLibrary, pythia: Any, hadron: int, wanted: list[int], tries: int) -> None:
    """Generate the decays of one hadron, and add up to the wanted number of each class to the library."""
    data = pythia.particleData
    mass, event = data.m0(hadron), pythia.event
    classes, counts = ([], [], []), [0, 0, 0]  # type: tuple[list[Any], ...], list[int]
    while sum(counts) < tries:
        event.reset()
        event.append(hadron, 1, 0, 0, 0.0, 0.0, 0.0, mass, mass)
        if not pythia.next():
            continue
        kind = min(sum(1 for p in event if p.idAbs() == 13 and p.isFinal()), 2)
        counts[kind] += 1
        if len(classes[kind]) < wanted[kind]:
            classes[kind].append(decay_products(event))
    for rows in classes[1:]:
        rows.sort(key=lambda decay: -muon_energy(decay[0]))
    for products, vertices in (decay for rows in classes for decay in rows):
        library.decays.append((len(products), len(vertices)))
        library.products.extend(products)
        library.vertices.extend(vertices)
    mixing = pythia.parm(MIXING[hadron]) if hadron in MIXING else 0.0
    shares = [count / tries for count in counts]
    library.species.append((hadron, mass, 0.1 * data.tau0(hadron), mixing, *shares, *map(len, classes)))
    library.shares[hadron] = (shares[1], shares[2])
    library.energies[hadron] = [np.array([muon_energy(products) for products, _ in rows]) for rows in classes[1:]]
    LOG.info("decays of %d: %s of %s", hadron, [len(rows) for rows in classes], counts)


def add_event(pool: EventPool, event: Any, weight: float, library: DecayLibrary, random: Any, tracks: int) -> None:
    """Append an event, unless it can hardly fire the trigger: then with a probability, and weighted by its inverse."""
    hadrons = [p for p in event if p.isFinal() and p.idAbs() in HEAVY]
    hadrons = [p for p in hadrons if p.pT() > HADRON_PT_MIN and abs(p.eta()) < HADRON_ETA_MAX]
    hadrons = sorted(hadrons, key=lambda p: (sum(library.hard(p)) == 0, -p.mT() - p.pT()))[:HADRONS_MAX]
    if not hadrons or sum(library.hard(hadrons[0])) == 0:
        return
    # About how likely the trigger is, up to a factor.
    likely = (1.0 - 2.0 * (HARD_PT_MIN - 0.1) / (hadrons[0].mT() + hadrons[0].pT())) ** 2
    kept = min(1.0, max(KEPT_MIN, THINNING * weight * likely))
    if random.random() > kept:
        return
    fires = 1.0 - math.prod(1.0 - library.hard_share(p) for p in hadrons)
    before, count = len(pool.vertices), 0
    if pool.with_tracks < tracks:
        count = add_tracks(pool.tracks, pool.vertices, event)
    pool.with_tracks += count > 0
    weights = (weight / kept * fires, weight / kept * fires * likely)
    pool.events.append((len(hadrons), count, len(pool.vertices) - before, *weights))
    pool.hadrons.extend((p.px(), p.py(), p.pz(), p.id(), *library.hard(p)) for p in hadrons)


def collect_background(process: int, seed: int, wanted: int, tracks: int, library: DecayLibrary) -> EventPool:
    """Generate until ``wanted`` events are kept; the first ``tracks`` of them have their other tracks."""
    pythia = start(process, seed, [f"{hadron}:mayDecay = off" for hadron in HEAVY])
    thinning = np.random.default_rng(seed)
    pool = EventPool()
    while len(pool.events) < wanted:
        if not pythia.next():
            continue
        weight = pythia.infoPython().weight()
        pool.generated += 1
        pool.weight_sum += weight
        add_event(pool, pythia.event, weight, library, thinning, tracks)
    pool.cross_section = pythia.infoPython().sigmaGen() * 1e9
    return pool


def write_background(folder: Path, pools: dict[int, EventPool], library: DecayLibrary) -> dict[str, Any]:
    """Write ``background.root`` and return its description."""
    events, description = [], {}
    for process, pool in pools.items():
        scale = pool.cross_section / pool.weight_sum
        share = pool.with_tracks / len(pool.events)
        for hadrons, tracks, vertices, weight, likely in pool.events:
            tracks_weight = likely * scale / share if tracks else 0.0
            events.append((hadrons, tracks, vertices, weight * scale, tracks_weight))
        weights = np.array([row[3] for row in pool.events])
        description[PROCESSES[process]] = {
            "cross_section_pb": pool.cross_section,
            "events": pool.generated,
            "kept": len(pool.events),
            "kept_cross_section_pb": float(weights.sum() * scale),
            "effective_kept": float(weights.sum() ** 2 / (weights**2).sum()),
        }
    point = dict.fromkeys(("x", "y", "z"), np.float32)
    momentum = dict.fromkeys(("px", "py", "pz"), np.float32)
    counts = dict.fromkeys(("hadrons", "tracks", "vertices"), np.uint16)
    shares = dict.fromkeys(("mass", "ctau", "mixing", "share_0", "share_1", "share_2"), np.float64)
    numbers = dict.fromkeys(("decays_0", "decays_1", "decays_2"), np.int32)
    hard = dict.fromkeys(("hard_1", "hard_2"), np.int16)
    at_rest = dict.fromkeys(("px", "py", "pz"), np.int16)
    every = list(pools.values())
    trees = {
        "events": table(events, {**counts, "weight": np.float64, "tracks_weight": np.float64}),
        "hadrons": table([row for p in every for row in p.hadrons], {**momentum, "pdg": np.int32, **hard}),
        "tracks": table([row for p in every for row in p.tracks], {**momentum, "code": np.int8, "vertex": np.uint8}),
        "vertices": table([row for p in every for row in p.vertices], point),
        "species": table(library.species, {"pdg": np.int32, **shares, **numbers}),
        "decays": table(library.decays, {"products": np.uint8, "vertices": np.uint8}),
        "products": table(library.products, {**at_rest, "code": np.int8, "vertex": np.uint8, "mother": np.int32}),
        "decay_vertices": table(library.vertices, {**point, "t": np.float32}),
    }
    with uproot.recreate(folder / "background.root", compression=uproot.LZMA(7)) as file:
        for name, columns in trees.items():
            write_tree(file, name, columns)
    return description


def make_background(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make the background's pool and return its description."""
    wanted = {4: options.charm_events, 5: options.beauty_events}
    library = collect_decays(options.seed)
    pools = {}
    for process, name in PROCESSES.items():
        seed = options.seed + process
        pools[process] = collect_background(process, seed, wanted[process], options.track_events, library)
        LOG.info("background %s: %d generated", name, pools[process].generated)
    return write_background(folder, pools, library)


def make_mesons(folder: Path, options: argparse.Namespace, meson: str) -> dict[str, Any]:
    """Make the pool of a meson and return its description."""
    pools = {}
    for process, name in PROCESSES.items():
        seed = options.seed + {"ds": 10, "dplus": 20}[meson] + process
        pools[process] = collect_mesons(meson, process, seed, options.mesons)
        LOG.info("%s %s: %d events generated", meson, name, pools[process].events)
    return write_mesons(folder, meson, pools)


def main() -> None:
    """Make the pools and their description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pools and pools.json go")
    parser.add_argument("--only", nargs="+", choices=POOLS, default=POOLS, help="leave the folder's others as they are")
    parser.add_argument("--mesons", type=int, default=5000, help="Ds and D+ mesons of each origin")
    parser.add_argument("--charm-events", type=int, default=5500, help="background events from charm pairs")
    parser.add_argument("--beauty-events", type=int, default=9000, help="background events from beauty pairs")
    parser.add_argument("--track-events", type=int, default=2000, help="of each, events with their other tracks")
    parser.add_argument("--minbias-events", type=int, default=9000, help="minimum-bias events")
    parser.add_argument("--seed", type=int, default=20260, help="first of the seeds")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pools.json"
    description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    description |= {"seed": options.seed, "pt_hat_min_gev": PT_HAT_MIN, "energy_gev": BEAM_ENERGY}
    for pool in options.only:
        if pool == "background":
            description[pool] = make_background(folder, options)
        elif pool == "minbias":
            description[pool] = write_minbias(folder, options.seed + 30, options.minbias_events)
        else:
            description[pool] = make_mesons(folder, options, pool)
        path.write_text(json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
