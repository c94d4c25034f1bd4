"""The dimuon spectrum of a run: python examples/dimuon/plot.py runs/dimuon [PICTURE]."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import portico
from portico.plot import Region, spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Masses of the Particle Data Group; each range is about what a muon pair's resolution makes of the line.
REGIONS = (
    Region(r"$\eta$", 0.52, 0.575),
    Region(r"$\rho,\omega$", 0.72, 0.84),
    Region(r"$\phi$", 0.97, 1.07),
    Region(r"$J/\psi$", 2.9, 3.3),
    Region(r"$\psi'$", 3.58, 3.8),
    Region(r"$\Upsilon$(1-3S)", 9.0, 10.6),
    Region("Z", 80.0, 100.0),
)


def draw(run: portico.Run) -> Figure:
    """Draw the pairs of all samples of a run together, with the resonances marked."""
    spectra = [results["spectrum"] for step in run.values() for results in step.values() if "spectrum" in results]
    total = sum(spectra[1:], start=spectra[0])
    pairs = total.values(flow=True).sum()
    title = f"CMS open data: {pairs:.0f} muon pairs of opposite charge"
    return spectrum(total, regions=REGIONS, y="pairs / bin", title=title)


def main(arguments: Sequence[str]) -> int:
    """Draw a run's spectrum into a file."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    picture = arguments[1] if len(arguments) == 2 else f"{arguments[0]}/dimuon.png"
    draw(portico.load(arguments[0])).savefig(picture, dpi=110)
    print(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
