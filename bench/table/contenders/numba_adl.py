"""The ADL queries with uproot and loops that numba compiles; one core."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import hist
import numba
import numpy as np
import uproot

from bench.table.adl.steps import BINS, HISTOGRAMS
from bench.table.inputs import Input


class Contender:
    """The program; numba keeps what it compiled on disk."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._given = given

    def adl(self, query: str) -> dict[str, list[float]]:
        """Run a query."""
        function, columns = QUERIES[query]
        filled = {name: hist.Hist.new.Reg(BINS, *ends).Double() for name, ends in HISTOGRAMS[query].items()}
        files = dict.fromkeys(self._given.files, self._given.tree)
        for arrays in uproot.iterate(files, columns, step_size="200 MB"):
            for histogram, values in zip(filled.values(), function(arrays), strict=True):
                histogram.fill(values)
        return {name: histogram.values(flow=True).tolist() for name, histogram in filled.items()}

    def close(self) -> None:
        """Nothing is left open."""


def offsets(lists):
    """Return the place of the first element of each list, and that after the last."""
    return np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(lists)))])


def flat(arrays, *names):
    """Return the elements of all lists of some columns."""
    return [ak.to_numpy(ak.flatten(arrays[name])) for name in names]


def q1(arrays):
    """MET of all events."""
    return (ak.to_numpy(arrays.MET_pt),)


def q2(arrays):
    """pT of all jets."""
    return flat(arrays, "Jet_pt")


def q3(arrays):
    """pT of jets with |eta| < 1."""
    pt, eta = flat(arrays, "Jet_pt", "Jet_eta")
    return (pt[np.abs(eta) < 1],)


@numba.njit(cache=True)
def two_above(offsets, pt):
    """Return whether events have two jets above 40 GeV."""
    found = np.zeros(len(offsets) - 1, np.bool_)
    for event in range(len(found)):
        n = 0
        for i in range(offsets[event], offsets[event + 1]):
            n += pt[i] > 40
        found[event] = n >= 2
    return found


def q4(arrays):
    """MET of events with two jets above 40 GeV."""
    return (ak.to_numpy(arrays.MET_pt)[two_above(offsets(arrays.Jet_pt), *flat(arrays, "Jet_pt"))],)


@numba.njit(cache=True)
def p4(pt, eta, phi, mass):
    """Return px, py, pz and the energy in double precision."""
    pt, eta, phi, mass = np.float64(pt), np.float64(eta), np.float64(phi), np.float64(mass)
    x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return x, y, z, np.sqrt(x * x + y * y + z * z + mass * mass)


@numba.njit(cache=True)
def mass_of(x, y, z, e):
    """Return the mass of a momentum."""
    return np.sqrt(max(0.0, e * e - x * x - y * y - z * z))


