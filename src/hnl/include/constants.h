// Constants of simulation and skim. hnl/constants.py lists each with its source; a test keeps the two equal.
#ifndef HNL_CONSTANTS_H
#define HNL_CONSTANTS_H

namespace hnl {

constexpr double MAGNETIC_FIELD = 3.8;
constexpr double CURVATURE_PER_TESLA = 0.00299792458;

constexpr double ELECTRON_MASS = 0.000510999;
constexpr double MUON_MASS = 0.1056584;
constexpr double PION_MASS = 0.1395704;
constexpr double KAON_MASS = 0.493677;
constexpr double PROTON_MASS = 0.938272;
constexpr double PHI_MASS = 1.019461;
constexpr double PHI_WIDTH = 0.004249;
constexpr double DS_MASS = 1.96835;
constexpr double DS_CTAU = 0.01499;
constexpr double DPLUS_MASS = 1.86966;
constexpr double DPLUS_CTAU = 0.03118;

constexpr double BEAM_SPOT_X = 0.011;
constexpr double BEAM_SPOT_Y = -0.042;
constexpr double BEAM_SPOT_Z = 0.3;
constexpr double BEAM_SPOT_WIDTH = 0.0012;
constexpr double BEAM_SPOT_LENGTH = 3.5;

constexpr double TRACK_PT_MIN = 0.5;
constexpr double TRACK_SLOPE_MAX = 5.747;
constexpr double TRACKER_RADIUS = 108.0;
constexpr double MAX_PRODUCTION_RADIUS = 75.0;
constexpr double MAX_PRODUCTION_Z = 200.0;
constexpr double LAYER_RADII[14] = {2.9, 6.8, 10.9, 16.0, 25.5, 33.9, 41.9, 49.8, 60.8, 69.2, 78.0, 86.8, 96.5, 108.0};
constexpr int PIXEL_LAYERS = 4;
constexpr double PIXEL_OFFSET_XY = 0.0010;
constexpr double PIXEL_OFFSET_Z = 0.0022;
constexpr double STRIP_OFFSET_XY = 0.0030;
constexpr double STRIP_OFFSET_Z = 0.0230;
constexpr double ANGLE_RESOLUTION = 0.0003;
constexpr double ANGLE_SCATTERING = 0.0022;
constexpr double PT_RESOLUTION_SCATTERING = 0.007;
constexpr double PT_RESOLUTION_SAGITTA = 0.00015;
constexpr double PT_RESOLUTION_ETA = 0.35;

constexpr double MUON_TRACK_EFFICIENCY = 0.995;
constexpr double HADRON_TRACK_EFFICIENCY = 0.93;
constexpr double TRACK_EFFICIENCY_RADIUS = 35.0;

constexpr double MUON_THRESHOLD_BARREL = 3.3;
constexpr double MUON_THRESHOLD_ENDCAP = 1.8;
constexpr double MUON_BARREL_ETA = 1.2;
constexpr double MUON_THRESHOLD_WIDTH = 0.35;
constexpr double MUON_EFFICIENCY = 0.985;
constexpr double MUON_SOFT = 0.97;
constexpr double MUON_MEDIUM = 0.94;
constexpr double MUON_GLOBAL = 0.95;
constexpr double PION_FAKE_RATE = 0.002;
constexpr double KAON_FAKE_RATE = 0.004;
constexpr double PROTON_FAKE_RATE = 0.0005;
constexpr double FAKE_SOFT = 0.6;

constexpr double TRIGGER_ETA_MAX = 1.5;
constexpr double TRIGGER_PT_RESOLUTION = 0.02;
constexpr double TRIGGER_ANGLE_RESOLUTION = 0.003;
constexpr double TRIGGER_SIGNIFICANCE_RESOLUTION = 0.15;
constexpr double TRIGGER_EFFICIENCY = 0.9;
constexpr double TRIGGER_RADIUS = 15.0;
constexpr int TRIGGER_PATHS = 10;
constexpr double TRIGGER_PT[TRIGGER_PATHS] = {7, 8, 8, 8, 8.5, 9, 9, 9, 10.5, 12};
constexpr double TRIGGER_SIGNIFICANCE[TRIGGER_PATHS] = {4, 3, 5, 6, 3.5, 4, 5, 6, 3.5, 6};

constexpr double PV_ERROR_FLOOR_XY = 0.0010;
constexpr double PV_ERROR_FLOOR_Z = 0.0012;
constexpr double PV_ERROR_PER_TRACK_XY = 0.0080;
constexpr double PV_ERROR_PER_TRACK_Z = 0.0100;

constexpr int PV_MIN_TRACKS = 3;
constexpr double PV_MERGE_DZ = 0.05;
constexpr double PV_TRACK_DISTANCE = 0.1;
constexpr double PILEUP_SPREAD = 0.35;

constexpr int MAX_TRIES = 20000;
constexpr double GENERATOR_MUON_PT = 6.5;
constexpr double GENERATOR_MUON_ETA = 1.6;
constexpr double MAX_DECAY_RADIUS = 100.0;

constexpr int VERTEX_MAX_ITERATIONS = 12;
constexpr double VERTEX_CHI2_TOLERANCE = 1e-4;
constexpr double VERTEX_HOPELESS_CHI2 = 100.0;
constexpr double VERTEX_MAX_RADIUS = 120.0;

constexpr double SKIM_MUON_PT = 0.3;
constexpr double SKIM_PION_PT = 0.5;
constexpr double SKIM_ETA = 2.4;
constexpr double SKIM_MU_PI_MASS_MIN = 0.2;
constexpr double SKIM_MU_PI_MASS_MAX = 7.0;
constexpr double SKIM_MU_MU_PI_MASS_MAX = 10.0;
constexpr double SKIM_MU_PI_PT = 1.0;
constexpr double SKIM_TRIGGER_PT = 6.5;
constexpr double SKIM_TRIGGER_ETA = 1.55;
constexpr double SKIM_VERTEX_PROBABILITY = 0.01;
constexpr double CONTROL_PHI_MASS_MIN = 0.9;
constexpr double CONTROL_PHI_MASS_MAX = 1.15;
constexpr double CONTROL_MASS_MIN = 1.6;
constexpr double CONTROL_MASS_MAX = 2.3;
constexpr double SKIM_CROSSING_DZ = 2.0;
constexpr double SKIM_CROSSING_GAP = 0.5;

} // namespace hnl

#endif
