"""The ADL queries with coffea: NanoAOD's schema over virtual arrays, on one core."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import hist
import numpy as np
from coffea import processor
from coffea.nanoevents import NanoAODSchema
from coffea.nanoevents.methods import vector

from bench.table.adl.steps import BINS, HISTOGRAMS
from bench.table.inputs import Input


class Contender:
    """A runner over chunks, with the executor that runs them one after the other."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._given = given
        NanoAODSchema.warn_missing_crossrefs = False
        executor = processor.IterativeExecutor(status=False, compression=None)
        self._runner = processor.Runner(executor=executor, schema=NanoAODSchema)

    def adl(self, query: str) -> dict[str, list[float]]:
        """Run a query."""
        filled = self._runner({"events": list(self._given.files)}, Query(query), treename=self._given.tree)
        return {name: histogram.values(flow=True).tolist() for name, histogram in filled.items()}

    def close(self) -> None:
        """Nothing is left open."""


class Query(processor.ProcessorABC):
    """A query as a processor."""

    def __init__(self, query: str) -> None:
        self.query = query

    def process(self, events):
        """Fill the histograms of a chunk."""
        filled = {}
        values = QUERIES[self.query](events)
        for name, (low, high) in HISTOGRAMS[self.query].items():
            filled[name] = hist.Hist.new.Reg(BINS, low, high, name=name).Double().fill(values[name])
        return filled

    def postprocess(self, accumulator):
        """Return what was accumulated."""
        return accumulator


def doubles(objects, *others):
    """Return Lorentz vectors in double precision, with other fields as they are."""
    fields = {name: ak.values_astype(objects[name], np.float64) for name in ("pt", "eta", "phi", "mass")}
    fields |= {name: objects[name] for name in others}
    return ak.zip(fields, with_name="PtEtaPhiMLorentzVector", behavior=vector.behavior)


def q1(events):
    """MET of all events."""
    return {"MET_pt": events.MET.pt}


def q2(events):
    """pT of all jets."""
    return {"Jet_pt": ak.flatten(events.Jet.pt)}


def q3(events):
    """pT of jets with |eta| < 1."""
    return {"Jet_pt": ak.flatten(events.Jet.pt[abs(events.Jet.eta) < 1])}


def q4(events):
    """MET of events with two jets above 40 GeV."""
    return {"MET_pt": events.MET.pt[ak.sum(events.Jet.pt > 40, axis=1) >= 2]}


def q5(events):
    """MET of events with two muons of opposite charge and a mass between 60 and 120 GeV."""
    first, second = ak.unzip(ak.combinations(doubles(events.Muon, "charge"), 2))
    mass = (first + second).mass
    good = (first.charge != second.charge) & (mass > 60) & (mass < 120)
    return {"MET_pt": events.MET.pt[ak.any(good, axis=1)]}


def q6(events):
    """pT and largest b-tag of the three jets whose mass is nearest to 172.5 GeV."""
    jets = doubles(events.Jet, "btag")
    a, b, c = ak.unzip(ak.combinations(jets[ak.num(jets) >= 3], 3))
    sums = a + b + c
    best = ak.argmin(abs(sums.mass - 172.5), axis=1, keepdims=True)
    btag = np.maximum(np.maximum(a.btag, b.btag), c.btag)
    return {"trijet_pt": ak.flatten(sums.pt[best]), "trijet_btag": ak.flatten(btag[best])}


def q7(events):
    """Sum of the pT of jets above 30 GeV that are isolated from leptons above 10 GeV."""
    jets, near = doubles(events.Jet), False
    for leptons in (events.Muon, events.Electron):
        pairs = ak.cartesian([jets, doubles(leptons[leptons.pt > 10])], nested=True)
        near = near | ak.any(pairs["0"].delta_r(pairs["1"]) < 0.4, axis=2)
    good = jets.pt[(jets.pt > 30) & ~near]
    return {"ht": ak.sum(good[ak.num(good) > 0], axis=1)}


def q8(events):
    """Transverse mass of MET and the leading lepton outside of the best Z pair."""
    kinds = [doubles(events.Muon, "charge"), doubles(events.Electron, "charge")]
    kinds = [ak.with_field(leptons, number, "kind") for number, leptons in enumerate(kinds)]
    leptons = ak.concatenate(kinds, axis=1)
    kept = ak.num(leptons) >= 3
    leptons, met = leptons[kept], events.MET[kept]
    numbers = ak.argcombinations(leptons, 2)
    i, j = ak.unzip(numbers)
    first, second = leptons[i], leptons[j]
    good = (first.kind == second.kind) & (first.charge != second.charge)
    distance = ak.mask(abs((first + second).mass - 91.2), good)
    best = ak.argmin(distance, axis=1, keepdims=True)
    found = ~ak.is_none(ak.flatten(best))
    leptons, met, best = leptons[found], met[found], best[found]
    i, j = ak.flatten(i[found][best]), ak.flatten(j[found][best])
    place = ak.local_index(leptons)
    others = leptons[(place != i) & (place != j)]
    leading = ak.flatten(others[ak.argmax(others.pt, axis=1, keepdims=True)])
    angle = ak.values_astype(met.phi, np.float64) - leading.phi
    mass = np.sqrt(2 * leading.pt * ak.values_astype(met.pt, np.float64) * (1 - np.cos(angle)))
    return {"transverse_mass": mass}


QUERIES = {f"q{n}": function for n, function in enumerate((q1, q2, q3, q4, q5, q6, q7, q8), 1)}
