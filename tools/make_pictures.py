"""Draw pictures of the pages from a run of the demonstration: python tools/make_pictures.py runs/hnl docs/images."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import portico
from portico import plot

SIGNALS = {
    "signal_m1p0_ctau100": "1.0 GeV",
    "signal_m1p25_ctau100": "1.25 GeV",
    "signal_m1p5_ctau100": "1.5 GeV",
    "signal_m1p8_ctau100": "1.8 GeV",
}
COPIED = (
    ("control_fit", "mass", "hnl-control"),
    ("normalisation", "prompt", "hnl-prompt"),
    ("search", "shapes_m1p5", "signal-shapes"),
    ("search", "resolution", "signal-resolution"),
    ("search", "efficiency_m1p5", "signal-efficiency"),
    ("limits", "exclusion", "hnl-exclusion"),
)
LIFETIMES = {"signal_m1p0_ctau10": "10 mm", "signal_m1p0_ctau100": "100 mm", "signal_m1p0_ctau1000": "1000 mm"}


def figures(run: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and figure."""
    select, skim = run["select"], run["skim"]
    masses = {label: select[name]["inclusive_Hnl_mass_fine"][::5j] for name, label in SIGNALS.items()}
    yield "hnl-mass", plot.overlay(masses, title="best candidates of signal", density=True)
    lengths = {label: select[name]["inclusive_Hnl_vertex_2DDist_BS"] for name, label in LIFETIMES.items()}
    yield "hnl-lxy", plot.overlay(lengths, title="best candidates, N of 1 GeV", density=True, log=True)
    kinds = {"signal, 1.0 GeV, 100 mm": skim["signal_m1p0_ctau100"], "background": skim["background"]}
    probabilities = {label: results["hnl_prob"][::5j] for label, results in kinds.items()}
    yield "hnl-prob", plot.overlay(probabilities, title="vertex fit of muon and pion, all candidates", density=True)
    flows = {label: select[name]["cutflow_OSlxy1to5"] for name, label in LIFETIMES.items()}
    yield "hnl-cutflow", plot.cutflow(flows, title="OSlxy1to5, N of 1 GeV")
    varied: dict[str, Any] = {}
    for target in (20, 50, 300):
        for name in LIFETIMES:
            histogram = select[name].variations("inclusive_Hnl_l_prop")[f"lifetime:ctau_{target}"][:8j]
            label = f"{target} mm"
            varied[label] = varied[label] + histogram if label in varied else histogram
    yield "hnl-lifetimes", plot.overlay(varied, title="N of 1 GeV, weighted to other lifetimes", density=True, log=True)


def main(folder: Path, output: Path) -> int:
    """Write the pictures as PNG."""
    for name, figure in figures(portico.load(folder)):
        figure.savefig(output / f"{name}.png", dpi=110)
    for step, name, picture in COPIED:
        shutil.copy(folder / step / f"{name}.png", output / f"{picture}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
