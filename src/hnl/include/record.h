// How measured objects enter the event file. Lengths in cm, momenta in GeV, proper lengths in mm.
#ifndef HNL_RECORD_H
#define HNL_RECORD_H

#include "decay.h"

#include <cstdint>
#include <cstring>

namespace hnl {

// 16 bits of mantissa: enough for matrices with correlations up to 0.9999, and they compress.
inline float shorten(double value) {
  const float single = static_cast<float>(value);
  std::uint32_t bits;
  std::memcpy(&bits, &single, sizeof bits);
  bits = (bits + 0x40u) & 0xFFFFFF80u;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

inline void store_track(Event &event, const Track &track, int generated, int collision = 0) {
  RVecF *columns[5] = {&event.track_q_over_p, &event.track_lambda, &event.track_phi, &event.track_dxy,
                       &event.track_dsz};
  for (int i = 0; i < 5; ++i) {
    columns[i]->push_back(static_cast<float>(track.parameters[i][0]));
    for (int j = 0; j <= i; ++j)
      event.track_cov.push_back(shorten(track.covariance[i][j]));
  }
  event.track_charge.push_back(track.charge() > 0.0 ? 1 : -1);
  event.track_gen.push_back(generated);
  event.track_collision.push_back(collision);
}

inline void store_muon(Event &event, const MuonFlags &flags) {
  event.muon_track.push_back(event.track_charge.size() - 1);
  event.muon_soft.push_back(flags.soft);
  event.muon_loose.push_back(flags.loose);
  event.muon_medium.push_back(flags.medium);
  event.muon_global.push_back(flags.global);
  event.muon_tracker.push_back(flags.tracker);
  event.muon_stand_alone.push_back(flags.stand_alone);
}

inline void store_trigger(Event &event, const TriggerObject &object) {
  event.trigger_muon.push_back(event.muon_track.size() - 1);
  event.trigger_paths.push_back(object.paths);
  event.trigger_pt.push_back(object.pt);
  event.trigger_eta.push_back(object.eta);
  event.trigger_phi.push_back(object.phi);
}

inline void store_generated(Event &event, const std::vector<Generated> &list) {
  for (const Generated &particle : list) {
    event.gen_pdg.push_back(particle.pdg);
    event.gen_mother.push_back(particle.mother);
    event.gen_mother_pdg.push_back(particle.mother_pdg);
    event.gen_px.push_back(particle.momentum.px);
    event.gen_py.push_back(particle.momentum.py);
    event.gen_pz.push_back(particle.momentum.pz);
    event.gen_mass.push_back(particle.mass);
    event.gen_vx.push_back(particle.origin.x);
    event.gen_vy.push_back(particle.origin.y);
    event.gen_vz.push_back(particle.origin.z);
  }
}

} // namespace hnl

#endif
