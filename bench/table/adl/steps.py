"""The ADL queries, and ROOT's four-lepton analysis, as steps of Portico.

They are declared where a selection can say it, and written with RDataFrame where it cannot.
"""

from __future__ import annotations

from pathlib import Path

from portico import step

FOLDER = Path(__file__).parent
HISTOGRAMS = {
    "q1": {"MET_pt": (0, 256)},
    "q2": {"Jet_pt": (0, 256)},
    "q3": {"Jet_pt": (0, 256)},
    "q4": {"MET_pt": (0, 256)},
    "q5": {"MET_pt": (0, 256)},
    "q6": {"trijet_pt": (0, 256), "trijet_btag": (-1, 1)},
    "q7": {"ht": (0, 512)},
    "q8": {"transverse_mass": (0, 256)},
    "h4l": {"mass": (64, 320)},
}
BINS = 128
DECLARED = ("q4", "q5", "q6", "q7")
"""The others fill all events, several objects of an event, or events that may lack any one kind of objects."""


def _leptons(kind):
    names = ("pt", "eta", "phi", "mass", "charge", "pfRelIso03_all", "dxy", "dxyErr", "dz", "dzErr")
    return f"adl::Leptons{{{', '.join(f'{kind}_{name}' for name in names)}}}"


def book(query, frame):
    """Book a query on any RDataFrame; `adl.h` is declared."""
    muon = ", ".join(f"Muon_{name}" for name in ("pt", "eta", "phi", "mass", "charge"))
    electron = muon.replace("Muon", "Electron")
    if query == "q3":
        frame = frame.Define("central_pt", "Jet_pt[abs(Jet_eta) < 1]")
    elif query == "q4":
        frame = frame.Filter("Sum(Jet_pt > 40) >= 2")
    elif query == "q5":
        frame = frame.Filter(f"adl::has_z({muon})")
    elif query == "q6":
        frame = frame.Filter("Jet_pt.size() >= 3")
        frame = frame.Define("trijet", "adl::trijet(Jet_pt, Jet_eta, Jet_phi, Jet_mass, Jet_btag)")
        frame = frame.Define("trijet_pt", "trijet[0]").Define("trijet_btag", "trijet[1]")
    elif query == "q7":
        leptons = "Muon_pt, Muon_eta, Muon_phi, Electron_pt, Electron_eta, Electron_phi"
        frame = frame.Define("ht", f"adl::isolated_ht(Jet_pt, Jet_eta, Jet_phi, {leptons})").Filter("ht >= 0")
    elif query == "q8":
        frame = frame.Define("transverse_mass", f"adl::transverse_mass(MET_pt, MET_phi, {muon}, {electron})")
        frame = frame.Filter("transverse_mass >= 0")
    elif query == "h4l":
        frame = frame.Define("mass", f"adl::four_leptons({_leptons('Muon')}, {_leptons('Electron')})")
    return {
        name: frame.Histo1D((name, "", BINS, low, high), "central_pt" if query == "q3" else name)
        for name, (low, high) in HISTOGRAMS[query].items()
    }


@step(headers=["adl.h"], sources=["adl.cc"])
def free(frame, sample, *, query):
    """Run a query with RDataFrame."""
    return book(query, frame)


@step(headers=["adl.h"], sources=["adl.cc"], files=["q4.yaml", "q5.yaml", "q6.yaml", "q7.yaml"])
def declared(frame, sample, *, query):
    """Run a query as its file says it."""
    from portico.selection import book as book_selection
    from portico.selection import load_selection

    return book_selection(load_selection(FOLDER / f"{query}.yaml"), frame, sample, folder=FOLDER)
