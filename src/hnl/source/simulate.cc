// The simulation of one entry, by process, and the columns of its event.
#include "../include/simulate.h"

#include "../include/event.h"

#include <functional>
#include <initializer_list>
#include <utility>

namespace hnl {

void load_pools(const std::string &folder) {
  Pools &pools = mutable_pools();
  if (!pools.ds.mesons.empty())
    return;
  Pools fresh;
  fresh.ds = read_mesons(PoolFile(folder + "/ds.root"), "ds");
  fresh.dplus = read_mesons(PoolFile(folder + "/dplus.root"), "dplus");
  read_events(fresh, PoolFile(folder + "/background.root"));
  read_minbias(fresh, PoolFile(folder + "/minbias.root"));
  pools = std::move(fresh);
}

static std::uint64_t with_origin(std::uint64_t process, Origin from) {
  return process + 16 * static_cast<std::uint64_t>(from);
}

Event simulate_signal(ULong64_t entry, const Request &request, double mass, double ctau) {
  Random random(stream(request.seed, with_origin(1, request.from), mass, ctau), entry);
  const auto generate = [&](Random &r) { return generate_signal(mass, ctau, r, request.from); };
  return simulate(random, request, generate, can_fire_inside, add_companions);
}

Event simulate_control(ULong64_t entry, const Request &request, int pdg) {
  const Meson &meson = pdg == DPLUS.pdg ? DPLUS : DS;
  Random random(stream(request.seed, with_origin(meson.pdg == DS.pdg ? 2 : 4, request.from)), entry);
  const auto generate = [&](Random &r) { return generate_control(meson, request.from, r); };
  return simulate(random, request, generate, can_fire_inside, add_companions);
}

Event simulate_background(ULong64_t entry, const Request &request) {
  Random random(stream(request.seed, 3), entry);
  return simulate(random, request, generate_background, can_fire, add_fragmentation);
}

std::size_t draw_process(ULong64_t entry, ULong64_t seed, const std::vector<double> &shares) {
  Random random(stream(seed, 5), entry);
  return draw_index(shares, random);
}

RVecI fired_paths(const RVecUnsigned &masks, int paths) {
  RVecI out;
  for (const unsigned mask : masks)
    for (int path = 0; path < paths; ++path)
      if ((mask >> path) & 1u)
        out.push_back(path);
  return out;
}

// Columns from members of the event.
template <typename T>
static ROOT::RDF::RNode define_members(ROOT::RDF::RNode node,
                                       std::initializer_list<std::pair<const char *, T Event::*>> members) {
  for (const auto &[name, member] : members) {
    const std::function<T(const Event &)> get = [member = member](const Event &event) { return event.*member; };
    node = node.Define(name, get, {"simulated"});
  }
  return node;
}

ROOT::RDF::RNode define_event_columns(ROOT::RDF::RNode node, unsigned run, unsigned events_per_lumi) {
  node = node.Define("run", [run] { return run; })
             .Define("lumi", [events_per_lumi](ULong64_t entry) { return unsigned(entry / events_per_lumi + 1); },
                     {"entry"})
             .Define("event", [](ULong64_t entry) { return ULong64_t(entry + 1); }, {"entry"});
  node = define_members<float>(node, {{"BS_x", &Event::bs_x}, {"BS_y", &Event::bs_y}, {"BS_z", &Event::bs_z},
                                      {"BS_widthX", &Event::bs_width_x}, {"BS_widthY", &Event::bs_width_y},
                                      {"BS_widthZ", &Event::bs_width_z}});
  node = define_members<int>(node, {{"nPU", &Event::n_pileup}, {"nPU_trueInt", &Event::n_pileup_true}});
  node = define_members<RVecF>(node, {{"PV_x", &Event::pv_x}, {"PV_y", &Event::pv_y}, {"PV_z", &Event::pv_z},
                                      {"PV_cov", &Event::pv_cov}, {"PV_prob", &Event::pv_prob},
                                      {"PV_sumPt2", &Event::pv_sum_pt2}, {"Track_qOverP", &Event::track_q_over_p},
                                      {"Track_lambda", &Event::track_lambda}, {"Track_phi", &Event::track_phi},
                                      {"Track_dxy", &Event::track_dxy}, {"Track_dsz", &Event::track_dsz},
                                      {"Track_cov", &Event::track_cov}, {"Trig_pt", &Event::trigger_pt},
                                      {"Trig_eta", &Event::trigger_eta}, {"Trig_phi", &Event::trigger_phi},
                                      {"Gen_px", &Event::gen_px}, {"Gen_py", &Event::gen_py},
                                      {"Gen_pz", &Event::gen_pz}, {"Gen_mass", &Event::gen_mass},
                                      {"Gen_vx", &Event::gen_vx}, {"Gen_vy", &Event::gen_vy},
                                      {"Gen_vz", &Event::gen_vz}});
  node = define_members<RVecI>(node, {{"PV_nTracks", &Event::pv_tracks}, {"Track_charge", &Event::track_charge},
                                      {"Track_gen", &Event::track_gen}, {"Track_collision", &Event::track_collision},
                                      {"Gen_pdgId", &Event::gen_pdg}, {"Gen_mother", &Event::gen_mother},
                                      {"Gen_motherPdgId", &Event::gen_mother_pdg}});
  node = define_members<RVecUnsigned>(node, {{"Muon_track", &Event::muon_track}, {"Trig_muon", &Event::trigger_muon},
                                             {"Trig_paths", &Event::trigger_paths}});
  node = define_members<RVecShort>(node, {{"Muon_isSoft", &Event::muon_soft}, {"Muon_isLoose", &Event::muon_loose},
                                          {"Muon_isMedium", &Event::muon_medium},
                                          {"Muon_isGlobal", &Event::muon_global},
                                          {"Muon_isTracker", &Event::muon_tracker},
                                          {"Muon_isStandAlone", &Event::muon_stand_alone}});
  return node;
}

} // namespace hnl
