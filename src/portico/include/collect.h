// Access to contents of ROOT objects that Python cannot read directly. Declared once in every process that runs chunks.
#ifndef PORTICO_COLLECT_H
#define PORTICO_COLLECT_H

#include <RtypesCore.h>
#include <TFile.h>
#include <THn.h>
#include <TStatistic.h>

#include <cstdio>
#include <string>

namespace portico {

// The global entry of a generated sample; an empty source counts from 0 in every chunk.
struct GlobalEntry {
  ULong64_t first = 0;
  explicit GlobalEntry(ULong64_t f) : first(f) {}
  ULong64_t operator()(ULong64_t local) const { return first + local; }
};

// The UUID in the file's header, which planning reads as well; the one of the top folder may differ. Files with 64-bit
// offsets (version >= 1000000, stored big-endian) have it 12 bytes later.
inline std::string FileIdentity(TFile &file) {
  unsigned char header[80] = {};
  file.ReadBuffer(reinterpret_cast<char *>(header), 0, sizeof header);
  const int version = header[4] << 24 | header[5] << 16 | header[6] << 8 | header[7];
  const unsigned char *uuid = header + (version >= 1000000 ? 59 : 47);
  std::string text;
  for (int i = 0; i < 16; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", uuid[i]);
    text += (i == 4 || i == 6 || i == 8 || i == 10) ? "-" : "";
    text += digits;
  }
  return text;
}

// TStatistic gives access only to its mean, but merging needs the sum. An explicit instantiation may name a private
// member ([temp.spec.general]), and the friend function then returns it.
double SumOf(const TStatistic &s);
template <double TStatistic::*Member> struct Reveal {
  friend double SumOf(const TStatistic &s) { return s.*Member; }
};
template struct Reveal<&TStatistic::fM>;

// Contents of a THn in linear bin order, including flow bins; `squares` may be null.
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
