// Columns of a frame from the members of what the skim found. Each type of column is one function with a member as its
// value, so that few templates of RDataFrame are compiled for the 200 columns.
#include "../include/columns.h"

#include "../include/candidates.h"
#include "../include/control.h"
#include "../include/matching.h"

#include <functional>
#include <initializer_list>
#include <utility>

namespace hnl {

template <typename Block, typename T> using Members = std::initializer_list<std::pair<const char *, T Block::*>>;

// Columns from the members of one block of a layout, named prefix + name.
template <typename Layout, typename Part, typename Block, typename T>
Node define(Node node, const std::string &source, const std::string &prefix, Part Layout::*part,
            Members<Block, T> members) {
  for (const auto &[name, member] : members) {
    const std::function<T(const Layout &)> get = [part, member = member](const Layout &all) {
      return (all.*part).*member;
    };
    node = node.Define(prefix + name, get, {source});
  }
  return node;
}

template <typename Layout>
Node define_vertex(Node node, const std::string &prefix, VertexColumns Layout::*part) {
  using V = VertexColumns;
  return define<Layout, V, V, RVecF>(
      node, "candidates", prefix, part,
      {{"mass", &V::mass}, {"massErr", &V::massErr}, {"preFit_mass", &V::preFit_mass}, {"pt", &V::pt}, {"px", &V::px},
       {"py", &V::py}, {"pz", &V::pz}, {"vertex_x", &V::vertex_x}, {"vertex_y", &V::vertex_y},
       {"vertex_z", &V::vertex_z}, {"vertex_xErr", &V::vertex_xErr}, {"vertex_yErr", &V::vertex_yErr},
       {"vertex_zErr", &V::vertex_zErr}, {"vertex_chi2", &V::vertex_chi2}, {"vertex_prob", &V::vertex_prob},
       {"vertex_cos2D", &V::vertex_cos2D}, {"vertex_cos3D", &V::vertex_cos3D},
       {"vertex_2DDist_BS", &V::vertex_2DDist_BS}, {"vertex_2DErr_BS", &V::vertex_2DErr_BS},
       {"vertex_2DSig_BS", &V::vertex_2DSig_BS}, {"vertex_3DDist_BS", &V::vertex_3DDist_BS},
       {"vertex_3DErr_BS", &V::vertex_3DErr_BS}, {"vertex_3DSig_BS", &V::vertex_3DSig_BS},
       {"vertex_2DDist_PV", &V::vertex_2DDist_PV}, {"vertex_2DErr_PV", &V::vertex_2DErr_PV},
       {"vertex_2DSig_PV", &V::vertex_2DSig_PV}, {"vertex_3DDist_PV", &V::vertex_3DDist_PV},
       {"vertex_3DErr_PV", &V::vertex_3DErr_PV}, {"vertex_3DSig_PV", &V::vertex_3DSig_PV}});
}

template <typename Layout, typename Part>
Node define_track(Node node, const std::string &prefix, Part Layout::*part, Members<TrackColumns, RVecF> impact) {
  using T = TrackColumns;
  node = define<Layout, Part, T, RVecF>(node, "candidates", prefix, part,
                                        {{"pt", &T::pt}, {"eta", &T::eta}, {"phi", &T::phi},
                                         {"fitted_px", &T::fitted_px}, {"fitted_py", &T::fitted_py},
                                         {"fitted_pz", &T::fitted_pz}, {"fitted_E", &T::fitted_E}});
  node = define<Layout, Part, T, RVecF>(node, "candidates", prefix, part, impact);
  node = define<Layout, Part, T, RVecI>(node, "candidates", prefix, part, {{"charge", &T::charge}});
  return define<Layout, Part, T, RVecUnsigned>(node, "candidates", prefix, part, {{"idx", &T::idx}});
}

template <typename Layout> Node define_muon(Node node, const std::string &prefix, MuonColumns Layout::*part) {
  using T = TrackColumns;
  using M = MuonColumns;
  node = define_track(node, prefix, part,
                      {{"BS_ip", &T::BS_ip}, {"BS_ip_xy", &T::BS_ip_xy}, {"BS_ips", &T::BS_ips},
                       {"BS_ips_xy", &T::BS_ips_xy}, {"PV_ip", &T::PV_ip}, {"PV_ip_xy", &T::PV_ip_xy},
                       {"PV_ip_z", &T::PV_ip_z}, {"PV_ips", &T::PV_ips}, {"PV_ips_xy", &T::PV_ips_xy},
                       {"PV_ips_z", &T::PV_ips_z}});
  return define<Layout, M, M, RVecShort>(node, "candidates", prefix, part,
                                         {{"isSoft", &M::isSoft}, {"isLoose", &M::isLoose},
                                          {"isMedium", &M::isMedium}, {"isGlobal", &M::isGlobal},
                                          {"isTracker", &M::isTracker}, {"isStandAlone", &M::isStandAlone}});
}

template <typename Layout> Node define_pion(Node node, TrackColumns Layout::*part) {
  using T = TrackColumns;
  return define_track(node, "C_pi_", part,
                      {{"BS_ip", &T::BS_ip}, {"BS_ip_xy", &T::BS_ip_xy}, {"BS_ip_z", &T::BS_ip_z},
                       {"BS_ips", &T::BS_ips}, {"BS_ips_xy", &T::BS_ips_xy}, {"BS_ips_z", &T::BS_ips_z},
                       {"PV_ip_xy", &T::PV_ip_xy}, {"PV_ip_z", &T::PV_ip_z}, {"PV_ips_xy", &T::PV_ips_xy},
                       {"PV_ips_z", &T::PV_ips_z}});
}

// `owner`: the prefix of the columns that say where distances are measured from.
template <typename Layout> Node define_shared(Node node, const std::string &owner) {
  using S = SharedColumns;
  node = define<Layout, S, S, RVecF>(node, "candidates", "C_", &Layout::shared,
                                     {{"mu1mu2_mass", &S::mu1mu2_mass}, {"mu1mu2_dr", &S::mu1mu2_dr},
                                      {"mu1pi_dr", &S::mu1pi_dr}, {"mu2pi_dr", &S::mu2pi_dr}});
  node = define<Layout, S, S, RVecF>(node, "candidates", owner, &Layout::shared,
                                     {{"BS_x", &S::BS_x}, {"BS_y", &S::BS_y}, {"BS_z", &S::BS_z}});
  return define<Layout, S, S, RVecI>(node, "candidates", owner, &Layout::shared, {{"iBestPV", &S::iBestPV}});
}

// From the column `trigger`; the names of the paths in the order of their bits.
static Node define_trigger(Node node, const std::vector<std::string> &paths) {
  using M = TriggerMuons;
  using P = TriggerMuons::Path;
  const auto add = [&node](const std::string &name, auto get) { node = node.Define(name, get, {"trigger"}); };
  const auto own = [&add](const std::string &name, auto member) {
    using T = std::decay_t<decltype(std::declval<M>().*member)>;
    add("HLT_mu_trig_" + name, std::function<T(const M &)>([member](const M &all) { return all.*member; }));
  };
  own("idx", &M::idx);
  own("pt", &M::pt);
  own("eta", &M::eta);
  own("phi", &M::phi);
  for (std::size_t p = 0; p < paths.size(); ++p) {
    const auto of_path = [&add, &paths, p](const std::string &name, auto member) {
      using T = std::decay_t<decltype(std::declval<P>().*member)>;
      add("HLT_" + paths[p] + "_" + name,
          std::function<T(const M &)>([p, member](const M &all) { return all.path[p].*member; }));
    };
    of_path("matched", &P::matched);
    of_path("pt", &P::pt);
    of_path("eta", &P::eta);
    of_path("dr", &P::dr);
    of_path("prescale", &P::prescale);
  }
  return node;
}

// Events in which a muon fired the trigger and a candidate is found; columns of the event and of its vertices.
template <typename Find> Node define_event(Node node, Find find, const std::vector<std::string> &paths) {
  node = node.Filter([](const RVecUnsigned &muons) { return muons.size() >= 2; }, {"Muon_track"}, "two muons")
             .Define("muons", read_muons,
                     {"Muon_track", "Muon_isSoft", "Muon_isLoose", "Muon_isMedium", "Muon_isGlobal", "Muon_isTracker",
                      "Muon_isStandAlone"})
             .Define("fired", trigger_muons, {"Track_qOverP", "Track_lambda", "muons", "Trig_muon"})
             .Filter([](const RVecShort &fired) { return ROOT::VecOps::Any(fired); }, {"fired"}, "trigger muon")
             .Define("beam_spot", read_beam_spot, {"BS_x", "BS_y", "BS_z", "BS_widthX", "BS_widthY", "BS_widthZ"})
             .Define("tracks", read_tracks,
                     {"beam_spot", "Track_qOverP", "Track_lambda", "Track_phi", "Track_dxy", "Track_dsz", "Track_cov"})
             .Define("vertices", read_vertices, {"PV_x", "PV_y", "PV_z", "PV_cov"})
             .Define("candidates", find, {"tracks", "muons", "fired", "beam_spot", "vertices"});
  using Layout = decltype(find({}, {}, {}, {}, {}));
  node = node.Define("nCand", [](const Layout &candidates) { return candidates.size(); }, {"candidates"})
             .Filter([](int candidates) { return candidates > 0; }, {"nCand"}, "a candidate");
  const auto count = [](const RVecF &values) { return static_cast<int>(values.size()); };
  node = node.Define("nPV", count, {"PV_z"}).Define("numTrack", count, {"Track_phi"});
  for (const char axis : {'x', 'y', 'z'})
    node = node.Define(std::string("PV_") + axis + "Err", [axis](const RVecF &cov) { return vertex_error(cov, axis); },
                       {"PV_cov"});
  node = node.Define("trigger", match_trigger,
                     {"tracks", "muons", "fired", "Trig_muon", "Trig_paths", "Trig_pt", "Trig_eta", "Trig_phi"});
  return define_trigger(node, paths);
}

Node define_candidates(Node node, const std::vector<std::string> &paths) {
  node = define_event(node, find_candidates, paths);
  node = define_vertex(node, "C_Ds_", &Candidates::Ds);
  node = define_vertex(node, "C_Hnl_", &Candidates::Hnl);
  node = define_muon(node, "C_mu_Ds_", &Candidates::mu_Ds);
  node = define_muon(node, "C_mu_Hnl_", &Candidates::mu_Hnl);
  return define_shared<Candidates>(define_pion(node, &Candidates::pi), "C_mu_Ds_");
}

Node define_control_candidates(Node node, const std::vector<std::string> &paths) {
  using C = ControlCandidates;
  node = define_event(node, find_control_candidates, paths);
  node = define_vertex(node, "C_Ds_", &C::Ds);
  node = define_vertex(node, "C_Phi_", &C::Phi);
  node = define_muon(node, "C_mu1_Phi_", &C::mu1_Phi);
  node = define_muon(node, "C_mu2_Phi_", &C::mu2_Phi);
  return define_shared<C>(define_pion(node, &C::pi), "C_Ds_");
}

static Node define_generator(Node node) {
  return node.Define("generator", read_generator,
                     {"Track_gen", "Gen_pdgId", "Gen_mother", "Gen_motherPdgId", "Gen_px", "Gen_py", "Gen_pz",
                      "Gen_mass", "Gen_vx", "Gen_vy", "Gen_vz"});
}

Node define_candidate_generator(Node node) {
  using C = const Candidates &;
  using G = const GeneratorInfo &;
  const std::vector<std::string> both = {"candidates", "generator"};
  return define_generator(node)
      .Define("C_Hnl_gen_l", [](C all, G generator) { return RVecF(all.size(), generator.l); }, both)
      .Define("C_Hnl_gen_l_prop", [](C all, G generator) { return RVecF(all.size(), generator.l_prop); }, both)
      .Define("C_mu_Hnl_isHnlDaughter",
              [](C all, G generator) { return is_daughter(all.track_mu_Hnl, generator, 13, 9900015); }, both)
      .Define("C_mu_Ds_isHnlBrother", [](C all, G generator) { return is_hnl_brother(all.track_mu_Ds, generator); },
              both)
      .Define("C_pi_isHnlDaughter", [](C all, G generator) { return is_daughter(all.pi.idx, generator, 211, 9900015); },
              both);
}

Node define_control_generator(Node node) {
  using C = const ControlCandidates &;
  using G = const GeneratorInfo &;
  const std::vector<std::string> both = {"candidates", "generator"};
  return define_generator(node)
      .Define("C_mu1_Phi_isPhiDaughter",
              [](C all, G generator) { return is_daughter(all.track_mu1_Phi, generator, 13, 333); }, both)
      .Define("C_mu2_Phi_isPhiDaughter",
              [](C all, G generator) { return is_daughter(all.track_mu2_Phi, generator, 13, 333); }, both)
      .Define("C_mu2_Phi_hasBAncestor", [](C all, G generator) { return meson_from_b(all.size(), generator); }, both)
      .Define("C_pi_isDsDaughter", [](C all, G generator) { return is_meson_daughter(all.pi.idx, generator, 211); },
              both)
      .Define("C_Ds_gen_pdgId", [](C all, G generator) { return meson_pdg(all.size(), generator); }, both);
}

} // namespace hnl
