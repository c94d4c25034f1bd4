// Constants of simulation and skim, each with its unit and its source. "assumed" marks what was chosen here to resemble
// the detector of 2018 and is no measurement. Sources that occur often:
//   PDG       Particle Data Group, Phys. Rev. D 110 (2024) 030001
//   TRACKER   assumed, near CMS tracking performance, JINST 9 (2014) P10009
//   LAYOUT    assumed, near CMS tracker layout: JINST 16 (2021) P02027 (pixels), JINST 3 (2008) S08004 (strips)
//   MUONS     assumed, near CMS muon performance, JINST 13 (2018) P06015
//   PARKING   assumed, near the B-parking triggers of 2018, Phys. Rept. 1115 (2025) 678
//   ORIGINAL  the public ntupliser of the original analysis
#ifndef HNL_CONSTANTS_H
#define HNL_CONSTANTS_H

namespace hnl {

constexpr double MAGNETIC_FIELD = 3.8;  // T; CMS, JINST 3 (2008) S08004
constexpr double CURVATURE_PER_TESLA = 0.00299792458;  // GeV/(cm T); speed of light (exact)

constexpr double ELECTRON_MASS = 0.000510999;  // GeV; PDG
constexpr double MUON_MASS = 0.1056584;  // GeV; PDG
constexpr double PION_MASS = 0.1395704;  // GeV; PDG
constexpr double KAON_MASS = 0.493677;  // GeV; PDG
constexpr double PROTON_MASS = 0.938272;  // GeV; PDG
constexpr double PHI_MASS = 1.019461;  // GeV; PDG
constexpr double PHI_WIDTH = 0.004249;  // GeV; PDG
constexpr double DS_MASS = 1.96835;  // GeV; PDG
constexpr double DS_CTAU = 0.01499;  // cm; Pythia 8.317; 501.2 fs of the PDG is 0.01503 cm
constexpr double DPLUS_MASS = 1.86966;  // GeV; PDG
constexpr double DPLUS_CTAU = 0.03118;  // cm; Pythia 8.317; 1033 fs of the PDG is 0.03097 cm

constexpr double BEAM_SPOT_X = 0.011;  // cm; assumed, near 2018
constexpr double BEAM_SPOT_Y = -0.042;  // cm; assumed, near 2018
constexpr double BEAM_SPOT_Z = 0.3;  // cm; assumed
constexpr double BEAM_SPOT_WIDTH = 0.0012;  // cm; assumed, near 2018
constexpr double BEAM_SPOT_LENGTH = 3.5;  // cm; assumed, near 2018

constexpr double TRACK_PT_MIN = 0.5;  // GeV; assumed: the skim's cut on pions
constexpr double TRACK_SLOPE_MAX = 5.747;  // |pz|/pT at |eta| = 2.45
constexpr double TRACKER_RADIUS = 108.0;  // cm; LAYOUT
constexpr double MAX_PRODUCTION_RADIUS = 75.0;  // cm; assumed: five layers are left
constexpr double MAX_PRODUCTION_Z = 200.0;  // cm; assumed
// cm; LAYOUT
constexpr double LAYER_RADII[14] = {2.9, 6.8, 10.9, 16.0, 25.5, 33.9, 41.9, 49.8, 60.8, 69.2, 78.0, 86.8, 96.5, 108.0};
constexpr int PIXEL_LAYERS = 4;  // LAYOUT
constexpr double PIXEL_OFFSET_XY = 0.0010;  // cm; TRACKER
constexpr double PIXEL_OFFSET_Z = 0.0022;  // cm; TRACKER
constexpr double STRIP_OFFSET_XY = 0.0030;  // cm; TRACKER
constexpr double STRIP_OFFSET_Z = 0.0230;  // cm; TRACKER
constexpr double ANGLE_RESOLUTION = 0.0003;  // rad; TRACKER
constexpr double ANGLE_SCATTERING = 0.0022;  // rad GeV; TRACKER
constexpr double PT_RESOLUTION_SCATTERING = 0.007;  // TRACKER
constexpr double PT_RESOLUTION_SAGITTA = 0.00015;  // 1/GeV; TRACKER
constexpr double PT_RESOLUTION_ETA = 0.35;  // TRACKER

constexpr double MUON_TRACK_EFFICIENCY = 0.995;  // TRACKER
constexpr double HADRON_TRACK_EFFICIENCY = 0.93;  // TRACKER
constexpr double TRACK_EFFICIENCY_RADIUS = 35.0;  // cm; TRACKER

constexpr double MUON_THRESHOLD_BARREL = 3.3;  // GeV; MUONS
constexpr double MUON_THRESHOLD_ENDCAP = 1.8;  // GeV; MUONS
constexpr double MUON_BARREL_ETA = 1.2;  // MUONS
constexpr double MUON_THRESHOLD_WIDTH = 0.35;  // GeV; MUONS
constexpr double MUON_EFFICIENCY = 0.985;  // MUONS
constexpr double MUON_SOFT = 0.97;  // MUONS
constexpr double MUON_MEDIUM = 0.94;  // MUONS
constexpr double MUON_GLOBAL = 0.95;  // MUONS
constexpr double PION_FAKE_RATE = 0.002;  // MUONS
constexpr double KAON_FAKE_RATE = 0.004;  // MUONS
constexpr double PROTON_FAKE_RATE = 0.0005;  // MUONS
constexpr double FAKE_SOFT = 0.6;  // MUONS

constexpr double TRIGGER_ETA_MAX = 1.5;  // PARKING
constexpr double TRIGGER_PT_RESOLUTION = 0.02;  // PARKING
constexpr double TRIGGER_ANGLE_RESOLUTION = 0.003;  // PARKING
constexpr double TRIGGER_SIGNIFICANCE_RESOLUTION = 0.15;  // PARKING
constexpr double TRIGGER_EFFICIENCY = 0.9;  // PARKING
constexpr double TRIGGER_RADIUS = 15.0;  // cm; PARKING
constexpr int TRIGGER_PATHS = 10;  // the ten paths of the original analysis
constexpr double TRIGGER_PT[TRIGGER_PATHS] = {7, 8, 8, 8, 8.5, 9, 9, 9, 10.5, 12};  // GeV; names of the paths
constexpr double TRIGGER_SIGNIFICANCE[TRIGGER_PATHS] = {4, 3, 5, 6, 3.5, 4, 5, 6, 3.5, 6};  // names of the paths

constexpr double PV_ERROR_FLOOR_XY = 0.0010;  // cm; TRACKER
constexpr double PV_ERROR_FLOOR_Z = 0.0012;  // cm; TRACKER
constexpr double PV_ERROR_PER_TRACK_XY = 0.0080;  // cm; TRACKER
constexpr double PV_ERROR_PER_TRACK_Z = 0.0100;  // cm; TRACKER

constexpr int PV_MIN_TRACKS = 3;  // assumed: a pile-up collision with fewer gives no vertex
constexpr double PV_MERGE_DZ = 0.05;  // cm; assumed, near the separation power of vertex finding: TRACKER
constexpr double PV_TRACK_DISTANCE = 0.1;  // cm; assumed: tracks passing nearer count to the sum of pT squared
constexpr double PILEUP_SPREAD = 0.35;  // assumed, near 2018: r.m.s. of the profile over its mean

constexpr int MAX_TRIES = 20000;  // assumed: hardly ever reached
constexpr double GENERATOR_MUON_PT = 6.5;  // GeV; below the lowest trigger threshold by three resolutions
constexpr double GENERATOR_MUON_ETA = 1.6;  // outside the trigger's acceptance
constexpr double MAX_DECAY_RADIUS = 100.0;  // cm; no tracks from beyond

constexpr int VERTEX_MAX_ITERATIONS = 12;  // assumed
constexpr double VERTEX_CHI2_TOLERANCE = 1e-4;  // assumed: the last step is a hundredth of the errors, and taken
constexpr double VERTEX_HOPELESS_CHI2 = 100.0;  // assumed: as one step from a crossing tells; 6.6 is the skim's cut
constexpr double VERTEX_MAX_RADIUS = 120.0;  // cm; outside the tracker

constexpr double SKIM_MUON_PT = 0.3;  // GeV; ORIGINAL
constexpr double SKIM_PION_PT = 0.5;  // GeV; ORIGINAL
constexpr double SKIM_ETA = 2.4;  // ORIGINAL
constexpr double SKIM_MU_PI_MASS_MIN = 0.2;  // GeV; ORIGINAL
constexpr double SKIM_MU_PI_MASS_MAX = 7.0;  // GeV; ORIGINAL
constexpr double SKIM_MU_MU_PI_MASS_MAX = 10.0;  // GeV; ORIGINAL
constexpr double SKIM_MU_PI_PT = 1.0;  // GeV; ORIGINAL
constexpr double SKIM_TRIGGER_PT = 6.5;  // GeV; ORIGINAL
constexpr double SKIM_TRIGGER_ETA = 1.55;  // ORIGINAL
constexpr double SKIM_VERTEX_PROBABILITY = 0.01;  // ORIGINAL
constexpr double CONTROL_PHI_MASS_MIN = 0.9;  // GeV; assumed: the phi with the width of any resolution, and sidebands
constexpr double CONTROL_PHI_MASS_MAX = 1.15;  // GeV; assumed: likewise
constexpr double CONTROL_MASS_MIN = 1.6;  // GeV; assumed: the fit of D+ and Ds is from 1.75 to 2.15 GeV
constexpr double CONTROL_MASS_MAX = 2.3;  // GeV; assumed: likewise
constexpr double SKIM_CROSSING_DZ = 2.0;  // cm; assumed: far above the resolution
constexpr double SKIM_CROSSING_GAP = 0.5;  // cm; assumed: far above the resolution

} // namespace hnl

#endif
