// The types of columns with several elements.
#ifndef HNL_VECTORS_H
#define HNL_VECTORS_H

#include "ROOT/RVec.hxx"

namespace hnl {

using ROOT::RVecF;
using ROOT::RVecI;
using RVecShort = ROOT::RVec<short>;
using RVecUnsigned = ROOT::RVec<unsigned>;

} // namespace hnl

#endif
