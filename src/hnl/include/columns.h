// The columns of the ntuples. Each function takes a frame over events and returns it with more columns.
#ifndef HNL_COLUMNS_H
#define HNL_COLUMNS_H

#include "ROOT/RDataFrame.hxx"

#include <string>
#include <vector>

namespace hnl {

using Node = ROOT::RDF::RNode;

// Events with a candidate, and the columns of event, vertices, trigger muons and candidates; the names of the trigger
// paths in the order of their bits.
Node define_candidates(Node node, const std::vector<std::string> &paths);
Node define_control_candidates(Node node, const std::vector<std::string> &paths);

// What the generator knows of the candidates.
Node define_candidate_generator(Node node);
Node define_control_generator(Node node);

} // namespace hnl

#endif