@numba.njit(cache=True)
def mass_of_two(i, j, pt, eta, phi, mass):
    """Return the mass of two objects."""
    a, b = p4(pt[i], eta[i], phi[i], mass[i]), p4(pt[j], eta[j], phi[j], mass[j])
    return mass_of(a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


@numba.njit(cache=True)
def have_z(offsets, pt, eta, phi, mass, charge):
    """Return whether events have two muons of opposite charge and a mass between 60 and 120 GeV."""
    found = np.zeros(len(offsets) - 1, np.bool_)
    for event in range(len(found)):
        for i in range(offsets[event], offsets[event + 1]):
            for j in range(i + 1, offsets[event + 1]):
                if charge[i] != charge[j] and not found[event]:
                    found[event] = 60 < mass_of_two(i, j, pt, eta, phi, mass) < 120
    return found


def q5(arrays):
    """MET of events with two muons of opposite charge and a mass between 60 and 120 GeV."""
    columns = flat(arrays, "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge")
    return (ak.to_numpy(arrays.MET_pt)[have_z(offsets(arrays.Muon_pt), *columns)],)


@numba.njit(cache=True)
def trijets(offsets, pt, eta, phi, mass, btag):
    """Return pT and largest b-tag of the three jets whose mass is nearest to 172.5 GeV, of events with three jets."""
    pts, btags, n = np.empty(len(offsets) - 1), np.empty(len(offsets) - 1), 0
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        if last - first < 3:
            continue
        p = np.empty((last - first, 4))
        for i in range(last - first):
            p[i] = p4(pt[first + i], eta[first + i], phi[first + i], mass[first + i])
        nearest = np.inf
        for i in range(last - first):
            for j in range(i + 1, last - first):
                x, y, z, e = p[i, 0] + p[j, 0], p[i, 1] + p[j, 1], p[i, 2] + p[j, 2], p[i, 3] + p[j, 3]
                for k in range(j + 1, last - first):
                    distance = abs(mass_of(x + p[k, 0], y + p[k, 1], z + p[k, 2], e + p[k, 3]) - 172.5)
                    if distance < nearest:
                        nearest = distance
                        pts[n] = np.sqrt((x + p[k, 0]) ** 2 + (y + p[k, 1]) ** 2)
                        btags[n] = max(btag[first + i], btag[first + j], btag[first + k])
        n += 1
    return pts[:n], btags[:n]


def q6(arrays):
    """pT and largest b-tag of the three jets whose mass is nearest to 172.5 GeV."""
    return trijets(offsets(arrays.Jet_pt), *flat(arrays, "Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_btag"))


@numba.njit(cache=True)
def is_near(eta, phi, first, last, pt, etas, phis):
    """Return whether a lepton above 10 GeV is within 0.4."""
    for i in range(first, last):
        if pt[i] > 10:
            d = np.float64(phi) - np.float64(phis[i])
            d = (d + np.pi) % (2 * np.pi) - np.pi
            if np.hypot(np.float64(eta) - np.float64(etas[i]), d) < 0.4:
                return True
    return False


@numba.njit(cache=True)
def isolated(jets, pt, eta, phi, muons, m_pt, m_eta, m_phi, electrons, e_pt, e_eta, e_phi):
    """Return the sum of the pT of isolated jets above 30 GeV, of events that have one."""
    sums, n = np.empty(len(jets) - 1), 0
    for event in range(len(jets) - 1):
        total, found = 0.0, False
        for i in range(jets[event], jets[event + 1]):
            if (
                pt[i] > 30
                and not is_near(eta[i], phi[i], muons[event], muons[event + 1], m_pt, m_eta, m_phi)
                and not is_near(eta[i], phi[i], electrons[event], electrons[event + 1], e_pt, e_eta, e_phi)
            ):
                total += pt[i]
                found = True
        if found:
            sums[n] = total
            n += 1
    return sums[:n]


def q7(arrays):
    """Sum of the pT of jets above 30 GeV that are isolated from leptons above 10 GeV."""
    given = []
    for name in ("Jet", "Muon", "Electron"):
        given += [offsets(arrays[f"{name}_pt"]), *flat(arrays, f"{name}_pt", f"{name}_eta", f"{name}_phi")]
    return (isolated(*given),)


@numba.njit(cache=True)
def outside_z(offsets, is_muon, pt, eta, phi, mass, charge, met, met_phi):
    """Return the transverse mass of MET and the leading lepton outside of the best Z pair."""
    masses, n = np.empty(len(offsets) - 1), 0
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        if last - first < 3:
            continue
        nearest, a, b = np.inf, -1, -1
        for i in range(first, last):
            for j in range(i + 1, last):
                if is_muon[i] == is_muon[j] and charge[i] != charge[j]:
                    distance = abs(mass_of_two(i, j, pt, eta, phi, mass) - 91.2)
                    if distance < nearest:
                        nearest, a, b = distance, i, j
        if a < 0:
            continue
        leading = -1
        for i in range(first, last):
            if i not in (a, b) and (leading < 0 or pt[i] > pt[leading]):
                leading = i
        angle = np.float64(met_phi[event]) - np.float64(phi[leading])
        masses[n] = np.sqrt(2 * np.float64(pt[leading]) * np.float64(met[event]) * (1 - np.cos(angle)))
        n += 1
    return masses[:n]


def q8(arrays):
    """Transverse mass of MET and the leading lepton outside of the best Z pair."""
    names = ("pt", "eta", "phi", "mass", "charge")
    leptons = {name: ak.concatenate([arrays[f"Muon_{name}"], arrays[f"Electron_{name}"]], axis=1) for name in names}
    kinds = [ak.ones_like(arrays.Muon_charge), ak.zeros_like(arrays.Electron_charge)]
    is_muon = ak.to_numpy(ak.flatten(ak.concatenate(kinds, axis=1)))
    columns = [ak.to_numpy(ak.flatten(leptons[name])) for name in names]
    met, met_phi = ak.to_numpy(arrays.MET_pt), ak.to_numpy(arrays.MET_phi)
    return (outside_z(offsets(leptons["pt"]), is_muon, *columns, met, met_phi),)


_JETS = ["Jet_pt", "Jet_eta", "Jet_phi"]
_LEPTONS = [f"{lepton}_{name}" for lepton in ("Muon", "Electron") for name in ("pt", "eta", "phi", "mass", "charge")]
QUERIES = {
    "q1": (q1, ["MET_pt"]),
    "q2": (q2, ["Jet_pt"]),
    "q3": (q3, ["Jet_pt", "Jet_eta"]),
    "q4": (q4, ["MET_pt", "Jet_pt"]),
    "q5": (q5, ["MET_pt", *_LEPTONS[:5]]),
    "q6": (q6, [*_JETS, "Jet_mass", "Jet_btag"]),
    "q7": (q7, [*_JETS, *(name for name in _LEPTONS if name.endswith(("_pt", "_eta", "_phi")))]),
    "q8": (q8, ["MET_pt", "MET_phi", *_LEPTONS]),
}
