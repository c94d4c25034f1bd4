// What Python cannot read from ROOT objects directly. Declared once in every process that runs chunks.
#ifndef PORTICO_COLLECT_H
#define PORTICO_COLLECT_H

#include <RtypesCore.h>
#include <THn.h>
#include <TStatistic.h>

namespace portico {

// The global entry of a generated sample: an empty source counts from 0 in every chunk.
struct GlobalEntry {
  ULong64_t first = 0;
  explicit GlobalEntry(ULong64_t f) : first(f) {}
  ULong64_t operator()(ULong64_t local) const { return first + local; }
};

// TStatistic shows its mean only; merging needs the sum that the mean is made from. Naming a private member
// in an explicit instantiation is allowed ([temp.spec.general]), and the friend then hands it on.
double SumOf(const TStatistic &s);
template <double TStatistic::*Member> struct Reveal {
  friend double SumOf(const TStatistic &s) { return s.*Member; }
};
template struct Reveal<&TStatistic::fM>;

// THn in linear bin order, flow bins included; `squares` may be null.
inline void ReadTHn(const THn &h, double *values, double *squares) {
  for (Long64_t i = 0; i < h.GetNbins(); ++i) {
    values[i] = h.GetBinContent(i);
    if (squares) squares[i] = h.GetBinError2(i);
  }
}

inline void WriteTHn(THn &h, const double *values, const double *squares) {
  for (Long64_t i = 0; i < h.GetNbins(); ++i) {
    h.SetBinContent(i, values[i]);
    if (squares) h.SetBinError2(i, squares[i]);
  }
}

} // namespace portico

#endif
