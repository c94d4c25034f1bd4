"""K0S -> pi pi in real collisions, through the vertex fit of the skim.

Usage: python tools/plot_k0s.py [docs/images/k0s.png]

Reads ``cms2012_events.root`` in ``$PORTICO_REAL_DATA``: 175 events of CMS open data with all reconstructed tracks, but
without covariances. Each track gets the covariance of the simulation's detector model for its momentum, with the first
hit in the first layer, propagated to the beam spot.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uproot
from numpy.typing import NDArray

import hnl.skim
from portico import root

Array = NDArray[np.float64]
REPOSITORY = Path(__file__).resolve().parents[1]
HEADERS = Path(hnl.skim.__file__).parent / "include"
FILE = "cms2012_events.root"
MASS = 0.497611  # GeV, PDG 2024
WINDOW, SIDEBANDS = (0.48, 0.52), ((0.44, 0.47), (0.53, 0.56))  # GeV; sidebands 1.5 times as wide as the window

CODE = """
#ifndef K0S_PAIRS
#define K0S_PAIRS
namespace k0s {
using namespace hnl;

inline PreparedTrack track(double pt, double eta, double phi, double charge, const Point &at, const Point &beam) {
  Vector<3> q = {{{charge / (pt * std::cosh(eta))}, {std::atan(std::sinh(eta))}, {phi}}};
  const Momentum k = {pt * std::cos(phi), pt * std::sin(phi), pt * std::sinh(eta)};
  const Point hit = cross_cylinder(at, k, pt, q, LAYER_RADII[0]);
  return prepare(carry(hit, q, measured_errors(pt, 1.0 / std::cosh(eta), eta, 0.0), beam));
}

// All pairs of an event whose fit succeeds: mass, Lxy, pointing cosine, probability, product of charges, error of the
// mass, smaller of the two |dxy|.
inline ROOT::RVecD pairs(const ROOT::RVecF &pt, const ROOT::RVecF &eta, const ROOT::RVecF &phi,
                         const ROOT::RVecF &charge, const ROOT::RVecF &x, const ROOT::RVecF &y, const ROOT::RVecF &z) {
  const UncertainPoint beam{{0.072, 0.062, 0.0}, {}};
  std::vector<PreparedTrack> tracks;
  for (std::size_t t = 0; t < pt.size(); ++t)
    tracks.push_back(track(pt[t], eta[t], phi[t], charge[t], {x[t], y[t], z[t]}, beam.point));
  ROOT::RVecD out;
  for (std::size_t a = 0; a < tracks.size(); ++a)
    for (std::size_t b = a + 1; b < tracks.size(); ++b) {
      const double offset = std::min(std::abs(tracks[a].parameters[3][0]), std::abs(tracks[b].parameters[3][0]));
      if (offset < 0.02 || !tracks[a].usable || !tracks[b].usable)
        continue;
      const Crossing crossing = cross(tracks[a], tracks[b]);
      if (!crossing.valid)
        continue;
      const auto fit = fit_vertex<2>({&tracks[a], &tracks[b]}, crossing.point);
      if (!fit.valid)
        continue;
      const Composite sum =
          combine<2>(fit, {with_mass(fit.momentum[0], PION_MASS), with_mass(fit.momentum[1], PION_MASS)});
      const Momentum k = {sum.k.px, sum.k.py, sum.k.pz};
      for (const double value : {sum.k.mass(), distance<2>(fit.position, fit.covariance, beam).value,
                                 pointing_cosine<2>(fit.position, k, beam), fit.probability,
                                 tracks[a].charge() * tracks[b].charge(), sum.mass_error, offset})
        out.push_back(value);
    }
  return out;
}
} // namespace k0s
#endif
"""


class Peak(NamedTuple):
    """Numbers of the peak; masses in GeV."""

    pairs: int
    background: float
    signal: float
    error: float
    significance: float
    mean: float
    mean_error: float
    width: float
    same_charge: int


def load() -> Any:
    """Load ROOT with the vertex fit and the pairs."""
    module = root.load()
    for header in ("detector.h", "geometry.h", "composite.h"):
        module.gInterpreter.Declare(f'#include "{HEADERS / header}"')
    if not module.gInterpreter.Declare(CODE):
        raise RuntimeError("the C++ of this script does not fit the headers of the simulation and the skim")
    return module


def fitted_pairs(path: Path) -> dict[str, Array]:
    """Return all fitted pairs of tracks of a file, one array for each quantity."""
    module = load()
    names = ("pt", "eta", "phi", "charge", "vx", "vy", "vz")
    with uproot.open(path) as file:
        events = file["Events"].arrays([f"Track_{name}" for name in names])
    rows: list[Array] = []
    for event in events:
        columns = [module.VecOps.AsRVec(np.asarray(event[f"Track_{name}"], np.float32)) for name in names]
        rows.append(np.array(module.k0s.pairs(*columns)).reshape(-1, 7))
    quantities = ("mass", "lxy", "cosine", "probability", "charge", "mass_error", "offset")
    return dict(zip(quantities, np.concatenate(rows).T, strict=True))


def select(pairs: dict[str, Array]) -> Array:
    """Return which pairs are displaced, point to the beam spot and have a good vertex."""
    flight = (pairs["lxy"] > 0.5) & (pairs["lxy"] < 40.0) & (pairs["cosine"] > 0.999)
    chosen: Array = flight & (pairs["probability"] > 0.01)
    return chosen


def measure(pairs: dict[str, Array]) -> Peak:
    """Count the peak over its sidebands, and find its position and width from background-subtracted moments."""
    chosen = select(pairs)
    mass = pairs["mass"][chosen & (pairs["charge"] < 0)]
    inside = mass[(mass > WINDOW[0]) & (mass < WINDOW[1])]
    beside = sum(int(np.sum((mass > low) & (mass < high))) for low, high in SIDEBANDS)
    scale = (WINDOW[1] - WINDOW[0]) / sum(high - low for low, high in SIDEBANDS)
    background = beside * scale
    signal = len(inside) - background
    error = math.sqrt(len(inside) + beside * scale**2)
    middle, flat = 0.5 * sum(WINDOW), (WINDOW[1] - WINDOW[0]) ** 2 / 12.0
    mean = (np.sum(inside) - background * middle) / signal
    square = np.sum((inside - mean) ** 2) - background * (flat + (middle - mean) ** 2)
    width = math.sqrt(max(square / signal, 0.0))
    # Asimov significance of the count over the expected background: G. Cowan et al., EPJ C71 (2011) 1554, eq. 97.
    significance = math.sqrt(2.0 * (len(inside) * math.log(len(inside) / background) - signal))
    same = pairs["mass"][chosen & (pairs["charge"] > 0)]
    count = int(np.sum((same > WINDOW[0]) & (same < WINDOW[1])))
    return Peak(
        len(inside), background, signal, error, significance, float(mean), width / math.sqrt(signal), width, count
    )


def main(target: Path) -> None:
    """Print the numbers and draw the picture."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    folder = Path(os.environ.get("PORTICO_REAL_DATA", REPOSITORY.parent / "shared" / "real_data"))
    pairs = fitted_pairs(folder / FILE)
    peak = measure(pairs)
    print(peak)
    chosen = select(pairs)
    edges = np.linspace(0.42, 0.58, 41)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    opposite, same = (pairs["mass"][chosen & (sign * pairs["charge"] > 0)] for sign in (-1, 1))
    axes.hist(opposite, edges, histtype="step", color="black", label="opposite charge")
    axes.hist(same, edges, color="tab:orange", alpha=0.5, label="same charge")
    axes.axvline(MASS, color="tab:blue", linestyle="--", label=r"$K^0_S$, PDG")
    axes.set(xlabel=r"m($\pi\pi$) (GeV)", ylabel="pairs / 4 MeV", xlim=(edges[0], edges[-1]))
    text = f"{peak.signal:.0f} ± {peak.error:.0f} over {peak.background:.1f}\nmean {1e3 * peak.mean:.1f} MeV"
    axes.legend(title=f"CMS open data 2012, 175 events\n{text}", frameon=False)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs" / "images" / "k0s.png")
