#ifndef BENCH_CHOOSE_H
#define BENCH_CHOOSE_H
#include <ROOT/RVec.hxx>

namespace bench {

// The index of the good candidate with the lowest score, the first of equal ones; -1 if there is none.
inline int choose(const ROOT::RVecI &good, const ROOT::RVecF &score) {
  int best = -1;
  for (int i = 0; i < static_cast<int>(good.size()); ++i)
    if (good[i] && (best < 0 || score[i] < score[best]))
      best = i;
  return best;
}

} // namespace bench
#endif
