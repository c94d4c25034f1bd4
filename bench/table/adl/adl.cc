#include "adl.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace adl {
namespace {

struct P4 {
  double x, y, z, e;
};

P4 p4(double pt, double eta, double phi, double mass) {
  const double x = pt * std::cos(phi), y = pt * std::sin(phi), z = pt * std::sinh(eta);
  return {x, y, z, std::sqrt(x * x + y * y + z * z + mass * mass)};
}

P4 operator+(const P4 &a, const P4 &b) { return {a.x + b.x, a.y + b.y, a.z + b.z, a.e + b.e}; }

double mass(const P4 &p) { return std::sqrt(std::max(0.0, p.e * p.e - p.x * p.x - p.y * p.y - p.z * p.z)); }

std::vector<P4> vectors(const Floats &pt, const Floats &eta, const Floats &phi, const Floats &mass) {
  std::vector<P4> made;
  made.reserve(pt.size());
  for (std::size_t i = 0; i < pt.size(); ++i)
    made.push_back(p4(pt[i], eta[i], phi[i], mass[i]));
  return made;
}

double delta_phi(double a, double b) {
  double d = std::fmod(a - b + M_PI, 2 * M_PI);
  return (d < 0 ? d + 2 * M_PI : d) - M_PI;
}

bool is_near(double eta, double phi, const Floats &pt, const Floats &etas, const Floats &phis) {
  for (std::size_t i = 0; i < pt.size(); ++i)
    if (pt[i] > 10 && std::hypot(eta - etas[i], delta_phi(phi, phis[i])) < 0.4)
      return true;
  return false;
}

} // namespace

bool has_z(const Floats &pt, const Floats &eta, const Floats &phi, const Floats &m, const Ints &charge) {
  if (pt.size() < 2)
    return false;
  const auto p = vectors(pt, eta, phi, m);
  for (std::size_t i = 0; i < p.size(); ++i)
    for (std::size_t j = i + 1; j < p.size(); ++j)
      if (charge[i] != charge[j]) {
        const double pair = mass(p[i] + p[j]);
        if (pair > 60 && pair < 120)
          return true;
      }
  return false;
}

ROOT::RVecD trijet(const Floats &pt, const Floats &eta, const Floats &phi, const Floats &m, const Floats &btag) {
  const std::size_t size = pt.size();
  if (size < 3)
    return {};
  const auto p = vectors(pt, eta, phi, m);
  double nearest = HUGE_VAL;
  std::size_t a = 0, b = 0, c = 0;
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = i + 1; j < size; ++j) {
      const P4 pair = p[i] + p[j];
      for (std::size_t k = j + 1; k < size; ++k) {
        const double distance = std::abs(mass(pair + p[k]) - 172.5);
        if (distance < nearest) {
          nearest = distance;
          a = i, b = j, c = k;
        }
      }
    }
  const P4 sum = p[a] + p[b] + p[c];
  return {std::sqrt(sum.x * sum.x + sum.y * sum.y), std::max({btag[a], btag[b], btag[c]})};
}

double isolated_ht(const Floats &pt, const Floats &eta, const Floats &phi, const Floats &muon_pt, const Floats &muon_eta,
                   const Floats &muon_phi, const Floats &electron_pt, const Floats &electron_eta, const Floats &electron_phi) {
  double sum = 0;
  bool any = false;
  for (std::size_t i = 0; i < pt.size(); ++i)
    if (pt[i] > 30 && !is_near(eta[i], phi[i], muon_pt, muon_eta, muon_phi) &&
        !is_near(eta[i], phi[i], electron_pt, electron_eta, electron_phi)) {
      sum += pt[i];
      any = true;
    }
  return any ? sum : -1;
}

