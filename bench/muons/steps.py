"""Made muons, and the analyses that are timed on them."""

import time

from portico import step

SPARE = 20
VARIABLES = ("pt", "eta", "phi", "mass")


@step(headers=["muons.h"])
def make(frame, sample, *, kind="TTree"):
    """Write events with one to four muons and as many spare columns as an ntuple has."""
    import ROOT

    frame = frame.Define("nMuon", "bench::count(entry)")
    frame = frame.Define("Muon_pt", "bench::momenta(entry, nMuon)")
    frame = frame.Define("Muon_eta", "bench::uniforms(entry, nMuon, 2, -2.4, 2.4)")
    frame = frame.Define("Muon_phi", "bench::uniforms(entry, nMuon, 3, -3.14159, 3.14159)")
    frame = frame.Define("Muon_mass", "ROOT::RVecF(nMuon, 0.105658f)").Define(
        "Muon_charge", "bench::charges(entry, nMuon)"
    )
    for i in range(SPARE):
        frame = frame.Define(f"Muon_spare{i}", f"bench::uniforms(entry, nMuon, {10 + i}, 0, 1)")
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = getattr(ROOT.RDF.ESnapshotOutputFormat, f"k{kind}")
    options.fVector2RVec = False
    columns = [
        "entry",
        "nMuon",
        *(f"Muon_{v}" for v in VARIABLES),
        "Muon_charge",
        *(f"Muon_spare{i}" for i in range(SPARE)),
    ]
    return {"events": frame.Snapshot("Events", "events.root", columns, options)}


def pairs(frame):
    """Select opposite-charge pairs and define their mass: what every timed program does."""
    frame = frame.Filter("nMuon == 2", "two muons").Filter("Muon_charge[0] != Muon_charge[1]", "opposite charge")
    return frame.Define("mass", "ROOT::VecOps::InvariantMass(Muon_pt, Muon_eta, Muon_phi, Muon_mass)")


def book(frame):
    """Book the mass and 20 further histograms of columns that must be read."""
    selected = pairs(frame)
    products = {"mass": selected.Histo1D(("mass", ";m (GeV);events", 300, 0.25, 300), "mass")}
    for i in range(SPARE):
        products[f"spare{i}"] = frame.Histo1D((f"spare{i}", "", 50, 0, 1), f"Muon_spare{i}")
    return products


def dimuon(frame, sample):
    """The timed analysis."""
    return book(frame)


def empty(frame, sample, *, seconds=0.0):
    """Nothing but counting, after a sleep: what remains is portico's own cost."""
    time.sleep(seconds)
    return {"entries": frame.Count()}
