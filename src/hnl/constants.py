"""Constants that Python and C++ share. ``include/constants.h`` has those of simulation and skim, with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PDG: Final = "Particle Data Group, Phys. Rev. D 110 (2024) 030001"

#: Masses in GeV by name of the particle.
MASSES: Final[Mapping[str, float]] = {"muon": 0.1056584, "pion": 0.1395704, "Ds": 1.96835}

#: Where the mass of the control channel is fitted, in GeV.
CONTROL_RANGE: Final = (1.75, 2.15)

#: Trigger paths in the order of the thresholds above and of the bits in ``Trig_paths``.
TRIGGER_PATHS: Final = (
    "mu7_ip4",
    "mu8_ip3",
    "mu8_ip5",
    "mu8_ip6",
    "mu8p5_ip3p5",
    "mu9_ip4",
    "mu9_ip5",
    "mu9_ip6",
    "mu10p5_ip3p5",
    "mu12_ip6",
)
