// Access to contents of ROOT objects that Python cannot read directly. Declared once in every process that runs chunks.
#ifndef PORTICO_COLLECT_H
#define PORTICO_COLLECT_H

#include <ROOT/TIOFeatures.hxx>
#include <RtypesCore.h>
#include <TBranch.h>
#include <TBufferFile.h>
#include <TFile.h>
#include <TFriendElement.h>
#include <TH1D.h>
#include <TH3.h>
#include <THn.h>
#include <TLeaf.h>
#include <TProfile.h>
#include <TProfile2D.h>
#include <TRandom.h>
#include <TTree.h>

#include <cstdio>
#include <set>
#include <string>
#include <vector>

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

// The state of ROOT's global generator of random numbers, as hexadecimal digits.
inline std::string RandomState() {
  TBufferFile buffer(TBuffer::kWrite);
  if (gRandom) gRandom->Streamer(buffer);
  std::string text;
  for (Int_t i = 0; i < buffer.Length(); ++i)
    for (int shift : {4, 0}) text += "0123456789abcdef"[(buffer.Buffer()[i] >> shift) & 15];
  return text;
}

inline void SetRandomState(const std::string &text) {
  std::string state;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) state += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  TBufferFile buffer(TBuffer::kRead, state.size(), state.data(), kFALSE);
  if (gRandom) gRandom->Streamer(buffer);
}

// Calls a function for each branch of a tree, but for those that only hold others.
template <typename F>
void EachBranch(TObjArray &branches, F f) {
  for (auto *object : branches) {
    auto *branch = static_cast<TBranch *>(object);
    if (branch->GetListOfBranches()->GetEntriesFast() > 0)
      EachBranch(*branch->GetListOfBranches(), f);
    else
      f(*branch);
  }
}

// Why ROOT may read wrong numbers from a branch without an error; empty if there is no reason.
inline std::string Doubt(TTree &tree, TBranch &branch) {
  if (branch.GetEntries() < tree.GetEntries()) // reading beyond their end repeats old values
    return "has fewer entries than the tree";
  const auto *leaf = static_cast<TLeaf *>(branch.GetListOfLeaves()->At(0));
  if (leaf && leaf->GetLeafCount() && branch.GetIOFeatures().Test(ROOT::Experimental::EIOFeatures::kGenerateOffsetMap))
    return "does not store where its entries begin (kGenerateOffsetMap), and ROOT reads wrong numbers"; // 6.40
  return "";
}

inline std::string DoubtLine(TTree &tree, TBranch &branch) {
  const auto doubt = Doubt(tree, branch);
  return doubt.empty() ? "" : "the column '" + std::string(branch.GetName()) + "' " + doubt + "\n";
}

// What is in doubt in a tree, a line for each branch.
inline std::string Doubts(TTree &tree) {
  std::string lines;
  EachBranch(*tree.GetListOfBranches(), [&](TBranch &branch) { lines += DoubtLine(tree, branch); });
  return lines;
}

// Those of these lines, also of friends, whose branches were read: of branches that end early only if they were last
// read beyond their end, or, where entries are found by an index, at all.
inline std::string DoubtsRead(TTree &tree, std::set<TTree *> seen = {}) {
  std::string lines;
  if (!seen.insert(&tree).second) // friends may be friends of each other
    return lines;
  EachBranch(*tree.GetListOfBranches(), [&](TBranch &branch) {
    const bool ends = branch.GetEntries() < tree.GetEntries() && !tree.GetTreeIndex();
    if (branch.GetReadEntry() >= (ends ? branch.GetEntries() : 0))
      lines += DoubtLine(tree, branch);
  });
  if (auto *friends = tree.GetListOfFriends())
    for (auto *friend_ : *friends)
      if (auto *other = static_cast<TFriendElement *>(friend_)->GetTree())
        lines += DoubtsRead(*other, seen);
  return lines;
}

