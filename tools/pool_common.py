"""Tools of the scripts that make pools: Pythia's settings, and files with plain numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

BEAM_ENERGY = 13000.0  # GeV
PT_HAT_MIN = 8.0  # GeV
PT_HAT_BIAS = 1.5  # power of pT-hat by which the spectrum is hardened
TRACK_PT_MIN, TRACK_ETA_MAX = 0.5, 2.5  # of tracks that are not from heavy hadrons
SPECIES = {11: 1, 13: 2, 211: 3, 321: 4, 2212: 5}  # stored as +-code, the sign being the charge
PROCESSES = {4: "hardccbar", 5: "hardbbbar"}


def configured(settings: list[str], seed: int) -> Any:
    """Return Pythia with these settings."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}", *settings):
        if not pythia.readString(line):
            raise ValueError(f"Pythia refused the setting {line!r}")
    if not pythia.init():
        raise RuntimeError(f"Pythia did not start with {settings}")
    return pythia


def start(process: int, seed: int, extra: list[str]) -> Any:
    """Return Pythia set up for pair creation of charm (4) or beauty (5), by the quark's PDG number."""
    settings = [
        f"Beams:eCM = {BEAM_ENERGY}",
        f"HardQCD:{PROCESSES[process]} = on",
        f"PhaseSpace:pTHatMin = {PT_HAT_MIN}",
        "PhaseSpace:bias2Selection = on",
        f"PhaseSpace:bias2SelectionPow = {PT_HAT_BIAS}",
        "PhaseSpace:bias2SelectionRef = 20.",
    ]
    return configured([*settings, *extra], seed)


def add_tracks(tracks: list[tuple[float, ...]], vertices: list[tuple[float, float, float]], event: Any) -> int:
    """Append the charged stable particles and their origins; return the number of particles."""
    found: dict[tuple[float, float, float], int] = {}
    before = len(tracks)
    for particle in event:
        species = SPECIES.get(particle.idAbs())
        if not (particle.isFinal() and species) or particle.pT() < TRACK_PT_MIN or abs(particle.eta()) > TRACK_ETA_MAX:
            continue
        origin = (particle.xProd(), particle.yProd(), particle.zProd())
        origin = origin if math.hypot(*origin) > 1e-6 else (0.0, 0.0, 0.0)
        if math.hypot(origin[0], origin[1]) > 1000.0 or len(found) > 250:
            continue
        vertex = found.setdefault(origin, len(found))
        code = math.copysign(species, particle.charge())
        tracks.append((particle.px(), particle.py(), particle.pz(), code, vertex))
    vertices.extend(found)
    return len(tracks) - before


def rounded(values: Any) -> np.ndarray[Any, Any]:
    """Return float32 with 12 bits of mantissa (relative error 1.2e-4), which compress well."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << 10)) & np.uint32(0xFFFFF800)).view(np.float32)


def write_tree(file: Any, name: str, columns: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write plain columns as a TTree in one basket each."""
    file.mktree(name, {column: values.dtype for column, values in columns.items()}).extend(columns)


def table(rows: list[tuple[float, ...]], types: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return rows as columns of the given types, float32 rounded."""
    values = np.array(rows, dtype=np.float64)
    columns = {name: values[:, k] for k, name in enumerate(types)}
    return {name: rounded(columns[name]) if t is np.float32 else columns[name].astype(t) for name, t in types.items()}
