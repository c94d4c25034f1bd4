// The content of the event file, and what the expressions of the step simulate call; compiled from source/simulate.cc.
// Lengths in cm, momenta in GeV, proper lengths in mm.
#ifndef HNL_SIMULATE_H
#define HNL_SIMULATE_H

#include "vectors.h"

#include "ROOT/RDataFrame.hxx"

#include <string>
#include <vector>

namespace hnl {

// Where a charmed meson is from: any process, charm pairs (prompt), or beauty pairs.
enum class Origin { all, prompt, b };

struct Event {
  bool triggered = false;
  double generated_decays = 0.0; // how many decays (events, in background) this entry stands for
  float bs_x = 0, bs_y = 0, bs_z = 0, bs_width_x = 0, bs_width_y = 0, bs_width_z = 0;
  RVecF pv_x, pv_y, pv_z, pv_cov, pv_prob; // covariance: xx, xy, yy, xz, yz, zz of each
  RVecI pv_tracks;
  RVecF pv_sum_pt2;
  RVecF track_q_over_p, track_lambda, track_phi, track_dxy, track_dsz;
  RVecF track_cov; // 15 a track: the lower triangle by rows, in the order of the parameters
  RVecI track_charge, track_gen, track_collision;
  RVecUnsigned muon_track;
  RVecShort muon_soft, muon_loose, muon_medium, muon_global, muon_tracker, muon_stand_alone;
  RVecUnsigned trigger_muon, trigger_paths;
  RVecF trigger_pt, trigger_eta, trigger_phi;
  RVecI gen_pdg, gen_mother, gen_mother_pdg;
  RVecF gen_px, gen_py, gen_pz, gen_mass, gen_vx, gen_vy, gen_vz;
  int n_pileup = 0, n_pileup_true = 0;
  int pool_event = -1; // of background, for checks: where it comes from in the pools
  RVecUnsigned pool_decays;
};

// What an entry is asked for besides its process.
struct Request {
  ULong64_t seed = 0;
  double per_try = 1.0;   // how many decays of the full spectrum one draw from the pool stands for
  unsigned min_muons = 1; // identified muons, fakes and those of pile-up included
  double pileup = 0.0;    // mean number of additional collisions
  Origin from = Origin::all;
};

// Read the pools of a folder, unless this process has them already.
void load_pools(const std::string &folder);

Event simulate_signal(ULong64_t entry, const Request &request, double mass, double ctau);
Event simulate_background(ULong64_t entry, const Request &request);

// Of the meson with this PDG number: 431 (Ds) or 411 (D+).
Event simulate_control(ULong64_t entry, const Request &request, int meson);

// Which process of a mixture this entry is; `shares` is the running sum of their fractions.
std::size_t draw_process(ULong64_t entry, ULong64_t seed, const std::vector<double> &shares);

// The paths that were fired, one element for each muon and path.
RVecI fired_paths(const RVecUnsigned &masks, int paths);

// The columns of the event file, from the column `simulated`.
ROOT::RDF::RNode define_event_columns(ROOT::RDF::RNode node, unsigned run, unsigned events_per_lumi);

} // namespace hnl

#endif