// The sums of w, w^2, wx, ... of all fills in the order of PutStats. A member of a base class may be named in a derived one.
struct Sums : TH3D {
  static bool with_overflows() { return fgStatOverflows; }
  static void of(const TH1 &h, double *to) {
    for (auto sum : {&Sums::fTsumw, &Sums::fTsumw2, &Sums::fTsumwx, &Sums::fTsumwx2})
      *to++ = h.*sum;
  }
  static void of(const TH3 &h, double *to) {
    for (auto sum : {&Sums::fTsumwy, &Sums::fTsumwy2, &Sums::fTsumwxy, &Sums::fTsumwz, &Sums::fTsumwz2,
                     &Sums::fTsumwxz, &Sums::fTsumwyz})
      *to++ = h.*sum;
  }
};
struct PlaneSums : TProfile2D {
  static void of(const TH2 &h, double *to) {
    for (auto sum : {&PlaneSums::fTsumwy, &PlaneSums::fTsumwy2, &PlaneSums::fTsumwxy})
      *to++ = h.*sum;
  }
  static void of(const TProfile2D &h, double *to) {
    for (auto sum : {&PlaneSums::fTsumwz, &PlaneSums::fTsumwz2})
      *to++ = h.*sum;
  }
};
struct ProfileSums : TProfile {
  static void of(const TProfile &h, double *to) {
    for (auto sum : {&ProfileSums::fTsumwy, &ProfileSums::fTsumwy2})
      *to++ = h.*sum;
  }
};
inline bool CountsOverflows() { return Sums::with_overflows(); } // in the sums of new histograms
inline void ReadSums(const TH1 &h, double *to) {
  Sums::of(h, to);
  to += 4;
  if (auto profile = dynamic_cast<const TProfile *>(&h))
    ProfileSums::of(*profile, to);
  if (auto plane = dynamic_cast<const TH2 *>(&h))
    PlaneSums::of(*plane, to);
  if (auto profile = dynamic_cast<const TProfile2D *>(&h))
    PlaneSums::of(*profile, to + 3);
  if (auto cube = dynamic_cast<const TH3 *>(&h))
    Sums::of(*cube, to);
}

// Many histograms of one class as flat arrays, one after the other.
struct HistogramList {
  // For each histogram: name, title, title of its contents, bins, the two ends and the title of its axis, its edges if
  // they are not equally far apart, its labels with their bins.
  std::string heads;
  std::vector<Long64_t> cells, squares; // numbers of them; no squares where only counts are kept
  std::vector<double> values, sumw2, stats, entries;

  explicit HistogramList(std::vector<TH1D> &histograms) {
    for (auto &h : histograms) {
      h.BufferEmpty(1);
      Head(h);
      cells.push_back(h.GetNcells());
      values.insert(values.end(), h.GetArray(), h.GetArray() + h.GetNcells());
      squares.push_back(h.GetSumw2N());
      if (h.GetSumw2N())
        sumw2.insert(sumw2.end(), h.GetSumw2()->GetArray(), h.GetSumw2()->GetArray() + h.GetNcells());
      stats.resize(stats.size() + kStats);
      ReadSums(h, stats.data() + stats.size() - kStats);
      entries.push_back(h.GetEntries());
    }
  }

private:
  static constexpr std::size_t kStats = 20;
  void Add(const std::string &text) {
    for (const char c : text)
      if (c == '\x10' || ('\x1d' <= c && c <= '\x1f')) { // a title may have what separates them here
        heads += '\x10';
        heads += static_cast<char>(c + ' ');
      } else {
        heads += c;
      }
    heads += '\x1f';
  }
  void Add(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.17g", value);
    Add(std::string(text));
  }
  void Head(const TH1D &h) {
    const TAxis &axis = *h.GetXaxis();
    for (const char *text : {h.GetName(), h.GetTitle(), h.GetYaxis()->GetTitle()})
      Add(std::string(text));
    Add(std::to_string(axis.GetNbins()));
    Add(axis.GetXmin());
    Add(axis.GetXmax());
    Add(std::string(axis.GetTitle()));
    for (int i = 0; i < axis.GetXbins()->GetSize(); ++i)
      Add(axis.GetXbins()->At(i));
    heads += '\x1d';
    for (int bin = 1; const_cast<TAxis &>(axis).GetLabels() && bin <= axis.GetNbins(); ++bin)
      if (*axis.GetBinLabel(bin)) {
        Add(std::to_string(bin));
        Add(std::string(axis.GetBinLabel(bin)));
      }
    heads += '\x1e';
  }
};

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