double transverse_mass(double met, double met_phi, const Floats &muon_pt, const Floats &muon_eta, const Floats &muon_phi,
                       const Floats &muon_mass, const Ints &muon_charge, const Floats &electron_pt,
                       const Floats &electron_eta, const Floats &electron_phi, const Floats &electron_mass,
                       const Ints &electron_charge) {
  const std::size_t muons = muon_pt.size(), size = muons + electron_pt.size();
  if (size < 3)
    return -1;
  auto p = vectors(muon_pt, muon_eta, muon_phi, muon_mass);
  for (const P4 &electron : vectors(electron_pt, electron_eta, electron_phi, electron_mass))
    p.push_back(electron);
  const auto charge = [&](std::size_t i) { return i < muons ? muon_charge[i] : electron_charge[i - muons]; };
  const auto pt = [&](std::size_t i) { return i < muons ? muon_pt[i] : electron_pt[i - muons]; };
  double nearest = HUGE_VAL;
  std::size_t a = size, b = size;
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = i + 1; j < size; ++j)
      if ((i < muons) == (j < muons) && charge(i) != charge(j)) {
        const double distance = std::abs(mass(p[i] + p[j]) - 91.2);
        if (distance < nearest) {
          nearest = distance;
          a = i, b = j;
        }
      }
  if (a == size)
    return -1;
  std::size_t leading = size;
  for (std::size_t i = 0; i < size; ++i)
    if (i != a && i != b && (leading == size || pt(i) > pt(leading)))
      leading = i;
  const double phi = leading < muons ? muon_phi[leading] : electron_phi[leading - muons];
  return std::sqrt(2 * pt(leading) * met * (1 - std::cos(delta_phi(met_phi, phi))));
}

namespace {

// Whether all leptons pass the cuts on kinematics, isolation and impact parameters.
bool all_good(const Leptons &l, double min_pt, double max_eta) {
  for (std::size_t i = 0; i < l.pt.size(); ++i) {
    const double ip = std::hypot(double(l.dxy[i]), double(l.dz[i]));
    const double error = std::hypot(double(l.dxy_error[i]), double(l.dz_error[i]));
    if (!(l.pt[i] > min_pt && std::abs(l.eta[i]) < max_eta && l.isolation[i] < 0.4 && ip / error < 4 &&
          std::abs(l.dxy[i]) < 0.5 && std::abs(l.dz[i]) < 1))
      return false;
  }
  return true;
}

bool are_z(double first, double second) { return first > 40 && first < 120 && second > 12 && second < 120; }

void add_same(const Leptons &l, double min_pt, double max_eta, ROOT::RVecD &found) {
  if (l.pt.size() != 4 || ROOT::VecOps::Sum(l.charge) != 0 || !all_good(l, min_pt, max_eta))
    return;
  const auto p = vectors(l.pt, l.eta, l.phi, l.mass);
  double nearest = HUGE_VAL, first = 0;
  std::size_t a = 0, b = 0;
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = i + 1; j < 4; ++j) {
      const double pair = mass(p[i] + p[j]);
      if (l.charge[i] != l.charge[j] && std::abs(pair - 91.2) < nearest) {
        nearest = std::abs(pair - 91.2);
        first = pair;
        a = i, b = j;
      }
    }
  std::vector<std::size_t> rest;
  for (std::size_t i = 0; i < 4; ++i)
    if (i != a && i != b)
      rest.push_back(i);
  if (are_z(first, mass(p[rest[0]] + p[rest[1]])))
    found.push_back(mass(p[0] + p[1] + p[2] + p[3]));
}

bool are_apart(const Leptons &l) { return std::hypot(double(l.eta[0]) - l.eta[1], delta_phi(l.phi[0], l.phi[1])) > 0.02; }

bool is_leading(const Leptons &l) { return std::max(l.pt[0], l.pt[1]) > 20 && std::min(l.pt[0], l.pt[1]) > 10; }

void add_mixed(const Leptons &muons, const Leptons &electrons, ROOT::RVecD &found) {
  if (muons.pt.size() != 2 || electrons.pt.size() != 2 || ROOT::VecOps::Sum(muons.charge) != 0 ||
      ROOT::VecOps::Sum(electrons.charge) != 0 || !(is_leading(muons) || is_leading(electrons)) || !are_apart(muons) ||
      !are_apart(electrons) || !all_good(muons, 5, 2.4) || !all_good(electrons, 7, 2.5))
    return;
  const auto m = vectors(muons.pt, muons.eta, muons.phi, muons.mass);
  const auto e = vectors(electrons.pt, electrons.eta, electrons.phi, electrons.mass);
  double first = mass(m[0] + m[1]), second = mass(e[0] + e[1]);
  if (std::abs(second - 91.2) < std::abs(first - 91.2))
    std::swap(first, second);
  if (are_z(first, second))
    found.push_back(mass(m[0] + m[1] + e[0] + e[1]));
}

} // namespace

ROOT::RVecD four_leptons(const Leptons &muons, const Leptons &electrons) {
  ROOT::RVecD found;
  add_same(muons, 5, 2.4, found);
  add_same(electrons, 7, 2.5, found);
  add_mixed(muons, electrons, found);
  return found;
}

} // namespace adl
