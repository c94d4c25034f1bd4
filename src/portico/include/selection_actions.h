// A selection as actions of RDataFrame, for frames of any kind. RDataFrame only hands over columns, because its templates
// are compiled for each type of a column.
#ifndef PORTICO_SELECTION_ACTIONS_H
#define PORTICO_SELECTION_ACTIONS_H

#include "selection.h"

#include <ROOT/RDF/RActionImpl.hxx>
#include <ROOT/RDataFrame.hxx>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace portico {

// What the actions of a selection share: for each slot the columns of the present event, and its choices.
struct Loop {
  std::shared_ptr<Kernel> kernel;
  Trees trees;
  std::vector<std::vector<const void *>> columns;
  std::vector<Choices> choices;
  std::mutex filling; // the kernel has one row for all threads

  Loop(std::shared_ptr<Kernel> k, Trees t, std::size_t slots, std::size_t n)
      : kernel(std::move(k)), trees(std::move(t)), columns(slots, std::vector<const void *>(n)), choices(slots) {}
};

// An action that hands over a column.
template <typename T>
class Capture : public ROOT::Detail::RDF::RActionImpl<Capture<T>> {
public:
  using Result_t = int;
  Capture(std::shared_ptr<Loop> loop, std::size_t column) : fLoop(std::move(loop)), fColumn(column) {}
  Capture(Capture &&) = default;
  Capture(const Capture &) = delete;
  std::shared_ptr<int> GetResultPtr() const { return fResult; }
  void Initialize() {}
  void InitTask(TTreeReader *, unsigned) {}
  void Exec(unsigned slot, const T &value) { fLoop->columns[slot][fColumn] = &value; }
  void Finalize() {}
  std::string GetActionName() const { return "Capture"; }

private:
  std::shared_ptr<Loop> fLoop;
  std::size_t fColumn;
  std::shared_ptr<int> fResult = std::make_shared<int>(0);
};

// Base class of the actions below: one copy of the result per slot, added up at the end. They run once in every event
// that their node lets through, after those that were booked before them.
template <typename Derived, typename Result>
class Action : public ROOT::Detail::RDF::RActionImpl<Derived> {
public:
  using Result_t = Result;
  Action(std::shared_ptr<Loop> loop, const Result &result)
      : fLoop(std::move(loop)), fResult(std::make_shared<Result>(result)), fSlots(fLoop->columns.size(), result) {}
  Action(Action &&) = default;
  Action(const Action &) = delete;
  std::shared_ptr<Result> GetResultPtr() const { return fResult; }
  void Initialize() {}
  void InitTask(TTreeReader *, unsigned) {}
  void Finalize() {
    for (const auto &slot : fSlots)
      add(*fResult, slot);
  }
  std::string GetActionName() const { return "Selection"; }

protected:
  std::shared_ptr<Loop> fLoop;
  std::shared_ptr<Result> fResult;
  std::vector<Result> fSlots;
};

class Choose : public Action<Choose, Counts> {
public:
  using Action<Choose, Counts>::Action;
  void Exec(unsigned slot, unsigned) {
    const Columns columns = fLoop->columns[slot].data();
    fLoop->kernel->choose(columns, fLoop->choices[slot]);
    count(fSlots[slot], fLoop->choices[slot], fLoop->kernel->weigh(columns));
  }
};

class FillShapes : public Action<FillShapes, Filled> {
public:
  using Action<FillShapes, Filled>::Action;
  void Exec(unsigned slot, unsigned) { fLoop->kernel->fill_shapes(fSlots[slot], fLoop->columns[slot].data()); }
};

class Fill : public Action<Fill, Filled> {
public:
  using Action<Fill, Filled>::Action;
  void Initialize() {
    for (auto &rows : fLoop->trees) {
      fLoop->kernel->describe(*rows);
      rows->open();
    }
  }
  void Exec(unsigned slot, unsigned) {
    const std::scoped_lock locked(fLoop->filling);
    fLoop->kernel->fill(fSlots[slot], fLoop->choices[slot], fLoop->columns[slot].data());
    portico::fill(fLoop->trees);
  }
  void Finalize() {
    Action<Fill, Filled>::Finalize();
    for (auto &rows : fLoop->trees)
      rows->close();
  }
};

// Whether so many cuts are passed; with a negative number, whether a choice was made.
struct Reached {
  std::shared_ptr<Loop> loop;
  int cuts;
  bool operator()(unsigned slot) const {
    const Choices &choices = loop->choices[slot];
    return cuts < 0 ? choices.any_choice() : choices.depth[0] >= cuts;
  }
};

// The handles of all results of a selection.
struct Booked {
  ROOT::RDF::RResultPtr<ROOT::RDF::RCutFlowReport> report;
  ROOT::RDF::RResultPtr<Counts> counts;
  std::vector<ROOT::RDF::RResultPtr<Filled>> filled; // of the varied shapes, if any, and of the nominal ones
  std::vector<ROOT::RDF::RResultPtr<int>> captured;
};

// Books a selection: first the columns that each action needs, then the action.
class Booking {
public:
  Booked booked;

  Booking(ROOT::RDF::RNode node, std::shared_ptr<Kernel> kernel, Empty empty, Trees trees, std::size_t columns)
      : fNode(std::move(node)), fEmpty(std::move(empty)),
        fLoop(std::make_shared<Loop>(std::move(kernel), std::move(trees), fNode.GetNSlots(), columns)) {}
  template <typename T>
  void capture(std::size_t column, const char *name) {
    booked.captured.push_back(fNode.Book<T>(Capture<T>(fLoop, column), {name}));
  }
  void choose() {
    booked.counts = fNode.Book<unsigned>(Choose(fLoop, fEmpty.counts), {"rdfslot_"});
    if (!fEmpty.shapes.sets.empty())
      booked.filled.push_back(fNode.Book<unsigned>(FillShapes(fLoop, fEmpty.shapes), {"rdfslot_"}));
  }
  void cut(int cuts, const char *label) { fNode = fNode.Filter(Reached{fLoop, cuts}, {"rdfslot_"}, label); }
  void fill() {
    booked.report = fNode.Report();
    booked.filled.push_back(fNode.Book<unsigned>(Fill(fLoop, fEmpty.nominal), {"rdfslot_"}));
  }

private:
  ROOT::RDF::RNode fNode;
  Empty fEmpty;
  std::shared_ptr<Loop> fLoop;
};

} // namespace portico

#endif
