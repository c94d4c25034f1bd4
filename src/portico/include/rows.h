// A tree of rows that a loop writes itself, without one template of RDataFrame for each column.
#ifndef PORTICO_ROWS_H
#define PORTICO_ROWS_H

#include <ROOT/RDF/Utils.hxx>
#include <ROOT/REntry.hxx>
#include <ROOT/RField.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriteOptions.hxx>
#include <ROOT/RNTupleWriter.hxx>
#include <ROOT/RVec.hxx>
#include <TFile.h>
#include <TTree.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace portico {

// What a TTree holds in place of an RVec, as RDataFrame's Snapshot writes it.
template <typename T>
struct InTree {
  using Type = T;
  static const T &from(const T &value) { return value; }
};
template <typename T>
struct InTree<ROOT::RVec<T>> {
  using Type = std::vector<typename InTree<T>::Type>;
  static Type from(const ROOT::RVec<T> &values) {
    Type result;
    result.reserve(values.size());
    for (const T &value : values)
      result.push_back(InTree<T>::from(value));
    return result;
  }
};

// Columns of variables that stay where they are, written row by row. Empty files are none: they have the columns.
class Rows {
public:
  Rows(std::string tree, std::string path, bool ntuple, std::size_t cluster)
      : fTree(std::move(tree)), fPath(std::move(path)), fNTuple(ntuple), fCluster(cluster) {}

  template <typename T>
  void add(const char *name, const T &variable) {
    if (fNTuple) {
      fColumns.push_back({name, ROOT::Internal::RDF::TypeID2TypeName(typeid(T)), const_cast<T *>(&variable)});
      return;
    }
    using Held = typename InTree<T>::Type;
    auto held = std::make_shared<Held>();
    fBranches.push_back([this, name = std::string(name), held] {
      fBranch->Branch(name.c_str(), held.get());
    });
    fCopies.push_back([held, &variable] { *held = InTree<T>::from(variable); });
  }

  void open() {
    if (fNTuple) {
      auto model = ROOT::RNTupleModel::CreateBare();
      for (const auto &column : fColumns)
        model->AddField(ROOT::RFieldBase::Create(column.name, column.type).Unwrap());
      ROOT::RNTupleWriteOptions options;
      options.SetApproxZippedClusterSize(fCluster);
      fWriter = ROOT::RNTupleWriter::Recreate(std::move(model), fTree, fPath, options);
      fEntry = fWriter->CreateEntry();
      for (const auto &column : fColumns)
        fEntry->BindRawPtr<void>(column.name, column.variable);
    } else {
      fFile.reset(TFile::Open(fPath.c_str(), "RECREATE"));
      if (!fFile || fFile->IsZombie())
        throw std::runtime_error("cannot write " + fPath);
      fBranch = new TTree(fTree.c_str(), fTree.c_str(), 99, fFile.get());
      for (const auto &branch : fBranches)
        branch();
    }
  }

  void fill() {
    for (const auto &copy : fCopies)
      copy();
    if (fNTuple)
      fWriter->Fill(*fEntry);
    else
      fBranch->Fill();
  }

  void close() {
    fEntry.reset();
    fWriter.reset();
    if (fFile) {
      fFile->Write();
      fFile.reset();
    }
  }

private:
  struct Column {
    std::string name, type;
    void *variable;
  };
  std::string fTree, fPath;
  bool fNTuple;
  std::size_t fCluster;
  std::vector<Column> fColumns;
  std::vector<std::function<void()>> fBranches, fCopies;
  std::unique_ptr<ROOT::RNTupleWriter> fWriter;
  std::unique_ptr<ROOT::REntry> fEntry;
  std::unique_ptr<TFile> fFile;
  TTree *fBranch = nullptr; // of the file
};

// Trees of the same rows, in several formats.
using Trees = std::vector<std::shared_ptr<Rows>>;

inline void fill(Trees &trees) {
  for (auto &rows : trees)
    rows->fill();
}

} // namespace portico

#endif
