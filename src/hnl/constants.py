"""Constants of simulation and skim, each with its unit and its source.

The C++ has the same numbers in ``include/constants.h``; a test keeps the two equal. ``assumed`` marks what was chosen
here to resemble the detector of 2018 and is no measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PDG: Final = "Particle Data Group, Phys. Rev. D 110 (2024) 030001"
TRACKER: Final = "assumed, near CMS tracking performance, JINST 9 (2014) P10009"
LAYOUT: Final = "assumed, near CMS tracker layout: JINST 16 (2021) P02027 (pixels), JINST 3 (2008) S08004 (strips)"
MUONS: Final = "assumed, near CMS muon performance, JINST 13 (2018) P06015"
PARKING: Final = "assumed, near the B-parking triggers of 2018, Phys. Rept. 1115 (2025) 678"
ORIGINAL: Final = "the public ntupliser of the original analysis"


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant.

    Attributes
    ----------
    value : float or tuple of float
        The number, or one for each layer or trigger path.
    unit : str
        Empty for pure numbers.
    source : str
        Where it is from, or that it is assumed.
    """

    value: float | tuple[float, ...]
    unit: str
    source: str


CONSTANTS: Final[Mapping[str, Constant]] = {
    "MAGNETIC_FIELD": Constant(3.8, "T", "CMS, JINST 3 (2008) S08004"),
    "CURVATURE_PER_TESLA": Constant(0.00299792458, "GeV/(cm T)", "speed of light (exact)"),
    "ELECTRON_MASS": Constant(0.000510999, "GeV", PDG),
    "MUON_MASS": Constant(0.1056584, "GeV", PDG),
    "PION_MASS": Constant(0.1395704, "GeV", PDG),
    "KAON_MASS": Constant(0.493677, "GeV", PDG),
    "PROTON_MASS": Constant(0.938272, "GeV", PDG),
    "PHI_MASS": Constant(1.019461, "GeV", PDG),
    "PHI_WIDTH": Constant(0.004249, "GeV", PDG),
    "DS_MASS": Constant(1.96835, "GeV", PDG),
    "DS_CTAU": Constant(0.01499, "cm", "Pythia 8.317; 501.2 fs of the PDG is 0.01503 cm"),
    "DPLUS_MASS": Constant(1.86966, "GeV", PDG),
    "DPLUS_CTAU": Constant(0.03118, "cm", "Pythia 8.317; 1033 fs of the PDG is 0.03097 cm"),
    "BEAM_SPOT_X": Constant(0.011, "cm", "assumed, near 2018"),
    "BEAM_SPOT_Y": Constant(-0.042, "cm", "assumed, near 2018"),
    "BEAM_SPOT_Z": Constant(0.3, "cm", "assumed"),
    "BEAM_SPOT_WIDTH": Constant(0.0012, "cm", "assumed, near 2018"),
    "BEAM_SPOT_LENGTH": Constant(3.5, "cm", "assumed, near 2018"),
    "TRACK_PT_MIN": Constant(0.5, "GeV", "assumed: the skim's cut on pions"),
    "TRACK_SLOPE_MAX": Constant(5.747, "", "|pz|/pT at |eta| = 2.45"),
    "TRACKER_RADIUS": Constant(108.0, "cm", LAYOUT),
    "MAX_PRODUCTION_RADIUS": Constant(75.0, "cm", "assumed: five layers are left"),
    "MAX_PRODUCTION_Z": Constant(200.0, "cm", "assumed"),
    "LAYER_RADII": Constant(
        (2.9, 6.8, 10.9, 16.0, 25.5, 33.9, 41.9, 49.8, 60.8, 69.2, 78.0, 86.8, 96.5, 108.0), "cm", LAYOUT
    ),
    "PIXEL_LAYERS": Constant(4, "", LAYOUT),
    "PIXEL_OFFSET_XY": Constant(0.0010, "cm", TRACKER),
    "PIXEL_OFFSET_Z": Constant(0.0022, "cm", TRACKER),
    "STRIP_OFFSET_XY": Constant(0.0030, "cm", TRACKER),
    "STRIP_OFFSET_Z": Constant(0.0230, "cm", TRACKER),
    "ANGLE_RESOLUTION": Constant(0.0003, "rad", TRACKER),
    "ANGLE_SCATTERING": Constant(0.0022, "rad GeV", TRACKER),
    "PT_RESOLUTION_SCATTERING": Constant(0.007, "", TRACKER),
    "PT_RESOLUTION_SAGITTA": Constant(0.00015, "1/GeV", TRACKER),
    "PT_RESOLUTION_ETA": Constant(0.35, "", TRACKER),
    "MUON_TRACK_EFFICIENCY": Constant(0.995, "", TRACKER),
    "HADRON_TRACK_EFFICIENCY": Constant(0.93, "", TRACKER),
    "TRACK_EFFICIENCY_RADIUS": Constant(35.0, "cm", TRACKER),
    "MUON_THRESHOLD_BARREL": Constant(3.3, "GeV", MUONS),
    "MUON_THRESHOLD_ENDCAP": Constant(1.8, "GeV", MUONS),
    "MUON_BARREL_ETA": Constant(1.2, "", MUONS),
    "MUON_THRESHOLD_WIDTH": Constant(0.35, "GeV", MUONS),
    "MUON_EFFICIENCY": Constant(0.985, "", MUONS),
    "MUON_SOFT": Constant(0.97, "", MUONS),
    "MUON_MEDIUM": Constant(0.94, "", MUONS),
    "MUON_GLOBAL": Constant(0.95, "", MUONS),
    "PION_FAKE_RATE": Constant(0.002, "", MUONS),
    "KAON_FAKE_RATE": Constant(0.004, "", MUONS),
    "PROTON_FAKE_RATE": Constant(0.0005, "", MUONS),
    "FAKE_SOFT": Constant(0.6, "", MUONS),
    "TRIGGER_ETA_MAX": Constant(1.5, "", PARKING),
    "TRIGGER_PT_RESOLUTION": Constant(0.02, "", PARKING),
    "TRIGGER_ANGLE_RESOLUTION": Constant(0.003, "", PARKING),
    "TRIGGER_SIGNIFICANCE_RESOLUTION": Constant(0.15, "", PARKING),
    "TRIGGER_EFFICIENCY": Constant(0.9, "", PARKING),
    "TRIGGER_RADIUS": Constant(15.0, "cm", PARKING),
    "TRIGGER_PATHS": Constant(10, "", "the ten paths of the original analysis"),
    "TRIGGER_PT": Constant((7, 8, 8, 8, 8.5, 9, 9, 9, 10.5, 12), "GeV", "names of the paths"),
    "TRIGGER_SIGNIFICANCE": Constant((4, 3, 5, 6, 3.5, 4, 5, 6, 3.5, 6), "", "names of the paths"),
    "PV_ERROR_FLOOR_XY": Constant(0.0010, "cm", TRACKER),
    "PV_ERROR_FLOOR_Z": Constant(0.0012, "cm", TRACKER),
    "PV_ERROR_PER_TRACK_XY": Constant(0.0080, "cm", TRACKER),
    "PV_ERROR_PER_TRACK_Z": Constant(0.0100, "cm", TRACKER),
    "PV_MIN_TRACKS": Constant(3, "", "assumed: a pile-up collision with fewer gives no vertex"),
    "PV_MERGE_DZ": Constant(0.05, "cm", "assumed, near the separation power of vertex finding: " + TRACKER),
    "PV_TRACK_DISTANCE": Constant(0.1, "cm", "assumed: tracks passing nearer count to the sum of pT squared"),
    "PILEUP_SPREAD": Constant(0.35, "", "assumed, near 2018: r.m.s. of the profile over its mean"),
    "MAX_TRIES": Constant(20000, "", "assumed: hardly ever reached"),
    "GENERATOR_MUON_PT": Constant(6.5, "GeV", "below the lowest trigger threshold by three resolutions"),
    "GENERATOR_MUON_ETA": Constant(1.6, "", "outside the trigger's acceptance"),
    "MAX_DECAY_RADIUS": Constant(100.0, "cm", "no tracks from beyond"),
    "VERTEX_MAX_ITERATIONS": Constant(12, "", "assumed"),
    "VERTEX_CHI2_TOLERANCE": Constant(1e-4, "", "assumed: the last step is a hundredth of the errors, and taken"),
    "VERTEX_HOPELESS_CHI2": Constant(100.0, "", "assumed: as one step from a crossing tells; 6.6 is the skim's cut"),
    "VERTEX_MAX_RADIUS": Constant(120.0, "cm", "outside the tracker"),
    "SKIM_MUON_PT": Constant(0.3, "GeV", ORIGINAL),
    "SKIM_PION_PT": Constant(0.5, "GeV", ORIGINAL),
    "SKIM_ETA": Constant(2.4, "", ORIGINAL),
    "SKIM_MU_PI_MASS_MIN": Constant(0.2, "GeV", ORIGINAL),
    "SKIM_MU_PI_MASS_MAX": Constant(7.0, "GeV", ORIGINAL),
    "SKIM_MU_MU_PI_MASS_MAX": Constant(10.0, "GeV", ORIGINAL),
    "SKIM_MU_PI_PT": Constant(1.0, "GeV", ORIGINAL),
    "SKIM_TRIGGER_PT": Constant(6.5, "GeV", ORIGINAL),
    "SKIM_TRIGGER_ETA": Constant(1.55, "", ORIGINAL),
    "SKIM_VERTEX_PROBABILITY": Constant(0.01, "", ORIGINAL),
    "CONTROL_PHI_MASS_MIN": Constant(0.9, "GeV", "assumed: the phi with the width of any resolution, and sidebands"),
    "CONTROL_PHI_MASS_MAX": Constant(1.15, "GeV", "assumed: likewise"),
    "CONTROL_MASS_MIN": Constant(1.6, "GeV", "assumed: the fit of D+ and Ds is from 1.75 to 2.15 GeV"),
    "CONTROL_MASS_MAX": Constant(2.3, "GeV", "assumed: likewise"),
    "SKIM_CROSSING_DZ": Constant(2.0, "cm", "assumed: far above the resolution"),
    "SKIM_CROSSING_GAP": Constant(0.5, "cm", "assumed: far above the resolution"),
}

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
