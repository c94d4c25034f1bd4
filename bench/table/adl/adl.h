#ifndef BENCH_ADL_H
#define BENCH_ADL_H
#include <ROOT/RVec.hxx>

// What the queries compute from the objects of an event, in double precision; angles in rad, the rest in GeV.
namespace adl {

using Floats = ROOT::RVecF;
using Ints = ROOT::RVecI;

// Whether two muons of opposite charge have a mass between 60 and 120.
bool has_z(const Floats &pt, const Floats &eta, const Floats &phi, const Floats &mass, const Ints &charge);

// pT of the three jets whose mass is nearest to 172.5, and the largest b-tag among them; nothing with fewer than three jets.
ROOT::RVecD trijet(const Floats &pt, const Floats &eta, const Floats &phi, const Floats &mass, const Floats &btag);

// Sum of the pT of jets above 30 that are farther than 0.4 from all leptons above 10; -1 if there are none.
double isolated_ht(const Floats &pt, const Floats &eta, const Floats &phi, const Floats &muon_pt, const Floats &muon_eta,
                   const Floats &muon_phi, const Floats &electron_pt, const Floats &electron_eta, const Floats &electron_phi);

// Transverse mass of the missing momentum and the leading lepton outside of the pair, of the same flavour and opposite charge,
// whose mass is nearest to 91.2; -1 with fewer than three leptons or without such a pair.
double transverse_mass(double met, double met_phi, const Floats &muon_pt, const Floats &muon_eta, const Floats &muon_phi,
                       const Floats &muon_mass, const Ints &muon_charge, const Floats &electron_pt,
                       const Floats &electron_eta, const Floats &electron_phi, const Floats &electron_mass,
                       const Ints &electron_charge);

// Leptons of one flavour, as columns: pt, eta, phi, mass, charge, isolation, dxy, its error, dz, its error.
struct Leptons {
  const Floats &pt, &eta, &phi, &mass;
  const Ints &charge;
  const Floats &isolation, &dxy, &dxy_error, &dz, &dz_error;
};

// Mass of four leptons from two Z, in the channels 4 muons, 4 electrons, and 2 of each, as ROOT's tutorial df103 chooses them:
// the masses of the channels that an event is in.
ROOT::RVecD four_leptons(const Leptons &muons, const Leptons &electrons);

} // namespace adl
#endif
